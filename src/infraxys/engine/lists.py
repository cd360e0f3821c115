"""The values that an attribute offers: from its list, or from what a script of the packet or an image prints."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from infraxys import velocity
from infraxys.engine.evaluate import InstanceContext, compile_once
from infraxys.engine.logs import LogStream
from infraxys.engine.objects import Reads, Scope
from infraxys.engine.plan import Plan
from infraxys.engine.planner import CannotPlan, StepTarget, find_instance, make_plan
from infraxys.engine.render import GeneratedAction, Generation
from infraxys.engine.world import EnvironmentView, FileSlot, InstanceView, World
from infraxys.spec.models import PacketAttribute, PacketFile

SCRIPT, IMAGE = "SCRIPT OUTPUT", "DOCKER RUN"
MAX_ITEMS = 10_000
MAX_VALUE = 4000  # characters
MAX_OUTPUT = 1024 * 1024  # bytes
LIST_SECONDS = 60.0
TEMPLATE = "list of values"


@dataclass(frozen=True, slots=True)
class Item:
    """One value, and what people see."""

    value: str
    caption: str


@dataclass(frozen=True, slots=True)
class ValueList:
    """Where the values of an attribute come from: `items`, or else what executing `plan` prints.

    `minutes` is how long they hold.
    """

    attribute: PacketAttribute
    items: tuple[Item, ...] = ()
    plan: Plan | None = None
    minutes: float = 0


def value_list(
    world: World, environment: EnvironmentView, generation: Generation, target: StepTarget, name: str
) -> ValueList:
    """Resolve the list of an attribute of an instance; `target` names no file. Raises CannotPlan."""
    instance = find_instance(environment, target)
    attribute = instance.packet.attributes.get(name)
    if attribute is None:
        known = ", ".join(sorted(instance.packet.attributes)[:20]) or "none"
        message = f"packet '{instance.packet.definition.name}' has no attribute '{name[:100]}' (it has: {known})"
        raise CannotPlan("unknown_attribute", message)
    source = attribute.source.strip().upper()
    minutes = max(0, attribute.cache_minutes)
    if not source:
        return ValueList(attribute, static_items(generation, instance, attribute))
    if source == SCRIPT:
        plan = _plan_script(world, environment, generation, instance, attribute)
        return ValueList(attribute, plan=plan, minutes=minutes)
    if source == IMAGE:
        return ValueList(
            attribute, plan=_plan_image(world, environment, generation, instance, attribute), minutes=minutes
        )
    message = f"attribute '{name}' takes its values from '{attribute.source[:100]}', which is not supported"
    raise CannotPlan("unsupported_source", message)


def static_items(generation: Generation, instance: InstanceView, attribute: PacketAttribute) -> tuple[Item, ...]:
    """Read `listOfValues`: values between commas.

    They are rendered first when there is something to render, unless the value that an instance keeps is itself
    rendered each time it is read: then the choice is among expressions.
    """
    text = attribute.list_of_values
    if attribute.parse_with_velocity:
        return read_items(split_expressions(text))
    if "$" in text or "#" in text:
        context = InstanceContext(instance, instance.container, Scope(generation.evaluator, Reads()))
        try:
            evaluator = generation.evaluator
            text = compile_once(text, TEMPLATE).render(context, strict=evaluator.strict, limits=evaluator.limits).text
        except velocity.VelocityError as error:
            message = f"{instance.where}, the list of attribute '{attribute.name}' does not render: {error}"
            raise CannotPlan("generation_failed", message) from error
    return read_items(text.split(","))


def split_expressions(text: str) -> list[str]:
    """Split at commas that are outside of round brackets; inside of them, brackets in quotes do not count."""
    starts, depth, quote = [0], 0, ""
    for position, character in enumerate(text):
        if quote:
            quote = "" if character == quote else quote
        elif depth and character in "\"'":
            quote = character
        elif character in "()":
            depth = max(0, depth + (1 if character == "(" else -1))
        elif character == "," and not depth:
            starts.append(position + 1)
    if depth:
        return text.split(",")
    return [text[start : end - 1] for start, end in zip(starts, [*starts[1:], len(text) + 1], strict=True)]


def read_output(output: bytes) -> tuple[Item, ...]:
    """Read what a script printed: an item on each line."""
    return read_items(output.decode(errors="replace").splitlines())


def read_items(texts: Iterable[str]) -> tuple[Item, ...]:
    """Read items, `value` or `value=caption`. What is empty or there already is left out, and what is too much."""
    found: dict[str, Item] = {}
    for text in texts:
        value, separator, caption = "".join(filter(str.isprintable, text)).strip()[:MAX_VALUE].partition("=")
        value = value.strip()
        if value or separator:
            found.setdefault(value, Item(value, caption.strip() if separator else value))
        if len(found) >= MAX_ITEMS:
            break
    return tuple(found.values())


def _plan_script(
    world: World,
    environment: EnvironmentView,
    generation: Generation,
    instance: InstanceView,
    attribute: PacketAttribute,
) -> Plan:
    filename = attribute.reference_filter.strip()
    slot = instance.packet.files.get(filename)
    path = f"{environment.directory}/{instance.container.directory}/{instance.directory}/{filename}"
    if slot is None or path not in generation.scopes:
        raise CannotPlan(
            "unknown_file",
            f"attribute '{attribute.name}' takes its values from file '{filename[:200]}', which packet "
            f"'{instance.packet.definition.name}' does not have among the files of its instances",
        )
    key = (instance.container.id, instance.id, filename)
    action = GeneratedAction(*key, path, filename, instance.label, slot, instance.packet.path)
    image = attribute.reference_value_attribute_name.strip()
    return _plan(world, environment, generation, action, attribute, image=image)


def _plan_image(
    world: World,
    environment: EnvironmentView,
    generation: Generation,
    instance: InstanceView,
    attribute: PacketAttribute,
) -> Plan:
    image = attribute.reference_filter.strip()
    if not image:
        raise CannotPlan("unknown_image", f"attribute '{attribute.name}' takes its values from an image and names none")
    snapshot = world.snapshots[instance.packet.path]
    slot = FileSlot(PacketFile(filename="list"), None, instance.packet.definition, snapshot)
    key = (instance.container.id, instance.id, "")
    action = GeneratedAction(*key, "", image, instance.label, slot, instance.packet.path)
    words = [word for word in attribute.reference_value_attribute_name.splitlines() if word]
    return _plan(world, environment, generation, action, attribute, image=image, command=json.dumps(["", *words]))


def _plan(
    world: World,
    environment: EnvironmentView,
    generation: Generation,
    action: GeneratedAction,
    attribute: PacketAttribute,
    *,
    image: str,
    command: str = "",
) -> Plan:
    """Plan one step as for an action; what has no action of its own gets one for this."""
    key = (action.container_id, action.instance_id, action.filename)
    with_action = replace(generation, actions={**generation.actions, key: action})
    plan = make_plan(world, environment, with_action, [StepTarget(*key, f"values of {attribute.name}")], kind="adhoc")
    (step,) = plan.steps
    step = replace(step, image=image, custom_command=command, timeout_seconds=min(step.timeout_seconds, LIST_SECONDS))
    return replace(plan, steps=(step,))


class Captured:
    """What an action prints, up to a size. `too_much` is called when it is more."""

    def __init__(self, too_much: Callable[[], None]) -> None:
        self.output, self.errors = bytearray(), bytearray()
        self._too_much = too_much

    def write(self, step: int, stream: LogStream, data: bytes) -> None:
        """Take some of it."""
        del step
        kept = self.output if stream == "stdout" else self.errors
        room = MAX_OUTPUT - len(kept)
        kept += data[:room]
        if stream == "stdout" and len(data) > room:
            self._too_much()

    def note(self, step: int, text: str) -> None:
        """Leave out what the server has to say."""
