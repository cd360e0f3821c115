"""From a request to a run: find, plan, record, start. The row is durable before anything starts."""

import asyncio
import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass, replace
from typing import Any

from sqlalchemy.engine import Connection

from infraxys.durable.engine import DurableEngine
from infraxys.engine.feedback.dialogs import Answer
from infraxys.engine.plan import Plan
from infraxys.engine.status import FINAL, Status
from infraxys.kit.clock import new_id, utc_now
from infraxys.server.audit.origin import Origin, current
from infraxys.server.audit.trail import record as record_action
from infraxys.server.auth.subject import Subject
from infraxys.server.catalog.catalog import Catalog, Target
from infraxys.server.catalog.errors import UnknownBranch
from infraxys.server.db.engine import Database
from infraxys.server.db.tables import runs
from infraxys.server.errors import Conflict, Unavailable, Unprocessable
from infraxys.server.runs import dialogs, repository
from infraxys.server.runs.conversation import refusal
from infraxys.server.runs.dialogs import DialogRecord
from infraxys.server.runs.execution import RunExecution, commits_of, target_of
from infraxys.server.runs.late import LateSubmissions
from infraxys.server.runs.repository import Existing, IdempotencyKey
from infraxys.server.runs.rights import UnknownRun
from infraxys.server.runs.transitions import RunRecord, Watchers, end_run

log = logging.getLogger(__name__)
ACCEPTING = 8  # threads that are left to accept runs when all slots are taken


class IdempotencyKeyReused(Unprocessable):
    """The key belongs to another request."""

    code = "idempotency_key_reused"


class AlreadyFinished(Conflict):
    """The run has ended."""

    code = "already_finished"


class StepsNotFinished(Conflict):
    """Only steps that succeeded can be kept."""

    code = "steps_not_finished"


@dataclass(frozen=True, slots=True)
class Submission:
    """What a caller asks for, besides the target."""

    subject: Subject
    argument: bytes
    timeout_seconds: float | None = None
    key: IdempotencyKey | None = None
    is_interactive: bool = False
    rerun_of: str | None = None


@dataclass(frozen=True, slots=True)
class Submitted:
    """An accepted run. `ended` gives its record when it ends; `is_replay` tells that it was there before."""

    run_id: str
    ended: "asyncio.Future[RunRecord]"
    is_replay: bool = False


@dataclass(frozen=True, slots=True)
class Repeated:
    """A run that is to be executed again: its plan, and the records of first steps that are not executed again."""

    target: Target
    plan: Plan
    kept: tuple[RunRecord, ...] = ()


