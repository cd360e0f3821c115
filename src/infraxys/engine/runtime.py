"""Executing one planned step: prepare its file tree, run it in a backend, write its log, clear everything away."""

import asyncio
import json
import shlex
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from infraxys.engine.backends.base import ActionSpec, Backend, Exit, Limits, Mount, StartFailed
from infraxys.engine.logs import LogWriter
from infraxys.engine.plan import Plan, PlannedModule, PlannedStep, RenderedEnvironment
from infraxys.engine.status import Status

ROOT = "/tmp/infraxys"  # noqa: S108 - the fixed path inside the sandbox
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "USER": "root",
    "TERM": "dumb",
    "PYTHONUNBUFFERED": "1",
    "TAR_OPTIONS": "--no-same-owner",
}
MAX_ENVIRONMENTS = 64  # rendered environments kept on disk
Export = Callable[[PlannedModule], Path]


@dataclass(frozen=True, slots=True)
class RunContext:
    """What a step gets from its run. `argument` is the JSON text, byte for byte as it was given."""

    run_id: str
    argument: bytes
    user_name: str
    user_full_name: str
    grants: tuple[str, ...]
    teams: tuple[str, ...] = ()
    is_interactive: bool = False
    workflow_name: str | None = None
    timeout_seconds: float | None = None
    rest_endpoint: str | None = None


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

    def bind(self, stop: Callable[[], None]) -> None:
        """Say how to end what has just started."""
        self._stop = stop
        if self.reason is not None:
            stop()


