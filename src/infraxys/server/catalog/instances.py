"""Instances of modules: found by where they are, and changed by commits with the rights of who asks."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from infraxys.engine.edits import CannotEdit, Holder, Outcome, Parent, Written, descendants
from infraxys.engine.world import ContainerView, EnvironmentView, InstanceView, World
from infraxys.resources.edit import Author, Change
from infraxys.server.auth.places import Place, Sight, check_place
from infraxys.server.auth.subject import Subject
from infraxys.server.catalog.catalog import Catalog, closest, place
from infraxys.server.catalog.errors import (
    AmbiguousId,
    UnknownBranch,
    UnknownContainer,
    UnknownEnvironment,
    UnknownInstance,
)
from infraxys.server.errors import Forbidden
from infraxys.server.modules.service import Commit, Modules
from infraxys.spec.identity import BranchPath

USUAL_BRANCHES = ("main", "master")
MAX_SEARCHED = 100  # branches that are looked through for an id
READ = "environment.read"
ROLE = "role.modify"
NEEDED = {"created": "instance.create", "updated": "instance.modify"}
T = TypeVar("T")
Edit = Callable[[World, Parent], Outcome]


@dataclass(frozen=True, slots=True)
class Reference:
    """Where an instance is said to be; what is None is not said. The id of a container means its top.

    An instance of a role is named by a container that uses the role or, without an environment, by the role's id.
    """

    branch: str
    instance_id: str
    path: BranchPath | None = None
    environment_id: str | None = None
    container_id: str | None = None

    def means(self, path: BranchPath, view: InstanceView) -> bool:
        """Whether it can mean an instance at a place."""
        container = view.container
        role_id = view.role.model.id if view.role is not None and self.environment_id is None else None
        return (
            self.path in {None, path}
            and self.environment_id in {None, container.environment.id}
            and self.container_id in {None, container.id, role_id}
        )


@dataclass(frozen=True, slots=True)
class Found:
    """An instance, or the top of a container, on a served branch."""

    path: BranchPath
    view: Parent

    @property
    def container(self) -> ContainerView:
        """The container that it is in."""
        return self.view.container if isinstance(self.view, InstanceView) else self.view

    @property
    def place(self) -> Place:
        """Where its environment is, as far as permissions go."""
        return place_of(self.container.environment)

    def again(self, world: World) -> Parent:
        """Find the same in another world. Raises CannotEdit when it is not there."""
        environment = world.snapshot.environments.get(self.container.environment.id)
        containers = () if environment is None else world.environment(environment.model.id).containers
        for container in containers:
            if container.id == self.container.id:
                if isinstance(self.view, ContainerView):
                    return container
                for instance in container.instances():
                    if instance.id == self.view.id:
                        return instance
        raise CannotEdit("unknown_instance", f"{self.view.id} is not there any more")


class Instances:
    """Finds and changes instances. Whoever may not know of one is told that there is none."""

    def __init__(self, catalog: Catalog, modules: Modules) -> None:
        self._catalog, self._modules = catalog, modules

    async def find(self, subject: Subject, reference: Reference, grant: str = READ) -> Found:
        """Find an instance or the top of a container. Raises UnknownBranch, UnknownInstance and AmbiguousId."""
        sight = Sight(subject, grant)
        instances, environments = await self._catalog.index(reference.branch, sight)
        found = [
            Found(path, view)
            for path, view in instances.get(reference.instance_id, ())
            if reference.means(path, view) and _sees(sight, view.container)
        ] or [
            Found(path, container)
            for path, container in _containers(environments, reference)
            if _sees(sight, container)
        ]  # fmt: skip
        if not found:
            near = closest(reference.instance_id, instances) if sight.sees_everything else None
            raise UnknownInstance(reference.instance_id, reference.branch, near)
        if len({_file_of(item) for item in found}) > 1:
            places = [place(item.path, item.view) for item in found if isinstance(item.view, InstanceView)]
            raise AmbiguousId("instance", reference.instance_id, places)
        return found[0]

    async def branch_of(self, subject: Subject, container_id: str) -> str:
        """Give the branch that has a container, for calls that name none: a usual one first, then by name.

        Raises UnknownContainer.
        """
        sight = Sight(subject, READ)
        names = {path.branch for path in self._catalog.heads}
        for branch in sorted(names, key=lambda name: (name not in USUAL_BRANCHES, name))[:MAX_SEARCHED]:
            with suppress(UnknownBranch):  # one on which the caller may know of nothing
                _, environments = await self._catalog.index(branch, sight)
                wanted = Reference(branch, container_id)
                if any(_sees(sight, container) for _, container in _containers(environments, wanted)):
                    return branch
        raise UnknownContainer(container_id)

    async def environment(
        self, subject: Subject, branch: str, environment_id: str, grant: str, path: BranchPath | None = None
    ) -> EnvironmentView:
        """Find an environment. Raises UnknownBranch, UnknownEnvironment and AmbiguousId."""
        sight = Sight(subject, grant)
        _, environments = await self._catalog.index(branch, sight)
        found = [
            view
            for at, view in environments.get(environment_id, ())
            if path in {None, at} and sight.environment(place_of(view))
        ]
        if not found:
            near = closest(environment_id, environments) if sight.sees_everything else None
            raise UnknownEnvironment(environment_id, branch, near)
        if len(found) > 1:
            raise AmbiguousId("environment", environment_id, [f"module {view.path.module}" for view in found])
        return found[0]

    async def change(self, subject: Subject, found: Found, edit: Edit, note: str = "") -> Outcome:
        """Change what holds an instance by one commit, and give what that did.

        `edit` is called in a thread, again when somebody else was faster; `note` is added to the commit's message.
        Raises CannotEdit, Forbidden and the problems of `Modules.commit`.
        """
        path = Holder.of(found.view).path
        done: list[Outcome] = []

        def work(world: World) -> Outcome:
            parent = found.again(world)
            outcome = edit(world, parent)
            _allow(subject, found.place, parent, outcome)
            return outcome

        def prepare(head: str) -> Commit:
            done[:] = [self._catalog.look(found.path, work, {path: head})]
            return _commit_of(done[0].files, done[0].message, note)

        await self._modules.commit(path, prepare, author_of(subject), "instance.change", f"instance/{found.view.id}")
        return done[0]

    async def write(
        self,
        subject: Subject,
        path: BranchPath,
        edit: Callable[[World], tuple[str, list[Written]]],
        *,
        what: str,
        note: str = "",
    ) -> str:
        """Make a container or an environment by one commit, and give its id: `edit` gives it with the files.

        Its caller checks the rights. Raises CannotEdit and the problems of `Modules.commit`.
        """
        done: list[str] = []

        def prepare(head: str) -> Commit:
            made, files = self._catalog.look(path, edit, {path: head})
            done[:] = [made]
            return _commit_of(files, what, note)

        await self._modules.commit(path, prepare, author_of(subject), "environment.change", f"module/{path.module}")
        return done[0]

    def look(self, path: BranchPath, work: Callable[[World], T]) -> T:
        """Look at a branch as it is served. Blocks; call it from a thread. Raises UnknownBranch."""
        return self._catalog.look(path, work)

    async def shown(self, found: Found, ids: Iterable[str]) -> list[dict[str, Any]]:
        """Give instances near one that was found, as they are served now, in the order of their ids."""
        wanted = list(ids)
        index, _ = await self._catalog.index(found.path.branch)
        here = (found.path, found.container.id)
        return [
            instance_object(path, view)
            for instance_id in wanted
            for path, view in index.get(instance_id, ())
            if (path, view.container.id) == here
        ]


def instance_object(path: BranchPath, view: InstanceView) -> dict[str, Any]:
    """Write an instance as existing clients read it, with the values as they are stored."""
    return {
        "moduleBranchPath": str(path),
        "environmentId": view.container.environment.id,
        "containerId": view.container.id,
        "id": view.id,
        "packetId": view.packet.id,
        "packetName": view.packet.definition.name,
        "velocityName": view.model.velocity_name,
        "parentId": None if view.parent is None else view.parent.id,
        "attributes": [
            {"id": attribute.id, "name": name, "value": view.values[name]}
            for name, attribute in view.packet.attributes.items()
        ],
    }


def select(parent: Parent, wanted: Mapping[str, Any], *, recursive: bool = False) -> list[InstanceView]:
    """Give the instances below that are as wanted: `packetType`, `packetGuid`, `packetKey`, an attribute's value."""
    name, value = wanted.get("attributeName"), wanted.get("attributeValue")
    return [
        view
        for view in descendants(parent, recursive=recursive)
        if (not wanted.get("packetType") or view.packet.has_type(wanted["packetType"]))
        and (not wanted.get("packetGuid") or _is_packet(view, wanted["packetGuid"]))
        and (not wanted.get("packetKey") or view.packet.definition.model.key == wanted["packetKey"])
        and (not name or view.values.get(name) == ("" if value is None else value))
    ]


