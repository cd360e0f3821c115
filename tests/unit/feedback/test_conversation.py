"""The conversation with an action, with a host that only remembers."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from infraxys.engine.feedback import conversation
from infraxys.engine.feedback.conversation import MAX_UNREAD, MAX_WAITING, Conversation
from infraxys.engine.feedback.dialogs import Dialog
from infraxys.engine.feedback.requests import RequestFailed


class FakeHost:
    """Remembers what it is asked; `gate` holds it up."""

    def __init__(self, *, is_interactive: bool = True) -> None:
        self.is_interactive = is_interactive
        self.calls: list[tuple[str, Any]] = []
        self.gate: asyncio.Event | None = None
        self.problem: Exception | None = None

    def begin(self, conversation: Conversation) -> None:
        self.conversation = conversation

    async def _called(self, name: str, value: Any) -> None:
        self.calls.append((name, value))
        if self.gate is not None:
            await self.gate.wait()
        if self.problem is not None:
            raise self.problem

    async def set_response(self, value: Any) -> None:
        await self._called("response", value)

    async def add_entry(self, level: str, message: str) -> None:
        await self._called("entry", (level, message))

    async def add_error(self, code: str, message: str) -> None:
        await self._called("error", (code, message))

    async def ask(self, dialog: Dialog) -> None:
        await self._called("ask", dialog)

    async def show(self, dialog: Dialog) -> None:
        await self._called("show", dialog)

    async def set_status(self, message: str) -> None:
        await self._called("status", message)

    async def update(self, kind: str, object_id: str, value: Any) -> None:
        await self._called("update", (kind, object_id, value))

    async def close_windows(self) -> None:
        await self._called("close", None)

    async def audit(self, details: Mapping[str, Any]) -> None:
        await self._called("audit", details)

    async def fulfil(self, request: Mapping[str, Any]) -> list[str]:
        await self._called("fulfil", request)
        return ["id-1"]

    async def tell_clients(self, value: Any) -> None:
        await self._called("client", value)


class Talk:
    """A conversation, what it put into the log and what it wrote to the action."""

    def __init__(self, host: FakeHost, folder: Path | None = None) -> None:
        self.host, self.log, self.written = host, b"", b""
        self.reads = asyncio.Event()
        self.reads.set()
        self.talk = Conversation(
            host, self._emit, self._write, folder=folder, mask=lambda data: data.replace("pwd", "***")
        )

    def _emit(self, data: bytes) -> None:
        self.log += data

    async def _write(self, data: bytes) -> None:
        await self.reads.wait()
        self.written += data

    async def say(self, *texts: str) -> None:
        for text in texts:
            await asyncio.wait_for(self.talk.take(f"<FEEDBACK>\n{text}\n</FEEDBACK>\n".encode()), 10)

    async def idle(self) -> None:
        """Wait until everything is answered."""
        while not self.talk.is_idle:  # noqa: ASYNC110 - what changes it is under test
            await asyncio.sleep(0.001)


def talk(scenario: Callable[[Talk], Awaitable[None]], host: FakeHost | None = None, folder: Path | None = None) -> Talk:
    async def run() -> Talk:
        made = Talk(host or FakeHost(), folder)
        await asyncio.wait_for(scenario(made), 20)
        return made

    return asyncio.run(run())


STATUS = '{"requestType": "UI", "subType": "STATUS", "message": "half pwd"}'


def test_requests_are_handled_in_order_and_acknowledged() -> None:
    async def scenario(it: Talk) -> None:
        await it.talk.take(b"working...\n")
        await it.say(
            STATUS, '{"requestType": "SYSTEM", "subType": "AUDIT", "json": {"a": 1}}', "create instance\nguid=g"
        )
        await it.say(
            '{"requestType": "ENSURE INSTANCE", "fields": {}}', '{"requestType": "ADD_ACTION_LOG", "message": "m"}'
        )
        await it.talk.finish()

    it = talk(scenario)
    assert [name for name, _ in it.host.calls] == ["status", "audit", "fulfil", "fulfil", "entry"]
    assert it.host.calls[-1][1] == ("INFO", "m")
    assert it.host.calls[0] == ("status", "half ***")
    assert it.host.calls[2][1] == {"requestType": "CREATE INSTANCE", "guid": "g"}
    assert it.log.startswith(b"working...\n")


def test_answers_are_written_as_each_reader_expects() -> None:
    async def scenario(it: Talk) -> None:
        await it.say(STATUS, "create instance\nguid=g", '{"requestType": "ENSURE INSTANCE", "fields": {}}')
        await it.idle()

    assert talk(scenario).written == b"SUCCESS\nid-1\nSUCCESS\nid-1\n"


def test_lines_of_the_server_are_lines_of_their_own() -> None:
    async def scenario(it: Talk) -> None:
        it.host.problem, it.host.gate = RequestFailed("no"), asyncio.Event()
        await it.say(STATUS)
        await it.talk.take(b"open line")
        it.host.gate.set()
        await it.idle()

    assert talk(scenario).log == b"[infraxys] status: half ***\nopen line\n[infraxys] no\n"


def test_what_fails_is_answered_unless_nobody_waits_for_it(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(it: Talk) -> None:
        for problem in (RequestFailed("no"), ZeroDivisionError()):
            it.host.problem = problem
            await it.say(STATUS, '{"requestType": "SET_REST_RESPONSE", "actionResponse": 1}')
            await it.idle()

    it = talk(scenario)
    assert it.written == b"FAILED\nFAILED\n"
    assert b"the server failed to do this" in it.log
    assert "request_failed" in caplog.text


def test_what_is_no_request_is_in_the_log_as_it_came() -> None:
    async def scenario(it: Talk) -> None:
        await it.say("some text")
        assert it.talk.is_idle
        await it.say('{"requestType": "EVAL"}')
        await it.idle()

    it = talk(scenario)
    assert it.log.startswith(b"<FEEDBACK>\nsome text\n</FEEDBACK>\n[infraxys] this is no request")
    assert it.written == b"FAILED\n"  # the one that seems to be meant


def test_who_asks_too_fast_has_to_wait() -> None:
    async def scenario(it: Talk) -> None:
        it.host.gate = asyncio.Event()
        asking = asyncio.ensure_future(it.say(*[STATUS] * (2 * MAX_WAITING)))
        await asyncio.sleep(0.05)
        assert not asking.done()
        assert it.log.count(b"status") <= MAX_WAITING + 2
        it.host.gate.set()
        await asking
        await it.talk.finish()

    assert len(talk(scenario).host.calls) == 2 * MAX_WAITING


def test_answers_that_nobody_reads_are_bounded() -> None:
    async def scenario(it: Talk) -> None:
        it.reads.clear()
        for _ in range(4):
            it.talk.answer("x" * (MAX_UNREAD // 3))
        it.reads.set()
        await it.idle()

    it = talk(scenario)
    assert len(it.written) < MAX_UNREAD
    assert b"does not read" in it.log


def test_a_marker_in_part_is_given_up_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "LINE_SECONDS", 0.01)
    monkeypatch.setattr(conversation, "BLOCK_SECONDS", 0.01)

    async def scenario(it: Talk) -> None:
        for output in (b"<", b"\n<FEEDBACK>\nno end\n"):
            await it.talk.take(output)
            await it.idle()

    assert talk(scenario).log == b"<\n<FEEDBACK>\nno end\n"


def test_a_host_that_hangs_does_not_keep_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "FINISH_SECONDS", 0.01)

    async def scenario(it: Talk) -> None:
        it.host.gate = asyncio.Event()
        await it.say(STATUS)
        await it.talk.finish()

    assert len(talk(scenario).host.calls) == 1


def test_withdrawn_requests_say_what_to_do_instead() -> None:
    async def scenario(it: Talk) -> None:
        await it.say('{"requestType": "EXECUTE PIPELINE"}')
        await it.idle()

    it = talk(scenario)
    assert it.written == b"FAILED\n"
    assert b"REST API" in it.log


def test_chosen_rows_are_kept_where_the_action_finds_them(tmp_path: Path) -> None:
    async def scenario(it: Talk) -> None:
        assert await it.talk.keep([{"a": 1}]) == "/tmp/infraxys/system/selected-1.json"

    talk(scenario, folder=tmp_path)
    assert (tmp_path / "selected-1.json").read_text() == '[{"a": 1}]'
