"""One connection: bounds on what strangers can send before any code of ours sees it.

The library reads heads of any size for any time. Here a head has a size and a time; bodies are bounded in
`infraxys.server.middleware`, where it is known what they are for.
"""

import asyncio
import json
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from infraxys.server.errors import PROBLEM_JSON, BadRequest, HeadTooLarge, Problem, RequestTimeout
from infraxys.server.middleware import NO_STORE, SECURITY_HEADERS

MAX_HEAD = 64 * 1024
HEAD_SECONDS = 30.0


class Connection(HttpToolsProtocol):
    """Refuses a request whose head (its line and headers) is too large or takes too long."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._timer: asyncio.TimerHandle | None = None
        self._received = 0  # bytes since the last that were of use: of a head, of what stands around a body
        self._is_in_head = self._is_in_request = True
        self._refusal: Problem | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request."""
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timer."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read what came, if it is not too much."""
        self._received += len(data)
        super().data_received(data)
        if self._is_in_request and self._received > MAX_HEAD and not self.transport.is_closing():
            self._refuse(HeadTooLarge())

    def on_message_begin(self) -> None:
        """Begin with a head. What came at once with the end of the request before does not count yet."""
        super().on_message_begin()
        if not self._is_in_head:
            self._expect_head()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Note a header. What comes behind a body (trailers) is none: the request has been looked at by then."""
        if self._is_in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Go on with the request. Raises HeadTooLarge, which ends up in `send_400_response`."""
        self._stop_timer()
        self._is_in_head, self._received = False, 0
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if size > MAX_HEAD:
            self._refusal = HeadTooLarge()
            raise self._refusal
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Pass on a piece of the body."""
        super().on_body(body)
        self._received = 0

    def on_message_complete(self) -> None:
        """End the request."""
        super().on_message_complete()
        self._is_in_request = False

    def send_400_response(self, msg: str) -> None:
        """Refuse what cannot be read, as everything else is refused."""
        if not self.transport.is_closing():
            unread = BadRequest(f"{msg.rstrip('.')}: it is no HTTP/1.1, or its method is unknown")
            self._refuse(self._refusal or unread)

    def _expect_head(self) -> None:
        self._stop_timer()
        self._is_in_head = self._is_in_request = True
        self._received = 0
        self._timer = self.loop.call_later(HEAD_SECONDS, self._head_is_late)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _head_is_late(self) -> None:
        if self._received and not self.transport.is_closing():
            self._refuse(RequestTimeout("the head of the request did not arrive in time"))
        else:
            self.transport.close()

    def _refuse(self, problem: Problem) -> None:
        body = json.dumps(problem.body("")).encode()
        headers = (
            (b"content-type", PROBLEM_JSON.encode()),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
            NO_STORE,
            *SECURITY_HEADERS,
        )
        head = b"".join(b"%b: %b\r\n" % header for header in headers)
        self.transport.write(STATUS_LINE[problem.status] + head + b"\r\n" + body)
        self.transport.close()