def _is_packet(view: InstanceView, reference: str) -> bool:
    written = f"{view.packet.path}\\{view.packet.definition.name}".lower()
    return reference.strip() == view.packet.id or reference.strip().lower() == written


def _containers(
    environments: Mapping[str, tuple[tuple[BranchPath, EnvironmentView], ...]], reference: Reference
) -> Iterable[tuple[BranchPath, ContainerView]]:
    for environment_id, places in environments.items():
        if reference.environment_id in {None, environment_id}:
            for path, environment in places:
                if reference.path in {None, path}:
                    yield from (
                        (path, container)
                        for container in environment.containers
                        if container.id == reference.instance_id
                    )


def _file_of(found: Found) -> tuple[BranchPath, str]:
    holder = Holder.of(found.view)
    return holder.path, holder.file


def place_of(environment: EnvironmentView) -> Place:
    """Give where an environment is, as far as permissions go."""
    return Place(str(environment.path.module), environment.path.branch, environment.id)


def _sees(sight: Sight, container: ContainerView) -> bool:
    return sight.sees_everything or sight.container(place_of(container.environment), container.id)


def _allow(subject: Subject, place: Place, parent: Parent, outcome: Outcome) -> None:
    """Refuse an edit that the caller may not make. Raises Forbidden."""
    container = parent.container if isinstance(parent, InstanceView) else parent
    needed = {NEEDED[action] for action in outcome.actions if action in NEEDED}
    if outcome.removed:
        needed.add("instance.delete")
    for grant in sorted(needed):
        check_place(subject, grant, place, [container.id])
    if needed and isinstance(parent, InstanceView) and parent.role is not None and not subject.may(ROLE):
        raise Forbidden(ROLE)


def _commit_of(files: Iterable[Written], message: str, note: str) -> Commit:
    changes = tuple(Change(item.file, item.data) for item in files)
    return Commit(changes, f"{message}\n\n{note}\n" if note else f"{message}\n")


def author_of(subject: Subject) -> Author:
    """Give who a commit of a caller is from."""
    email = subject.name if "@" in subject.name else f"{subject.name}@localhost"
    return Author(subject.display_name or subject.name, email)
