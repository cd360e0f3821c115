"""Which action or workflow a request means, at which commit, and the plan for it. Warm answers are look-ups."""

import asyncio
import difflib
import itertools
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from cachetools import LRUCache

from infraxys.engine.evaluate import Rules
from infraxys.engine.lint import lint
from infraxys.engine.lists import ValueList, value_list
from infraxys.engine.pins import LoadSnapshot, Pins
from infraxys.engine.plan import Plan
from infraxys.engine.planner import CannotPlan, StepTarget, find_action, make_plan, workflow_targets
from infraxys.engine.render import DEFAULT_RULES, Generation, RenderCache, generate
from infraxys.engine.world import EnvironmentView, InstanceView, World
from infraxys.server.auth.places import Place, Sight
from infraxys.server.auth.rights import IncludedContainer
from infraxys.server.catalog.errors import (
    AmbiguousId,
    EmptyWorkflow,
    GenerationFailed,
    NotExecutable,
    NoValues,
    UnknownAttribute,
    UnknownBranch,
    UnknownEnvironment,
    UnknownFile,
    UnknownInstance,
    UnknownWorkflow,
    narrowed,
)
from infraxys.server.errors import Problem as Refusal
from infraxys.spec.identity import BranchPath, ModuleId
from infraxys.spec.problem import Problem
from infraxys.spec.snapshot import Dependency

T = TypeVar("T")
V = TypeVar("V", EnvironmentView, InstanceView)
MAX_BRANCHES = 256  # resolved branches kept in memory
MAX_PLANS = 4096  # plans kept per branch
# A generation that failed is tried again after this: a machine that was too busy for its time limits may be so no more.
RETRY_SECONDS = 30.0
MAX_SUGGESTIONS = 5000  # ids compared when looking for the closest match


@dataclass(frozen=True, slots=True)
class Target:
    """What a request asks to execute: resolved to a branch and its commit, not yet planned."""

    kind: Literal["action", "workflow", "adhoc"]
    path: BranchPath
    commit: str
    environment_id: str
    steps: tuple[StepTarget, ...]
    workflow_id: str | None = None
    included: tuple[IncludedContainer, ...] = ()

    @property
    def place(self) -> Place:
        """Where its environment is, as far as permissions go."""
        return Place(str(self.path.module), self.path.branch, self.environment_id)


@dataclass(frozen=True, slots=True)
class Checked:
    """An environment generated at a commit, with the findings beyond those of generation."""

    commit: str
    environment: EnvironmentView
    generation: Generation
    warnings: tuple[Problem, ...]


@dataclass(slots=True)
class _Branch:
    """A branch as resolved at its current commits, with what was made from it."""

    world: World
    pins: Pins
    generations: dict[str, Generation] = field(default_factory=dict)
    included: dict[str, tuple[IncludedContainer, ...]] = field(default_factory=dict)  # by environment, where any are
    retry_at: dict[str, float] = field(default_factory=dict)  # by environment, in monotonic seconds
    checks: dict[str, Checked] = field(default_factory=dict)
    plans: "LRUCache[Target, Plan]" = field(default_factory=lambda: LRUCache(MAX_PLANS))


@dataclass(frozen=True, slots=True)
class _Index:
    """All modules that have a branch of one name, merged: where each id is."""

    instances: Mapping[str, tuple[tuple[BranchPath, InstanceView], ...]]
    environments: Mapping[str, tuple[tuple[BranchPath, EnvironmentView], ...]]


