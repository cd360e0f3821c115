"""Generation: every packet file of every instance of an environment, rendered to where the action will find it.

Rendering is on demand and incremental. A file is rendered again only when its text or something that it read has
changed: the reads of the last render are asked again and their answers compared.
"""

import hashlib
import itertools
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from infraxys import velocity
from infraxys.engine.evaluate import (
    AttributeCircle,
    AttributeFailed,
    Evaluator,
    InstanceContext,
    Rules,
    compile_once,
)
from infraxys.engine.hosts import TemplateProblem
from infraxys.engine.objects import (
    ContainerObject,
    EnvironmentObject,
    InstanceObject,
    Reads,
    Scope,
    WorldObject,
    fingerprint,
)
from infraxys.engine.plan import RenderedEnvironment, RenderedFile
from infraxys.engine.world import ContainerView, EnvironmentView, FileSlot, InstanceView, World
from infraxys.spec import names
from infraxys.spec.identity import BranchPath
from infraxys.spec.problem import Problem
from infraxys.spec.snapshot import Dependency, EnvironmentDefinition

INCLUDE = re.compile(r"^[ \t]*<INCLUDE[ \t]+([^<>\n]+?)[ \t]*>[ \t]*$", re.MULTILINE)
MAX_INCLUDES = 20
DEFAULT_RULES = Rules()
INSTANCE_SCOPES = frozenset({"CURRENT INSTANCE", "EVERY INSTANCE"})
CONTROL_VARIABLES = ("skip_action_creation", "skip_file_creation", "menu_caption", "action_instance_label")


@dataclass(frozen=True, slots=True)
class GeneratedAction:
    """An executable file of an instance. `caption` and `instance_label` are what menus and tables show.

    `owner` is the packet branch of the instance that brings the file: another one's with `EVERY INSTANCE`.
    """

    container_id: str
    instance_id: str
    filename: str
    path: str
    caption: str
    instance_label: str
    slot: FileSlot
    owner: BranchPath


@dataclass(frozen=True, slots=True)
class Generation:
    """All that generating an environment gave. Runs need `is_complete`."""

    rendered: RenderedEnvironment
    actions: Mapping[tuple[str, str, str], GeneratedAction]
    scopes: Mapping[str, str]  # the `saveWith` of each file, by path
    problems: tuple[Problem, ...]
    evaluator: Evaluator

    @property
    def is_complete(self) -> bool:
        """Whether nothing failed."""
        return not any(problem.severity == "error" for problem in self.problems)


@dataclass(frozen=True, slots=True)
class _Rendered:
    """One rendered text with what it was made from, for reuse."""

    source: str
    strict: bool
    trace: tuple[tuple[object, ...], ...]
    content: bytes
    control: Mapping[str, object]


RenderKey = tuple[str, str, str, str, str]


@dataclass(slots=True)
class RenderCache:
    """The last generation of one environment, for the next one. Bounded by the environment's size."""

    entries: dict[RenderKey, _Rendered] = field(default_factory=dict)
    whole: "_Whole | None" = None


@dataclass(frozen=True, slots=True)
class _Whole:
    """A generation with all that it was made from: it holds as long as this is the same.

    Definitions are compared by identity: those of a directory that no commit changed are the same objects.
    """

    generation: Generation
    parts: Mapping[BranchPath, tuple[object, ...]]
    environment: EnvironmentDefinition
    missed: frozenset[BranchPath]

    def holds(self, world: World, environment_id: str) -> bool:
        """Whether generating the environment in this world would give the same."""
        if world.snapshot.environments[environment_id] is not self.environment:
            return False
        if any(path in world.snapshots for path in self.missed):
            return False
        return all(path in world.snapshots and same(parts_of(world, path), parts) for path, parts in self.parts.items())


def parts_of(world: World, path: BranchPath) -> tuple[object, ...]:
    """Give everything of a module branch that environments may be made from."""
    snapshot = world.snapshots[path]
    return (*snapshot.packets.values(), *snapshot.roles.values(), *snapshot.dependencies, strictness(world))