class Runs:
    """Accepts runs, gives their records and ends them."""

    def __init__(
        self,
        database: Database,
        catalog: Catalog,
        engine: DurableEngine,
        execution: RunExecution,
        watchers: Watchers,
        *,
        slots: int,
    ) -> None:
        self._database, self._catalog, self._engine = database, catalog, engine
        self.execution, self.watchers = execution, watchers
        # A run that has a slot is accepted and executed in one thread.
        self._threads = ThreadPoolExecutor(slots + ACCEPTING, thread_name_prefix="run")
        self._late = LateSubmissions(engine.submit)

    async def submit(self, target: Target, submission: Submission, repeated: Repeated | None = None) -> Submitted:
        """Accept a run: planned, recorded and handed to the durable engine when this returns.

        Raises Unavailable and NoRunner.
        """
        if self._late:
            raise Unavailable("the engine that executes runs cannot be written to just now")
        plan = await self._catalog.plan(target) if repeated is None else repeated.plan
        self.execution.check(plan)
        record = new_record(target, plan, submission, () if repeated is None else repeated.kept)
        run_id: str = record["id"]
        self.execution.accept(record, plan, self.execution.context(record, submission.subject))
        has_slot = self._engine.reserve(run_id)
        if has_slot:
            record = self.execution.begin(run_id)
        ended = self.watchers.end_of(run_id)
        accepting: asyncio.Future[Existing | None] = asyncio.get_running_loop().create_future()
        self._threads.submit(self._accept, record, submission.key, current(), accepting, has_slot=has_slot)
        try:
            # Shielded: a caller that goes away does not undo what it has asked for.
            existing = await asyncio.shield(accepting)
        except Exception:
            self._forget(run_id, ended)
            raise
        if existing is None:
            return Submitted(run_id, ended)
        self._forget(run_id, ended)
        if not existing.is_same_request:
            raise IdempotencyKeyReused("the Idempotency-Key was used for another request within the last 24 hours")
        return Submitted(existing.run_id, await self.end_of(existing.run_id), is_replay=True)

    def _forget(self, run_id: str, ended: "asyncio.Future[RunRecord]") -> None:
        self.watchers.forget(run_id, ended)
        self.execution.forget(run_id)

    def _accept(
        self,
        record: RunRecord,
        key: IdempotencyKey | None,
        origin: Origin,
        accepting: "asyncio.Future[Existing | None]",
        *,
        has_slot: bool,
    ) -> None:
        """Record a run and tell so; then execute it, or let it wait. In a thread."""
        run_id: str = record["id"]
        try:
            if has_slot and key is None:  # with a key it may turn out to be known
                self.execution.start_ahead(run_id)
            existing = self._database.write_now(
                lambda connection: repository.insert_run(connection, record, key, origin)
            )
        except BaseException as error:  # noqa: BLE001 - it belongs to who waits
            self._engine.release(run_id)
            self._tell(accepting, accepting.set_exception, error)
            return
        self._tell(accepting, accepting.set_result, existing)
        if existing is not None:
            self._engine.release(run_id)
            return
        if self.watchers.is_followed(run_id):
            self.watchers.publish(record)
        try:
            if has_slot:
                self._engine.execute(run_id)
                self.execution.take_back(run_id)  # if the engine was stopped before it began
            else:
                self._engine.submit(run_id)
        except Exception:
            self.execution.take_back(run_id)
            self._late.add(run_id)  # it is on record, so it has to come to an end
            log.exception("run_not_taken run_id=%s", run_id)

    def _tell(self, accepting: "asyncio.Future[Existing | None]", how: Callable[[Any], None], what: object) -> None:
        """Tell who waits on the event loop."""
        self.watchers.loop.call_soon_threadsafe(lambda: None if accepting.done() else how(what))

    async def repeat(self, record: RunRecord, *, from_step: str | None, takes_head: bool) -> Repeated:
        """Plan a run again: from its own commits, or from the head of its branch.

        Raises StepsNotFinished, and the refusals of planning.
        """
        kept = kept_steps(record, from_step)
        target = target_of(record)
        if not takes_head:
            plan = await asyncio.to_thread(self._catalog.replan, target, commits_of(record))
            return Repeated(target, plan, kept)
        head = self._catalog.heads.get(target.path)
        if head is None:
            raise UnknownBranch(target.path.branch, None)
        if target.workflow_id is not None and not kept:
            target = await self._catalog.find_workflow(
                target.path.branch, target.environment_id, target.workflow_id, module=str(target.path.module)
            )
        else:
            target = replace(target, commit=head)
        return Repeated(target, await self._catalog.plan(target), kept)

    async def end_of(self, run_id: str) -> "asyncio.Future[RunRecord]":
        """Give a future of a run's final record. Raises UnknownRun."""
        future = self.watchers.end_of(run_id)
        record = await self.get(run_id)
        if Status(record["status"]) in FINAL and not future.done():
            self.watchers.forget(run_id, future)
            future.set_result(record)
        return future

    async def get(self, run_id: str) -> RunRecord:
        """Give a run. Raises UnknownRun."""
        record = await self._database.aread(lambda connection: repository.find_run(connection, run_id))
        if record is None:
            raise UnknownRun(run_id)
        return record

    async def dialogs_of(self, run_id: str) -> list[DialogRecord]:
        """Give the dialogs of a run, oldest first."""
        return await self._database.aread(lambda connection: dialogs.of_run(connection, run_id))

    async def answer(self, record: RunRecord, dialog_id: str, answer: Answer, subject: Subject) -> DialogRecord:
        """Answer what a run waits for; the first answer counts.

        Raises AlreadyFinished, UnknownDialog, AlreadyAnswered, NotAnswerable, BadAnswer.
        """
        if Status(record["status"]) in FINAL:
            raise AlreadyFinished(f"run '{record['id']}' has ended already: {record['status']}")
        host = self.execution.host(record["id"])
        if host is None:
            raise await refusal(self._database, record["id"], dialog_id)
        # Shielded: an answer that was recorded reaches the action, also when its sender goes away.
        return await asyncio.shield(asyncio.ensure_future(host.answer(dialog_id, answer, subject)))

    async def cancel(self, run_id: str) -> RunRecord:
        """End a run: one that waits at once, one that executes by ending its action. Idempotent.

        Raises UnknownRun, AlreadyFinished.
        """
        record = await self.get(run_id)
        if record["status"] == Status.CANCELLED:
            return record
        if Status(record["status"]) in FINAL:
            raise AlreadyFinished(f"run '{run_id}' has ended already: {record['status']}")
        now = utc_now()

        def request(connection: Connection) -> RunRecord | None:
            is_new = repository.request_cancel(connection, run_id)
            found = repository.find_run(connection, run_id)
            if found is not None and repository.is_queued(found):
                end_run(connection, run_id, Status.CANCELLED, now, [], message="cancelled before it started")
                found = repository.find_run(connection, run_id)
            if is_new:
                record_action(connection, "run.cancel", f"run/{run_id}")
            return found

        found = await self._database.awrite(request)
        if found is None:
            raise UnknownRun(run_id)
        if found["status"] == Status.CANCELLED:
            self.watchers.publish(found)
            if await asyncio.to_thread(self._engine.cancel, run_id):
                self.execution.forget(run_id)
        self.execution.stop(run_id)
        return found

    def reconcile(self) -> None:
        """After a start: give the engine what was accepted but never reached it. Blocks."""
        unfinished = self._database.read_now(repository.unfinished_runs)
        known = self._engine.knows([run_id for run_id, _ in unfinished]) if unfinished else set()
        for run_id, _ in unfinished:
            if run_id not in known:
                self._engine.submit(run_id)

    def close(self) -> None:
        """Stop accepting."""
        self._threads.shutdown(wait=False)
        self._late.close()


