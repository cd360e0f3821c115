"""What becomes of the files that hold instances when instances change. Pure: what is seen in, files out.

An edit names its instance by what it sees in a `World`; the file is that of a container or, for instances of roles,
that of the role, on the branch that it is from. Values are kept as they are stored, so that reading and writing changes
nothing.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from difflib import get_close_matches
from uuid import uuid4

from infraxys.engine.world import ContainerView, EnvironmentView, InstanceView, PacketView, World
from infraxys.spec import names
from infraxys.spec.dump import dump
from infraxys.spec.identity import BranchPath
from infraxys.spec.models import (
    MAX_TEXT,
    Container,
    Environment,
    Instance,
    InstanceAttribute,
    PacketAttribute,
    Role,
    WorkflowStep,
    flat_value,
    split_guid,
)

MAX_CHILDREN = 10_000  # instances that one request makes
_UNWRITABLE = re.compile("[\0\ud800-\udfff]")
_WHOLE = re.compile(r"[+-]?\d+\Z")
_TRUTH = {"true": "1", "false": "0", "1": "1", "0": "0", "": ""}
Parent = InstanceView | ContainerView
Values = Mapping[str, str]
ModelChange = Callable[[Instance], Instance]


class CannotEdit(ValueError):  # noqa: N818 - reads as what happened
    """An edit that cannot be made; the message is for whoever asked, `code` for programs."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Written:
    """A file of a branch with its new content."""

    path: BranchPath
    file: str
    data: bytes


@dataclass(slots=True)
class Holder:
    """The file that holds instances. `instances` is what it holds, and changes with every edit."""

    path: BranchPath
    file: str
    model: Container | Role
    instances: tuple[Instance, ...]

    @classmethod
    def of(cls, place: Parent) -> "Holder":
        """Find the file of a container or of an instance, which may be a role's."""
        if isinstance(place, InstanceView) and place.role is not None:
            return cls(place.path, place.source_file, place.role.model, place.role.model.instances)
        container = place.container if isinstance(place, InstanceView) else place
        definition = container.definition
        path = container.environment.path
        return cls(path, f"{definition.directory}/container.json", definition.model, definition.model.instances)

    def change(self, changes: Mapping[str, "ModelChange"]) -> None:
        """Replace instances by their ids, wherever they are in the tree."""
        left = dict(changes)
        self.instances = _changed(self.instances, left)
        if left:
            raise CannotEdit("unknown_instance", f"there is no instance '{next(iter(left))}' any more")

    def add(self, parent: Parent, made: Sequence[Instance]) -> None:
        """Add instances below an instance, or at the top of a container."""
        if not made:
            return
        if isinstance(parent, ContainerView):
            self.instances = (*self.instances, *made)
        else:
            self.change({parent.id: lambda model: _with_children(model, (*model.instances, *made))})

    def remove(self, parent: Parent, gone: frozenset[str]) -> None:
        """Remove children with everything below them."""
        if not gone:
            return

        def without(models: tuple[Instance, ...]) -> tuple[Instance, ...]:
            return tuple(model for model in models if model.id not in gone)

        if isinstance(parent, ContainerView):
            self.instances = without(self.instances)
        else:
            self.change({parent.id: lambda model: _with_children(model, without(model.instances))})

    def written(self) -> list[Written]:
        """Give the file as it is to be written; nothing where nothing changed."""
        if self.instances is self.model.instances:
            return []
        return [Written(self.path, self.file, dump(self.model.model_copy(update={"instances": self.instances})))]


def _changed(models: tuple[Instance, ...], left: dict[str, ModelChange]) -> tuple[Instance, ...]:
    """Change instances, of each id the first, which is the one that counts; takes what is done from `left`.

    Gives the very same instances where there is nothing to change.
    """
    found = []
    for model in models:
        change = left.pop(model.id, None) if left else None
        below = _changed(model.instances, left) if model.instances and left else model.instances
        new = model if below is model.instances else _with_children(model, below)
        found.append(new if change is None else change(new))
    return models if all(new is old for new, old in zip(found, models, strict=True)) else tuple(found)


def _with_children(model: Instance, children: tuple[Instance, ...]) -> Instance:
    return model.model_copy(update={"instances": children})


# -- values --


