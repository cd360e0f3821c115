"""What happens to every request before routing, as plain ASGI: order and reasons are in `infraxys.server.app`."""

import asyncio
import json
import re
import urllib.parse
import uuid
from collections.abc import Iterable
from typing import Any

import structlog
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from infraxys.server.body import too_large
from infraxys.server.errors import (
    PROBLEM_JSON,
    BadRequest,
    MisdirectedRequest,
    NotFound,
    Problem,
    RequestTimeout,
)
from infraxys.server.paths import API

LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]"})
# What proxies add to a request, beside X-Forwarded-….
FORWARDING = frozenset({b"forwarded", b"via", b"x-real-ip"})
MAX_PATH = 8 * 1024
UPLOADS = (f"{API}/caches/", f"{API}/cache/")
UPLOAD_PATIENCE = 20  # times the seconds that a body may take
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}\Z")
_BAD_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
CONTENT_POLICY = (
    b"default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
    b"img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
SECURITY_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", CONTENT_POLICY),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
)  # fmt: skip
NO_STORE = (b"cache-control", b"no-store")
HSTS = (b"strict-transport-security", b"max-age=31536000")


class ProblemResponse(JSONResponse):
    """A refusal. ASCII only: it may repeat names from the request, half of a surrogate pair among them."""

    media_type = PROBLEM_JSON

    def render(self, content: Any) -> bytes:
        """Write the JSON."""
        return json.dumps(content, separators=(",", ":")).encode()


def problem_response(problem: Problem, path: str) -> JSONResponse:
    """Answer with a refusal."""
    return ProblemResponse(problem.body(path), problem.status, problem.headers)


class RequestEdge:
    """Gives every request an id and every answer the security headers; refuses what is malformed as HTTP."""

    def __init__(self, app: ASGIApp, *, has_tls: bool) -> None:
        self.app = app
        self._headers = (*SECURITY_HEADERS, *((HSTS,) if has_tls else ()))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = header(scope, b"x-request-id")
        request_id = given if given and _REQUEST_ID.match(given) else str(uuid.uuid4())
        scope.setdefault("state", {})["request_id"] = request_id
        structlog.contextvars.bind_contextvars(request_id=request_id)  # of this request's task, and so of its log lines

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = message["headers"]
                present = {name for name, _ in headers}
                headers.append((b"x-request-id", request_id.encode()))
                headers.extend(item for item in (*self._headers, NO_STORE) if item[0] not in present)
            await send(message)

        await self.app(scope, receive, send_with_headers)


class LoopbackOnly:
    """Developer mode: the Host header has to name this machine, whatever DNS says (rebinding), and nobody passes on.

    A proxy on this machine is on loopback itself, and many send the Host that they call: what it adds gives it away.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] in {"http", "websocket"}:
            host = header(scope, b"host") or ""
            name = host if host.endswith("]") else host.rpartition(":")[0] or host
            problem = None
            if name.lower() not in LOOPBACK_HOSTS:
                problem = MisdirectedRequest("in developer mode only https://localhost is answered")
            elif any(key in FORWARDING or key.startswith(b"x-forwarded-") for key, _ in scope["headers"]):
                problem = MisdirectedRequest(
                    "in developer mode nothing is answered that a proxy passes on; use --mode server behind one"
                )
            if problem is not None:
                await problem_response(problem, scope["path"])(scope, receive, send)
                return
        await self.app(scope, receive, send)


class RawPath:
    """Routes on the path as it was sent: an encoded slash does not separate. Refuses what could mean two things."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] in {"http", "websocket"}:
            raw = scope.get("raw_path") or scope["path"].encode()
            try:
                scope["path"] = checked_path(raw.partition(b"?")[0])
                if b"%00" in scope["query_string"]:
                    raise BadRequest("a parameter holds a NUL character, which nothing has in its name")
            except Problem as problem:
                await problem_response(problem, "")(scope, receive, send)
                return
        await self.app(scope, receive, send)


def checked_path(raw: bytes) -> str:
    """Give the path, still encoded, if every segment is plain. Raises BadRequest and NotFound."""
    if len(raw) > MAX_PATH:
        raise BadRequest("the path is too long")
    try:
        path = raw.decode("ascii") if raw.isascii() else urllib.parse.quote(raw.decode(), safe="/%")
    except UnicodeDecodeError as error:
        raise BadRequest("the path is not UTF-8") from error
    if "%" not in path and "//" not in path and "/." not in path and "\\" not in path and ";" not in path:
        return path
    if _BAD_PERCENT.search(path):
        raise BadRequest("the path has a '%' that encodes nothing")
    segments = path.split("/")[1:]
    for position, segment in enumerate(segments):
        try:
            decoded = urllib.parse.unquote(segment, errors="strict")
        except UnicodeDecodeError as error:
            raise BadRequest("the path is not UTF-8") from error
        if not decoded.isprintable():
            raise BadRequest("the path holds control characters")
        is_last = position == len(segments) - 1
        if decoded in {".", ".."} or (not decoded and not is_last):
            raise NotFound("there is nothing at this path")
    return path


class BodyLimit:
    """Bounds the size of a body and the time that it may take to arrive.

    Files that go into caches have a limit of their own; they are written to disk as they come.
    """

    def __init__(self, app: ASGIApp, *, limit: int, seconds: float, upload_limit: int = 0) -> None:
        self.app, self._limit, self._seconds = app, limit, seconds
        self._upload_limit = upload_limit or limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        limit, seconds = self._limit, self._seconds
        if scope["path"].startswith(UPLOADS) and scope["method"] in {"PUT", "POST"}:
            limit, seconds = self._upload_limit, seconds * UPLOAD_PATIENCE
        length = header(scope, b"content-length")
        if scope["method"] in {"GET", "HEAD"} and length is None and header(scope, b"transfer-encoding") is None:
            await self.app(scope, receive, send)
            return
        if length is not None and (not length.isdigit() or int(length) > limit):
            await problem_response(too_large(limit), scope["path"])(scope, receive, send)
            return
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        received = 0
        is_complete = False

        async def limited() -> Message:
            nonlocal received, is_complete
            if is_complete:
                return await receive()  # from here on: waiting for a disconnect
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                raise RequestTimeout("the body did not arrive in time") from None
            if message["type"] == "http.request":
                received += len(message.get("body", b""))
                is_complete = not message.get("more_body", False)
                if received > limit:
                    raise too_large(limit)
            return message

        await self.app(scope, limited, send)


def header(scope: Scope, name: bytes) -> str | None:
    """Give a header's value, or None."""
    headers: Iterable[tuple[bytes, bytes]] = scope["headers"]
    for key, value in headers:
        if key == name:
            return value.decode("latin-1")
    return None
