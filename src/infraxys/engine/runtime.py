"""Executing one planned step: prepare its file tree, run it in a backend, write its log, clear everything away."""

import asyncio
import logging
import signal
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

from infraxys.engine.attachments import Attached, Attachment, notes, settle
from infraxys.engine.backends.base import ActionSpec, Backend, Execution, Exit, Limits, Mount, StartFailed
from infraxys.engine.backends.host import remove_tree
from infraxys.engine.feedback.conversation import Host
from infraxys.engine.images import Images
from infraxys.engine.limits import Allowance, allow
from infraxys.engine.logs import StepLog
from infraxys.engine.materialise import EnvironmentStore
from infraxys.engine.output import StepOutput
from infraxys.engine.plan import Plan, PlannedModule, PlannedStep
from infraxys.engine.preparation import CORE_PLACE, copy_core, is_core
from infraxys.engine.run_tree import ROOT, RunContext, clear, lay_out, link_rest_client, write
from infraxys.engine.status import Status

__all__ = ["ENVIRONMENT", "ROOT", "Export", "PreparedStep", "RunContext", "StepResult", "StepRuntime", "Stopper"]

ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "USER": "root",
    "TERM": "dumb",
    "PYTHONUNBUFFERED": "1",
    "TAR_OPTIONS": "--no-same-owner",
}
ON_TERMINAL = {**ENVIRONMENT, "TERM": "xterm-256color"}
CA_FILE = "server_ca.pem"
QUIET_PREPARATION = "INFRAXYS_QUIET_PREPARATION"  # what prepares an action says goes to standard error
NEXT_FIRST = 0.01  # seconds in which the next step is started before the one before is cleared away
logger = logging.getLogger(__name__)
Export = Callable[[PlannedModule], Path]


@dataclass(frozen=True, slots=True)
class StepResult:
    """How a step ended. `message` is one line for people; empty when all is well."""

    status: Status
    exit_code: int | None
    message: str = ""


class Stopper:
    """Ends a step from outside: once, with a reason. May be used before the step has started."""

    def __init__(self) -> None:
        self.reason: Status | None = None
        self.why = ""
        self._stop: Callable[[], None] | None = None

    def stop(self, reason: Status, why: str = "was cancelled") -> None:
        """Ask for the end; the first reason counts. `why` goes on with a sentence that begins with the step."""
        if self.reason is None:
            self.reason, self.why = reason, why
            if self._stop is not None:
                self._stop()

    def release(self) -> None:
        """Say that what had started has ended."""
        self._stop = None

    def bind(self, stop: Callable[[], None]) -> None:
        """Say how to end what has just started."""
        self._stop = stop
        if self.reason is not None:
            stop()


@dataclass(frozen=True, slots=True)
class PreparedStep:
    """A step whose files are on disk, or `problem`, the reason why they are not.

    `refused` are the limits that it asks for and does not get, a sentence each.
    """

    plan: Plan
    index: int
    run: RunContext
    folder: Path
    action: ActionSpec | None
    problem: str = ""
    refused: tuple[str, ...] = ()
    attached: tuple[Attached, ...] = ()


@dataclass(frozen=True, slots=True)
class StartedStep:
    """A prepared step that waits to begin, or `problem`, the reason why it cannot."""

    prepared: PreparedStep
    execution: Execution | None
    problem: str = ""


class Numbers:
    """Gives things of one name that exist at the same time different numbers, from 1 on. Safe to use by any thread."""

    def __init__(self) -> None:
        self._taken: dict[tuple[str, ...], Counter[int]] = {}
        self._lock = threading.Lock()

    def take(self, name: tuple[str, ...], shared: int | None = None) -> int:
        """Give the smallest number that is free, or that of one that will be gone by then."""
        with self._lock:
            taken = self._taken.setdefault(name, Counter())
            number = shared or next(one for one in range(1, len(taken) + 2) if one not in taken)
            taken[number] += 1
            return number

    def give_back(self, name: tuple[str, ...], number: int) -> None:
        """Say that one of those who have it is gone."""
        with self._lock:
            taken = self._taken[name]
            taken[number] -= 1
            if not taken[number]:
                del taken[number]
            if not taken:
                del self._taken[name]


