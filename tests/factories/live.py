"""Clients of the live connection."""

import asyncio
import contextlib
import json
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

ANYBODY = ssl.create_default_context()
ANYBODY.check_hostname = False
ANYBODY.verify_mode = ssl.CERT_NONE
SECONDS = 30.0
Message = dict[str, Any]


class Socket:
    """The library's connection, used without a loop around.

    Its own synchronous one reads and writes one TLS connection in two threads, which OpenSSL does not allow: a request
    is lost now and then.
    """

    def __init__(self, runner: asyncio.Runner, connection: ClientConnection) -> None:
        self._runner = runner
        self.connection = connection

    def send(self, message: str | bytes | list[str]) -> None:
        self._runner.run(self.connection.send(message))

    def recv(self, seconds: float) -> str | bytes:
        """Wait for a message, at most so long (`TimeoutError`)."""

        async def receive() -> str | bytes:
            async with asyncio.timeout(seconds):
                return await self.connection.recv()

        return self._runner.run(receive())


class Live:
    """One connection. What has arrived and was not asked for yet is kept in `kept`."""

    def __init__(self, socket: Socket) -> None:
        self.socket = socket
        self.kept: list[Message] = []
        self.text: dict[str, str] = {}
        self.offsets: dict[str, int] = {}
        self.hello = self.next("hello")

    def send(self, kind: str, **parts: Any) -> None:
        self.socket.send(json.dumps({"type": kind, **parts}))

    def ask(self, kind: str, **parts: Any) -> Message:
        """Send a request and give its answer."""
        self.send(kind, id=kind, **parts)
        return self.where(lambda message: message.get("id") == kind)

    def next(self, kind: str, run_id: str | None = None) -> Message:
        return self.where(
            lambda message: (
                message["type"] == kind and run_id in {None, message.get("runId"), message.get("run", {}).get("id")}
            )
        )

    def where(self, wanted: Callable[[Message], bool]) -> Message:
        """Give the first message that fits, also if it came before."""
        for message in self.kept:
            if wanted(message):
                self.kept.remove(message)
                return message
        deadline = time.monotonic() + SECONDS
        while True:
            message = self.receive(max(0.0, deadline - time.monotonic()))
            if wanted(message):
                return message
            self.kept.append(message)

    def receive(self, seconds: float = SECONDS) -> Message:
        """Read one message; pieces of logs are put together in `text`, without a hole."""
        message: Message = json.loads(self.socket.recv(seconds))
        if message["type"] == "log":
            run_id = message["runId"]
            assert message["offset"] == self.offsets.get(run_id, message["offset"])
            self.offsets[run_id] = message["next"]
            self.text[run_id] = self.text.get(run_id, "") + message["text"]
        elif message["type"] == "gap" and "runId" in message:
            self.offsets[message["runId"]] = message["next"]
        return message

    def until(self, run_id: str, text: str) -> str:
        """Read until the log of a run has a text; gives all of it."""
        deadline = time.monotonic() + SECONDS
        while text not in self.text.get(run_id, ""):
            message = self.receive(max(0.0, deadline - time.monotonic()))
            if message["type"] != "log":
                self.kept.append(message)
            assert message["type"] != "end" or message["runId"] != run_id, (message, self.text)
        return self.text[run_id]

    def type(self, run_id: str, text: str) -> Message:
        return self.ask("input", runId=run_id, text=text)

    def closed(self) -> tuple[int, str]:
        """Read to the end of the connection; gives code and reason."""
        with contextlib.suppress(ConnectionClosed):
            while True:
                self.receive()
        return self.socket.connection.close_code or 0, self.socket.connection.close_reason or ""


@contextmanager
def live(
    url: str, token: str | None = None, *, origin: str | None = None, query: str = "", **headers: str
) -> Iterator[Live]:
    """Open a connection to a server."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    if token is not None:
        given["Authorization"] = f"token {token}"
    address = f"{url.replace('https://', 'wss://')}/api/v1/live?{query}"
    parts: dict[str, Any] = {"additional_headers": given, "origin": origin, "max_size": 2**24, "ping_interval": None}

    async def opened() -> ClientConnection:
        return await connect(address, ssl=ANYBODY, proxy=None, open_timeout=SECONDS, close_timeout=2, **parts)

    with asyncio.Runner() as runner:
        connection = runner.run(opened())
        try:
            yield Live(Socket(runner, connection))
        finally:
            runner.run(connection.close())
