"""Attribute values as templates and shells see them: looked up through the scopes, rendered when first read."""

import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from cachetools import LRUCache, cached

from infraxys import velocity
from infraxys.engine.hosts import CONSTANTS, TemplateProblem
from infraxys.engine.objects import ContainerObject, EnvironmentObject, InstanceObject, Reads, Scope
from infraxys.engine.world import ContainerView, EnvironmentView, InstanceView

ATTRIBUTE_TEMPLATE = "attribute value"  # the original's name for it in messages
MAX_CHAIN = 32  # attributes that refer to attributes that refer to ...
LIMITS = velocity.Limits(render_depth=MAX_CHAIN + 1)
MAX_COMPILED = 8 * 1024 * 1024  # characters of templates that are kept compiled


Place = InstanceView | ContainerView | EnvironmentView


class AttributeFailed(Exception):  # noqa: N818 - reads as what happened
    """An attribute's value does not render. `cause` is the template engine's error."""

    def __init__(self, view: InstanceView, name: str, cause: velocity.VelocityError) -> None:
        super().__init__(str(cause))
        self.view, self.name, self.cause = view, name, cause


class AttributeCircle(TemplateProblem):
    """Attributes refer to one another without end. `steps` are these, as (container, instance, attribute)."""

    def __init__(self, chain: list[tuple[str, str, str]]) -> None:
        super().__init__(f"Attributes refer to one another in a circle: {' → '.join(name for *_, name in chain)}")
        self.steps = frozenset(chain)


@dataclass(frozen=True, slots=True)
class Rules:
    """How an installation renders templates: strict where module.json does not say, the limits of one, and of all."""

    strict: bool = True
    limits: velocity.Limits = LIMITS
    seconds: float = 60.0


@cached(LRUCache(MAX_COMPILED, getsizeof=lambda template: template.length), lock=threading.Lock())
def compile_once(text: str, name: str) -> velocity.Template:
    """Compile a template, or give the one of before: modules have few texts and many instances."""
    return velocity.compile(text, name)


class Evaluator:
    """Values of one world, each rendered once. Threads may share it."""

    def __init__(self, *, strict: bool = True, limits: velocity.Limits = LIMITS) -> None:
        self.strict = strict
        self.limits = limits
        self._values: dict[tuple[str, str, str], str] = {}
        self._scoped: dict[str, Mapping[str, InstanceView]] = {}
        self._chain = threading.local()

    def own(self, view: InstanceView, name: str) -> str:
        """Give the rendered value of an attribute of the instance's own packet. Raises KeyError, VelocityError."""
        key = (view.container.id, view.id, name)
        value = self._values.get(key)
        if value is None:
            value = self._render(view, name)
            self._values[key] = value
        return value

    def find(self, view: InstanceView, name: str) -> str | None:
        """Look here, in the ancestors, in the container's and the environment's scoped attributes."""
        for owner in (view, *view.ancestors()):
            if name in owner.packet.attributes:
                return self.own(owner, name)
        return self.find_scoped(view.container, name)

    def find_scoped(self, container: ContainerView, name: str) -> str | None:
        """Look in the container's, then the environment's scoped attributes."""
        owner = self._container_scope(container).get(name)
        if owner is not None:
            return self.own(owner, name)
        return self.find_in_environment(container.environment, name)

    def find_in_environment(self, environment: EnvironmentView, name: str) -> str | None:
        """Look in the environment-scoped attributes."""
        owner = self._environment_scope(environment).get(name)
        return None if owner is None else self.own(owner, name)

    def find_from(self, place: Place, name: str) -> str | None:
        """Look from an instance, a container or an environment upwards; a name in another case counts as well."""
        value = self._find_exactly(place, name)
        return self._find_exactly(place, self._spelling(place, name)) if value is None else value

    def container_values(self, container: ContainerView) -> Mapping[str, str]:
        """Every container-scoped attribute, in the order of the tree."""
        return {name: self.own(owner, name) for name, owner in self._container_scope(container).items()}

    def environment_values(self, environment: EnvironmentView) -> Mapping[str, str]:
        """Every environment-scoped attribute, in the order of the tree."""
        return {name: self.own(owner, name) for name, owner in self._environment_scope(environment).items()}

    def exported(self, view: InstanceView) -> dict[str, str]:
        """Everything a shell gets for an instance: environment, container, then its own values; nearest wins."""
        return {name: self.own(owner, name) for name, owner in self.owners_of_exports(view).items()}

    def owners_of_exports(self, view: InstanceView) -> dict[str, InstanceView]:
        """Say whose attribute each value is that a shell gets for an instance."""
        found = {**self._environment_scope(view.container.environment), **self._container_scope(view.container)}
        found.update(dict.fromkeys(view.packet.attributes, view))
        return found

    def _find_exactly(self, place: Place, name: str) -> str | None:
        if isinstance(place, InstanceView):
            return self.find(place, name)
        if isinstance(place, ContainerView):
            return self.find_scoped(place, name)
        return self.find_in_environment(place, name)

    def _spelling(self, place: Place, name: str) -> str:
        """Give the nearest attribute's own spelling of a name."""
        known: list[Iterable[str]] = []
        if isinstance(place, InstanceView):
            known += [owner.packet.attributes for owner in (place, *place.ancestors())]
            place = place.container
        if isinstance(place, ContainerView):
            known.append(self._container_scope(place))
            place = place.environment
        known.append(self._environment_scope(place))
        lower = name.lower()
        return next((other for names in known for other in names if other.lower() == lower), name)

    def _render(self, view: InstanceView, name: str) -> str:
        raw = view.values[name]
        if not view.packet.attributes[name].parse_with_velocity or ("$" not in raw and "#" not in raw):
            return raw
        chain: list[tuple[str, str, str]] = self._chain.__dict__.setdefault("names", [])
        step = (view.container.id, view.id, name)
        if step in chain:
            raise AttributeCircle([*chain[chain.index(step) :], step])
        if len(chain) >= MAX_CHAIN:
            ends = f"'{chain[0][2]}' … '{name}'"
            raise TemplateProblem(f"Attributes refer to one another more than {MAX_CHAIN} levels deep: {ends}")
        chain.append(step)
        try:
            context = InstanceContext(view, view.container, Scope(self, Reads()))
            template = compile_once(raw, ATTRIBUTE_TEMPLATE)
            return template.render(context, strict=self.strict, limits=self.limits).text
        except velocity.VelocityError as error:
            raise AttributeFailed(view, name, error) from error
        finally:
            chain.pop()

    def _container_scope(self, container: ContainerView) -> Mapping[str, InstanceView]:
        scope = self._scoped.get(container.id)
        if scope is None:
            scope = self._scoped[container.id] = owners(container.instances(), "Container")
        return scope

    def _environment_scope(self, environment: EnvironmentView) -> Mapping[str, InstanceView]:
        key = f"environment {environment.id}"
        scope = self._scoped.get(key)
        if scope is None:
            imposed = [view for container in environment.imposed for view in container.instances()]
            views = [view for container in environment.included for view in container.instances()]
            scope = self._scoped[key] = owners([*imposed, *environment.instances(), *views], "Environment")
        return scope