def kept_steps(record: RunRecord, from_step: str | None) -> tuple[RunRecord, ...]:
    """Give the steps before one, which all have to have succeeded. Raises Unprocessable, StepsNotFinished."""
    if from_step is None:
        return ()
    first = int(from_step) - 1
    if first >= len(record["steps"]):
        raise Unprocessable(f"the run has no step '{from_step}'", errors=[{"loc": "fromStep", "message": "unknown"}])
    kept = tuple(record["steps"][:first])
    unfinished = next((step for step in kept if step["status"] != Status.SUCCESS), None)
    if unfinished is not None:
        raise StepsNotFinished(f"step '{unfinished['name']}' did not succeed, so it cannot be kept")
    return kept


def new_record(target: Target, plan: Plan, submission: Submission, kept: Sequence[RunRecord]) -> RunRecord:
    """Make the record of a run and its steps. `kept` are the first of them, if they ended well in an earlier run."""
    run = new_run(target, plan, submission)
    steps = new_steps(run["id"], plan)
    for step, finished in zip(steps, kept, strict=False):
        step |= {**finished, "run_id": run["id"]}
    return {**run, "steps": steps}


def new_steps(run_id: str, plan: Plan) -> list[RunRecord]:
    """Make the records of a run's steps."""
    return [
        {
            "run_id": run_id,
            "position": position,
            "name": step.name,
            "status": Status.QUEUED.value,
            "exit_code": None,
            "attempt": 0,
            "container_id": step.container_id,
            "instance_id": step.instance_id,
            "filename": step.filename,
            "runner": None,
            "started_at": None,
            "finished_at": None,
        }
        for position, step in enumerate(plan.steps)
    ]


def new_run(target: Target, plan: Plan, submission: Submission) -> RunRecord:
    """Make the record of a run, without its steps."""
    single = plan.steps[0] if plan.kind == "action" else None
    subject = submission.subject
    return {
        **dict.fromkeys(runs.columns.keys()),
        "id": new_id(),
        "kind": plan.kind,
        "status": Status.QUEUED.value,
        "module": str(plan.branch_path.module),
        "branch": plan.branch_path.branch,
        "commit": plan.commit,
        "commits": json.dumps({str(path): commit for path, commit in plan.commits.items()}),
        "environment_id": plan.environment_id,
        "target": json.dumps(
            {
                "steps": [
                    {
                        "containerId": step.container_id,
                        "instanceId": step.instance_id,
                        "filename": step.filename,
                        "name": step.name,
                    }
                    for step in target.steps
                ],
                "included": [astuple(item) for item in target.included],
            }
        ),
        "container_id": single.container_id if single else None,
        "instance_id": single.instance_id if single else None,
        "filename": single.filename if single else None,
        "workflow_id": plan.workflow_id,
        "workflow_name": plan.workflow_name,
        "trigger": subject.trigger,
        "user_id": subject.user_id,
        "user_name": subject.name,
        "token_id": subject.token_id,
        "parent_run_id": subject.run_id,
        "rerun_of": submission.rerun_of,
        "is_interactive": submission.is_interactive,
        "scopes": None if subject.scopes is None else json.dumps(sorted(subject.scopes)),
        "argument": submission.argument,
        "argument_digest": f"sha256:{hashlib.sha256(submission.argument).hexdigest()}",
        "timeout_seconds": submission.timeout_seconds,
        "created_at": utc_now(),
    }
