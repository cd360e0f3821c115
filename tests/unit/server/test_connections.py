"""What strangers can send before any code of ours sees it (hostile.md A3, A5; field.md G18)."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from infraxys.server import connections
from infraxys.server.connections import MAX_HEAD, Connection

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[bytes]]
GOOD = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def ok(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


def talk(conversation: Talk, app: Any = ok) -> bytes:
    """Connect to a server with connections of ours; gives what it answered."""

    async def run() -> bytes:
        config, state = uvicorn.Config(app, http=Connection, log_config=None), ServerState()
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Connection(config, state, {}), "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        try:
            return await asyncio.wait_for(conversation(reader, writer), 20)
        finally:
            writer.close()
            server.close()

    return asyncio.run(run())


def answer_to(*parts: bytes) -> tuple[int, str]:
    """Send something; gives the status and the code of the refusal after which the connection ends."""

    async def conversation(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        for part in parts:
            writer.write(part)
        return await reader.read()

    answer = talk(conversation)
    status, _, body = answer.partition(b" ")[2].partition(b"\r\n\r\n")
    assert b"application/problem+json" in status
    return int(status[:3]), json.loads(body)["code"]


def test_an_ordinary_request_is_answered_and_so_is_the_next_one() -> None:
    async def conversation(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        for piece in (GOOD[:20], GOOD[20:], GOOD + GOOD):
            writer.write(piece)
        writer.write(GOOD.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        return await reader.read()

    assert talk(conversation).count(b"HTTP/1.1 200 OK") == 4


def test_a5_a_head_may_be_as_large_as_is_said_and_no_larger() -> None:
    fits = b"GET / HTTP/1.1\r\nConnection: close\r\nX: " + b"a" * (MAX_HEAD - 100) + b"\r\n\r\n"

    async def conversation(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(fits)
        return await reader.read()

    assert talk(conversation).startswith(b"HTTP/1.1 200 OK")
    assert answer_to(fits.replace(b"X: ", b"X: " + b"a" * 200)) == (431, "head_too_large")


@pytest.mark.parametrize(
    "start", [b"GET /", b"GET / HTTP/1.1\r\nX: ", b"POST / HTTP/1.1\r\nX-Name"], ids=["path", "value", "name"]
)
def test_a5_a_head_without_end_is_refused_before_it_ends(start: bytes) -> None:
    assert answer_to(start, b"a" * (MAX_HEAD + 1)) == (431, "head_too_large")


def test_a5_many_small_headers_are_counted_together() -> None:
    assert answer_to(b"GET / HTTP/1.1\r\n", b"X-Some: value\r\n" * (MAX_HEAD // 15 + 1)) == (431, "head_too_large")


def test_a5_a_second_head_on_the_connection_has_the_same_bound() -> None:
    async def conversation(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(GOOD)
        await reader.readuntil(b"ok")
        writer.write(b"GET / HTTP/1.1\r\nX: ")
        answer = asyncio.create_task(reader.read(9))
        while not answer.done():  # what came at once with the head before does not count: at most one piece
            writer.write(b"a" * 1024)
            await asyncio.sleep(0)
        return await answer

    assert talk(conversation) == b"HTTP/1.1 "


@pytest.mark.parametrize("endless", [b"X-Trailer: value\r\n", b"a"], ids=["lines", "one name"])
def test_a5_what_comes_behind_a_body_is_bounded_as_well(endless: bytes) -> None:
    start = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n"

    async def conversation(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(start)
        await reader.readuntil(b"ok")  # answered without waiting for the end
        answer = asyncio.create_task(reader.read())
        while not answer.done():
            writer.write(endless * 100)
            await asyncio.sleep(0)
        return await answer

    with suppress(ConnectionError):
        assert talk(conversation).startswith(b"HTTP/1.1 431 ")


def test_a12_a_header_behind_a_body_is_none_of_the_requests() -> None:
    seen: list[bytes] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (await receive())["more_body"]:
            pass
        seen.extend(name for name, _ in scope["headers"])
        await ok(scope, receive, send)

    async def conversation(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nAuthorization: x\r\n\r\n")
        return await reader.readuntil(b"ok")

    assert talk(conversation, app).startswith(b"HTTP/1.1 200 ")
    assert seen == [b"transfer-encoding"]


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\nX: a\x00b\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: a\rSet-Cookie: x=1\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"hello\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
    ],
)
def test_a5_what_is_no_http_is_refused_as_everything_else(sent: bytes) -> None:
    assert answer_to(sent) == (400, "bad_request")


def test_g18_a_head_that_does_not_arrive_is_408(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.1)
    assert answer_to(b"GET / HTTP/1.1\r\nX: a") == (408, "request_timeout")


def test_g18_a_connection_on_which_nothing_is_said_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.1)

    async def conversation(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        return await reader.read()

    assert talk(conversation) == b""