class Making:
    """Lays out a step when the backend has room for it, and says what became of it."""

    def __init__(
        self, runtime: "StepRuntime", plan: Plan, index: int, run: RunContext, laid_out: PreparedStep | None = None
    ) -> None:
        self._runtime, self._plan, self._index, self._run = runtime, plan, index, run
        self._prepared = laid_out

    def __call__(self) -> ActionSpec:
        """Put the step's files on disk and give the action. In a thread. Raises StartFailed."""
        self._prepared = self._runtime.prepare_step(self._plan, self._index, self._run, self._prepared)
        if self._prepared.action is None:
            raise StartFailed(self._prepared.problem)
        return self._prepared.action

    async def started(self, starting: Awaitable[Execution]) -> StartedStep:
        """Wait for the execution."""
        try:
            execution = await starting
        except StartFailed as error:
            return self.failed(str(error))
        except BaseException:
            if self._prepared is not None:
                self._runtime.abandon(self._prepared)
            raise
        if self._prepared is None:
            raise RuntimeError("the backend has started what it did not make")
        return StartedStep(self._prepared, execution)

    def failed(self, problem: str) -> StartedStep:
        """Give a step that could not be started."""
        if self._prepared is None:
            return self._runtime.refuse(self._plan, self._index, self._run, problem)
        return StartedStep(self._prepared, None, problem)


def action_of(plan: Plan, step: PlannedStep) -> tuple[str, ...]:
    """Give what names an action, whichever run executes it."""
    return str(plan.branch_path), step.directory, step.filename


