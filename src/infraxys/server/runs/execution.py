"""What the durable engine drives: plans of accepted runs, their steps in the runtime, their end in the record."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy.engine import Connection

from infraxys.durable.host import StepOutcome
from infraxys.engine.backends.base import Execution
from infraxys.engine.feedback.requests import Requests
from infraxys.engine.logs import LogEnd, LogReader, LogWriter, recover
from infraxys.engine.masking import Masker, mask_json
from infraxys.engine.plan import Plan, PlannedStep
from infraxys.engine.planner import StepTarget
from infraxys.engine.runtime import PreparedStep, RunContext, StartedStep, StepResult, StepRuntime, Stopper, with_note
from infraxys.engine.status import FINAL, Status
from infraxys.kit.clock import SteadyClock, utc_now
from infraxys.server.auth.places import Place
from infraxys.server.auth.rights import IncludedContainer
from infraxys.server.auth.subject import Subject
from infraxys.server.catalog.catalog import Catalog, Target
from infraxys.server.db.engine import Database, DatabaseUnavailable
from infraxys.server.errors import Problem, Unavailable
from infraxys.server.runs import dialogs, repository
from infraxys.server.runs.conversation import RunHost
from infraxys.server.runs.inputs import Inputs, NoTerminal, NotRunning
from infraxys.server.runs.rights import Starters, place_of
from infraxys.server.runs.transitions import (
    RunEvent,
    RunRecord,
    StepEnd,
    Watchers,
    as_ended,
    as_started,
    end_run,
    start_step,
    take_back_start,
)
from infraxys.server.variables.errors import CannotResolve
from infraxys.server.variables.resolver import VariableResolver
from infraxys.spec.identity import BranchPath, ModuleId

log = logging.getLogger(__name__)
# Rights that were checked so lately need not be checked again when a run starts.
FRESH = timedelta(seconds=2)
START_FIRST = 0.01  # seconds in which the next step is started before a finished one is put on record
T = TypeVar("T")


class NoRunner(Unavailable):
    """Nothing could ever execute the run."""

    code = "no_runner"


@dataclass(slots=True)
class ActiveRun:
    """A run that this process executes or will execute."""

    plan: Plan
    context: RunContext
    stopper: Stopper = field(default_factory=Stopper)
    writer: LogWriter | None = None
    ends: list[StepEnd] = field(default_factory=list)
    messages: dict[int, str] = field(default_factory=dict)
    recorded: int = 0  # how many of `ends` are in the database
    begun: int | None = None  # the step whose start went on record together with the run
    log_end: LogEnd | None = None
    ahead: Awaitable[StartedStep] | None = None  # the next step, held until its start is on record
    laid_out: "asyncio.Task[PreparedStep] | None" = None  # the files of the step behind the one that executes
    left: StartedStep | None = None  # the last step, to be cleared away
    record: RunRecord | None = None  # as in the database; None for a run that another process had accepted
    host: RunHost | None = None  # who answers what its actions ask
    clock: SteadyClock = field(default_factory=SteadyClock)  # so that its times are as far apart as they were


class RunExecution:
    """Implements `infraxys.durable.host.RunHost`. Steps are spawned on the event loop; the engine waits in threads."""

    def __init__(  # noqa: PLR0913 - it brings these parts together
        self,
        database: Database,
        catalog: Catalog,
        runtime: StepRuntime,
        watchers: Watchers,
        *,
        logs: Path,
        executor_id: str,
        log_limit: int,
        rest_endpoint: str | None,
        run_token: Callable[[str], str],
        starters: Starters,
        variables: VariableResolver,
        requests: Requests,
    ) -> None:
        self._database, self._catalog, self._runtime, self._watchers = database, catalog, runtime, watchers
        self._logs, self._executor_id, self._log_limit = logs, executor_id, log_limit
        self._rest_endpoint, self._run_token, self._starters = rest_endpoint, run_token, starters
        self._variables = variables
        self._requests = requests
        self._active: dict[str, ActiveRun] = {}
        self._inputs = Inputs()
        self._ended: dict[str, StartedStep | None] = {}  # ended before the engine asked for it, with what is left

    # -- before and while a run executes --

    def check(self, plan: Plan) -> None:
        """Raise NoRunner for a plan that nothing here could execute."""
        if missing := self._runtime.missing(plan):
            raise NoRunner(missing, retry_after_seconds=60)

    def accept(self, record: RunRecord, plan: Plan, context: RunContext) -> None:
        """Keep the plan and the record of a run that is about to be recorded."""
        active = self._active[record["id"]] = ActiveRun(plan, context, record=record)
        active.host = self._host(active, record)

    def begin(self, run_id: str) -> RunRecord:
        """Give the record of a run that begins as soon as it is on record, since it has a slot."""
        active = self._active[run_id]
        if active.record is None:
            raise RuntimeError(f"run '{run_id}' was not accepted here")
        index = next((step["position"] for step in active.record["steps"] if Status(step["status"]) not in FINAL), 0)
        active.begun = index
        active.record = as_started(active.record, index, self._executor_id, active.clock.now(), None)
        return active.record

    def start_ahead(self, run_id: str) -> None:
        """Start the first step of a run, held, before the run is on record. In the thread of the run."""
        active = self._active[run_id]
        index, plan = active.begun or 0, active.plan
        step = plan.steps[index]
        if step.is_quick or self._variables.has_none(variables_place(plan), step.container_id):
            active.ahead = self._runtime.start_here(plan, index, active.context)
        if active.ahead is None:
            self._watchers.loop.call_soon_threadsafe(self._start, active, index)

    def take_back(self, run_id: str) -> None:
        """Let a run wait again whose start is on record and of which the engine executed nothing. In a thread."""
        active = self._active.get(run_id)
        if active is None or active.begun is None or active.writer is not None:
            return
        position, active.begun = active.begun, None
        try:
            self._database.write_now(lambda connection: take_back_start(connection, run_id, position))
            active.record = self._record(run_id)
        except DatabaseUnavailable:
            log.warning("run_not_taken_back run_id=%s", run_id)

    def forget(self, run_id: str) -> None:
        """Drop a run that was not recorded after all. Called on the event loop."""
        active = self._active.pop(run_id, None)
        if active is not None:
            self._discard(active)

    def stop(self, run_id: str) -> None:
        """End a run that executes here. Called on the event loop."""
        active = self._active.get(run_id)
        if active is not None:
            active.stopper.stop(Status.CANCELLED)

    def check_input(self, run_id: str) -> Execution:
        """Give what a run executes here just now. Raises NotRunning."""
        execution = self._runtime.execution_of(run_id)
        if execution is None:
            raise NotRunning(run_id)
        return execution

    def write(self, run_id: str, data: bytes) -> None:
        """Give bytes to the standard input of what a run executes here. Raises NotRunning and InputFull."""
        self._inputs.write(run_id, self.check_input(run_id), data)

    def resize(self, run_id: str, columns: int, rows: int) -> None:
        """Change the size of the terminal of what a run executes here. Raises NotRunning and NoTerminal."""
        if not self.check_input(run_id).resize(columns, rows):
            raise NoTerminal(f"what run '{run_id}' executes has no terminal")

    def stop_all(self) -> None:
        """End everything that executes here. Called on the event loop."""
        for active in list(self._active.values()):
            active.stopper.stop(Status.CANCELLED, "was ended because the server stopped")
            self._discard(active)

    def hide(self, secrets: Sequence[str]) -> None:
        """Mask new secrets in what executes here, whether it has them from the server or not. From any thread."""
        for active in list(self._active.values()):
            if active.context.masker is not None:
                active.context.masker.add(secrets)

    def masker(self, run_id: str) -> Masker | None:
        """Give what hides the secrets of a run that executes here."""
        active = self._active.get(run_id)
        return active.context.masker if active else None

    async def argument(self, record: RunRecord) -> bytes:
        """Give the argument of a run without what its steps get as secrets now, as far as these are kept here."""
        text = record["argument"].decode()
        place = place_of(record)
        try:
            secrets = {
                secret
                for container_id in {step["container_id"] for step in record["steps"]}
                for secret in await self._variables.secrets_of(place, container_id)
            }
        except CannotResolve as error:
            raise Unavailable(str(error)) from error
        active = self.masker(record["id"])
        text = mask_json(Masker(secrets), text)
        return (text if active is None else mask_json(active, text)).encode()

    async def with_variables(self, plan: Plan, step: PlannedStep, context: RunContext, stopper: Stopper) -> RunContext:
        """Give what a step gets its variables, of this moment. Raises CannotResolve and DatabaseUnavailable."""
        rows = await self._variables.find(variables_place(plan), step.container_id)
        if not rows:
            return context
        variables = await stoppable(stopper, self._variables.open(rows))
        if context.masker is not None:
            context.masker.add(item.value for item in variables if item.is_secret)
        return replace(context, variables=variables)

    def host(self, run_id: str) -> RunHost | None:
        """Give who answers what the actions of a run ask, if it executes here."""
        active = self._active.get(run_id)
        return active.host if active else None

    def _host(self, active: ActiveRun, record: RunRecord) -> RunHost:
        def keep(changed: RunRecord) -> None:
            if active.record is not None:
                active.record = changed

        return RunHost(self._database, self._watchers, self._requests, record, keep)

    def log_path(self, run_id: str) -> Path:
        """Give the place of a run's log: by the time that is in its id, so that folders stay small."""
        return self._logs / run_id[:6] / f"{run_id}.log"

    def reader(self, run_id: str) -> LogReader:
        """Give a reader of a run's log, whether it still grows or not."""
        active = self._active.get(run_id)
        return LogReader(self.log_path(run_id), active.writer if active else None)

    def writer(self, run_id: str) -> LogWriter | None:
        """Give the writer of a run's log, if it is being written here."""
        active = self._active.get(run_id)
        return active.writer if active else None

    # -- what the engine calls, in its threads --

    def step_count(self, run_id: str) -> int:
        """Give the number of steps; 0 for a run that has ended already."""
        active = self._active.get(run_id)
        if active is not None:
            return len(active.plan.steps)
        record = self._record(run_id)
        return 0 if record is None or Status(record["status"]) in FINAL else len(record["steps"])

    def run_step(self, run_id: str, index: int) -> StepOutcome:
        """Execute a step; LOST for one that an earlier process had begun."""
        active = self._active.get(run_id)
        if active is None:
            resumed = self._resume(run_id, index)
            if isinstance(resumed, StepOutcome):
                return resumed
            active = resumed
        elif index == 0 and self._is_refused(active):
            return StepOutcome(Status.FAILED, None)
        if active.record is not None and Status(active.record["steps"][index]["status"]) in FINAL:
            return settled_outcome(active.record, index) or StepOutcome(Status.LOST, None)  # kept from an earlier run
        if active.begun != index and not self._begin_step(active, run_id, index):
            return StepOutcome(Status.CANCELLED, None)
        loop = self._watchers.loop
        result = asyncio.run_coroutine_threadsafe(self._execute(active, run_id, index), loop).result()
        active.ends.append(StepEnd(index, result.status, result.exit_code, active.clock.now()))
        masker = active.context.masker
        active.messages[index] = result.message if masker is None else masker.text(result.message)
        outcome = StepOutcome(result.status, result.exit_code)
        if outcome.status is not Status.SUCCESS or index == len(active.plan.steps) - 1:
            self._finish_early(run_id, [*(StepOutcome(Status.SUCCESS, 0) for _ in range(index)), outcome])
        return outcome

    def _begin_step(self, active: ActiveRun, run_id: str, index: int) -> bool:
        """Put the start of a step on record, with the end of the one before it. False when the run may not go on."""
        previous = active.ends[-1] if len(active.ends) > active.recorded else None
        now = active.clock.now()

        def begin(connection: Connection) -> tuple[bool, RunRecord | None]:
            started = start_step(connection, run_id, index, executor_id=self._executor_id, at=now, previous=previous)
            followed = self._watchers.is_followed(run_id)
            return started, repository.find_run(connection, run_id) if followed else None

        started, record = self._database.write_now(begin)
        active.recorded = len(active.ends)
        if not started:
            return False
        if active.record is not None:
            active.record = as_started(active.record, index, self._executor_id, now, previous)
        self._tell_started(active, run_id, record)
        return True

    def _tell_started(self, active: ActiveRun, run_id: str, record: RunRecord | None) -> None:
        """Tell who follows a run that a step has begun, also who began to follow it just now."""
        if record is None and self._watchers.is_followed(run_id):
            record = active.record or self._record(run_id)
        if record is not None:
            self._watchers.publish(record)

    def _finish_early(self, run_id: str, outcomes: list[StepOutcome]) -> None:
        """Answer whoever waits before the engine has put the step on record; what fails here, `finish` does again."""
        active = self._active.get(run_id)
        try:
            self._end(active, run_id, outcomes)
        except DatabaseUnavailable:
            log.warning("run_not_ended_yet run_id=%s", run_id)
        else:
            self._ended[run_id] = active.left if active else None

    def finish(self, run_id: str, outcomes: list[StepOutcome]) -> None:
        """Record the end of a run, tell who waits, and clear away what is left of it."""
        if run_id in self._ended:
            left = self._ended.pop(run_id)
        else:
            active = self._active.get(run_id)
            self._end(active, run_id, outcomes)
            left = active.left if active else None
        if left is not None:
            self._runtime.clear(left)

    def _end(self, active: ActiveRun | None, run_id: str, outcomes: list[StepOutcome]) -> None:
        """Record the end of a run and tell who waits. Does nothing for a run that has ended."""
        now = active.clock.now() if active else utc_now()
        status = outcomes[-1].status if outcomes else Status.CANCELLED
        last = len(outcomes) - 1
        ends = active.ends[active.recorded :] if active else []
        known = {end.position for end in ends}
        ends = ends + [
            StepEnd(position, outcome.status, outcome.exit_code, now)
            for position, outcome in enumerate(outcomes)
            if position not in known
        ]
        log_end = active.log_end if active else None
        if log_end is None:
            log_end = recover(self.log_path(run_id))
        message = active.messages.get(last) if active else None

        kept = active.record if active else None

        def record_end(connection: Connection) -> RunRecord | None:
            record = kept or repository.find_run(connection, run_id)
            if record is None or Status(record["status"]) in FINAL:
                return record
            if kept is None or record["status"] == Status.WAITING:
                dialogs.abandon(connection, run_id)
            step = record["steps"][last] if last >= 0 else None
            said = message if message is not None else describe_end(status, step["name"] if step else "")
            values = {
                "exit_code": outcomes[-1].exit_code if outcomes else None,
                "message": said,
                "log_bytes": log_end.length,
                "log_sha256": log_end.sha256,
                **(active.host.unsaved if active and active.host else {}),
            }
            if end_run(connection, run_id, status, now, ends, **values):
                return as_ended(record, status, now, ends, values)
            return repository.find_run(connection, run_id)

        record = self._database.write_now(record_end)
        self._active.pop(run_id, None)
        if active is not None and (active.ahead or active.laid_out):
            self._watchers.loop.call_soon_threadsafe(self._discard, active)
        if record is not None:
            self._watchers.publish(record)

    # -- inside --

    def _start(self, active: ActiveRun, index: int) -> "asyncio.Task[StartedStep]":
        """Start a step, held."""
        task = active.ahead = self._watchers.loop.create_task(self._start_with_variables(active, index))
        return task

    async def _start_with_variables(self, active: ActiveRun, index: int) -> StartedStep:
        """Start a step, held, with the variables of this moment."""
        plan, context = active.plan, active.context
        step = plan.steps[index]
        if not step.is_quick:
            try:
                context = await self.with_variables(plan, step, context, active.stopper)
            except (CannotResolve, DatabaseUnavailable) as error:
                return self._runtime.refuse(plan, index, context, str(error))
        laid_out = None
        if active.laid_out is not None and context is active.context:  # it has no variables, as was expected
            laid_out, active.laid_out = await active.laid_out, None
        self._drop(active)
        return await self._runtime.start(plan, index, context, laid_out)

    def _lay_out_next(self, active: ActiveRun, started: StartedStep) -> None:
        """Put the files of the next step on disk while this one executes. Variables are read when it starts."""
        prepared = started.prepared
        if prepared.index + 1 < len(active.plan.steps) and started.execution and not prepared.run.variables:
            active.laid_out = self._watchers.loop.create_task(self._runtime.lay_out_next(started, active.context))

    def _discard(self, active: ActiveRun) -> None:
        """End a step that was started and will not be executed."""
        self._drop(active)
        ahead, active.ahead = active.ahead, None
        if ahead is not None:
            self._runtime.discard(ahead)

    def _drop(self, active: ActiveRun) -> None:
        """Clear away the files of a step that will not be started with them."""
        laid_out, active.laid_out = active.laid_out, None
        if laid_out is not None:
            self._runtime.drop(laid_out)

    async def _execute(self, active: ActiveRun, run_id: str, index: int) -> StepResult:
        """Execute a step on the event loop and start the next one; closes the log behind the last one."""
        if active.writer is None:
            active.writer = LogWriter(self.log_path(run_id), max_bytes=self._log_limit)
            self._watchers.tell(run_id, RunEvent())
        host = None if active.host is None else active.host.at(index)
        try:
            started = await (active.ahead or self._start(active, index))
            active.ahead = None
            self._lay_out_next(active, started)
            is_last = index == len(active.plan.steps) - 1
            active.left = started if is_last else None
            result = await self._runtime.execute(started, active.writer, active.stopper, host, is_cleared=not is_last)
            if host is not None:
                await host.end_step()
        except Exception:  # whatever it is, the run has to end, and the log of the server says why
            log.exception("step_failed_unexpectedly run_id=%s step=%s", run_id, index)
            result = StepResult(Status.FAILED, None, "the server failed to execute the step; its log has the reason")
        if result.status is not Status.SUCCESS or index == len(active.plan.steps) - 1:
            self._drop(active)
            active.log_end = active.writer.close()
            if lost := active.log_end.lost:
                result = with_note(result, f"the log is not complete: {lost} bytes could not be written")
        else:
            active.writer.flush()  # a finished step's output must not be lost with this process
            # The engine's work on the record would keep the start waiting, and has time while the sandbox is set up.
            await asyncio.wait({self._start(active, index + 1)}, timeout=START_FIRST)
        return result

    def _record(self, run_id: str) -> RunRecord | None:
        return self._database.read_now(lambda connection: repository.find_run(connection, run_id))

    def _resume(self, run_id: str, index: int) -> ActiveRun | StepOutcome:
        """Take up a run of another process, or say what became of the step."""
        record = self._record(run_id)
        if record is None:
            return StepOutcome(Status.LOST, None)
        settled = settled_outcome(record, index)
        if settled is not None:
            return settled
        try:
            plan = self._catalog.replan(target_of(record), commits_of(record))
        except Problem as problem:
            log.warning("run cannot be planned again run_id=%s reason=%s", run_id, problem.detail)
            return StepOutcome(Status.FAILED, None)
        active = ActiveRun(plan, self.context(record, self._starters.of(record)))
        active.host = self._host(active, record)
        self._active[run_id] = active
        if index == 0 and (refusal := self._starters.refusal(record)) is not None:
            active.messages[0] = refusal
            return StepOutcome(Status.FAILED, None)
        return active

    def _is_refused(self, active: ActiveRun) -> bool:
        """Whether who started a run that had to wait may not any more; notes why."""
        record = active.record
        if record is None or active.clock.now() - record["created_at"] < FRESH:
            return False
        refusal = self._starters.refusal(record)
        if refusal is None:
            return False
        active.messages[0] = refusal
        return True

    def context(self, record: RunRecord, starter: Subject | None) -> RunContext:
        """Give what the actions of a run get to know of it and of who started it; None for an account that is gone."""
        grants, teams = ((), ()) if starter is None else self._starters.context_of(starter, record)
        token = self._run_token(record["id"])
        return RunContext(
            run_id=record["id"],
            argument=record["argument"],
            user_name=record["user_name"] or "",
            user_full_name=(record["user_name"] or "") if starter is None else starter.display_name,
            grants=grants,
            teams=teams,
            is_interactive=bool(record["is_interactive"]),
            projects=() if starter is None else self._starters.projects_of(starter),
            workflow_name=record["workflow_name"],
            timeout_seconds=record["timeout_seconds"],
            rest_endpoint=self._rest_endpoint,
            wishes=self._starters.wishes(record),
            token=token,
            masker=Masker([token]),
            project_name=self._starters.project_name(record),
        )