class Catalog:
    """The registered branches, resolved.

    `load` gives a module's snapshot at a commit; `branch_of` tells which branch an entry of module.json means;
    `included_in` which containers of others an environment sees, asked at each request: it must be a look-up; `rules`
    how the installation renders templates.
    Only `set_heads` changes anything. Cold work runs in threads under one lock; warm work is done in place.
    """

    def __init__(
        self,
        load: LoadSnapshot,
        branch_of: Callable[[Dependency], BranchPath | None],
        included_in: Callable[[Place], tuple[IncludedContainer, ...]] = lambda _: (),
        rules: Rules = DEFAULT_RULES,
    ) -> None:
        self._load = load
        self._rules = rules
        self._included_in = included_in
        self._branch_of = branch_of
        self._heads: Mapping[BranchPath, str] = {}
        self._branches: LRUCache[BranchPath, _Branch] = LRUCache(MAX_BRANCHES)
        self._renders: LRUCache[tuple[BranchPath, str], RenderCache] = LRUCache(MAX_BRANCHES)
        self._indexes: dict[str, _Index] = {}
        self._lock = threading.RLock()

    @property
    def heads(self) -> Mapping[BranchPath, str]:
        """The commit that each registered branch is served at."""
        return self._heads

    def set_heads(self, heads: Mapping[BranchPath, str]) -> None:
        """Serve these commits from now on. What did not change stays resolved."""
        with self._lock:
            self._heads = dict(heads)
            self._indexes = {}
            for path, branch in list(self._branches.items()):
                if path not in heads or not branch.pins.hold_for(heads):
                    del self._branches[path]

    async def find_action(
        self,
        branch: str,
        instance_id: str,
        filename: str,
        *,
        module: str | None = None,
        container_id: str | None = None,
        environment_id: str | None = None,
        sight: Sight | None = None,
    ) -> Target:
        """Find the one place of an instance on the branches of that name. Raises the 404s and 409s of the API.

        What `sight` does not see is not there, here and in the other look-ups.
        """
        index = await self._index(branch, sight)
        places = [
            (path, view)
            for path, view in index.instances.get(instance_id, ())
            if (module is None or str(path.module) == module)
            and (container_id is None or view.container.id == container_id)
            and (environment_id is None or view.container.environment.id == environment_id)
            and sees_instance(sight, path, view)
        ]
        if not places:
            check_branch(index, branch, sight)
            where = narrowed(module=module, environment=environment_id, container=container_id)
            near = None if where else closest(instance_id, seen(index.instances, sees_instance, sight))
            raise UnknownInstance(instance_id, branch, near, where)
        if len(places) > 1:
            raise AmbiguousId("instance", instance_id, [place(path, view) for path, view in places])
        path, view = places[0]
        step = StepTarget(view.container.id, instance_id, filename)
        return self._target("action", path, view.container.environment.id, (step,))

    async def find_workflow(
        self,
        branch: str,
        environment_id: str,
        workflow_id: str,
        *,
        module: str | None = None,
        sight: Sight | None = None,
    ) -> Target:
        """Find a workflow of an environment."""
        path, environment = await self._environment(branch, environment_id, module, sight)
        for workflow in environment.definition.model.workflows:
            if workflow.id == workflow_id:
                try:
                    steps = tuple(workflow_targets(environment, workflow))
                except CannotPlan as error:
                    raise _refusal(error, branch) from error
                return self._target("workflow", path, environment_id, steps, workflow_id)
        known = [workflow.id for workflow in environment.definition.model.workflows]
        raise UnknownWorkflow(workflow_id, environment.name, closest(workflow_id, known))

    async def find_adhoc(
        self,
        branch: str,
        environment_id: str,
        steps: Iterable[StepTarget],
        *,
        module: str | None = None,
        sight: Sight | None = None,
    ) -> Target:
        """Find an environment for a sequence of actions that the caller lists."""
        path, environment = await self._environment(branch, environment_id, module, sight)
        target = self._target("adhoc", path, environment_id, tuple(steps))
        for step in target.steps:
            if sight is not None and not sight.container(target.place, step.container_id):
                message = f"environment '{environment.name}' has no container '{step.container_id}'"
                raise UnknownInstance.because(message, branch)
        return target

    def _target(
        self,
        kind: Literal["action", "workflow", "adhoc"],
        path: BranchPath,
        environment_id: str,
        steps: tuple[StepTarget, ...],
        workflow_id: str | None = None,
    ) -> Target:
        included = self._included_in(Place(str(path.module), path.branch, environment_id))
        return Target(kind, path, self._heads[path], environment_id, steps, workflow_id, included)

    async def plan(self, target: Target) -> Plan:
        """Give the plan of a target; kept while its commits stay. Raises 404, 409 and 422 problems."""
        branch = self._branches.get(target.path)
        plan = branch.plans.get(target) if branch else None
        return plan if plan is not None else await asyncio.to_thread(self._plan_cold, target)

    def replan(self, target: Target, commits: Mapping[BranchPath, str]) -> Plan:
        """Make the plan again from the commits that a run pinned. Blocks; call it from a thread."""
        pins = Pins(commits, self._load)
        return self._plan_once(pins, target)

    async def check(self, path: BranchPath, environment_id: str) -> Checked:
        """Render an environment of a served branch and look for what is not meant; kept. Raises KeyError."""
        return await asyncio.to_thread(self._check_cold, path, environment_id)

    async def value_list(self, path: BranchPath, environment_id: str, target: StepTarget, name: str) -> ValueList:
        """Resolve the values that an attribute of an instance offers. Raises 404, 409 and 422 problems."""
        return await asyncio.to_thread(self._value_list, path, environment_id, target, name)

    def _value_list(self, path: BranchPath, environment_id: str, target: StepTarget, name: str) -> ValueList:
        with self._lock:
            branch = self._branch(path)
            if environment_id not in branch.world.snapshot.environments:
                raise UnknownEnvironment(environment_id, path.branch, None)
            included = self._included_in(Place(str(path.module), path.branch, environment_id))
            generation = self._generation(branch, environment_id, included)
            environment = branch.world.environment(environment_id)
            try:
                return value_list(branch.world, environment, generation, target, name)
            except CannotPlan as error:
                raise _refusal(error, path.branch) from error

    async def index(
        self, branch: str, sight: Sight | None = None
    ) -> tuple[
        Mapping[str, tuple[tuple[BranchPath, InstanceView], ...]],
        Mapping[str, tuple[tuple[BranchPath, EnvironmentView], ...]],
    ]:
        """Give where each instance and each environment is on the branches of that name. Raises UnknownBranch."""
        index = await self._index(branch, sight)
        check_branch(index, branch, sight)
        return index.instances, index.environments

    def look(self, path: BranchPath, work: Callable[[World], T], commits: Mapping[BranchPath, str] | None = None) -> T:
        """Do something with the world of a served branch, with some branches at other commits than those served.

        Blocks; call it from a thread. Raises UnknownBranch.
        """
        with self._lock:
            heads = {**self._heads, **(commits or {})}
            if path not in heads:
                raise UnknownBranch(path.branch, None)
            if heads == self._heads:
                return work(self._branch(path).world)
            return work(World(path, Pins(heads, self._load), self._branch_of))

    async def warm_up(self) -> None:
        """Resolve every branch, so that the first request need not."""
        for name in sorted({path.branch for path in self._heads}):
            await self._index(name)

    def _check_cold(self, path: BranchPath, environment_id: str) -> Checked:
        with self._lock:
            branch = self._branch(path)
            included = self._included_in(Place(str(path.module), path.branch, environment_id))
            generation = self._generation(branch, environment_id, included)
            checked = branch.checks.get(environment_id)
            if checked is None or checked.generation is not generation:
                environment = branch.world.environment(environment_id)
                warnings = tuple(lint(branch.world, environment, generation))
                checked = Checked(self._heads[path], environment, generation, warnings)
                branch.checks[environment_id] = checked
            return checked

    async def _environment(
        self, branch: str, environment_id: str, module: str | None, sight: Sight | None
    ) -> tuple[BranchPath, EnvironmentView]:
        index = await self._index(branch, sight)
        found = index.environments.get(environment_id, ())
        places = [
            (path, view)
            for path, view in found
            if (module is None or str(path.module) == module) and sees_environment(sight, path, view)
        ]
        if not places:
            check_branch(index, branch, sight)
            known = seen(index.environments, sees_environment, sight)
            near = None if module else closest(environment_id, known)
            raise UnknownEnvironment(environment_id, branch, near, narrowed(module=module))
        if len(places) > 1:
            candidates = [f"module {path.module}, environment '{view.name}'" for path, view in places]
            raise AmbiguousId("environment", environment_id, candidates)
        return places[0]

    async def _index(self, branch: str, sight: Sight | None = None) -> _Index:
        index = self._indexes.get(branch)
        if index is not None:
            return index
        try:
            return await asyncio.to_thread(self._build_index, branch)
        except UnknownBranch:
            if sight is None or sight.sees_everything:
                raise
            raise UnknownBranch(branch, None) from None  # the closest one may be none of the caller's

    def _build_index(self, branch: str) -> _Index:
        with self._lock:
            known = self._indexes.get(branch)
            if known is not None:
                return known
            paths = sorted(path for path in self._heads if path.branch == branch)
            if not paths:
                raise UnknownBranch(branch, closest(branch, {path.branch for path in self._heads}))
            instances: dict[str, list[tuple[BranchPath, InstanceView]]] = {}
            environments: dict[str, list[tuple[BranchPath, EnvironmentView]]] = {}
            for path in paths:
                world = self._branch(path).world
                for environment_id in world.snapshot.environments:
                    environments.setdefault(environment_id, []).append((path, world.environment(environment_id)))
                for instance_id, views in world.instances.items():
                    instances.setdefault(instance_id, []).extend((path, view) for view in views)
            index = _Index(
                {key: tuple(value) for key, value in instances.items()},
                {key: tuple(value) for key, value in environments.items()},
            )
            self._indexes[branch] = index
            return index

    def _branch(self, path: BranchPath) -> _Branch:
        branch = self._branches.get(path)
        if branch is None:
            pins = Pins(self._heads, self._load)
            branch = self._branches[path] = _Branch(World(path, pins, self._branch_of), pins)
        return branch

    def _generation(self, branch: _Branch, environment_id: str, included: tuple[IncludedContainer, ...]) -> Generation:
        if branch.included.get(environment_id, ()) != included:
            self._include(branch.world, environment_id, included)
            branch.included[environment_id] = included
            branch.generations.pop(environment_id, None)
        generation = branch.generations.get(environment_id)
        if generation is None or (not generation.is_complete and time.monotonic() >= branch.retry_at[environment_id]):
            key = (branch.world.root, environment_id)
            renders = self._renders.setdefault(key, RenderCache())
            generation = generate(branch.world, environment_id, renders, self._rules)
            branch.generations[environment_id] = generation
            branch.retry_at[environment_id] = time.monotonic() + RETRY_SECONDS
        return generation

    def _plan_cold(self, target: Target) -> Plan:
        with self._lock:
            if self._heads.get(target.path) != target.commit:
                # The branch moved between finding and planning: plan what was found.
                pins = Pins({**self._heads, target.path: target.commit}, self._load)
                return self._plan_once(pins, target)
            branch = self._branch(target.path)
            generation = self._generation(branch, target.environment_id, target.included)
            plan = self._make_plan(branch.world, generation, target)
            branch.plans[target] = plan
            return plan

    def _plan_once(self, pins: Pins, target: Target) -> Plan:
        world = World(target.path, pins, self._branch_of)
        if target.included:
            self._include(world, target.environment_id, target.included)
        return self._make_plan(world, generate(world, target.environment_id, rules=self._rules), target)

    def _include(self, world: World, environment_id: str, included: tuple[IncludedContainer, ...]) -> None:
        """Show containers of others to an environment. What is not on the served branches any more is left out."""
        worlds: dict[BranchPath, World] = {world.root: world}
        found, imposed = [], set()
        for item in included:
            path = BranchPath(ModuleId.parse(item.module), item.branch)
            try:
                other = worlds.setdefault(path, World(path, world.snapshots, self._branch_of))
                containers = other.environment(item.environment_id).containers
            except KeyError:
                continue
            views = [view for view in containers if view.id == item.container_id]
            found += views
            imposed |= {view.id for view in views if not item.allow_overrides}
        world.include(environment_id, found, imposed)

    def _make_plan(self, world: World, generation: Generation, target: Target) -> Plan:
        environment = world.environment(target.environment_id)
        workflow = next(
            (item for item in environment.definition.model.workflows if item.id == target.workflow_id), None
        )
        try:
            for step in target.steps:
                self._check_action(environment, generation, step)
            if not generation.is_complete:
                raise GenerationFailed(environment.name, generation.problems)
            return make_plan(world, environment, generation, target.steps, kind=target.kind, workflow=workflow)
        except CannotPlan as error:
            raise _refusal(error, target.path.branch) from error

    def _check_action(self, environment: EnvironmentView, generation: Generation, step: StepTarget) -> None:
        """Say that a file is unknown or not executable before saying that something else does not render."""
        instance = next(
            (
                view
                for container in environment.containers
                if container.id == step.container_id
                for view in container.instances()
                if view.id == step.instance_id
            ),
            None,
        )
        slot = instance.packet.files.get(step.filename) if instance else None
        if instance is not None and (slot is None or not slot.file.executable):
            find_action(instance, generation, step.filename)


