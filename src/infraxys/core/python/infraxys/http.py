"""Requests over HTTP: certificates are checked, also by the run's own, and no token follows a redirection."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

HERE = frozenset({"localhost", "127.0.0.1", "::1"})  # never behind a proxy


class Response:
    """An answer, whatever its status. `headers` have names in lower case."""

    def __init__(self, status_code: int, content: bytes, headers: Mapping[str, str], url: str = "") -> None:
        self.status_code = status_code
        self.content = content
        self.headers = {name.lower(): value for name, value in headers.items()}
        self.url = url

    @property
    def ok(self) -> bool:
        """Whether the server did what was asked."""
        return self.status_code < 400

    @property
    def text(self) -> str:
        """The content as text."""
        return self.content.decode(errors="replace")

    def json(self) -> Any:
        """Give the content, which is JSON. Raises ValueError."""
        import json

        return json.loads(self.text)

    def problem(self) -> str:
        """Say why the server refused, as far as it says so itself."""
        try:
            body = self.json()
        except (ValueError, RecursionError):
            body = None
        said = body if isinstance(body, dict) else {}
        reason = said.get("detail") or said.get("message") or said.get("title") or "the server gives no reason"
        code = f" ({said['code']})" if said.get("code") else ""
        return f"{self.status_code}: {reason}{code}"


def request(
    method: str,
    url: str,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    timeout: float | None = None,
) -> Response:
    """Send a request and give its answer. Raises OSError where there is none, ValueError for a URL that is none."""
    import os
    import ssl
    from urllib.error import HTTPError
    from urllib.parse import urlsplit
    from urllib.request import HTTPRedirectHandler, HTTPSHandler, ProxyHandler, Request, build_opener

    from . import places

    class NoRedirect(HTTPRedirectHandler):
        def redirect_request(self, *_: Any) -> None:
            """Take the redirection itself as the answer."""

    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"}:
        raise ValueError(f"'{url}' is no URL of http or https")
    trusted = ssl.create_default_context()
    if os.path.exists(places.certificates()):
        trusted.load_verify_locations(places.certificates())
    proxies = ProxyHandler({}) if parts.hostname in HERE else ProxyHandler()
    opener = build_opener(proxies, NoRedirect(), HTTPSHandler(context=trusted))
    sent = Request(url, body, dict(headers or {}), method=method)  # noqa: S310 - http or https, see above
    try:
        with opener.open(sent, timeout=timeout) as answer:
            return Response(answer.status, answer.read(), dict(answer.headers.items()), url)
    except HTTPError as answer:
        with answer:
            return Response(answer.code, answer.read(), dict(answer.headers.items()), url)