def same(left: tuple[object, ...], right: tuple[object, ...]) -> bool:
    """Whether two tuples hold the same objects (or equal small ones)."""
    return len(left) == len(right) and all(
        a is b or (isinstance(a, Dependency) and a == b) for a, b in zip(left, right, strict=True)
    )


@dataclass(frozen=True, slots=True)
class _Job:
    """One file to write: declared by `owner`, read in the context of `instance` and `container`."""

    slot: FileSlot
    owner: InstanceView
    instance: InstanceView
    container: ContainerView
    path: str

    @property
    def folders(self) -> list[str]:
        """The directories that its own `directory` puts it in, outermost first; mostly none."""
        parts = [part for part in (self.slot.file.directory or "").split("/") if part]
        inside = "/".join([*parts, self.slot.file.filename])
        if not parts or not self.path.endswith(f"/{inside}"):
            return []
        base = self.path.removesuffix(f"/{inside}")
        return list(itertools.accumulate(parts, "{}/{}".format, initial=base))[1:]

    @property
    def key(self) -> RenderKey:
        return (self.owner.container.id, self.owner.id, self.container.id, self.instance.id, self.slot.file.filename)


def generate(
    world: World, environment_id: str, cache: RenderCache | None = None, rules: Rules = DEFAULT_RULES
) -> Generation:
    """Render an environment of the world's root; problems are collected, not raised. Raises KeyError.

    `cache` is filled with this generation's renders and used for those that did not change; it belongs to one set of
    rules.
    """
    cache = RenderCache() if cache is None else cache
    if cache.whole is not None and not world.includes(environment_id) and cache.whole.holds(world, environment_id):
        return cache.whole.generation
    environment = world.environment(environment_id)
    chosen = strictness(world)
    evaluator = Evaluator(strict=rules.strict if chosen is None else chosen, limits=rules.limits)
    generation = _Generator(environment, evaluator, cache, time.monotonic() + rules.seconds).run()
    cache.whole = None
    if generation.is_complete and not environment.included:
        pins = world.snapshots
        parts = {path: parts_of(world, path) for path in pins.used()}
        cache.whole = _Whole(generation, parts, environment.definition, pins.missed())
    return generation


def strictness(world: World) -> bool | None:
    """Whether references are strict, as module.json's `velocity: {"strict": ...}` says; None when it says nothing."""
    settings = world.snapshot.settings.get("velocity")
    chosen = settings.get("strict") if isinstance(settings, Mapping) else None
    return chosen if isinstance(chosen, bool) else None


