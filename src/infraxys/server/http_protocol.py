"""What is no HTTP at all never reaches the application; it is refused here, in the same form."""

import json

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from infraxys.server.errors import PROBLEM_JSON, BadRequest
from infraxys.server.middleware import NO_STORE, SECURITY_HEADERS


class HttpProtocol(HttpToolsProtocol):
    """Uvicorn's reader of HTTP/1.1."""

    def send_400_response(self, msg: str) -> None:
        """Refuse what cannot be read, and close the connection."""
        problem = BadRequest(f"{msg.rstrip('.')}: it is no HTTP/1.1, or its method is unknown")
        body = json.dumps(problem.body("/")).encode()
        headers = (
            (b"content-type", PROBLEM_JSON.encode()),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
            NO_STORE,
            *SECURITY_HEADERS,
        )
        lines = [b"HTTP/1.1 400 Bad Request", *(b"%b: %b" % header for header in headers), b"", body]
        self.transport.write(b"\r\n".join(lines))
        self.transport.close()
