"""What templates see: `$instance`, `$container`, `$environment` and their helpers, read lazily.

Method names and meanings are those of the original's templates; `VTL_METHODS` is the only door the template engine
uses. Every answer is noted in the `Reads` of the render, so that a render can be reused when what it read is the same.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from typing import Protocol, TypeVar, cast

from infraxys.engine.hosts import HostObject, NameValue, PacketObject, TemplateProblem, as_text
from infraxys.engine.world import ContainerView, EnvironmentView, InstanceView

Method = TypeVar("Method", bound=Callable[..., object])
TRUE_VALUES = frozenset({"1", "true"})


class Values(Protocol):
    """Rendered attribute values; made by `infraxys.engine.evaluate`."""

    def own(self, view: InstanceView, name: str) -> str:
        """Give the value of an attribute of the instance's own packet."""

    def find(self, view: InstanceView, name: str) -> str | None:
        """Look here, in the ancestors, in the container's and the environment's scoped attributes."""

    def find_scoped(self, container: ContainerView, name: str) -> str | None:
        """Look in the container's, then the environment's scoped attributes."""

    def find_in_environment(self, environment: EnvironmentView, name: str) -> str | None:
        """Look in the environment-scoped attributes."""

    def find_from(self, place: InstanceView | ContainerView | EnvironmentView, name: str) -> str | None:
        """Look from a place upwards; a name in another case counts as well."""

    def container_values(self, container: ContainerView) -> Mapping[str, str]:
        """Every container-scoped attribute."""

    def environment_values(self, environment: EnvironmentView) -> Mapping[str, str]:
        """Every environment-scoped attribute."""


class Reads:
    """What one render asked, in order: (object, method, arguments) and the answer, all as plain keys."""

    def __init__(self) -> None:
        self.trace: list[tuple[object, ...]] = []

    def note(self, key: object, method: str, arguments: tuple[object, ...], answer: object) -> None:
        """Remember one question and its answer."""
        self.trace.append((key, method, tuple(fingerprint(item) for item in arguments), fingerprint(answer)))


def fingerprint(value: object) -> object:
    """Make a comparable stand-in: host objects by what they are, lists by their items, values as they are."""
    if isinstance(value, HostObject):
        return value.key
    if isinstance(value, list | tuple):
        return tuple(fingerprint(item) for item in value)
    return value


def noted(method: Method) -> Method:
    """Note each call and its answer in the reads of the render."""
    name = method.__name__

    @wraps(method)
    def call(self: "WorldObject", *arguments: object) -> object:
        answer = method(self, *arguments)
        self.scope.reads.note(self.key, name, arguments, answer)
        return answer

    return cast("Method", call)


class Scope:
    """One render: who evaluates, what was read."""

    def __init__(self, evaluator: Values, reads: Reads) -> None:
        self.evaluator = evaluator
        self.reads = reads

    def instance(self, view: InstanceView | None) -> "InstanceObject | None":
        """Wrap an instance for the template."""
        return None if view is None else InstanceObject(view, self)

    def instances(self, views: list[InstanceView]) -> list["InstanceObject"]:
        """Wrap a list of instances."""
        return [InstanceObject(view, self) for view in views]


class WorldObject(HostObject):
    """One that reads the world, in one render."""

    scope: Scope