def read_values(packet: PacketView, fields: Mapping[str, object]) -> dict[str, str]:
    """Read values by the names of attributes as they are stored; null is no value. Raises CannotEdit."""
    values = {}
    for name, value in fields.items():
        attribute = packet.attributes.get(name)
        if attribute is None:
            near = get_close_matches(name[:100], packet.attributes, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            message = f"packet '{packet.definition.name}' has no attribute '{name[:100]}'{hint}"
            raise CannotEdit("unknown_attribute", message)
        if value is not None:
            values[name] = _read_value(attribute, value)
    return values


def _read_value(attribute: PacketAttribute, value: object) -> str:
    text = flat_value(value)
    if text is None:
        raise CannotEdit("wrong_type", f"attribute '{attribute.name}' has to be a text, a number or true or false")
    if len(text) > MAX_TEXT or _UNWRITABLE.search(text):
        message = f"attribute '{attribute.name}' may have {MAX_TEXT} characters, without NUL and half characters"
        raise CannotEdit("wrong_value", message)
    if attribute.parse_with_velocity:
        return text
    if attribute.type == "java.lang.Boolean":
        if text.strip().lower() not in _TRUTH:
            raise CannotEdit("wrong_value", f"attribute '{attribute.name}' has to be 1 or 0")
        return _TRUTH[text.strip().lower()]
    if attribute.type == "java.lang.Long" and text.strip() and not _WHOLE.match(text.strip()):
        raise CannotEdit("wrong_value", f"attribute '{attribute.name}' has to be a whole number")
    return text


def check_required(packet: PacketView, values: Values) -> None:
    """Refuse empty values of required attributes. Raises CannotEdit."""
    for name, value in values.items():
        if packet.attributes[name].required and not value:
            raise CannotEdit("required_attribute", f"attribute '{name}' is required")


def _check_writable(view: InstanceView, values: Values) -> None:
    for name, value in values.items():
        if view.packet.attributes[name].writability != "ALWAYS" and view.values[name] != value:
            raise CannotEdit("not_writable", f"attribute '{name}' of '{view.label}' cannot be changed")


def _with_values(model: Instance, packet: PacketView, values: Values) -> Instance:
    """Set values, in the place where the attribute is, else behind the others."""
    left = dict(values)
    attributes = []
    for item in model.attributes:
        name = item.name if item.name in left else _name_of(packet, item)
        attributes.append(item.model_copy(update={"value": left.pop(name)}) if name in left else item)
    attributes += [
        InstanceAttribute(id=packet.attributes[name].id, name=name, value=value) for name, value in left.items()
    ]
    return model.model_copy(update={"attributes": tuple(attributes)})


def _name_of(packet: PacketView, item: InstanceAttribute) -> str:
    return next((name for name, attribute in packet.attributes.items() if item.id and attribute.id == item.id), "")


# -- instances --


def new_instance(packet: PacketView, values: Values, velocity_name: str = "") -> Instance:
    """Make an instance with a new id: every attribute of the packet, with the value given or the default."""
    return Instance(
        id=str(uuid4()),
        packet_id=packet.id,
        packet_name=packet.definition.name,
        packet_path=str(packet.path),
        velocity_name=velocity_name,
        instance_groups="",
        attributes=tuple(
            InstanceAttribute(id=attribute.id, name=name, value=values.get(name, attribute.default_value))
            for name, attribute in packet.attributes.items()
        ),
    )


class _Known:
    """The instances of a packet below a parent, found by their key attributes; without a key, by all given values."""

    def __init__(self, parent: Parent, packet: PacketView) -> None:
        children = parent.children if isinstance(parent, InstanceView) else parent.roots
        # Instances of roles at the top of a container belong to the role.
        is_own = isinstance(parent, InstanceView)
        self._children = [
            child for child in children if child.packet.id == packet.id and (is_own or child.role is None)
        ]
        self._packet = packet
        self._keys = tuple(name for name, attribute in packet.attributes.items() if attribute.is_part_of_key)
        self._indexes: dict[tuple[str, ...], dict[tuple[str, ...], list[InstanceView]]] = {}
        self._taken: set[str] = set()

    def take(self, values: Values) -> InstanceView | None:
        """Find the one that is meant, once."""
        names = self._keys or tuple(sorted(values))
        if not names:
            return None
        index = self._indexes.get(names)
        if index is None:
            index = self._indexes[names] = {}
            for child in self._children:
                index.setdefault(tuple(child.values[name] for name in names), []).append(child)
        wanted = tuple(values.get(name, self._packet.attributes[name].default_value) for name in names)
        found = next((child for child in index.get(wanted, ()) if child.id not in self._taken), None)
        if found is not None:
            self._taken.add(found.id)
        return found

    def left(self) -> frozenset[str]:
        """Give the ids of those that nobody took."""
        return frozenset(child.id for child in self._children if child.id not in self._taken)


@dataclass(slots=True)
class Outcome:
    """What an edit does: files to write and, for the answer, what became of each instance that it is about.

    `actions` has "created", "updated" or "none" for each of `ids`.
    """

    files: list[Written] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    actions: list[str] = field(default_factory=list)
    removed: int = 0
    message: str = ""

    def note(self, instance_id: str, action: str) -> None:
        """Say what became of an instance."""
        self.ids.append(instance_id)
        self.actions.append(action)


def update(view: InstanceView, values: Values) -> Outcome:
    """Set values of an instance. Raises CannotEdit."""
    _check_writable(view, values)
    holder = Holder.of(view)
    changed = {name: value for name, value in values.items() if view.values[name] != value}
    if changed:
        holder.change({view.id: _setter(view.packet, changed)})
    files = holder.written()
    return Outcome(files, [view.id], ["updated" if files else "none"], message=f"Update instance '{view.label}'")


def create(parent: Parent, packet: PacketView, values: Values, velocity_name: str = "") -> Outcome:
    """Make an instance below another one, or at the top of a container."""
    holder = Holder.of(parent)
    made = new_instance(packet, values, velocity_name)
    holder.add(parent, [made])
    return Outcome(holder.written(), [made.id], ["created"], message=f"Add an instance of '{packet.definition.name}'")


def ensure(parent: Parent, packet: PacketView, wanted: Sequence[Values], *, removes_others: bool = False) -> Outcome:
    """Find or make each of the wanted instances, and give those that were found the values.

    With `removes_others`, instances of the packet that are not wanted are removed from below the parent.
    """
    if len(wanted) > MAX_CHILDREN:
        raise CannotEdit("too_many", f"one request may be about {MAX_CHILDREN} instances; this one has {len(wanted)}")
    holder = Holder.of(parent)
    outcome = Outcome()
    known = _Known(parent, packet)
    made: list[Instance] = []
    changes: dict[str, ModelChange] = {}
    for values in wanted:
        found = known.take(values)
        if found is None:
            instance = new_instance(packet, values)
            made.append(instance)
            outcome.note(instance.id, "created")
            continue
        _check_writable(found, values)
        changed = {name: value for name, value in values.items() if found.values[name] != value}
        if changed:
            changes[found.id] = _setter(packet, changed)
        outcome.note(found.id, "updated" if changed else "none")
    holder.change(changes)
    gone = known.left() if removes_others else frozenset()
    outcome.removed = len(gone)
    holder.remove(parent, gone)
    holder.add(parent, made)
    outcome.files = holder.written()
    outcome.message = f"Ensure {len(wanted)} instance{'s' * (len(wanted) != 1)} of '{packet.definition.name}'"
    return outcome


def _setter(packet: PacketView, values: Values) -> ModelChange:
    return lambda model: _with_values(model, packet, values)


# -- packets --


def find_packet(world: World, reference: str, written: str = "", name: str = "") -> PacketView | None:
    r"""Find a packet by its id or, as old modules do, by `host\org\repo\branch\packet name`.

    It is looked for on the branch `written` first, then on everything that the world's own branch enables.
    """
    path, legacy_name = split_guid(reference)
    if path:
        found = world.find_packet(None, legacy_name, path, world.root)
        if found is not None:
            return found
    for place in dict.fromkeys([written, *(str(item) for item in world.dependencies(world.root))]):
        found = world.find_packet(reference, name or None, place or None, world.root)
        if found is not None:
            return found
    return None


def choose_packet(world: World, parent: Parent, named: Mapping[str, object], fields: AbstractSet[str]) -> PacketView:
    """Find the packet of instances to be ensured: as named, else the only one that has such attributes.

    Those of the children that are there come first. Raises CannotEdit.
    """
    reference = named.get("packetGuid") or named.get("packetId")
    if reference:
        found = find_packet(world, str(reference))
        if found is None:
            raise CannotEdit("unknown_packet", f"packet '{str(reference)[:100]}' is not known on this branch")
        return found
    kind, key = named.get("packetType"), named.get("packetKey")
    children = {child.packet.id: child.packet for child in descendants(parent, recursive=False)}
    for packets in (children.values(), _all_packets(world)) if fields or kind or key else ():
        fitting = [
            packet
            for packet in packets
            if fields <= packet.attributes.keys()
            and (not kind or packet.has_type(str(kind)))
            and (not key or packet.definition.model.key == key)
        ]
        exact = [packet for packet in fitting if fields == packet.attributes.keys()]
        chosen = fitting if len(fitting) == 1 else exact
        if len(chosen) == 1:
            return chosen[0]
    raise CannotEdit("unknown_packet", "it is not clear of which packet these are; say so with 'packetGuid'")


def _all_packets(world: World) -> Iterator[PacketView]:
    for path in world.dependencies(world.root):
        for packet_id in world.snapshots[path].packets:
            found = world.find_packet(packet_id, None, str(path), world.root)
            if found is not None:
                yield found


# -- containers and environments --


def new_container(environment: EnvironmentView, name: str, description: str = "") -> tuple[str, Written]:
    """Make an empty container; gives its id and file. Raises CannotEdit for a name that cannot be one."""
    said = {"description": description} if description else {}
    model = Container(version="1.0", id=str(uuid4()), roles=(), instances=(), **said)
    return model.id, Written(environment.path, f"{_container_folder(environment, name)}/container.json", dump(model))


def _container_folder(environment: EnvironmentView, name: str) -> str:
    _check_name("container", name)
    return f"{environment.definition.directory}/{name}"


def _check_name(what: str, name: str) -> None:
    if not names.is_safe_file_name(name) or name in names.RESERVED_DIRECTORIES or name.startswith("."):
        raise CannotEdit("wrong_name", f"'{name[:100]}' cannot be the name of {what}: it is a directory in the module")


def clone_container(source: ContainerView, target: EnvironmentView, name: str) -> tuple[str, Written]:
    """Copy a container with new ids into an environment; gives its new id and the file.

    Velocity names that the target has already are left out, and so are values of attributes that are not cloned.
    """
    model = _clone_container(source, target.by_velocity_name.keys(), {})
    if model.name:  # of the legacy dialect
        model = model.model_copy(update={"name": name})
    return model.id, Written(target.path, f"{_container_folder(target, name)}/container.json", dump(model))


def _clone_container(source: ContainerView, taken: AbstractSet[str], ids: dict[str, str]) -> Container:
    """Copy a container. `taken` are velocity names that the copy may not have, `ids` learns new ids by old ones."""
    model = source.definition.model
    packets = {view.id: view.packet for view in source.instances()}
    instances = tuple(_clone(child, packets, taken, ids) for child in model.instances)
    return model.model_copy(update={"id": ids.setdefault(model.id, str(uuid4())), "instances": instances})


def _clone(
    model: Instance, packets: Mapping[str, PacketView], taken: AbstractSet[str], ids: dict[str, str]
) -> Instance:
    packet = packets.get(model.id)
    kept = tuple(item for item in model.attributes if packet is None or _is_cloned(packet, item))
    return model.model_copy(
        update={
            "id": ids.setdefault(model.id, str(uuid4())),
            "velocity_name": "" if model.velocity_name in taken else model.velocity_name,
            "attributes": kept,
            "instances": tuple(_clone(child, packets, taken, ids) for child in model.instances),
        }
    )


def _is_cloned(packet: PacketView, item: InstanceAttribute) -> bool:
    attribute = packet.attributes.get(item.name or _name_of(packet, item))
    return attribute is None or attribute.clone_attribute is not False


def new_environment(path: BranchPath, name: str) -> tuple[str, Written]:
    """Make an environment without containers; gives its id and file."""
    _check_name("an environment", name)
    model = Environment(version="1.0", id=str(uuid4()), workflows=())
    return model.id, Written(path, f"environments/{name}/environment.json", dump(model))


def clone_environment(source: EnvironmentView, path: BranchPath, name: str) -> tuple[str, list[Written]]:
    """Copy an environment with its containers and workflows, with new ids; gives the new id and the files."""
    _check_name("an environment", name)
    ids = {source.id: str(uuid4())}
    definition = source.definition
    folder = f"environments/{name}"
    files = []
    for container in source.containers:
        directory = container.definition.directory.rpartition("/")[2]
        data = dump(_clone_container(container, frozenset(), ids))
        files.append(Written(path, f"{folder}/{directory}/container.json", data))
    workflows = tuple(
        workflow.model_copy(
            update={"id": str(uuid4()), "steps": tuple(_clone_step(step, ids) for step in workflow.steps)}
        )
        for workflow in definition.model.workflows
    )
    environment = definition.model.model_copy(update={"id": ids[source.id], "workflows": workflows})
    return ids[source.id], [Written(path, f"{folder}/environment.json", dump(environment)), *files]


def _clone_step(step: WorkflowStep, ids: Mapping[str, str]) -> WorkflowStep:
    return step.model_copy(
        update={
            name: ids.get(value, value)
            for name, value in (
                ("environment_id", step.environment_id),
                ("container_id", step.container_id),
                ("instance_id", step.instance_id),
            )
            if value
        }
    )


def descendants(parent: Parent, *, recursive: bool) -> Iterator[InstanceView]:
    """Give the instances below: the children, or all of them."""
    for child in parent.children if isinstance(parent, InstanceView) else parent.roots:
        yield child
        if recursive:
            yield from child.descendants()