class StepRuntime:
    """Executes steps with one backend. `work` is the folder that the backend shows to actions in parts.

    `export` gives the folder of a module at a commit; called in threads, raises StartFailed with a message for people.
    `runs` is where the folders of running steps lie, in `work` unless given. `certificates` are those (PEM) by
    which actions know the server when they call it. `usual` is what an action gets that asks for nothing, `most`
    the most that one can ask for. `attachments` give steps folders that stay. `images` executes the steps that name an
    image.
    """

    def __init__(  # noqa: PLR0913 - one for each part of what a step gets
        self,
        backend: Backend,
        work: Path,
        export: Export,
        *,
        usual: Allowance | None = None,
        most: Allowance | None = None,
        grace_seconds: float = 10.0,
        runs: Path | None = None,
        certificates: bytes | None = None,
        attachments: tuple[Attachment, ...] = (),
        images: Images | None = None,
    ) -> None:
        self._backend, self._export = backend, export
        self._attachments = attachments
        self._environments = EnvironmentStore(work / "environments")
        self._runs, self._core, self._variables = runs or work / "runs", work / "core", work / "variables"
        self._certificates = certificates
        self._usual = usual or Allowance(Limits())
        self._most = most or self._usual
        self._images = images or Images()
        self._executions: dict[str, Execution] = {}
        self._numbers = Numbers()
        self._grace = grace_seconds
        self._exported: dict[PlannedModule, Path] = {}
        self._clearing: set[asyncio.Future[None]] = set()

    def prepare(self) -> None:
        """Make the folders, empty, and lay out what every action sees. Blocks; once at start."""
        self._environments.prepare()
        for folder in (self._runs, self._variables, self._core):
            remove_tree(folder)
            folder.mkdir(parents=True)
            folder.chmod(0o755)
        copy_core(resources.files("infraxys.core"), self._core)
        if self._certificates is not None:
            write(self._core / CA_FILE, self._certificates)
        link_rest_client(self._variables)

    def missing(self, plan: Plan) -> str:
        """Say what is missing on this host so that nothing could execute a plan; empty when nothing is."""
        step = next((step for step in plan.steps if step.image), None)
        if step is None or not (said := self._images.missing()):
            return ""
        return f"step '{step.name}' names a container image, and {said}"

    def lay_out(self, plan: Plan, index: int, run: RunContext, before: PreparedStep | None = None) -> PreparedStep:
        """Put on disk what step `index` of a plan sees, without the folders that stay. Blocks; called in threads.

        `before` is the step whose end it waits for, if it does.
        """
        step = plan.steps[index]
        # One that was laid out ahead may be cleared away while the step is laid out anew.
        folder = self._runs / f"{run.run_id}-{index}{'-ahead' if before else ''}"
        acquired = False
        name = action_of(plan, step)
        shared = None
        if before is not None and action_of(before.plan, before.plan.steps[before.index]) == name:
            shared = before.run.thread_number  # the one before is gone when this one starts
        run = replace(run, thread_number=self._numbers.take(name, shared))
        try:
            modules = [(module, self._module(module)) for module in step.modules]
            environment = self._environments.acquire(plan.rendered)
            acquired = True
            lay_out(folder, environment, step, run, modules)
            action, refused = self._spec(folder, environment, plan, step, run, modules)
            if step.image:
                action = self._images.adapt(action, step, run)
        except Exception as error:  # noqa: BLE001 - whatever it is, the run has to end and say so
            if acquired:
                clear(folder)
                self._environments.release(plan.rendered)
            self._numbers.give_back(name, run.thread_number)
            return PreparedStep(plan, index, run, folder, None, reason(error))
        return PreparedStep(plan, index, run, folder, action, refused=refused)

    def prepare_step(
        self, plan: Plan, index: int, run: RunContext, laid_out: PreparedStep | None = None
    ) -> PreparedStep:
        """Put on disk all that step `index` of a plan sees, unless it is `laid_out`. Blocks; called in threads."""
        return self._attach(laid_out or self.lay_out(plan, index, run))

    def _attach(self, prepared: PreparedStep) -> PreparedStep:
        """Give a step the folders that stay, as they are when it starts. Blocks; called in threads."""
        if prepared.action is None or not self._attachments:
            return prepared
        attached: list[Attached] = []
        step = prepared.plan.steps[prepared.index]
        try:
            for attachment in self._attachments:
                attached.append(attachment.attach(prepared.plan, step, prepared.run))  # noqa: PERF401 - see below
        except Exception as error:  # noqa: BLE001 - as in `lay_out`; those made so far are released
            self._clear(replace(prepared, attached=tuple(attached)))
            self._numbers.give_back(action_of(prepared.plan, step), prepared.run.thread_number)
            return replace(prepared, action=None, problem=reason(error))
        return replace(prepared, action=with_attached(prepared.action, attached), attached=tuple(attached))

    async def lay_out_next(self, started: StartedStep, run: RunContext) -> PreparedStep:
        """Put on disk what the step behind a started one sees, while that one executes.

        `start` or `drop` must follow.
        """
        prepared = started.prepared
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(None, self.lay_out, prepared.plan, prepared.index + 1, run, prepared)

    def drop(self, laying_out: "asyncio.Task[PreparedStep]") -> None:
        """Clear away what was laid out for a step that is not to start after all."""
        task = asyncio.ensure_future(self._drop(laying_out))
        self._clearing.add(task)
        task.add_done_callback(self._clearing.discard)

    async def _drop(self, laying_out: "asyncio.Task[PreparedStep]") -> None:
        self.abandon(await laying_out)

    def refuse(self, plan: Plan, index: int, run: RunContext, problem: str) -> StartedStep:
        """Give a step that cannot be started, with the reason."""
        folder = self._runs / run.run_id / str(index)
        return StartedStep(PreparedStep(plan, index, run, folder, None, problem), None, problem)

    async def start(self, plan: Plan, index: int, run: RunContext, laid_out: PreparedStep | None = None) -> StartedStep:
        """Lay out a step, if it is not yet, and start it, held: nothing of it runs yet.

        `execute` or `discard` must follow.
        """
        making = Making(self, plan, index, run, laid_out)
        try:
            backend = self._images.backend if plan.steps[index].image else self._backend
        except StartFailed as error:
            return making.failed(str(error))
        return await making.started(backend.start(making, is_held=True))

    def start_here(self, plan: Plan, index: int, run: RunContext) -> Coroutine[Any, Any, StartedStep] | None:
        """Start a step, held, in this thread, which has to live as long as the step.

        Gives what `start` gives, to be awaited once on the event loop. None where it could not be done at once.
        """
        step = plan.steps[index]
        if step.image or not self._exported.keys() >= set(step.modules):
            return None
        making = Making(self, plan, index, run)
        starting = self._backend.start_here(making)
        return None if starting is None else making.started(starting)

    async def execute(
        self,
        started: StartedStep,
        log: StepLog,
        stopper: Stopper | None = None,
        host: Host | None = None,
        *,
        is_cleared: bool = True,
    ) -> StepResult:
        """Let a started step run to its end, and clear it away. What the action does is never an exception.

        `host` answers what the action asks; without one its requests are output like any other. Without `is_cleared`
        the caller clears it away, by `clear`.
        """
        prepared = started.prepared
        step = prepared.plan.steps[prepared.index]
        stopper = stopper or Stopper()
        try:
            if stopper.reason is not None:
                await end_now(started.execution)
                return StepResult(stopper.reason, None, f"step '{step.name}' {stopper.why} before it started")
            if started.execution is None:
                problem = f"step '{step.name}' could not be started: {started.problem}"
                return StepResult(Status.FAILED, None, problem)
            return await self._execute(started.execution, prepared, log, stopper, host)
        finally:
            self._give_number_back(prepared)
            if is_cleared:
                self._clear_later(prepared)

    def execution_of(self, run_id: str) -> Execution | None:
        """Give what executes for a run just now, if anything does."""
        return self._executions.get(run_id)

    def discard(self, starting: Awaitable[StartedStep]) -> None:
        """End a step that is not to run after all."""
        task = asyncio.ensure_future(self._discard(starting))
        self._clearing.add(task)
        task.add_done_callback(self._clearing.discard)

    async def _discard(self, starting: Awaitable[StartedStep]) -> None:
        started = await starting
        await end_now(started.execution)
        self.abandon(started.prepared)

    async def close(self) -> None:
        """Wait until the folders of finished steps are gone, and remove the one that they were in, also from memory."""
        while self._clearing:
            await asyncio.wait(self._clearing)
        for folder in (self._runs, self._runs.parent):
            with suppress(OSError):  # it holds something else
                folder.rmdir()

    def clear(self, started: StartedStep) -> None:
        """Clear away what is left of a step that was executed. Blocks; called in threads."""
        if started.prepared.action is not None:
            self._clear(started.prepared)

    def _give_number_back(self, prepared: PreparedStep) -> None:
        if prepared.action is not None:
            step = prepared.plan.steps[prepared.index]
            self._numbers.give_back(action_of(prepared.plan, step), prepared.run.thread_number)

    def _clear(self, prepared: PreparedStep) -> None:
        clear(prepared.folder)
        self._environments.release(prepared.plan.rendered)
        for attached in prepared.attached:
            attached.release()

    def abandon(self, prepared: PreparedStep) -> None:
        """Clear away a step that is not executed."""
        self._give_number_back(prepared)
        self._clear_later(prepared)

    def _clear_later(self, prepared: PreparedStep) -> None:
        if prepared.action is not None:
            task = asyncio.ensure_future(self._clear_soon(prepared))
            self._clearing.add(task)
            task.add_done_callback(self._clearing.discard)

    async def _clear_soon(self, prepared: PreparedStep) -> None:
        if prepared.index + 1 < len(prepared.plan.steps):
            await asyncio.sleep(NEXT_FIRST)
        await asyncio.get_running_loop().run_in_executor(None, self._clear, prepared)

    async def _execute(
        self, execution: Execution, prepared: PreparedStep, log: StepLog, stopper: Stopper, host: Host | None
    ) -> StepResult:
        step = prepared.plan.steps[prepared.index]
        loop = asyncio.get_running_loop()
        ending: list[asyncio.Task[None]] = []
        stopper.bind(lambda: ending.append(loop.create_task(execution.terminate(self._grace))))
        limit = time_limit(step, prepared.run)
        timer = loop.call_later(limit, stopper.stop, Status.TIMEOUT)
        output = StepOutput(
            execution,
            log,
            prepared.index,
            masker=prepared.run.masker,
            host=host,
            folder=prepared.folder / "system",
            is_attended=prepared.run.is_interactive,
        )
        said = notes(prepared.attached)
        for remark in (*prepared.refused, said):
            if remark:
                log.note(prepared.index, f"[infraxys] {remark}\n")
        self._executions[prepared.run.run_id] = execution
        execution.let_begin()
        try:
            async for chunk in execution.output():
                await output.take(chunk)
            end = await execution.wait()
            await output.finish()
        except BaseException:  # the server itself is ending: nobody would ever end the action
            await end_now(execution)
            raise
        finally:
            self._executions.pop(prepared.run.run_id, None)
            output.close()
            timer.cancel()
            stopper.release()
            await asyncio.gather(*ending)
        if any(one.has_left() for one in prepared.attached):
            said = "; ".join(filter(None, (said, await asyncio.to_thread(settle, prepared.attached))))
        return with_note(describe(end, stopper, step, limit), said)

    def _module(self, module: PlannedModule) -> Path:
        path = self._exported.get(module)
        if path is None or not path.exists():
            path = self._exported[module] = self._export(module)
        return path

    def _spec(
        self,
        folder: Path,
        environment: Path,
        plan: Plan,
        step: PlannedStep,
        run: RunContext,
        modules: list[tuple[PlannedModule, Path]],
    ) -> tuple[ActionSpec, tuple[str, ...]]:
        """Give the action, and what it asks for and does not get."""
        directory = plan.rendered.directory
        mounts = [
            Mount(self._core, f"{ROOT}/core"),
            Mount(folder / "system", f"{ROOT}/system"),
            Mount(own if (own := folder / "variables").exists() else self._variables, f"{ROOT}/variables"),
            *(Mount(path, f"{ROOT}/modules/{module.path.directory}") for module, path in modules),
            Mount(environment / directory, f"{ROOT}/environments/{directory}"),
            Mount(folder / "instance", f"{ROOT}/environments/{step.directory}", writable=True),
            *_further_mounts(folder, run, modules),
        ]
        allowed, refused = allow(step.wishes, run.wishes, self._usual, self._most)
        action = ActionSpec(
            run_id=run.run_id,
            step_id=step.id,
            command=("source", f"{ROOT}/core/bootstrap.sh", step.filename),
            environment=environment_of(step, run),
            directory="/root",
            mounts=tuple(mounts),
            network=allowed.network != "off",
            limits=allowed.limits,
            is_interactive=step.is_interactive,
            is_loopback_refused=allowed.network == "loopback-refused",
            seconds=time_limit(step, run),
        )
        return action, refused