class StepRuntime:
    """Executes steps with one backend. `work` is the folder that the backend shows to actions in parts."""

    def __init__(
        self,
        backend: Backend,
        work: Path,
        export: Export,
        *,
        limits: Limits | None = None,
        network: bool = True,
        grace_seconds: float = 10.0,
    ) -> None:
        self._backend, self._export = backend, export
        self._environments, self._runs = work / "environments", work / "runs"
        self._core, self._empty = work / "core", work / "empty"
        self._limits = limits or Limits()
        self._network = network
        self._grace = grace_seconds
        self._known: dict[str, Path] = {}
        self._clearing: set[asyncio.Task[None]] = set()

    def prepare(self) -> None:
        """Make the folders and lay out what every action sees. Blocks; once at start."""
        for folder in (self._environments, self._runs, self._empty):
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o755)
        shutil.rmtree(self._core, ignore_errors=True)
        with resources.as_file(resources.files("infraxys.core")) as packaged:
            shutil.copytree(packaged, self._core, ignore=shutil.ignore_patterns("__pycache__", "__init__.py"))
        for path in [self._core, *self._core.rglob("*")]:
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)

    def lay_out(self, plan: Plan, index: int, run: RunContext) -> ActionSpec:
        """Put on disk what step `index` of a plan sees, and say how it is executed. Blocks; call it from a thread.

        `execute` clears it away again; without it, `clear` does.
        """
        step = plan.steps[index]
        folder = self._folder(run.run_id, index)
        environment = self._known.get(plan.rendered.digest)
        if environment is None or not environment.exists():
            environment = self._materialise(plan.rendered)
        modules = [(module, self._exported(module)) for module in step.modules]
        self._write_private(folder, environment, step, run)
        return self._spec(folder, environment, plan, step, run, modules)

    async def execute(
        self,
        action: ActionSpec,
        step: PlannedStep,
        index: int,
        run: RunContext,
        log: LogWriter,
        stopper: Stopper | None = None,
    ) -> StepResult:
        """Execute what `lay_out` prepared. What the action does is never an exception."""
        stopper = stopper or Stopper()
        try:
            if stopper.reason is not None:
                return StepResult(stopper.reason, None, "cancelled before it started")
            return await self._run(action, index, step, run, log, stopper)
        except StartFailed as error:
            return StepResult(Status.FAILED, None, f"step '{step.name}' could not be started: {error}")
        finally:
            self._clear_later(self._folder(run.run_id, index))

    def _folder(self, run_id: str, index: int) -> Path:
        return self._runs / run_id / str(index)

    def _clear_later(self, folder: Path) -> None:
        task = asyncio.get_running_loop().create_task(asyncio.to_thread(clear, folder))
        self._clearing.add(task)
        task.add_done_callback(self._clearing.discard)

    async def close(self) -> None:
        """Wait until the folders of finished steps are gone."""
        await asyncio.gather(*self._clearing, return_exceptions=True)

    async def _run(
        self, spec: ActionSpec, index: int, step: PlannedStep, run: RunContext, log: LogWriter, stopper: Stopper
    ) -> StepResult:
        loop = asyncio.get_running_loop()
        execution = await self._backend.start(spec)
        ending: list[asyncio.Task[None]] = []
        stopper.bind(lambda: ending.append(loop.create_task(execution.terminate(self._grace))))
        limit = step.timeout_seconds if run.timeout_seconds is None else min(step.timeout_seconds, run.timeout_seconds)
        timer = loop.call_later(limit, stopper.stop, Status.TIMEOUT)
        try:
            async for chunk in execution.output():
                log.write(index, chunk.stream, chunk.data)
            end = await execution.wait()
        finally:
            timer.cancel()
            for task in ending:
                await task
        return describe(end, stopper.reason, step, limit)

    def _exported(self, module: PlannedModule) -> Path:
        key = f"{module.path.module}@{module.commit}"
        path = self._known.get(key)
        if path is None or not path.exists():
            path = self._known[key] = self._export(module)
        return path

    def _materialise(self, rendered: RenderedEnvironment) -> Path:
        """Write a rendered environment to disk, once for each content."""
        target = self._environments / rendered.digest
        if not target.exists():
            fresh = Path(tempfile.mkdtemp(dir=self._environments, prefix=".new-"))
            (fresh / rendered.directory).mkdir()
            for file in rendered.files:
                path = fresh / file.path
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(file.content)
                path.chmod(0o555 if file.executable else 0o444)
            for path in fresh.rglob("*"):
                if path.is_dir():
                    path.chmod(0o755)
            fresh.chmod(0o755)
            try:
                fresh.rename(target)
            except OSError:
                shutil.rmtree(fresh, ignore_errors=True)  # another run was faster
            self._forget_old_environments()
        self._known[rendered.digest] = target
        return target

    def _forget_old_environments(self) -> None:
        """Keep the newest rendered environments; one that an action still sees stays until it is not used."""
        kept = sorted(self._environments.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
        for path in kept[MAX_ENVIRONMENTS:]:
            self._known.pop(path.name, None)
            shutil.rmtree(path, ignore_errors=True)

    def _write_private(self, folder: Path, environment: Path, step: PlannedStep, run: RunContext) -> None:
        """Write what only this step sees: its argument, its user, its variables, its own instance directory."""
        system = folder / "system"
        (system / "custom").mkdir(parents=True)
        (system / "custom" / "arguments.json").write_bytes(run.argument)
        user = {
            "username": run.user_name,
            "full_name": run.user_full_name,
            "grants": list(run.grants),
            "teams": list(run.teams),
            "projects": [],
        }
        (system / "current_user.json").write_text(json.dumps(user))
        (system / "grants").write_text("\n".join(run.grants) + "\n")
        (system / "has_grant").symlink_to(f"{ROOT}/core/has_grant")
        variables = {**step.attributes, **step.variables, **run_variables(step, run)}
        (system / "environment.sh").write_text(shell_exports(variables))
        source = environment / step.directory
        if source.is_dir():
            shutil.copytree(source, folder / "instance", symlinks=True)
        else:
            (folder / "instance").mkdir()
        for path in (folder / "instance").rglob("*"):
            path.chmod(path.stat().st_mode | 0o200)

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


def run_variables(step: PlannedStep, run: RunContext) -> dict[str, str]:
    """Give the variables that belong to the run rather than to the plan."""
    environment, container, instance = step.directory.split("/", 2)
    variables = {
        "APPLICATION_USER": run.user_name,
        "INTERACTIVE": "true" if run.is_interactive else "false",
        "RUN_GUID": run.run_id,
        "STEP_IDEMPOTENCY_KEY": f"{run.run_id}-{step.id}",
        "INFRAXYS_ROOT": ROOT,
        "MODULES_ROOT": f"{ROOT}/modules",
        "ENVIRONMENTS_ROOT": f"{ROOT}/environments",
        "ENVIRONMENT_DIR": f"{ROOT}/environments/{environment}",
        "CONTAINER_DIR": f"{ROOT}/environments/{environment}/{container}",
        "INSTANCE_DIR": f"{ROOT}/environments/{environment}/{container}/{instance}",
        "THREAD_NUMBER": "1",
        "thread_number": "1",
        "ON_PROVISIONING_SERVER": "true",
    }
    if run.workflow_name is not None:
        variables["WORKFLOW"] = run.workflow_name
    if run.rest_endpoint is not None:
        variables["INFRAXYS_REST_ENDPOINT"] = run.rest_endpoint
    return variables


def shell_exports(variables: Mapping[str, str]) -> str:
    """Write variables as a shell reads them back unchanged. NUL cannot be in a variable and is left out."""
    lines = []
    for name, value in variables.items():
        quoted = shlex.quote(value.replace("\0", ""))
        lines.append(f"export {name}={quoted}\n")
    return "".join(lines)


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
    return StepResult(Status.FAILED, end.code, f"step '{step.name}': Command failed with exit status {end.code}")


def clear(folder: Path) -> None:
    """Remove a step's folder, and the run's when it was the last one. Links are removed, never followed."""
    shutil.rmtree(folder, ignore_errors=True)
    try:
        folder.parent.rmdir()
    except OSError:
        return
