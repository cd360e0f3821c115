"""A module branch seen with everything it refers to: packets inherited, roles put in their containers, ids indexed.

Nothing is rendered here. A `World` belongs to one set of commits and never changes; it is shared by threads.
"""

from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from infraxys.engine.pins import Pins
from infraxys.spec import names
from infraxys.spec.identity import BranchPath
from infraxys.spec.models import Instance, PacketAttribute, PacketFile
from infraxys.spec.problem import Problem
from infraxys.spec.snapshot import (
    ContainerDefinition,
    Dependency,
    EnvironmentDefinition,
    FileEntry,
    PacketDefinition,
    RoleDefinition,
    Snapshot,
)

MAX_DEPTH = 100  # nesting of instances; deeper trees are a mistake or an attack


@dataclass(frozen=True, slots=True)
class FileSlot:
    """A packet file as an instance has it: where it is declared and where its bytes are."""

    file: PacketFile
    entry: FileEntry | None
    packet: PacketDefinition
    snapshot: Snapshot


@dataclass(frozen=True, slots=True)
class PacketView:
    """A packet with what it inherits: own before inherited, first parent first, diamonds once."""

    definition: PacketDefinition
    path: BranchPath
    lineage: tuple[PacketDefinition, ...]
    branches: tuple[BranchPath, ...]  # where each of the lineage is
    attributes: Mapping[str, PacketAttribute]
    files: Mapping[str, FileSlot]
    includes: Mapping[str, FileSlot]

    @property
    def id(self) -> str:
        """The packet's id."""
        return self.definition.model.id

    def has_type(self, packet_type: str) -> bool:
        """Whether the packet or one of its ancestors has the type."""
        return any(packet.model.type == packet_type for packet in self.lineage)


@dataclass(slots=True, eq=False)
class InstanceView:
    """An instance at its place in a container's tree; role instances look like any other."""

    model: Instance
    packet: PacketView
    container: "ContainerView"
    parent: "InstanceView | None"
    role: RoleDefinition | None
    source_file: str
    path: BranchPath  # the branch that `source_file` is on
    values: Mapping[str, str]
    label: str
    directory: str
    children: list["InstanceView"] = field(default_factory=list)

    @property
    def id(self) -> str:
        """The instance's id: unique in its container."""
        return self.model.id

    @property
    def where(self) -> str:
        """How messages name this instance."""
        return f"container '{self.container.name}', instance '{self.label}'"

    def problem(
        self,
        file: str,
        code: str,
        message: str,
        *,
        line: int | None = None,
        column: int | None = None,
        severity: Literal["error", "warning"] = "error",
        attribute: str = "",
    ) -> Problem:
        """Say what is wrong with this instance."""
        where = f"{self.where}, attribute '{attribute}'" if attribute else self.where
        place = (self.container.id, self.id, attribute)
        return Problem(file, line, column, code, message, severity, where, *place)

    def ancestors(self) -> Iterator["InstanceView"]:
        """Parent, grandparent and so on."""
        above = self.parent
        while above is not None:
            yield above
            above = above.parent

    def descendants(self) -> Iterator["InstanceView"]:
        """All instances below, depth first."""
        for child in self.children:
            yield child
            yield from child.descendants()


@dataclass(slots=True, eq=False)
class ContainerView:
    """A container with the instances of its roles (in the order of the roles) and its own."""

    definition: ContainerDefinition
    environment: "EnvironmentView"
    directory: str
    roots: list[InstanceView] = field(default_factory=list)

    @property
    def id(self) -> str:
        """The container's id."""
        return self.definition.model.id

    @property
    def name(self) -> str:
        """The container's name."""
        return self.definition.name

    def instances(self) -> Iterator[InstanceView]:
        """Every instance, depth first."""
        for root in self.roots:
            yield root
            yield from root.descendants()


@dataclass(slots=True, eq=False)
class EnvironmentView:
    """An environment: the unit of velocity names and of generation."""

    definition: EnvironmentDefinition
    path: BranchPath
    directory: str
    containers: list[ContainerView] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    # Containers of other environments that the project includes: seen by velocity names and scoped attributes.
    included: list[ContainerView] = field(default_factory=list)
    # Those of them that the environment cannot override: what they have counts before its own.
    imposed: list[ContainerView] = field(default_factory=list)
    by_velocity_name: dict[str, InstanceView] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """The environment's id."""
        return self.definition.model.id

    @property
    def name(self) -> str:
        """The environment's name."""
        return self.definition.name

    def files_of_every_instance(self) -> Iterator[FileSlot]:
        """Give the files that instances, also of included containers, put beside every instance."""
        for container in (*self.containers, *self.included):
            for instance in container.instances():
                yield from (slot for slot in instance.packet.files.values() if slot.file.save_with == "EVERY INSTANCE")

    def instances(self) -> Iterator[InstanceView]:
        """Every instance of the environment's own containers."""
        for container in self.containers:
            yield from container.instances()