def time_limit(step: PlannedStep, run: RunContext) -> float:
    """Give the seconds that a step may take: its own, or fewer if the run says so."""
    return min(step.timeout_seconds, run.timeout_seconds or step.timeout_seconds)


def _further_mounts(folder: Path, run: RunContext, modules: list[tuple[PlannedModule, Path]]) -> list[Mount]:
    """Give what only few runs have."""
    mounts = []
    if run.overrides and (folder / "run_overrides").exists():
        mounts.append(Mount(folder / "run_overrides", f"{ROOT}/run_overrides"))
    places = {module.path.directory for module, _ in modules}
    for module, path in modules:
        if CORE_PLACE not in places and is_core(module, path):
            places.add(CORE_PLACE)
            mounts.append(Mount(path, f"{ROOT}/modules/{CORE_PLACE}"))
    return mounts


def environment_of(step: PlannedStep, run: RunContext) -> Mapping[str, str]:
    """Give the variables that the action's first shell begins with."""
    environment = ON_TERMINAL if step.is_interactive else ENVIRONMENT
    return {**environment, QUIET_PREPARATION: "true"} if run.reads_only else environment


def with_attached(action: ActionSpec, attached: list[Attached]) -> ActionSpec:
    """Add to an action the folders that it gets beside its tree."""
    if not attached:
        return action
    environment, mounts, account = dict(action.environment), action.mounts, action.account
    for one in attached:
        environment.update(one.variables)
        mounts += one.mounts
        account = one.account or account
    return replace(action, environment=environment, mounts=mounts, account=account)


