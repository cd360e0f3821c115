"""Answers that end when their caller's rights do, and counted requests."""

import asyncio
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from infraxys.server.auth.rate_limits import RateLimits
from infraxys.server.errors import Forbidden, TooManyRequests, Unauthorized
from infraxys.server.guards import RightsWatch, Throttle
from infraxys.server.settings import Settings

SECONDS = 0.01


class Caller:
    """Rights that are good for so many checks."""

    def __init__(self, good: int, then: Exception) -> None:
        self.good, self.then, self.checks = good, then, 0
        self.third = asyncio.Event()

    async def __call__(self) -> None:
        self.checks += 1
        if self.checks == 3:
            self.third.set()
        if self.checks > self.good:
            raise self.then


def run(app: Any, kind: str = "http", caller: Caller | None = None) -> list[Message]:
    """Call an application within the watch; gives what it sent."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    scope: Scope = {"type": kind, "path": "/x", "method": "GET", "headers": [], "state": {}}
    if caller is not None:
        scope["state"]["recheck"] = caller
    asyncio.run(asyncio.wait_for(RightsWatch(app, seconds=SECONDS)(scope, receive, send), 20))
    return sent


async def waits(scope: Scope, receive: Receive, send: Send) -> None:
    """Never answer."""
    await asyncio.Event().wait()


async def streams(scope: Scope, receive: Receive, send: Send) -> None:
    """Begin to answer and never end."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await asyncio.Event().wait()


async def answers(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer after some checks."""
    await scope["state"]["recheck"].third.wait()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def test_b3_a_call_that_waits_is_refused_when_the_rights_end() -> None:
    sent = run(waits, caller=Caller(2, Unauthorized()))
    assert sent[0]["status"] == 401


def test_b3_a_lost_grant_is_named() -> None:
    sent = run(waits, caller=Caller(1, Forbidden("run.read")))
    assert sent[0]["status"] == 403
    assert b"run.read" in sent[1]["body"]


def test_b3_a_stream_breaks_off() -> None:
    sent = run(streams, caller=Caller(0, Unauthorized()))
    assert [message["type"] for message in sent] == ["http.response.start"]


def test_b3_a_websocket_is_closed_with_the_reason() -> None:
    sent = run(waits, kind="websocket", caller=Caller(0, Unauthorized()))
    assert sent == [{"type": "websocket.close", "code": 1008, "reason": "unauthorized"}]


@pytest.mark.parametrize("trouble", [OSError("away"), TooManyRequests(1)])
def test_trouble_with_the_check_is_not_the_callers(trouble: Exception) -> None:
    caller = Caller(0, trouble)
    assert [message.get("status") for message in run(answers, caller=caller)] == [200, None]
    assert caller.checks >= 3


def test_who_keeps_the_rights_gets_the_answer() -> None:
    caller = Caller(100_000, Unauthorized())
    assert run(answers, caller=caller)[0]["status"] == 200
    assert caller.checks >= 3


def test_nothing_is_asked_for_what_answers_at_once() -> None:
    caller = Caller(0, Unauthorized())
    caller.third.set()
    assert run(answers, caller=caller)[0]["status"] == 200
    assert caller.checks == 0


def test_a_cancelled_request_stays_cancelled() -> None:
    async def work() -> None:
        scope: Scope = {"type": "http", "path": "/x", "method": "GET", "headers": [], "state": {}}
        task = asyncio.create_task(RightsWatch(waits)(scope, None, None))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(work())


def test_a_request_over_the_limit_is_answered_without_the_application() -> None:
    limits = RateLimits(Settings(mode="server", rate_limit_address=1))
    called: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        called.append(scope["path"])
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def work() -> list[Message]:
        sent: list[Message] = []

        async def send(message: Message) -> None:
            sent.append(message)

        for _ in range(2):
            scope = {"type": "http", "path": "/x", "method": "GET", "headers": [], "client": ("192.0.2.1", 1)}
            await Throttle(app, limits=limits)(scope, None, send)  # type: ignore[arg-type]
        return sent

    sent = asyncio.run(work())
    assert (called, [message["status"] for message in sent if "status" in message]) == (["/x"], [200, 429])
    for message in (sent[0], sent[1]):
        headers = {name.decode(): value.decode() for name, value in message["headers"]}
        assert headers["ratelimit-policy"] == '"address";q=1;w=60'
        assert headers["ratelimit"].startswith('"address";r=0;t=')
    assert headers["retry-after"] == "60"