class World:
    """One module branch (`root`) with the snapshots it refers to.

    `branch_of` says which branch path an entry of module.json means (None for a URL that cannot be one).
    References of the root module to itself mean the root's own branch, whatever branch they were written on, so that
    a copied branch works on its own files (docs/decisions/0004).
    """

    def __init__(
        self,
        root: BranchPath,
        snapshots: Pins,
        branch_of: Callable[[Dependency], BranchPath | None],
    ) -> None:
        self.root = root
        self.snapshots = snapshots
        self._branch_of = branch_of
        self._packets: dict[tuple[BranchPath, str], PacketView] = {}
        self._environments: dict[str, EnvironmentView] = {}

    @property
    def snapshot(self) -> Snapshot:
        """The root's own snapshot."""
        return self.snapshots[self.root]

    def environment(self, environment_id: str) -> EnvironmentView:
        """Resolve an environment of the root; kept. Raises KeyError."""
        view = self._environments.get(environment_id)
        if view is None:
            view = _EnvironmentBuilder(self, self.snapshot.environments[environment_id]).build()
            self._environments[environment_id] = view
        return view

    def include(
        self, environment_id: str, containers: Iterable[ContainerView], imposed: Container[str] = frozenset()
    ) -> None:
        """Show containers of other environments to one of the root, before it is generated. Raises KeyError.

        Their velocity names and scoped attributes are seen there, and their widely saved files are written there; what
        the environment has itself counts first: of a container that it has itself, another copy is not included.
        Those with an id in `imposed` count before what the environment has.
        """
        self._environments.pop(environment_id, None)  # what was included before is not any more
        view = self.environment(environment_id)
        known = {container.id for container in view.containers}
        for container in containers:
            if container.id not in known:
                known.add(container.id)
                view.included.append(container)
        view.imposed = [container for container in view.included if container.id in imposed]
        for container in reversed(view.imposed):
            for instance in container.instances():
                if instance.model.velocity_name:
                    view.by_velocity_name[instance.model.velocity_name] = instance
        for container in view.included:
            if container.id not in imposed:
                for instance in container.instances():
                    name_instance(view, instance)

    def includes(self, environment_id: str) -> bool:
        """Whether an environment sees containers of others."""
        view = self._environments.get(environment_id)
        return view is not None and bool(view.included)

    @cached_property
    def instances(self) -> Mapping[str, tuple[InstanceView, ...]]:
        """Every place of every instance id, role instances included."""
        places: dict[str, list[InstanceView]] = {}
        for environment_id in self.snapshot.environments:
            for instance in self.environment(environment_id).instances():
                places.setdefault(instance.id, []).append(instance)
        return {key: tuple(found) for key, found in places.items()}

    def dependencies(self, path: BranchPath) -> tuple[BranchPath, ...]:
        """Give the branch itself and everything that it enables, in the order of module.json, each once.

        The same URL and branch is not visited twice; another branch of the same URL is.
        """
        found: dict[BranchPath, None] = {}
        waiting = [path]
        while waiting:
            current = waiting.pop(0)
            if current in found or current not in self.snapshots:
                continue
            found[current] = None
            branches = (self._branch_of(dependency) for dependency in self.snapshots[current].dependencies)
            waiting += [branch for branch in branches if branch is not None]
        return tuple(found)

    def candidates(self, written: str | None, base: BranchPath) -> list[BranchPath]:
        """Where to look for something that a file of `base` refers to by the path `written`, best first."""
        try:
            path = BranchPath.parse(written) if written else base
        except ValueError:
            path = base
        found = [path]
        if path.module == base.module:
            found.insert(0, base)
        elif path not in self.snapshots:
            # Legacy references are in lower case.
            wanted = str(path).lower()
            found += [known for known in self.snapshots if str(known).lower() == wanted]
        return [candidate for candidate in dict.fromkeys(found) if candidate in self.snapshots]

    def find_packet(
        self, packet_id: str | None, name: str | None, written: str | None, base: BranchPath
    ) -> PacketView | None:
        """Find a packet by id, or else by name, in the branch that the reference names; or by id, see `elsewhere`."""
        for path in self.candidates(written, base):
            snapshot = self.snapshots[path]
            definition = snapshot.packets.get(packet_id) if packet_id else None
            if definition is None and name:
                definition = snapshot.packets_by_name.get(name.lower())
            if definition is not None:
                return self._packet_view(path, definition)
        for path in self.elsewhere(packet_id, written, base):
            definition = self.snapshots[path].packets.get(packet_id or "")
            if definition is not None:
                return self._packet_view(path, definition)
        return None

    def find_role(
        self, role_id: str | None, name: str | None, written: str | None, base: BranchPath
    ) -> tuple[BranchPath, RoleDefinition] | None:
        """Find a role by id, or else by name, in the branch that the reference names; or by id, see `elsewhere`."""
        for path in self.candidates(written, base):
            snapshot = self.snapshots[path]
            role = snapshot.roles.get(role_id) if role_id else None
            if role is None and name:
                role = snapshot.roles_by_name.get(name.lower())
            if role is not None:
                return path, role
        for path in self.elsewhere(role_id, written, base):
            role = self.snapshots[path].roles.get(role_id or "")
            if role is not None:
                return path, role
        return None

    def elsewhere(self, wanted_id: str | None, written: str | None, base: BranchPath) -> Iterator[BranchPath]:
        """Give where else an id may be: in `base`, in what that depends on, then in all there is.

        That is for references that say no module, or one that is not here: it has another name by now. Where another
        branch of it is here, somebody wants what is on that branch and nothing else.
        """
        if written:
            try:
                module = str(BranchPath.parse(written).module).lower()
            except ValueError:
                module = ""
            if any(str(known.module).lower() == module for known in self.snapshots):
                return
        if wanted_id:
            yield from self.dependencies(base)
            yield from self.snapshots

    def _packet_view(self, path: BranchPath, definition: PacketDefinition) -> PacketView:
        key = (path, definition.model.id)
        view = self._packets.get(key)
        if view is None:
            view = self._packets[key] = self._inherit(path, definition)
        return view

    def _inherit(self, path: BranchPath, definition: PacketDefinition) -> PacketView:
        lineage: list[PacketDefinition] = []
        branches: list[BranchPath] = []
        attributes: dict[str, PacketAttribute] = {}
        files: dict[str, FileSlot] = {}
        includes: dict[str, FileSlot] = {}
        seen: set[tuple[BranchPath, str]] = set()
        # Depth first, own before inherited; `files_only` marks the legacy inheritance of files alone.
        stack: list[tuple[BranchPath, PacketDefinition, bool]] = [(path, definition, False)]
        while stack:
            at, packet, files_only = stack.pop()
            if (at, packet.model.id) in seen:
                continue
            seen.add((at, packet.model.id))
            snapshot = self.snapshots[at]
            if not files_only:
                lineage.append(packet)
                branches.append(at)
                for attribute in packet.model.attributes:
                    attributes.setdefault(attribute.name, attribute)
            for file in packet.model.files:
                slot = FileSlot(file, packet.files.get(file.filename), packet, snapshot)
                files.setdefault(file.filename, slot)
                if file.include_name:
                    includes.setdefault(file.include_name, slot)
            stack.extend(reversed(list(self._parents(at, packet, files_only=files_only))))
        return PacketView(definition, path, tuple(lineage), tuple(branches), attributes, files, includes)

    def _parents(
        self, at: BranchPath, packet: PacketDefinition, *, files_only: bool
    ) -> Iterator[tuple[BranchPath, PacketDefinition, bool]]:
        for reference in packet.model.extends:
            for path in self.candidates(reference.module_branch_path, at):
                found = self.snapshots[path].packets.get(reference.id) or self.snapshots[path].packets_by_name.get(
                    reference.name.lower()
                )
                if found is not None:
                    yield path, found, files_only
                    break
        for written in packet.model.inherit_files_from:
            branch, _, name = written.strip().rpartition("\\")
            for path in self.candidates(branch, at):
                found = self.snapshots[path].packets_by_name.get(name.lower())
                if found is not None:
                    yield path, found, True
                    break