def sees_environment(sight: Sight | None, path: BranchPath, view: EnvironmentView) -> bool:
    """Whether a caller may know of an environment."""
    return sight is None or sight.environment(Place(str(path.module), path.branch, view.id))


def sees_instance(sight: Sight | None, path: BranchPath, view: InstanceView) -> bool:
    """Whether a caller may know of an instance."""
    if sight is None or sight.sees_everything:
        return True
    container = view.container
    return sight.container(Place(str(path.module), path.branch, container.environment.id), container.id)


def seen(
    index: Mapping[str, tuple[tuple[BranchPath, V], ...]],
    sees: Callable[[Sight | None, BranchPath, V], bool],
    sight: Sight | None,
) -> Iterable[str]:
    """Give the ids, of a bounded number, that a caller may know of."""
    for wanted, places in itertools.islice(index.items(), MAX_SUGGESTIONS):
        if any(sees(sight, path, view) for path, view in places):
            yield wanted


def check_branch(index: _Index, branch: str, sight: Sight | None) -> None:
    """Raise UnknownBranch for a branch on which the caller may know of nothing."""
    if sight is None or sight.sees_everything:
        return
    found = (place for places in index.environments.values() for place in places)
    if not any(sees_environment(sight, path, view) for path, view in found):
        raise UnknownBranch(branch, None)


