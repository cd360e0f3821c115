"""Executing one planned step: prepare its file tree, run it in a backend, write its log, clear everything away."""

import asyncio
import logging
import signal
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from infraxys.engine.backends.base import ActionSpec, Backend, Exit, Limits, Mount, StartFailed
from infraxys.engine.backends.host import remove_tree
from infraxys.engine.logs import LogWriter
from infraxys.engine.materialise import EnvironmentStore
from infraxys.engine.plan import Plan, PlannedModule, PlannedStep
from infraxys.engine.run_tree import ROOT, RunContext, clear, lay_out
from infraxys.engine.status import Status
from infraxys.kit.clock import utc_now

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
        self._stop: Callable[[], None] | None = None

    def stop(self, reason: Status) -> None:
        """Ask for the end; the first reason counts."""
        if self.reason is None:
            self.reason = reason
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
    """A step whose files are on disk, or `problem`, the reason why they are not."""

    plan: Plan
    index: int
    run: RunContext
    folder: Path
    action: ActionSpec | None
    problem: str = ""


class StepRuntime:
    """Executes steps with one backend. `work` is the folder that the backend shows to actions in parts.

    `export` gives the folder of a module at a commit; called in threads, raises StartFailed with a message for people.
    `runs` is where the folders of running steps lie, in `work` unless given.
    With `says_end` the log of a step ends with the lines that consoles show; without, it is the action's output alone.
    """

    def __init__(  # noqa: PLR0913 - the parts it brings together, and what an installation chooses
        self,
        backend: Backend,
        work: Path,
        export: Export,
        *,
        limits: Limits | None = None,
        network: bool = True,
        grace_seconds: float = 10.0,
        says_end: bool = False,
        runs: Path | None = None,
    ) -> None:
        self._backend, self._export = backend, export
        self._environments = EnvironmentStore(work / "environments")
        self._runs, self._core, self._empty = runs or work / "runs", work / "core", work / "empty"
        self._limits = limits or Limits()
        self._network = network
        self._grace, self._says_end = grace_seconds, says_end
        self._exported: dict[PlannedModule, Path] = {}
        self._clearing: set[asyncio.Future[None]] = set()

    def prepare(self) -> None:
        """Make the folders, empty, and lay out what every action sees. Blocks; once at start."""
        self._environments.prepare()
        for folder in (self._runs, self._empty, self._core):
            remove_tree(folder)
            folder.mkdir(parents=True)
            folder.chmod(0o755)
        for file in resources.files("infraxys.core").iterdir():
            if file.is_file() and not file.name.endswith(".py"):
                (self._core / file.name).write_bytes(file.read_bytes())
                (self._core / file.name).chmod(0o755)

    def lay_out(self, plan: Plan, index: int, run: RunContext) -> PreparedStep:
        """Put on disk what step `index` of a plan sees. Blocks; called in threads. `execute` must follow."""
        step = plan.steps[index]
        folder = self._runs / run.run_id / str(index)
        acquired = False
        try:
            modules = [(module, self._module(module)) for module in step.modules]
            environment = self._environments.acquire(plan.rendered)
            acquired = True
            lay_out(folder, environment, step, run)
            action = self._spec(folder, environment, plan, step, run, modules)
        except Exception as error:  # noqa: BLE001 - whatever it is, the run has to end and say so
            if acquired:
                clear(folder)
                self._environments.release(plan.rendered)
            return PreparedStep(plan, index, run, folder, None, reason(error))
        return PreparedStep(plan, index, run, folder, action)

    async def execute(self, prepared: PreparedStep, log: LogWriter, stopper: Stopper | None = None) -> StepResult:
        """Execute what `lay_out` prepared, and clear it away. What the action does is never an exception."""
        step = prepared.plan.steps[prepared.index]
        try:
            result = await self._execute(prepared, step, log, stopper or Stopper())
        except StartFailed as error:
            result = StepResult(Status.FAILED, None, f"step '{step.name}' could not be started: {error}")
        finally:
            if prepared.action is not None:
                task = asyncio.ensure_future(asyncio.to_thread(self._clear, prepared))
                self._clearing.add(task)
                task.add_done_callback(self._clearing.discard)
        if self._says_end:
            log.note(prepared.index, last_lines(prepared.plan, step, result))
        return result

    async def close(self) -> None:
        """Wait until the folders of finished steps are gone."""
        await asyncio.gather(*self._clearing)

    def _clear(self, prepared: PreparedStep) -> None:
        clear(prepared.folder)
        self._environments.release(prepared.plan.rendered)

    async def _execute(self, prepared: PreparedStep, step: PlannedStep, log: LogWriter, stopper: Stopper) -> StepResult:
        if stopper.reason is not None:
            return StepResult(stopper.reason, None, f"step '{step.name}' was cancelled before it started")
        if prepared.action is None:
            raise StartFailed(prepared.problem)
        loop = asyncio.get_running_loop()
        execution = await self._backend.start(prepared.action)
        ending: list[asyncio.Task[None]] = []
        stopper.bind(lambda: ending.append(loop.create_task(execution.terminate(self._grace))))
        limit = min(step.timeout_seconds, prepared.run.timeout_seconds or step.timeout_seconds)
        timer = loop.call_later(limit, stopper.stop, Status.TIMEOUT)
        try:
            async for chunk in execution.output():
                log.write(prepared.index, chunk.stream, chunk.data)
            end = await execution.wait()
        except BaseException:  # the server itself is ending: nobody would ever end the action
            await execution.terminate(0)
            await execution.wait()
            raise
        finally:
            timer.cancel()
            stopper.release()
            await asyncio.gather(*ending)
        return describe(end, stopper.reason, step, limit)

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
    ) -> ActionSpec:
        directory = plan.rendered.directory
        mounts = [
            Mount(self._core, f"{ROOT}/core"),
            Mount(folder / "system", f"{ROOT}/system"),
            Mount(self._empty, f"{ROOT}/variables"),
            *(Mount(path, f"{ROOT}/modules/{module.path.directory}") for module, path in modules),
            Mount(environment / directory, f"{ROOT}/environments/{directory}"),
            Mount(folder / "instance", f"{ROOT}/environments/{step.directory}", writable=True),
        ]
        return ActionSpec(
            run_id=run.run_id,
            step_id=step.id,
            command=("source", f"{ROOT}/core/bootstrap.sh", step.filename),
            environment=ENVIRONMENT,
            directory="/root",
            mounts=tuple(mounts),
            network=self._network,
            limits=self._limits,
        )


