"""Dialogs in both databases: asked, answered once, abandoned."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping
from typing import Any

import pytest

from factories.runs import add_run
from infraxys.engine.feedback.conversation import Conversation
from infraxys.engine.feedback.dialogs import Answer, BadAnswer, Dialog
from infraxys.engine.feedback.requests import RequestFailed
from infraxys.server.auth.subject import Subject
from infraxys.server.db.engine import Database
from infraxys.server.db.migrate import migrate
from infraxys.server.runs import conversation, dialogs, repository
from infraxys.server.runs.conversation import AlreadyAnswered, NotAnswerable, RunHost, UnknownDialog
from infraxys.server.runs.transitions import RunRecord, Watchers

ADA = Subject("u-1", "ada", "Ada", is_administrator=False)
QUESTION = Dialog("buttons", "Sure?", "Go on?", definition={"buttons": [{"id": "1", "label": "Yes"}]})


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Any) -> Iterator[Database]:
    sqlite = f"sqlite:///{tmp_path / 'test.db'}"
    made = Database(sqlite if request.param == "sqlite" else request.getfixturevalue("postgres_database"))
    migrate(made)
    yield made
    made.close()


class NoRequests:
    """Fulfils nothing."""

    async def handle(self, run_id: str, step: int, request: Mapping[str, Any]) -> list[str]:
        raise RequestFailed(f"cannot fulfil '{request['requestType']}' of {run_id} at {step}")


class Run:
    """A run that executes, with what serves it."""

    def __init__(self, database: Database) -> None:
        self.database = database
        place = {"module": "host/org/repo", "branch": "main", "environment_id": "e"}
        self.id = add_run(database, status="RUNNING", **place)
        database.write_now(lambda connection: connection.exec_driver_sql("UPDATE run_steps SET status = 'RUNNING'"))
        self.kept: list[RunRecord] = []
        self.written = b""

    def host(self) -> RunHost:
        record = self.database.read_now(lambda connection: repository.find_run(connection, self.id))
        assert record is not None
        host = RunHost(self.database, Watchers(asyncio.get_running_loop()), NoRequests(), record, self.kept.append)
        Conversation(host.at(0), lambda _: None, self._write)
        return host

    async def _write(self, data: bytes) -> None:
        self.written += data

    @property
    def record(self) -> RunRecord:
        record = self.database.read_now(lambda connection: repository.find_run(connection, self.id))
        assert record is not None
        return record

    @property
    def dialogs(self) -> list[dict[str, Any]]:
        return self.database.read_now(lambda connection: dialogs.of_run(connection, self.id))

    def play(self, scenario: Callable[[RunHost], Coroutine[Any, Any, None]]) -> None:
        async def run() -> None:
            await scenario(self.host())

        asyncio.run(run())


@pytest.fixture
def run(database: Database) -> Run:
    return Run(database)


def test_a_question_makes_the_run_wait_until_it_is_answered(run: Run) -> None:
    async def scenario(host: RunHost) -> None:
        await host.ask(QUESTION)
        await host.ask(QUESTION)
        assert (run.record["status"], run.record["steps"][0]["status"]) == ("WAITING", "WAITING")
        first, second = run.dialogs
        await host.answer(first["id"], Answer(button="1"), ADA)
        assert run.record["status"] == "WAITING"
        with pytest.raises(BadAnswer):
            await host.answer(second["id"], Answer(button="2"), ADA)
        await host.answer(second["id"], Answer(button="1"), ADA)
        assert (run.record["status"], run.record["steps"][0]["status"]) == ("RUNNING", "RUNNING")
        with pytest.raises(AlreadyAnswered, match="ada"):
            await host.answer(second["id"], Answer(button="1"), ADA)
        with pytest.raises(UnknownDialog):
            await host.answer("other", Answer(button="1"), ADA)

    run.play(scenario)
    assert run.kept[-1]["status"] == "RUNNING"
    assert run.written == b"1\n1\n"
    assert {(item["state"], item["answered_by"], item["answer"]) for item in run.dialogs} == {
        ("answered", "u-1", '{"button": "1"}')
    }


def test_what_nobody_answered_is_abandoned_with_its_step(run: Run) -> None:
    async def scenario(host: RunHost) -> None:
        await host.ask(QUESTION)
        await host.show(Dialog("window"))
        await host.end_step()
        with pytest.raises(NotAnswerable):
            await host.answer(run.dialogs[0]["id"], Answer(button="1"), ADA)

    run.play(scenario)
    assert [(item["kind"], item["state"]) for item in run.dialogs] == [
        ("buttons", "abandoned"),
        ("window", "abandoned"),
    ]


def test_a_form_replaces_the_one_before(run: Run) -> None:
    async def scenario(host: RunHost) -> None:
        with pytest.raises(RequestFailed):
            await host.update("value", "field", 1)
        await host.ask(Dialog("form", definition={"isInWindow": False}))
        await host.update("value", "field", 1)
        await host.update("enabled", "field", value=False)
        await host.ask(Dialog("form", definition={"isInWindow": False}))
        with pytest.raises(RequestFailed, match="characters"):
            await host.update("value", "field", "x" * 300_000)
        assert run.record["status"] == "WAITING"

    run.play(scenario)
    first, second = run.dialogs
    assert (first["state"], first["updates"]) == ("closed", '{"field": {"value": 1, "enabled": false}}')
    assert (second["state"], second["updates"]) == ("open", "{}")


def test_an_answer_and_errors_are_left_to_the_end_of_a_short_run(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    writes: list[str] = []
    real = conversation._execute

    def counted(statement: Any, connection: Any) -> None:
        writes.append("write")
        real(statement, connection)

    monkeypatch.setattr(conversation, "_execute", counted)

    async def scenario(host: RunHost) -> None:
        for number in range(500):
            await host.set_response({"n": number})
            await host.add_error("c", "m")

        assert host.unsaved["action_response"] == '{"n": 499}'
        await host.set_response("late")
        await host.end_step()
        assert host.unsaved["action_response"] == '"late"'

    run.play(scenario)
    assert run.record["action_response"] is None
    assert writes == []


def test_an_answer_is_written_while_the_step_goes_on(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "FLUSH_SECONDS", 0.01)

    async def scenario(host: RunHost) -> None:
        await host.set_response({"n": 1})
        while host.unsaved:  # noqa: ASYNC110 - what changes it is under test
            await asyncio.sleep(0.005)
        await host.end_step()

    run.play(scenario)
    assert run.record["action_response"] == '{"n": 1}'
    assert run.kept[-1]["action_response"] == '{"n": 1}'


def test_d2_a_run_asks_a_bounded_number_of_times_about_instances(run: Run) -> None:
    async def scenario(host: RunHost) -> None:
        for _ in range(conversation.MAX_REQUESTS):
            with pytest.raises(RequestFailed, match="cannot fulfil"):
                await host.fulfil({"requestType": "GET INSTANCE"})
        with pytest.raises(RequestFailed, match="import many at once"):
            await host.fulfil({"requestType": "GET INSTANCE"})

    run.play(scenario)