class _Generator:
    def __init__(self, environment: EnvironmentView, evaluator: Evaluator, cache: RenderCache, deadline: float) -> None:
        self.environment = environment
        self.evaluator = evaluator
        self.cache = cache
        self.deadline = deadline
        self.files: dict[str, RenderedFile] = {}
        self.origin: dict[str, _Job] = {}
        self.folders: dict[str, _Job] = {}  # that files with a `directory` need
        self.data: dict[str, bytes] = {}
        self.actions: dict[tuple[str, str, str], GeneratedAction] = {}
        self.acting: dict[tuple[str, str], InstanceView] = {}  # instances with actions, or where one failed
        self.circles: set[tuple[str, str, str]] = set()  # attributes of circles that were reported
        self.problems: list[Problem] = list(environment.problems)
        self.renders: dict[RenderKey, _Rendered] = {}
        self.replay = _Replay(environment, evaluator)

    def run(self) -> Generation:
        for job in self._jobs():
            if time.monotonic() > self.deadline:
                message = "generation takes too long; the rest of the environment was not rendered"
                source = f"{self.environment.definition.directory}/environment.json"
                self.problems.append(Problem(source, None, None, "generation_too_slow", message))
                break
            self._write(job)
        else:
            self._check_exports()
        self.cache.entries = self.renders
        files = tuple(self.files[path] for path in sorted(self.files))
        rendered = RenderedEnvironment(content_digest(files), self.environment.directory, files)
        scopes = {path: job.slot.file.save_with for path, job in self.origin.items()}
        return Generation(rendered, self.actions, scopes, tuple(self.problems), self.evaluator)

    def _jobs(self) -> Iterator[_Job]:
        """Instance files first, so that an instance's own file wins over one that is sent to every instance."""
        wide: list[tuple[FileSlot, InstanceView]] = []
        for instance in self.environment.instances():
            for slot in instance.packet.files.values():
                if slot.file.save_with == "CURRENT INSTANCE":
                    yield _Job(slot, instance, instance, instance.container, self._instance_path(instance, slot))
                else:
                    wide.append((slot, instance))
        imposed = self.environment.imposed
        first = [found for container in imposed for found in shared_files(container)]
        last = [
            found
            for container in self.environment.included
            if container not in imposed
            for found in shared_files(container)
        ]
        for slot, instance in [*first, *wide, *last]:
            yield from self._wide_jobs(slot, instance)

    def _wide_jobs(self, slot: FileSlot, owner: InstanceView) -> Iterator[_Job]:
        target = slot.file.save_with
        root = self.environment.directory
        if target == "EVERY INSTANCE":
            for instance in self.environment.instances():
                if not instance.packet.definition.model.skip_every_instance_files:
                    yield _Job(slot, owner, instance, instance.container, self._instance_path(instance, slot))
        elif target == "EVERY CONTAINER":
            for container in self.environment.containers:
                path = f"{root}/{container.directory}/{names.CONTAINER_AUTO}/{self._name(slot)}"
                yield _Job(slot, owner, owner, container, path)
        elif target == "CURRENT CONTAINER":
            path = f"{root}/{owner.container.directory}/{names.CONTAINER_AUTO}/{self._name(slot)}"
            yield _Job(slot, owner, owner, owner.container, path)
        else:
            yield _Job(slot, owner, owner, owner.container, f"{root}/{names.ENVIRONMENT_AUTO}/{self._name(slot)}")

    def _instance_path(self, instance: InstanceView, slot: FileSlot) -> str:
        return f"{self.environment.directory}/{instance.container.directory}/{instance.directory}/{self._name(slot)}"

    def _name(self, slot: FileSlot) -> str:
        parts = [part for part in (slot.file.directory or "").split("/") if part]
        safe = [part for part in parts if names.is_safe_file_name(part)]
        return "/".join([*safe, slot.file.filename]) if len(safe) == len(parts) else slot.file.filename

    def _write(self, job: _Job) -> None:
        if job.slot.entry is None or not names.is_safe_file_name(job.slot.file.filename):
            return  # reported when the module was loaded
        made = self._content(job)
        if made is None:
            if job.slot.file.executable and job.slot.file.save_with in INSTANCE_SCOPES:
                self.acting[job.container.id, job.instance.id] = job.instance
            return
        content, control = made
        if is_true(control.get("skip_file_creation")):
            return
        other = self._in_the_way(job)
        if other is not None:
            if other.path != job.path or self.files[job.path].content != content:
                taken = "is also" if other.path == job.path else f"cannot be written, because '{other.path}' is"
                message = f"'{job.path}' {taken} written by instance '{other.owner.label}'; that one is kept"
                self._problem(job, "file_collision", message, severity="warning")
            return
        executable = job.slot.file.executable
        self.origin[job.path] = job
        self.folders.update((folder, job) for folder in job.folders if folder not in self.folders)
        self.files[job.path] = RenderedFile(job.path, content, executable)
        if executable and job.slot.file.save_with in INSTANCE_SCOPES:
            self._add_action(job, control)

    def _in_the_way(self, job: _Job) -> _Job | None:
        """Give what is written at the path of a file already, as a file, or as a directory of one of the two."""
        taken = self.origin.get(job.path) or self.folders.get(job.path)
        return taken or next((self.origin[folder] for folder in job.folders if folder in self.origin), None)

    def _add_action(self, job: _Job, control: Mapping[str, object]) -> None:
        if is_true(control.get("skip_action_creation")):
            return
        file = job.slot.file
        caption = str(control.get("menu_caption") or file.menu_caption or file.filename)
        label = str(control.get("action_instance_label") or job.instance.label)
        key = (job.container.id, job.instance.id, file.filename)
        self.acting[key[:2]] = job.instance
        self.actions[key] = GeneratedAction(*key, job.path, caption, label, job.slot, job.owner.packet.path)

    def _content(self, job: _Job) -> tuple[bytes, Mapping[str, object]] | None:
        entry = job.slot.entry
        assert entry is not None  # noqa: S101 - checked by the caller
        data = self.data.get(entry.oid)
        if data is None:
            data = self.data[entry.oid] = job.slot.snapshot.read(entry.oid)
        if not job.slot.file.parse_with_velocity and b"<INCLUDE" not in data:
            return data, {}
        try:
            source = include(data.decode(), job.slot, job.owner)
        except UnicodeDecodeError as error:
            self._problem(job, "not_text", f"byte {error.start} is not UTF-8, so the file cannot be a template")
            return None
        except IncludeFailed as error:
            self._problem(job, "unknown_include", str(error), line=error.line)
            return None
        if not job.slot.file.parse_with_velocity:
            return source.encode(), {}
        return self._render(job, source)

    def _render(self, job: _Job, source: str) -> tuple[bytes, Mapping[str, object]] | None:
        strict = self.evaluator.strict
        known = self.cache.entries.get(job.key)
        try:
            if known is None or known.source != source or known.strict != strict or not self.replay.holds(known.trace):
                known = self._render_now(job, source)
        except velocity.VelocityError as error:
            self._template_problem(job, error)
            return None
        self.renders[job.key] = known
        return known.content, known.control

    def _render_now(self, job: _Job, source: str) -> _Rendered:
        reads = Reads()
        context = InstanceContext(job.instance, job.container, Scope(self.evaluator, reads), self.environment)
        template = compile_once(source, job.slot.file.filename)
        result = template.render(context, strict=self.evaluator.strict, limits=self.evaluator.limits)
        control = {name: result.assigned[name] for name in CONTROL_VARIABLES if name in result.assigned}
        content = result.text.encode(errors="replace")  # half of a character, as substring() can give, becomes `?`
        return _Rendered(source, self.evaluator.strict, tuple(reads.trace), content, control)

    def _check_exports(self) -> None:
        """Report the attributes that do not render and that no file read: actions get them as variables."""
        checked: set[tuple[str, str, str]] = set()
        for view in self.acting.values():
            for name, owner in self.evaluator.owners_of_exports(view).items():
                key = (owner.container.id, owner.id, name)
                if key in checked or key in self.circles:
                    continue
                checked.add(key)
                try:
                    self.evaluator.own(owner, name)
                except AttributeFailed as error:
                    self._failed(innermost(error) or error)

    def _template_problem(self, job: _Job, error: velocity.VelocityError) -> None:
        """Report where it really is: in the file, or in the attribute that the file read."""
        failed = innermost(error)
        if failed is None:
            entry = job.slot.entry
            path = entry.path if entry else job.path
            self._add(job.instance.problem(path, "template_failed", str(error), line=error.line, column=error.column))
        else:
            self._failed(failed)

    def _failed(self, failed: AttributeFailed) -> None:
        """Report an attribute's value that does not render; a circle of attributes once."""
        cause, view = failed.cause, failed.view
        if isinstance(cause.__cause__, AttributeCircle):
            if cause.__cause__.steps <= self.circles:
                return
            self.circles |= cause.__cause__.steps
        place, message = view.source_file, str(cause)
        self._add(
            view.problem(place, "template_failed", message, line=cause.line, column=cause.column, attribute=failed.name)
        )

    def _add(self, problem: Problem) -> None:
        if problem not in self.problems:
            self.problems.append(problem)

    def _problem(
        self,
        job: _Job,
        code: str,
        message: str,
        *,
        line: int | None = None,
        severity: Literal["error", "warning"] = "error",
    ) -> None:
        path = job.slot.entry.path if job.slot.entry else job.path
        self.problems.append(job.instance.problem(path, code, message, line=line, severity=severity))