def reason(error: Exception) -> str:
    """Say why the files of a step are not there, without the server's paths."""
    if isinstance(error, StartFailed):
        return str(error)
    if isinstance(error, OSError):
        return f"the server cannot write its files: {error.strerror or type(error).__name__}"
    logger.error("step_not_prepared", exc_info=error)
    return "the server failed to prepare it; the server's log has the reason"


def describe(end: Exit, reason: Status | None, step: PlannedStep, limit: float) -> StepResult:
    """Say how a step ended, for people and for the record."""
    if reason is Status.TIMEOUT:
        return StepResult(Status.TIMEOUT, end.code, f"step '{step.name}' took longer than {limit:g} seconds")
    if reason is not None:
        return StepResult(reason, end.code, f"step '{step.name}' was cancelled")
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


def last_lines(plan: Plan, step: PlannedStep, result: StepResult) -> str:
    """Write what stands at the end of a step's log, in the words that readers of such logs know."""
    now = utc_now()
    stamp = f"{now:%d-%m-%Y %H:%M:%S},{now.microsecond // 1000:03d}"
    is_plain_failure = result.status is Status.FAILED and result.exit_code and "Command failed" in result.message
    lines = [] if is_plain_failure or not result.message else [one_line(result.message)]
    if result.exit_code:
        lines.append(f"Command failed with exit status {result.exit_code}")
    word = "finished" if result.status is Status.SUCCESS else "failed"
    label = step.variables.get("action_label", step.name)
    lines.append(f"[{stamp}] ----- {word}: {one_line(plan.environment_name)} - {one_line(label)} ---")
    return "".join(f"{line}\n" for line in lines)


def one_line(text: str) -> str:
    """Make a text safe to stand in a line of a log: names come from repositories."""
    return "".join(character if character.isprintable() else " " for character in text)