def owners(views: "Iterator[InstanceView] | list[InstanceView]", scope: str) -> Mapping[str, InstanceView]:
    """For each attribute of the scope, the first instance that has it."""
    found: dict[str, InstanceView] = {}
    for view in views:
        for name, attribute in view.packet.attributes.items():
            if attribute.scope == scope:
                found.setdefault(name, view)
    return found


class InstanceContext(Mapping[str, object]):
    """The names of one render: the built-in objects, then attributes by scope, then velocity names. Lazy."""

    KEY = ("names",)
    # What is there beside attributes and velocity names.
    NAMES = frozenset({*CONSTANTS, "String", "Integer", "instance", "container", "environment", "instance_label"})

    def __init__(
        self, view: InstanceView, container: ContainerView, scope: Scope, environment: EnvironmentView | None = None
    ) -> None:
        self._view, self._scope, self._environment = view, scope, environment or container.environment
        self._key = (*self.KEY, view.container.id, view.id, container.id)
        self._objects: dict[str, object] = {
            **CONSTANTS,
            "String": velocity.JavaString(),
            "Integer": velocity.JavaInteger(),
            "instance": InstanceObject(view, scope),
            "container": ContainerObject(container, scope),
            "environment": EnvironmentObject(self._environment, scope),
        }

    def lookup(self, name: str) -> object | None:
        """Find a name; None when there is none (no value of ours is None)."""
        value = self._objects.get(name)
        if value is not None:
            return value
        value = self._scope.evaluator.find(self._view, name)
        if value is None:
            named = self._environment.by_velocity_name.get(name)
            if named is not None:
                value = InstanceObject(named, self._scope)
            elif name == "instance_label":
                value = self._view.label
        self._scope.reads.note(self._key, "lookup", (name,), value)
        return value

    def __getitem__(self, name: str) -> object:
        value = self.lookup(name)
        if value is None:
            raise KeyError(name)
        return value

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.lookup(name) is not None

    def __iter__(self) -> Iterator[str]:
        yield from self._view.packet.attributes
        yield from self._environment.by_velocity_name
        yield from self._objects

    def __len__(self) -> int:
        return sum(1 for _ in self)