def innermost(error: BaseException) -> AttributeFailed | None:
    """Give the attribute where an error began, if it was one."""
    found: AttributeFailed | None = None
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, AttributeFailed):
            found = inner
        inner = inner.__cause__
    return found


class _Replay:
    """Asks the questions of an earlier render again, in this environment."""

    def __init__(self, environment: EnvironmentView, evaluator: Evaluator) -> None:
        self.environment = environment
        self.scope = Scope(evaluator, Reads())
        self.objects: dict[object, WorldObject] | None = None

    def holds(self, trace: tuple[tuple[object, ...], ...]) -> bool:
        """Whether every answer is the same as then."""
        for key, method, arguments, answer in trace:
            target = self._target(key)
            if target is None or not isinstance(arguments, tuple):
                return False
            try:
                found = getattr(type(target), str(method))(target, *arguments)
            except (TemplateProblem, AttributeFailed, TypeError):
                return False
            self.scope.reads.trace.clear()
            if fingerprint(found) != answer:
                return False
        return True

    def _target(self, key: object) -> object | None:
        if self.objects is None:
            found: list[WorldObject] = [EnvironmentObject(self.environment, self.scope)]
            for place in [*self.environment.containers, *self.environment.included]:
                found.append(ContainerObject(place, self.scope))
                found += [InstanceObject(view, self.scope) for view in place.instances()]
            self.objects = {item.key: item for item in found}
        if isinstance(key, tuple) and key[0] == InstanceContext.KEY[0]:
            owner = self.objects.get(("instance", *key[1:3]))
            container = self.objects.get(("container", key[3]))
            if isinstance(owner, InstanceObject) and isinstance(container, ContainerObject):
                return InstanceContext(owner.view, container.view, self.scope, self.environment)
            return None
        return self.objects.get(key)


