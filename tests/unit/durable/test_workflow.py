"""How the interpreter deals with a host that fails."""

from typing import TypeVar

import pytest

from infraxys.durable import workflow
from infraxys.durable.host import StepOutcome
from infraxys.durable.line import Abandoned, Line
from infraxys.durable.workflow import Interpreter
from infraxys.engine.status import Status

T = TypeVar("T")


class Host:
    """Fails as often as it is told, then answers."""

    def __init__(self, failures: int) -> None:
        self.failures, self.asked = failures, 0

    def step_count(self, run_id: str) -> int:
        return self._answer(1 if run_id else 0)

    def run_step(self, run_id: str, index: int) -> StepOutcome:
        return self._answer(StepOutcome(Status.SUCCESS, index if run_id else None))

    def finish(self, run_id: str, outcomes: list[StepOutcome]) -> None:
        self._answer((run_id, outcomes))

    def _answer(self, value: T) -> T:
        self.asked += 1
        if self.asked <= self.failures:
            raise ConnectionError("the database is away")
        return value


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workflow, "_FIRST_PAUSE", 0.001)
    monkeypatch.setattr(workflow, "_LONGEST_PAUSE", 0.002)


def test_a_host_that_fails_is_asked_again_until_it_has_recorded_the_end() -> None:
    host = Host(failures=5)
    Interpreter(host, Line(1))._finish("run", [StepOutcome(Status.SUCCESS, 0)])
    assert host.asked == 6


def test_a_step_is_asked_for_again_when_the_host_fails() -> None:
    host = Host(failures=2)
    assert Interpreter(host, Line(1))._step("run", 0) == {"status": "SUCCESS", "exitCode": 0}
    assert host.asked == 3


def test_a_step_that_the_host_cannot_execute_at_all_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workflow, "PATIENCE_SECONDS", 0.01)
    host = Host(failures=10**6)
    assert Interpreter(host, Line(1))._step("run", 0) == {"status": "LOST", "exitCode": None}
    assert host.asked >= 2


def test_asking_again_ends_with_the_stop() -> None:
    line = Line(1)
    line.close()
    with pytest.raises(Abandoned):
        Interpreter(Host(failures=10**6), line)._finish("run", [])


def test_being_abandoned_is_never_recorded_as_the_end_of_a_run() -> None:
    # DBOS records every Exception of a workflow as its end.
    assert not issubclass(Abandoned, Exception)
