"""The durable engine: one workflow function behind every run, on DBOS. Its database holds ids and outcomes only.

DBOS keeps its state per process, so there is at most one started `DurableEngine` per process.
"""

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import sqlalchemy as sa
from dbos import DBOS, Queue, SetEnqueueOptions, SetWorkflowID, WorkflowStatus
from dbos import error as dbos_error

from infraxys.durable import workflow
from infraxys.durable.host import RunHost, StepOutcome
from infraxys.durable.kept import keep_statements
from infraxys.durable.line import Abandoned, Line
from infraxys.durable.storage import configuration, route_logging
from infraxys.engine.status import Status

QUEUE = "infraxys.runs"
# How often the queue is looked at, in seconds: while something waits, and otherwise. See docs/decisions/0003.
BUSY_POLL, IDLE_POLL = 0.02, 0.25
_PACE_SECONDS, _LEAST_PACE_SECONDS = 2.0, 0.05
_BATCH = 200
_END_SECONDS = 30.0  # for steps that are being ended; more than their own grace
log = logging.getLogger(__name__)


class DurableEngine:
    """Executes runs durably, `slots` at once; more wait in line, by priority, then in order.

    `url` is `sqlite:///<path>` (this process alone) or a PostgreSQL URL (several processes may share it).
    `executor_id` is new for every start of a process. All methods block, none may be called on an event loop.
    """

    def __init__(self, host: RunHost, url: str, *, executor_id: str, slots: int) -> None:
        self.executor_id = executor_id
        self._host, self._url, self._slots = host, url, slots
        self._line = Line(slots)
        self._dbos: Any = None
        self._queue: Queue | None = None
        self._storage: sa.Engine | None = None
        self._pace = threading.Event()
        self._pacer = threading.Thread(target=self._keep_pace, name="engine-pace", daemon=True)
        self._ended: set[str] = set()

    # -- life ----------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Open the database, bring it up to date and be ready for `submit`.

        What waits in the queue starts from now on, so the host must be ready to execute, and with several processes
        this one must have said that it is alive (`Reaper.announce`).
        """
        route_logging()
        config = configuration(self._url, self.executor_id)
        self._storage = config.get("system_database_engine")
        workflow.bind(workflow.Interpreter(self._host, self._line))
        self._dbos = DBOS(config=config)
        DBOS.listen_queues([QUEUE])
        DBOS.launch()
        keep_statements(getattr(self._dbos, "_sys_db", None))
        self._queue = DBOS.register_queue(
            QUEUE, worker_concurrency=self._slots, polling_interval_sec=IDLE_POLL, on_conflict="always_update"
        )
        self._line.expect([status.workflow_id for status in self._list(status="ENQUEUED", queue_name=QUEUE)])
        self._pace.set()
        self._pacer.start()

    def stop(self, grace_seconds: float, end_steps: Callable[[], None] | None = None) -> None:
        """Start nothing more and wait up to the grace for steps that execute; the next start goes on with the rest.

        `end_steps` is called when the grace is over: the host ends what still executes, so that its end is recorded.
        """
        self._line.close()
        self._pace.set()
        if self._pacer.is_alive():
            self._pacer.join()
        if not self._line.wait_until_idle(grace_seconds):
            if end_steps is not None:
                end_steps()
            if end_steps is None or not self._line.wait_until_idle(_END_SECONDS):
                log.warning("stopping while runs execute; the next start goes on with them")
        self._line.is_over = True
        DBOS.destroy()
        if self._storage is not None:
            self._storage.dispose()
        workflow.bind(None)

    # -- runs ----------------------------------------------------------------------------------------------------------

    def reserve(self, run_id: str) -> bool:
        """Take a slot for a run, if one is free; `execute` or `release` must follow. Does not block."""
        return self._line.reserve(run_id)

    def release(self, run_id: str) -> None:
        """Give back the slot of a run that is not executed after all."""
        self._line.release(run_id)

    def execute(self, run_id: str) -> None:
        """Execute a run that `reserve` took a slot for, in this thread, to its end or that of the engine.

        Does nothing for an id that the engine has already. Raises what kept the engine from recording the run: then
        nothing of it was executed, and its slot is free again.
        """
        count = self._count_against_queue(run_id)
        try:
            with SetWorkflowID(run_id, workflow_id_reuse_policy="reject"):
                workflow.run_workflow(run_id)
        except (Abandoned, dbos_error.DBOSWorkflowIDInUseError):
            self._line.release(run_id)
        except Exception:
            if self._line.release(run_id):
                raise
            # It had begun, so the interpreter has said why it ended like this and told the host.
        finally:
            count()

    def submit(self, run_id: str, priority: int = 0) -> None:
        """Start a run, or queue it; it is recorded by the engine when this returns. The same id again changes nothing.

        `priority` orders those that wait: lower starts first, 0 to 2**31 - 1. Raises ValueError for another one.
        """
        if not 0 <= priority < 2**31:
            raise ValueError(f"the priority of a run must be from 0 to 2147483647, not {priority}")
        with suppress(dbos_error.DBOSWorkflowIDInUseError):
            if self._line.reserve(run_id):
                self._start_here(run_id)
            else:
                self._enqueue(run_id, priority)

    def _start_here(self, run_id: str) -> None:
        count = self._count_against_queue(run_id)
        try:
            with SetWorkflowID(run_id, workflow_id_reuse_policy="reject"):
                handle = DBOS.start_workflow(workflow.run_workflow, run_id)
        except BaseException:
            self._line.release(run_id)
            count()
            raise
        future = getattr(handle, "future", None)
        if future is None:
            count()
        else:
            future.add_done_callback(lambda _: count())

    def _enqueue(self, run_id: str, priority: int) -> None:
        if self._queue is None:
            raise RuntimeError("the engine has not been started")
        with SetWorkflowID(run_id, workflow_id_reuse_policy="reject"), SetEnqueueOptions(priority=priority or None):
            self._queue.enqueue(workflow.run_workflow, run_id)
        # It may have been taken already, then the pacer finds out.
        self._line.expect([run_id])
        self._pace.set()

    def _count_against_queue(self, run_id: str) -> Callable[[], None]:
        """Let a run that was started directly count when this process takes runs from the queue.

        Without it the process would take runs that it has no slot for and keep them from the others. DBOS has no
        public way to say this; without the private one they wait in `Line` (tests/integration/durable guards both).
        """
        add = getattr(getattr(self._dbos, "_active_workflows_set", None), "add", None)
        if add is None:
            return lambda: None
        entry = add(f"direct:{run_id}", QUEUE)
        release: Callable[[], None] = entry.release
        return release

    def cancel(self, run_id: str) -> bool:
        """Keep a run from starting. True: it had not started and will not. False: it executes, or has ended.

        With several processes it may start elsewhere in the same instant; then it still gets its `finish`, as
        CANCELLED. So the host decides by its own record what became of the run.
        """
        if self._line.drop(run_id):
            return True
        status = DBOS.get_workflow_status(run_id)
        if status is None or status.status != "ENQUEUED":
            return False
        DBOS.cancel_workflow(run_id)
        self._line.forget([run_id])
        # Taken from the queue in between: it may have begun, or finds out that it is cancelled before its first step.
        return not self._line.executes(run_id)

    def waiting(self) -> int:
        """Give the number of runs that wait for a slot. Costs a few microseconds per waiting run."""
        return len(self._list(status="ENQUEUED", queue_name=QUEUE)) + self._line.waiting

    def knows(self, run_ids: list[str]) -> set[str]:
        """Tell which runs the engine has a record of."""
        known: set[str] = set()
        for start in range(0, len(run_ids), _BATCH):
            known.update(status.workflow_id for status in self._list(workflow_ids=run_ids[start : start + _BATCH]))
        return known

    def forget(self, run_ids: list[str]) -> None:
        """Delete the records of runs that have ended; others are kept."""
        for start in range(0, len(run_ids), _BATCH):
            found = self._list(workflow_ids=run_ids[start : start + _BATCH])
            ended = [status.workflow_id for status in found if status.status not in {"PENDING", "ENQUEUED"}]
            if ended:
                DBOS.delete_workflows(ended)
                self._ended.difference_update(ended)

    # -- what the reaper needs -----------------------------------------------------------------------------------------

    def unfinished_elsewhere(self) -> dict[str, list[str]]:
        """Give the runs that other executors have begun, by executor. What waits in the queue belongs to nobody."""
        found: dict[str, list[str]] = {}
        for status in self._list(status="PENDING"):
            executor = status.executor_id or ""
            if executor != self.executor_id:
                found.setdefault(executor, []).append(status.workflow_id)
        return found

    def take_over(self, executor_id: str, run_ids: list[str]) -> None:
        """Go on with the runs of a dead executor. Finished steps are not executed again, repeating it does no harm."""
        recover = getattr(DBOS, "_recover_pending_workflows", None)
        if recover is not None:
            # Conditional on the executor, so that two processes cannot take over twice, and keeps the count of tries.
            recover([executor_id])
        else:
            mine = set(self.unfinished_elsewhere().get(executor_id, ()))
            DBOS.resume_workflows([run_id for run_id in run_ids if run_id in mine], queue_name=QUEUE)

    def end_given_up(self) -> None:
        """Tell the host the end of runs that were begun too often: each time the process died."""
        for status in self._list(status="MAX_RECOVERY_ATTEMPTS_EXCEEDED"):
            run_id = status.workflow_id
            if run_id not in self._ended:
                log.error("run given up after its process died %d times run_id=%s", workflow.MAX_RECOVERIES, run_id)
                self._host.finish(run_id, [StepOutcome(Status.LOST, None)])
                self._ended.add(run_id)

    # -- inside --------------------------------------------------------------------------------------------------------

    def _list(self, **filters: Any) -> list[WorkflowStatus]:
        if self._line.is_over:
            return []
        return DBOS.list_workflows(name=workflow.WORKFLOW, load_input=False, load_output=False, **filters)

    def _keep_pace(self) -> None:
        """Look at the queue often while runs wait, rarely otherwise."""
        is_busy = False
        with suppress(Abandoned):
            while True:
                self._pace.wait(_PACE_SECONDS if is_busy else None)
                self._pace.clear()
                try:
                    is_busy = self._adjust(is_busy=is_busy)
                except Exception:
                    # The database may be away: at worst the queue is looked at too rarely or too often for a while.
                    log.exception("the pace of the queue could not be adjusted")
                self._line.pause(_LEAST_PACE_SECONDS)

    def _adjust(self, *, is_busy: bool) -> bool:
        while batch := self._line.queued(_BATCH):
            still = {status.workflow_id for status in self._list(workflow_ids=batch, status="ENQUEUED")}
            self._line.forget([run_id for run_id in batch if run_id not in still])
            if still:
                break
        waits = bool(self._line.queued(1)) or (is_busy and bool(self._list(status="ENQUEUED", limit=1)))
        wanted = BUSY_POLL if waits else IDLE_POLL
        if self._queue is not None and self._queue.polling_interval_sec != wanted:
            self._queue.set_polling_interval_sec(wanted)
        return waits