REFUSALS: Mapping[str, type[Refusal]] = {
    "empty_workflow": EmptyWorkflow,
    "not_executable": NotExecutable,
    "unknown_file": UnknownFile,
    "unknown_attribute": UnknownAttribute,
    "unsupported_source": NoValues,
    "unknown_image": NoValues,
}


def _refusal(error: CannotPlan, branch: str) -> Exception:
    """Translate what cannot be planned into the API's refusal."""
    message = str(error)
    simple = REFUSALS.get(error.code)
    if simple is not None:
        return simple(message)
    if error.code == "generation_failed":
        return GenerationFailed(message, ())
    if error.code in {"unknown_instance", "unknown_container"}:
        return UnknownInstance.because(message, branch)
    return UnknownEnvironment.because(message, branch)


def place(path: BranchPath, view: InstanceView) -> str:
    """Name one of several places of an id so that the caller can choose."""
    container = view.container
    return (
        f"module {path.module}, environment '{container.environment.name}' ({container.environment.id}), "
        f"container '{container.name}' ({container.id})"
    )


def closest(wanted: str, known: Iterable[str]) -> str | None:
    """Find the known id that looks most like the wanted one, among a bounded number."""
    candidates = [item for item, _ in zip(known, range(MAX_SUGGESTIONS), strict=False)]
    return next(iter(difflib.get_close_matches(wanted[:200], candidates, n=1, cutoff=0.7)), None)