class _EnvironmentBuilder:
    """Resolves one environment, collecting every problem instead of stopping at the first."""

    def __init__(self, world: World, definition: EnvironmentDefinition) -> None:
        self.world = world
        directory = names.environment_directory(definition.name, definition.model.id)
        self.view = EnvironmentView(definition, world.root, directory)
        self.ids: dict[str, set[str]] = defaultdict(set)  # of the instances of each container

    def build(self) -> EnvironmentView:
        """Resolve containers, roles and instances."""
        view = self.view
        for definition in view.definition.containers:
            container = ContainerView(definition, view, names.container_directory(definition.name))
            view.containers.append(container)
            source = f"{definition.directory}/container.json"
            for reference in definition.model.roles:
                found = self.world.find_role(reference.id, reference.name, reference.path, self.world.root)
                if found is None:
                    place = f" of {reference.path}" if reference.path else ""
                    message = f"role '{reference.name or reference.id}'{place} is not known here"
                    self._problem(source, "unknown_role", message, container)
                    continue
                path, role = found
                role_source = f"{role.directory}/role.json"
                roots = self._instances(role.model.instances, container, None, role, role_source, path)
                container.roots.extend(roots)
            container.roots.extend(
                self._instances(definition.model.instances, container, None, None, source, self.world.root)
            )
        self._name_instances()
        return view

    def _name_instances(self) -> None:
        for instance in self.view.instances():
            name_instance(self.view, instance)

    def _instances(
        self,
        models: tuple[Instance, ...],
        container: ContainerView,
        parent: InstanceView | None,
        role: RoleDefinition | None,
        source: str,
        base: BranchPath,
        depth: int = 0,
    ) -> list[InstanceView]:
        views = []
        for model in models:
            if depth >= MAX_DEPTH:
                self._problem(source, "too_deep", f"instances nest deeper than {MAX_DEPTH} levels", container, model)
                break
            if model.id in self.ids[container.id]:
                message = "another instance of the container has the same id; the first one counts"
                self._problem(source, "duplicate_id", message, container, model, "warning")
                continue
            self.ids[container.id].add(model.id)
            packet = self.world.find_packet(model.packet_id, model.packet_name, model.packet_path, base)
            if packet is None:
                named = model.packet_name or model.packet_id
                message = f"packet '{named}' of {model.packet_path or base} is not known here"
                self._problem(source, "unknown_packet", message, container, model)
                continue
            values = instance_values(model, packet)
            label = make_label(packet, values)
            directory = names.instance_directory(label, model.id)
            view = InstanceView(model, packet, container, parent, role, source, base, values, label, directory)
            view.children = self._instances(model.instances, container, view, role, source, base, depth + 1)
            views.append(view)
        return views

    def _problem(
        self,
        file: str,
        code: str,
        message: str,
        container: ContainerView,
        model: Instance | None = None,
        severity: Literal["error", "warning"] = "error",
    ) -> None:
        where = f"container '{container.name}'" + (f", instance '{model.id}'" if model else "")
        place = (container.id, model.id if model else "")
        self.view.problems.append(Problem(file, None, None, code, message, severity, where, *place))