def with_note(result: StepResult, note: str) -> StepResult:
    """Add a sentence to what is said about the end of a step."""
    return replace(result, message="; ".join(filter(None, (result.message, note)))) if note else result


async def end_now(execution: Execution | None) -> None:
    """Kill what was started, if anything was."""
    if execution is not None:
        await execution.terminate(0)
        await execution.wait()


def reason(error: Exception) -> str:
    """Say why the files of a step are not there, without the server's paths."""
    if isinstance(error, StartFailed):
        return str(error)
    if isinstance(error, OSError):
        return f"the server cannot write its files: {error.strerror or type(error).__name__}"
    logger.error("step_not_prepared", exc_info=error)
    return "the server failed to prepare it; the server's log has the reason"


def describe(end: Exit, stopper: Stopper, step: PlannedStep, limit: float) -> StepResult:
    """Say how a step ended, for people and for the record."""
    reason = stopper.reason
    if reason is Status.TIMEOUT:
        return StepResult(Status.TIMEOUT, end.code, f"step '{step.name}' took longer than {limit:g} seconds")
    if reason is not None:
        return StepResult(reason, end.code, f"step '{step.name}' {stopper.why}")
    if end.start_error is not None:
        return StepResult(Status.FAILED, None, f"step '{step.name}' could not be started: {end.start_error}")
    if end.out_of_memory:
        return StepResult(Status.FAILED, end.code, f"step '{step.name}' used more memory than allowed and was killed")
    if end.code == 0:
        return StepResult(Status.SUCCESS, 0)
    message = f"step '{step.name}': Command failed with exit status {end.code}{signal_hint(end.code)}"
    return StepResult(Status.FAILED, end.code, message)


def signal_hint(code: int | None) -> str:
    """Name the signal that an exit status may stand for. A program may also have exited with such a status itself."""
    try:
        return f" (as after {signal.Signals((code or 0) - 128).name})"
    except ValueError:
        return ""