def variables_place(plan: Plan) -> Place:
    """Give where the variables of a plan's steps are looked for."""
    return Place(str(plan.branch_path.module), plan.branch_path.branch, plan.environment_id)


async def stoppable(stopper: Stopper, work: Coroutine[Any, Any, T]) -> T:
    """Wait for what may take long, unless the run is stopped meanwhile. Raises CannotResolve then."""
    task = asyncio.get_running_loop().create_task(work)

    def stop() -> None:
        task.cancel()

    stopper.bind(stop)
    try:
        return await task
    except asyncio.CancelledError:
        if stopper.reason is None:
            raise
        raise CannotResolve("cancelled", "the run was stopped") from None
    finally:
        stopper.release()


def settled_outcome(record: RunRecord, index: int) -> StepOutcome | None:
    """Say how a step of an earlier process ended; None for one that can still be executed."""
    step = record["steps"][index]
    status = Status(step["status"])
    if status in FINAL:
        return StepOutcome(status, step["exit_code"])
    if status is not Status.QUEUED:
        return StepOutcome(Status.LOST, None)
    if record["cancel_requested_at"] is not None:
        return StepOutcome(Status.CANCELLED, None)
    return None


def describe_end(status: Status, step: str) -> str:
    """Say in one line why a run ended, where nothing more is known."""
    if status is Status.LOST:
        return (
            f"the server stopped while step '{step}' was running; how far it came is not known, so it was not repeated"
        )
    if status is Status.SUCCESS:
        return ""
    if status is Status.CANCELLED:
        return "cancelled before it started" if not step else f"cancelled before step '{step}' started"
    return f"step '{step}' did not succeed"


def target_of(record: RunRecord) -> Target:
    """Give what a recorded run was asked to execute."""
    path = BranchPath(ModuleId.parse(record["module"]), record["branch"])
    asked: dict[str, Any] = json.loads(record["target"])
    steps = tuple(
        StepTarget(item["containerId"], item["instanceId"], item["filename"], item.get("name"))
        for item in asked["steps"]
    )
    included = tuple(IncludedContainer(*item) for item in asked["included"])
    workflow_id = record["workflow_id"]
    return Target(record["kind"], path, record["commit"], record["environment_id"], steps, workflow_id, included)


def commits_of(record: RunRecord) -> dict[BranchPath, str]:
    """Give the commits that a recorded run pinned."""
    pinned: dict[str, Any] = json.loads(record["commits"])
    return {BranchPath.parse(path): commit for path, commit in pinned.items()}