class InstanceObject(WorldObject):
    """`$instance`, `$parent`, and instances under their velocity names."""

    VTL_NAME = "instance"
    VTL_METHODS = frozenset(
        {
            "getAttribute", "getBoolean", "getAttributeAsBoolean", "hasAttributeDefined", "getAttributes",
            "getName", "getGuid", "getId", "getLabel", "getVelocityName", "getParent", "getChildren", "getContainer",
            "getEnvironment", "getPacketType", "getPacketKey", "getPacketName", "getPacketGuid",
            "getPacketModuleBranchPath", "getRelativePath", "hasPacketType", "getParentInstanceByAttributeValue",
            "getParentInstanceByPacketType", "getInstanceByAttributeValue", "getInstancesByPacketType",
            "getInstanceByPacketType",
            "getInstanceByPacketTypeAndAttributeValue", "getInstancesByFileExtensions", "getInstancesByFileExtension",
            "byVelocity", "getInstanceByAttributeVelocityName", "getInstancesByAttributeVelocityNames", "toString",
        }
    )  # fmt: skip

    def __init__(self, view: InstanceView, scope: Scope) -> None:
        self.view = view
        self.scope = scope
        self.key = ("instance", view.container.id, view.id)

    @noted
    def getAttribute(self, name: str, default: object = None) -> object:
        """Find the value here, in the ancestors, in the container's, then in the environment's attributes.

        With a text as `default`, that for a missing or empty value; with `false`, "" for a missing one; otherwise a
        missing attribute is an error. A name in another case than the attribute's will do.
        """
        value = self.scope.evaluator.find_from(self.view, name)
        if isinstance(default, bool):
            return "" if value is None and not default else self._required(name, value)
        if default is not None:
            return value or default
        return self._required(name, value)

    def _required(self, name: str, value: str | None) -> str:
        if value is None:
            raise TemplateProblem(
                f"Attribute '{name}' is not defined for instance '{self.view.label}', its parents, container "
                f"'{self.view.container.name}' or the environment"
            )
        return value

    @noted
    def getBoolean(self, name: str) -> bool:
        """Whether the value is "1" or "true"; a missing attribute is false."""
        return (self.scope.evaluator.find_from(self.view, name) or "").lower() in TRUE_VALUES

    getAttributeAsBoolean = getBoolean

    @noted
    def hasAttributeDefined(self, name: str) -> bool:
        """Whether the instance's own packet has the attribute."""
        return name in self.view.packet.attributes

    @noted
    def getAttributes(self) -> list[NameValue]:
        """Give the instance's own attributes with their rendered values, in the packet's order."""
        evaluator = self.scope.evaluator
        return [NameValue(name, evaluator.own(self.view, name)) for name in self.view.packet.attributes]

    @noted
    def getName(self) -> str:
        """Give the label."""
        return self.view.label

    getLabel = getName
    toString = getName

    def __str__(self) -> str:
        return self.view.label

    @noted
    def getGuid(self) -> str:
        """Give the instance's id."""
        return self.view.id

    getId = getGuid

    @noted
    def getVelocityName(self) -> str:
        """Give the name under which templates find it, or ""."""
        return self.view.model.velocity_name or ""

    @noted
    def getParent(self) -> "InstanceObject | None":
        """Give the instance above; null at the root."""
        return self.scope.instance(self.view.parent)

    @noted
    def getChildren(self) -> list["InstanceObject"]:
        """Give the direct children."""
        return self.scope.instances(self.view.children)

    def getContainer(self) -> "ContainerObject":
        """Give the container it is in."""
        return ContainerObject(self.view.container, self.scope)

    def getEnvironment(self) -> "EnvironmentObject":
        """Give the environment it is in."""
        return EnvironmentObject(self.view.container.environment, self.scope)

    @noted
    def getPacketType(self) -> str:
        """Give the packet's own type."""
        return self.view.packet.definition.model.type or ""

    @noted
    def getPacketKey(self) -> str:
        """Give the key by which old files tell packets apart, or ""."""
        return self.view.packet.definition.model.key or ""

    @noted
    def getPacketName(self) -> str:
        """Give the packet's name."""
        return self.view.packet.definition.name

    @noted
    def getPacketGuid(self) -> str:
        """Give the packet's id."""
        return self.view.packet.id

    @noted
    def getPacketModuleBranchPath(self) -> str:
        """Give the branch path of the packet's module."""
        return str(self.view.packet.path)

    @noted
    def getRelativePath(self) -> str:
        """Give the instance directory below the environments root."""
        container = self.view.container
        return f"{container.environment.directory}/{container.directory}/{self.view.directory}"

    @noted
    def hasPacketType(self, packet_type: str) -> bool:
        """Whether the packet or one it inherits from has the type."""
        return self.view.packet.has_type(packet_type)

    @noted
    def getParentInstanceByAttributeValue(
        self, name: str, value: object, fail_if_missing: bool = True
    ) -> "InstanceObject | None":
        """Give the nearest ancestor whose own attribute has the value."""
        for ancestor in self.view.ancestors():
            if name in ancestor.packet.attributes and self.scope.evaluator.own(ancestor, name) == as_text(value):
                return self.scope.instance(ancestor)
        if fail_if_missing:
            raise TemplateProblem(f"No parent of instance '{self.view.label}' has '{as_text(value)}' as '{name}'")
        return None

    @noted
    def getParentInstanceByPacketType(self, packet_type: str) -> "InstanceObject | None":
        """Give the nearest ancestor with the packet type, or null."""
        found = (ancestor for ancestor in self.view.ancestors() if ancestor.packet.has_type(packet_type))
        return self.scope.instance(next(found, None))

    @noted
    def getInstanceByAttributeValue(self, name: str, value: object) -> "InstanceObject | None":
        """Give the first instance below with the value, or null."""
        return self.scope.instance(first_with(self.view.descendants(), name, value, self.scope.evaluator))

    @noted
    def getInstancesByPacketType(self, first: object, second: object = None) -> list["InstanceObject"]:
        """Give the descendants with the type; `(type)` or `(more levels, type)`."""
        packet_type = as_text(first if second is None else second)
        return self.scope.instances([view for view in self.view.descendants() if view.packet.has_type(packet_type)])

    @noted
    def getInstanceByPacketType(self, packet_type: str) -> "InstanceObject | None":
        """Give the first descendant with the type, or null."""
        found = (view for view in self.view.descendants() if view.packet.has_type(packet_type))
        return self.scope.instance(next(found, None))

    @noted
    def getInstanceByPacketTypeAndAttributeValue(
        self, packet_type: str, name: str, value: object
    ) -> "InstanceObject | None":
        """Give the first descendant with the type and the value, or null."""
        typed = (view for view in self.view.descendants() if view.packet.has_type(packet_type))
        return self.scope.instance(first_with(typed, name, value, self.scope.evaluator))

    @noted
    def getInstancesByFileExtensions(self, *arguments: object) -> list["InstanceObject"]:
        """Give the instances below that have files with one of the extensions; with a leading `true` itself as well.

        Modules that collect files of a tree have copied those of the instance itself before they ask.
        """
        include_self = bool(arguments) and arguments[0] is True
        extensions = tuple(as_text(item) for item in arguments if not isinstance(item, bool))
        views = [self.view, *self.view.descendants()] if include_self else list(self.view.descendants())
        return self.scope.instances(
            [view for view in views if any(name.endswith(extensions) for name in view.packet.files)]
        )

    getInstancesByFileExtension = getInstancesByFileExtensions

    @noted
    def byVelocity(self, name: str, *flags: bool) -> "InstanceObject | None":
        """Give the instance whose velocity name is the value of attribute `name`, or is `name` itself.

        The last flag says whether a miss is an error (it is when left out).
        """
        wanted = self.scope.evaluator.find(self.view, name)
        return self._by_velocity_name(name if wanted is None else wanted, must_exist=flags[-1] if flags else True)

    getInstanceByAttributeVelocityName = byVelocity

    @noted
    def getInstancesByAttributeVelocityNames(self, name: str, *flags: bool) -> list["InstanceObject"]:
        """Give the same for a comma-separated value, as a list."""
        value = self.scope.evaluator.find_from(self.view, name) or ""
        must_exist = flags[-1] if flags else True
        wanted = [part.strip() for part in value.split(",") if part.strip()]
        found = [self._by_velocity_name(part, must_exist=must_exist) for part in wanted]
        return [instance for instance in found if instance is not None]

    def _by_velocity_name(self, wanted: str, *, must_exist: bool) -> "InstanceObject | None":
        environment = self.view.container.environment
        view = environment.by_velocity_name.get(wanted)
        if view is None and must_exist:
            known = ", ".join(sorted(environment.by_velocity_name)[:20]) or "none"
            raise TemplateProblem(f"No instance has the velocity name '{wanted}' (known: {known})")
        return self.scope.instance(view)


