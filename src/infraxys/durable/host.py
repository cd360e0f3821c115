"""What the durable engine asks of its host: it keeps the order and the memory, the host does the work."""

from dataclasses import dataclass
from typing import Protocol

from infraxys.engine.status import Status


@dataclass(frozen=True, slots=True)
class StepOutcome:
    """How one step ended; small and without secrets, because the engine stores it."""

    status: Status
    exit_code: int | None


class RunHost(Protocol):
    """Called from the engine's threads, never from the event loop. Every method is idempotent per run and step."""

    def step_count(self, run_id: str) -> int:
        """How many steps the run has, by its pinned plan; 0 when the run is final already."""

    def run_step(self, run_id: str, index: int) -> StepOutcome:
        """Execute step `index` (0-based) and return when it has ended.

        A step that an earlier process had started and not finished is not started again: its outcome is LOST. The
        engine remembers the outcome of every step but the last one, which the host has on record with the run's end.
        """

    def finish(self, run_id: str, outcomes: list[StepOutcome]) -> None:
        """Record the end of the run from the outcomes of the steps that were executed."""


class Heartbeats(Protocol):
    """Where processes that share an engine say that they are alive. Times are those of one clock: the database's."""

    def beat(self, executor_id: str) -> None:
        """Say that this process is alive. Raises when that could not be recorded."""

    def alive(self, within_seconds: float) -> set[str]:
        """Give the executors that were heard of lately."""

    def dead(self, older_than_seconds: float) -> list[str]:
        """Give the executors that have a record and were not heard of for so long."""

    def remove(self, executor_id: str) -> None:
        """Delete the record of an executor; nothing happens when there is none."""
