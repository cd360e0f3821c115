"""The server's API as the commands use it: standard library only, so that they start at once."""

import http.client
import json
import os
import socket
import ssl
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlsplit

from infraxys.cli import credentials
from infraxys.cli.output import Failed

DEFAULT_URL = "https://localhost:8444"
LOOPBACK = {"localhost", "127.0.0.1", "::1"}


def segment(text: str) -> str:
    """Encode one segment of a path."""
    return quote(text, safe="")


def address_of(host: str) -> str:
    """Give what to connect to for a host: a bare system, without /etc/hosts, does not know `localhost`."""
    if host == "localhost":
        try:
            socket.getaddrinfo(host, None)
        except OSError:
            return "127.0.0.1"
    return host


class Api:
    """A connection to a server. The self-signed certificate of this machine's own server is accepted.

    Credentials are the given token, else INFRAXYS_TOKEN, else, unless `stored` is False, what `infraxys login` stored.
    """

    def __init__(self, server: str | None, token: str | None, *, stored: bool = True) -> None:
        known = None if server or os.environ.get("INFRAXYS_URL") else credentials.last_server()
        self.url = (server or os.environ.get("INFRAXYS_URL") or known or DEFAULT_URL).rstrip("/")
        token = token or (os.environ.get("INFRAXYS_TOKEN") if stored else None)
        self._is_stored = stored and not token
        self._authorization = token and f"token {token}"
        parts = urlsplit(self.url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise Failed(f"'{self.url}' is not the URL of a server, as {DEFAULT_URL} is", 2)
        host = address_of(parts.hostname)
        if parts.scheme == "https":
            context = ssl.create_default_context()
            if parts.hostname in LOOPBACK or os.environ.get("INFRAXYS_INSECURE") == "1":
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            self._connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                host, parts.port or 443, context=context
            )
        else:
            self._connection = http.client.HTTPConnection(host, parts.port or 80)

    def open(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> http.client.HTTPResponse:
        """Send a request and give the answer. Raises Failed for refusals and for servers that do not answer."""
        if self._is_stored:  # looked at each time: a command may follow a run for hours, a token is good for a minute
            self._authorization = credentials.authorization(self.url)
        sent = {"Content-Type": "application/json", **(headers or {})}
        response = self._send(method, path, body, sent)
        if response.status == 401 and self._is_stored and (self._authorization or "").startswith("Bearer "):
            response.read()
            self._authorization = credentials.authorization(self.url, self._authorization)
            response = self._send(method, path, body, sent)
        if response.status >= 400:
            raise Failed(explain(response.status, response.read()))
        return response

    def _send(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> http.client.HTTPResponse:
        credentials_header = {"Authorization": self._authorization} if self._authorization else {}
        try:
            self._connection.request(method, f"/api/v1{path}", body, {**headers, **credentials_header})
            return self._connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            raise Failed(f"the server at {self.url} does not answer: {error}") from error

    def call(self, method: str, path: str, value: object = None, headers: Mapping[str, str] | None = None) -> Any:
        """Send JSON and give JSON."""
        body = None if value is None else json.dumps(value).encode()
        data = self.open(method, path, body, headers).read()
        return json.loads(data) if data else None

    def all(self, path: str) -> list[dict[str, Any]]:
        """Read a list to its end."""
        found: list[dict[str, Any]] = []
        mark, cursor = "&" if "?" in path else "?", ""
        while True:
            page = self.call("GET", f"{path}{mark}limit=500{cursor}")
            found += page["items"]
            if page["nextCursor"] is None:
                return found
            cursor = f"&cursor={segment(page['nextCursor'])}"


def explain(status: int, data: bytes) -> str:
    """Give what a refusal says."""
    try:
        problem = json.loads(data)
        return f"{problem['detail']} ({problem['code']})"
    except (ValueError, KeyError, TypeError):
        return f"the server answered with status {status}"