class ContainerObject(WorldObject):
    """`$container`."""

    VTL_NAME = "container"
    VTL_METHODS = frozenset(
        {
            "getName", "getGuid", "getId", "getAttribute", "getContainerVars", "getInstances", "getEnvironment",
            "getInstanceByAttributeValue", "getInstancesByPacketType", "getInstanceByPacketType", "toString",
            "hasAttributeDefined", "getBoolean", "getAttributeAsBoolean", "getDescription",
        }
    )  # fmt: skip

    def __init__(self, view: ContainerView, scope: Scope) -> None:
        self.view = view
        self.scope = scope
        self.key = ("container", view.id)

    @noted
    def getName(self) -> str:
        """Give the container's name."""
        return self.view.name

    toString = getName

    def __str__(self) -> str:
        return self.view.name

    @noted
    def getGuid(self) -> str:
        """Give the container's id."""
        return self.view.id

    getId = getGuid

    @noted
    def getDescription(self) -> str:
        """Give the description that old files have, or ""."""
        return self.view.definition.model.description or ""

    @noted
    def getAttribute(self, name: str, default: object = None) -> object:
        """Give a container-scoped, else an environment-scoped value; the default as for instances."""
        return choose(name, self.scope.evaluator.find_from(self.view, name), default, f"container '{self.view.name}'")

    @noted
    def hasAttributeDefined(self, name: str) -> bool:
        """Whether a container- or environment-scoped attribute has the name."""
        return self.scope.evaluator.find_scoped(self.view, name) is not None

    @noted
    def getBoolean(self, name: str) -> bool:
        """Whether the value is "1" or "true"."""
        return (self.scope.evaluator.find_from(self.view, name) or "").lower() in TRUE_VALUES

    getAttributeAsBoolean = getBoolean

    @noted
    def getContainerVars(self) -> list[NameValue]:
        """Give every container-scoped attribute with its value."""
        return [NameValue(name, value) for name, value in self.scope.evaluator.container_values(self.view).items()]

    @noted
    def getInstances(self) -> list[InstanceObject]:
        """Give the instances at the top of the container."""
        return self.scope.instances(self.view.roots)

    def getEnvironment(self) -> "EnvironmentObject":
        """Give the environment it is in."""
        return EnvironmentObject(self.view.environment, self.scope)

    @noted
    def getInstanceByAttributeValue(self, name: str, value: object) -> InstanceObject | None:
        """Give the first instance of the container with the value, or null."""
        return self.scope.instance(first_with(self.view.instances(), name, value, self.scope.evaluator))

    @noted
    def getInstancesByPacketType(self, first: object, second: object = None) -> list[InstanceObject]:
        """Give all instances of the container with the type."""
        packet_type = as_text(first if second is None else second)
        return self.scope.instances([view for view in self.view.instances() if view.packet.has_type(packet_type)])

    @noted
    def getInstanceByPacketType(self, packet_type: str) -> InstanceObject | None:
        """Give the first instance of the container with the type, or null."""
        found = (view for view in self.view.instances() if view.packet.has_type(packet_type))
        return self.scope.instance(next(found, None))