def shared_files(container: ContainerView) -> Iterator[tuple[FileSlot, InstanceView]]:
    """Give the files of an included container that are written in the environments that see it."""
    for view in container.instances():
        for slot in view.packet.files.values():
            if slot.file.save_with not in {"CURRENT INSTANCE", "CURRENT CONTAINER"}:
                yield slot, view


class IncludeFailed(Exception):  # noqa: N818 - reads as what happened
    """A `<INCLUDE name>` line names no file, or files include one another without end."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line


def include(text: str, slot: FileSlot, owner: InstanceView) -> str:
    """Put the files that `<INCLUDE name>` lines name in their place; names are `includeName`s, else file names."""
    budget = MAX_INCLUDES
    while (found := INCLUDE.search(text)) is not None:
        name = found.group(1)
        line = text.count("\n", 0, found.start()) + 1
        budget -= 1
        if budget < 0:
            raise IncludeFailed(f"'{slot.file.filename}' includes more than {MAX_INCLUDES} files; a circle?", line)
        other = owner.packet.includes.get(name) or owner.packet.files.get(name)
        if other is None or other.entry is None:
            raise IncludeFailed(f"no file of the packet or its parents has the include name '{name}'", line)
        body = other.snapshot.read(other.entry.oid).decode()
        text = text[: found.start()] + body.removesuffix("\n") + text[found.end() :]
    return text


def is_true(value: object) -> bool:
    """Whether a control variable was set to true, as a boolean or as text."""
    return value is True or (isinstance(value, str) and value.lower() in {"true", "1"})


def content_digest(files: tuple[RenderedFile, ...]) -> str:
    """Identify a rendered tree by everything that an action can see of it."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{len(file.path)}:{file.path}:{int(file.executable)}:{len(file.content)}:".encode())
        digest.update(file.content)
    return digest.hexdigest()
