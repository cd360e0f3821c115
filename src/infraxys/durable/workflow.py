"""The one workflow behind every run: its steps in order, up to the first that does not succeed."""

import contextvars
import logging
from collections.abc import Callable
from typing import Any, TypeVar

from dbos import DBOS
from dbos import error as dbos_error

from infraxys.durable.host import RunHost, StepOutcome
from infraxys.durable.line import Abandoned, Line
from infraxys.engine.status import Status

WORKFLOW = "infraxys.run"
# How often a run is begun again whose process dies each time, before it is given up.
MAX_RECOVERIES = 8
# How long a host that raises is asked again before its step counts as lost; growing pauses between.
PATIENCE_SECONDS = 60.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0
log = logging.getLogger(__name__)
T = TypeVar("T")


class Interpreter:
    """Executes runs for the host of this process, in the threads that DBOS calls it in."""

    def __init__(self, host: RunHost, line: Line) -> None:
        self._host, self._line = host, line

    def run(self, run_id: str) -> str:
        """Execute a run from where it stands. Gives its last status, or "" when nothing was executed."""
        slot = self._line.enter(run_id)
        if slot is None:
            return ""
        outcomes: list[StepOutcome] = []
        try:
            self._steps(run_id, outcomes)
            self._line.free(slot)
            self._finish(run_id, outcomes)
        except (dbos_error.DBOSWorkflowConflictIDError, dbos_error.DBOSWorkflowCancelledError):
            # Another process owns the run now, and ends it; unless it was cancelled in the instant in which it started.
            if _is_cancelled(run_id):
                self._finish(run_id, [*outcomes, StepOutcome(Status.CANCELLED, None)])
            raise
        except Exception as error:
            if self._line.is_closed:
                # Its outcome came too late to be recorded: the next start goes on from what was.
                raise Abandoned from error
            log.exception("a run could not be executed to its end run_id=%s", run_id)
            self._finish(run_id, [*outcomes, StepOutcome(Status.LOST, None)])
            raise
        finally:
            self._line.leave(slot)
        return outcomes[-1].status.value if outcomes else ""

    def _steps(self, run_id: str, outcomes: list[StepOutcome]) -> None:
        count = self._ask(lambda: self._host.step_count(run_id))
        for index in range(count):
            if self._line.is_closed:
                raise Abandoned
            if index == count - 1:
                # Nothing comes after it that would have to know: its end is on record as the end of the run.
                recorded = self._step(run_id, index)
                if self._line.is_over:
                    raise Abandoned  # another process may have taken the run over
            else:
                recorded = DBOS.run_step({"name": f"step {index}"}, self._step, run_id, index)
            outcomes.append(StepOutcome(Status(recorded["status"]), recorded["exitCode"]))
            if outcomes[-1].status is not Status.SUCCESS:
                return

    def _step(self, run_id: str, index: int) -> dict[str, Any]:
        try:
            outcome = self._ask(lambda: self._host.run_step(run_id, index), PATIENCE_SECONDS)
        except Exception:
            log.exception("a step could not be executed run_id=%s step=%d", run_id, index)
            outcome = StepOutcome(Status.LOST, None)
        return {"status": outcome.status.value, "exitCode": outcome.exit_code}

    def _finish(self, run_id: str, outcomes: list[StepOutcome]) -> None:
        self._ask(lambda: self._host.finish(run_id, outcomes))

    def _ask(self, question: Callable[[], T], patience_seconds: float | None = None) -> T:
        """Ask the host, again when it raises (its database may be away), for ever or until the patience ends.

        Raises what the host raised last, Abandoned when the engine stops.
        """
        pause, waited = _FIRST_PAUSE, 0.0
        while True:
            try:
                return question()
            except Exception as error:
                if patience_seconds is not None and waited >= patience_seconds:
                    raise
                log.warning("the host failed, it is asked again in %.1f s: %s", pause, type(error).__name__)
            self._line.pause(pause)
            waited, pause = waited + pause, min(pause * 2, _LONGEST_PAUSE)


def _is_cancelled(run_id: str) -> bool:
    """Read the state of a workflow from outside of it: inside, the question would be recorded as a step."""
    status = contextvars.Context().run(DBOS.get_workflow_status, run_id)
    return status is not None and status.status == "CANCELLED"


class _Process:
    """DBOS knows one workflow function per process and calls it with stored values only; this is who it works for."""

    interpreter: Interpreter | None = None


def bind(interpreter: Interpreter | None) -> None:
    """Set who executes the runs of this process."""
    _Process.interpreter = interpreter


@DBOS.workflow(name=WORKFLOW, max_recovery_attempts=MAX_RECOVERIES)
def run_workflow(run_id: str) -> str:
    """Execute a run; what DBOS starts, directly or from its queue."""
    interpreter = _Process.interpreter
    if interpreter is None:
        raise Abandoned
    return interpreter.run(run_id)