class EnvironmentObject(WorldObject):
    """`$environment`."""

    VTL_NAME = "environment"
    VTL_METHODS = frozenset(
        {
            "getName", "getGuid", "getId", "getAttribute", "getEnvironmentVars", "getModuleBranchPath",
            "getRuntimeModulePath", "getAllPackets", "throwException", "toString", "hasAttributeDefined",
            "getBoolean", "getAttributeAsBoolean",
        }
    )  # fmt: skip

    def __init__(self, view: EnvironmentView, scope: Scope) -> None:
        self.view = view
        self.scope = scope
        self.key = ("environment", view.id)

    @noted
    def getName(self) -> str:
        """Give the environment's name."""
        return self.view.name

    toString = getName

    def __str__(self) -> str:
        return self.view.name

    @noted
    def getGuid(self) -> str:
        """Give the environment's id."""
        return self.view.id

    getId = getGuid

    @noted
    def getAttribute(self, name: str, default: object = None) -> object:
        """Give an environment-scoped value; the default as for instances."""
        return choose(name, self.scope.evaluator.find_from(self.view, name), default, f"environment '{self.view.name}'")

    @noted
    def hasAttributeDefined(self, name: str) -> bool:
        """Whether an environment-scoped attribute has the name."""
        return self.scope.evaluator.find_in_environment(self.view, name) is not None

    @noted
    def getBoolean(self, name: str) -> bool:
        """Whether the value is "1" or "true"."""
        return (self.scope.evaluator.find_from(self.view, name) or "").lower() in TRUE_VALUES

    getAttributeAsBoolean = getBoolean

    @noted
    def getEnvironmentVars(self) -> list[NameValue]:
        """Give every environment-scoped attribute with its value."""
        return [NameValue(name, value) for name, value in self.scope.evaluator.environment_values(self.view).items()]

    @noted
    def getModuleBranchPath(self) -> str:
        """Give the branch path of the environment's module."""
        return str(self.view.path)

    @noted
    def getRuntimeModulePath(self) -> str:
        """Give where the action finds the environment's module."""
        return f"/tmp/infraxys/modules/{self.view.path.directory}"  # noqa: S108 - the fixed path inside the sandbox

    @noted
    def getAllPackets(self) -> list[PacketObject]:
        """Give every packet that an instance of the environment uses, sorted by name."""
        packets = {}
        for instance in self.view.instances():
            for packet in instance.packet.lineage:
                model = packet.model
                packets[model.id] = PacketObject(model.id, packet.name, model.type or "", model.attributes)
        return sorted(packets.values(), key=lambda packet: (packet.getName(), packet.getGuid()))

    def throwException(self, message: object) -> None:
        """Stop generation with the author's message."""
        raise TemplateProblem(as_text(message))


def choose(name: str, value: str | None, default: object, where: str) -> object:
    """Apply the rules of `getAttribute`'s second argument."""
    if isinstance(default, bool):
        if value is None and not default:
            return ""
    elif default is not None:
        return value or default
    if value is None:
        raise TemplateProblem(f"Attribute '{name}' is not defined for {where}")
    return value


def first_with(views: Iterable[InstanceView], name: str, value: object, evaluator: Values) -> InstanceView | None:
    """Find the first instance whose own attribute has the value."""
    wanted = as_text(value)
    for view in views:
        if name in view.packet.attributes and evaluator.own(view, name) == wanted:
            return view
    return None
