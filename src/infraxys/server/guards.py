"""Middleware about callers: how many requests one may make, and answers that end when their caller's rights do."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from infraxys.server.audit.origin import Origin, current, enter
from infraxys.server.audit.refusals import Refusals
from infraxys.server.audit.trail import action_of
from infraxys.server.auth import rate_limits
from infraxys.server.auth.authenticate import address_of
from infraxys.server.auth.origin import SAFE_METHODS
from infraxys.server.auth.rate_limits import RateLimits
from infraxys.server.errors import Forbidden, NotFound, TooManyRequests, Unauthorized
from infraxys.server.middleware import problem_response

RECHECK_SECONDS = 3.0
POLICY_VIOLATION = 1008
RIGHTS_TAGS = frozenset({"accounts", "users", "tokens", "projects", "teams", "grants"})
STARTS = {"http.response.start", "websocket.http.response.start"}  # the second one refuses a handshake
# What goes on record, with the usual code of each.
REFUSED = {401: Unauthorized.code, 403: Forbidden.code, 429: TooManyRequests.code}


class AuditEdge:
    """Says who is served, as far as it is known, to everything that goes on record; puts refusals on record."""

    def __init__(self, app: ASGIApp, *, refusals: Refusals) -> None:
        self.app, self._refusals = app, refusals

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] not in {"http", "websocket"}:
            await self.app(scope, receive, send)
            return
        enter(Origin(address_of(HTTPConnection(scope)), scope.get("state", {}).get("request_id")))

        async def noted_send(message: Message) -> None:
            if message["type"] in STARTS and message["status"] in REFUSED:
                self._note(scope, message["status"])
            await send(message)

        await self.app(scope, receive, noted_send)

    def _note(self, scope: Scope, status: int) -> None:
        problem = scope.get("state", {}).get("problem")
        route = scope.get("route")
        operation = getattr(route, "operation_id", None) or "send_request"
        self._refusals.note(
            status,
            action_of(operation),
            scope["path"],
            current(),
            route=getattr(route, "path_format", ""),
            code=getattr(problem, "code", REFUSED[status]),
            grant=problem.extra.get("grant") if isinstance(problem, Forbidden) else None,
        )


class Throttle:
    """Counts requests for each address before anything else is done for them, and says how many are left.

    Requests with a token or a session are counted for that as well, once it is known to be good.
    """

    def __init__(self, app: ASGIApp, *, limits: RateLimits) -> None:
        self.app, self._limits = app, limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] not in {"http", "websocket"}:
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"].extend(rate_limits.headers(scope))
            await send(message)

        try:
            self._limits.charge(scope, "address", address_of(HTTPConnection(scope)))
        except TooManyRequests as problem:
            await problem_response(problem, scope["path"])(scope, receive, send_with_headers)
            return
        await self.app(scope, receive, send_with_headers)


class RightsWatch:
    """Asks again every few seconds, while a request is open, whether its caller may still have the answer.

    Whatever was checked at the beginning is checked again: token or session, account, grant. When it fails, the
    handler is cancelled; a stream breaks off, a call that was waiting is refused. Runs go on without their caller.
    WebSockets, over which things are done as well, are asked about at once when this process has changed rights.
    """

    def __init__(self, app: ASGIApp, *, seconds: float = RECHECK_SECONDS) -> None:
        self.app, self._seconds = app, seconds
        self._sockets: set[_Watch] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] not in {"http", "websocket"}:
            await self.app(scope, receive, send)
            return
        has_begun = False

        async def noted_send(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        watch = _Watch(scope, self._seconds)
        if scope["type"] == "websocket":
            self._sockets.add(watch)
        try:
            await self.app(scope, receive, noted_send)
        except asyncio.CancelledError:
            if watch.problem is None:
                raise
            watch.task.uncancel()
            if scope["type"] == "websocket":
                with contextlib.suppress(RuntimeError):  # closed already
                    await send({"type": "websocket.close", "code": POLICY_VIOLATION, "reason": watch.problem.code})
            elif not has_begun:
                await problem_response(watch.problem, scope["path"])(scope, receive, send)
        finally:
            watch.stop()
            self._sockets.discard(watch)
            if self._sockets and changes_rights(scope):
                for other in list(self._sockets):
                    other.check_now()


def changes_rights(scope: Scope) -> bool:
    """Whether a request may have changed who may do what."""
    tags = getattr(scope.get("route"), "tags", ())
    return scope.get("method") not in SAFE_METHODS and not RIGHTS_TAGS.isdisjoint(tags)


class _Watch:
    """The timer of one request. It costs nothing but the timer until the first check."""

    def __init__(self, scope: Scope, seconds: float) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - ASGI applications run in tasks
        self.task = task
        self.problem: Unauthorized | Forbidden | NotFound | None = None
        self._scope, self._seconds = scope, seconds
        self._loop = asyncio.get_running_loop()
        self._checking: asyncio.Task[None] | None = None
        self._timer = self._loop.call_later(seconds, self._begin)

    def check_now(self) -> None:
        """Do not wait for the timer."""
        if self._checking is None or self._checking.done():
            self._timer.cancel()
            self._begin()

    def _begin(self) -> None:
        recheck: Callable[[], Awaitable[Any]] | None = self._scope.get("state", {}).get("recheck")
        if recheck is None:  # nothing was checked yet, or nothing needs to be
            self._timer = self._loop.call_later(self._seconds, self._begin)
        else:
            self._checking = self._loop.create_task(self._check(recheck))

    async def _check(self, recheck: Callable[[], Awaitable[Any]]) -> None:
        try:
            await recheck()
        except (Unauthorized, Forbidden, NotFound) as problem:
            self.problem = problem
            self.task.cancel()
        except Exception:  # noqa: BLE001 - a database that is away for a moment says nothing about the caller
            self._timer = self._loop.call_later(self._seconds, self._begin)
        else:
            self._timer = self._loop.call_later(self._seconds, self._begin)

    def stop(self) -> None:
        """End with the request."""
        self._scope.get("state", {}).pop("recheck", None)  # it holds the request: no circle is left to be collected
        self._timer.cancel()
        if self._checking is not None:
            self._checking.cancel()