def name_instance(view: EnvironmentView, instance: InstanceView) -> None:
    """Make an instance known by its velocity name, if it has one and nobody else does."""
    name = instance.model.velocity_name
    if name and view.by_velocity_name.setdefault(name, instance) is not instance:
        other = view.by_velocity_name[name]
        message = f"velocity name '{name}' is also that of instance '{other.label}'; the first one counts"
        source = instance.source_file
        view.problems.append(instance.problem(source, "duplicate_velocity_name", message, severity="warning"))


def instance_values(model: Instance, packet: PacketView) -> dict[str, str]:
    """Give the raw attribute values of an instance: stored by attribute id or name, else the packet's defaults."""
    by_id = {item.id: item.value for item in model.attributes if item.id}
    by_name = {item.name: item.value for item in model.attributes if item.name}
    values = {}
    for name, attribute in packet.attributes.items():
        value = by_id.get(attribute.id) if attribute.id else None
        if value is None:
            value = by_name.get(name)
        values[name] = attribute.default_value if value is None else value
    return values


def make_label(packet: PacketView, values: Mapping[str, str]) -> str:
    """Fill `%attribute%` placeholders with the raw values; without a label, the packet's name."""
    label = packet.definition.model.label or packet.definition.name
    if "%" in label:
        for name, value in values.items():
            label = label.replace(f"%{name}%", value)
    return label
