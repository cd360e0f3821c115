"""What is allowed in an environment and probably not meant: the findings beside those of generation itself."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace

from infraxys import velocity
from infraxys.engine.evaluate import InstanceContext
from infraxys.engine.planner import (
    ALWAYS_ENABLE,
    ENABLE_IN_PARENTS,
    CannotPlan,
    find_action,
    find_instance,
    workflow_targets,
)
from infraxys.engine.render import INSTANCE_SCOPES, Generation
from infraxys.engine.world import EnvironmentView, FileSlot, InstanceView, PacketView, World
from infraxys.spec.identity import BranchPath
from infraxys.spec.problem import Problem

WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
MAX_TEXT = 1024 * 1024  # bytes of a file that is looked at


def lint(world: World, environment: EnvironmentView, generation: Generation) -> list[Problem]:
    """Give the further findings on an environment, each once, in the order of the files."""
    packets = used_packets(environment)
    failed = {(problem.file, problem.line) for problem in generation.problems}
    found = [
        *found_on_load(world, environment, [packet for packet, _ in packets.values()]),
        *broken_workflows(environment, generation),
        *(problem for packet, instance in packets.values() for problem in template_findings(packet, instance)),
        *unused_attributes(world, environment, [packet for packet, _ in packets.values()]),
        *unreachable_actions(environment, [packet for packet, _ in packets.values()]),
    ]
    new = {problem: None for problem in found if (problem.file, problem.line) not in failed or problem.line is None}
    return sorted(new, key=lambda problem: (problem.file, problem.line or 0, problem.column or 0, problem.message))


def used_packets(environment: EnvironmentView) -> dict[tuple[object, str], tuple[PacketView, InstanceView]]:
    """Give the packets of the environment's instances, each with the first instance that has it."""
    found: dict[tuple[object, str], tuple[PacketView, InstanceView]] = {}
    for instance in environment.instances():
        found.setdefault((instance.packet.path, instance.packet.id), (instance.packet, instance))
    return found


def found_on_load(world: World, environment: EnvironmentView, packets: Iterable[PacketView]) -> Iterator[Problem]:
    """Give what was wrong with the files of the environment, its roles and its packets when they were read."""
    folders: dict[BranchPath, set[str]] = {world.root: {environment.definition.directory}}
    for packet in packets:
        for path, definition in zip(packet.branches, packet.lineage, strict=True):
            folders.setdefault(path, set()).add(definition.directory)
    for container in environment.containers:
        for reference in container.definition.model.roles:
            role = world.find_role(reference.id, reference.name, reference.path, world.root)
            if role is not None:
                folders.setdefault(role[0], set()).add(role[1].directory)
    for path, names in folders.items():
        for problem in world.snapshots[path].problems:
            if "/".join(problem.file.split("/")[:2]) in names:
                yield problem if path == world.root else replace(problem, where=f"module {path.module}")


def whose(slot: FileSlot, environment: EnvironmentView) -> str:
    """Say which packet a file is of, where that is not in the environment's own module."""
    module = slot.snapshot.module
    return "" if module == environment.path.module else f"packet '{slot.packet.name}' of module {module}"


def text_of(slot: FileSlot) -> str:
    """Give the text of a packet file; empty for what is none, or is very long."""
    if slot.entry is None:
        return ""
    data = slot.snapshot.read(slot.entry.oid)
    return data.decode(errors="replace") if len(data) <= MAX_TEXT else ""


def broken_workflows(environment: EnvironmentView, generation: Generation) -> Iterator[Problem]:
    """Find steps of workflows that nothing can execute."""
    source = f"{environment.definition.directory}/environment.json"
    for workflow in environment.definition.model.workflows:
        try:
            for target in workflow_targets(environment, workflow):
                find_action(find_instance(environment, target), generation, target.filename)
        except CannotPlan as error:
            where = f"workflow '{workflow.name}'"
            yield Problem(source, None, None, "broken_workflow", str(error), "warning", where)


def template_findings(packet: PacketView, instance: InstanceView) -> Iterator[Problem]:
    """Find text that reads as Velocity by accident, and names that nothing declares."""
    environment = instance.container.environment
    declared = set(InstanceContext.NAMES) | set(environment.by_velocity_name)
    declared.update(name for other in environment.instances() for name in other.packet.attributes)
    declared.update(
        name for container in environment.included for view in container.instances() for name in view.packet.attributes
    )
    for slot in packet.files.values():
        if slot.entry is None or not slot.file.parse_with_velocity:
            continue
        text = text_of(slot)
        where = whose(slot, environment)
        for line, column, message in velocity.lint(text, slot.file.filename):
            yield Problem(slot.entry.path, line, column, "suspicious_template", message, "warning", where)
        try:
            free = velocity.free_names(text, slot.file.filename)
        except velocity.VelocityParseError:
            continue  # generation reports it
        for name, (line, column) in free.items():
            if name not in declared:
                message = (
                    f"'${name}' is set nowhere in the file and is no velocity name and no attribute of environment "
                    f"'{environment.name}'"
                )
                yield Problem(slot.entry.path, line, column, "undeclared_name", message, "warning", where)


def unused_attributes(world: World, environment: EnvironmentView, packets: list[PacketView]) -> Iterator[Problem]:
    """Find attributes whose names stand in no file, in no value and in no definition of the packets used here.

    Those of the container's or the environment's scope are there for others as well.
    """
    words = {ALWAYS_ENABLE, ENABLE_IN_PARENTS}  # what planning reads
    texts = [*scripts_of(world, packets), *(text for packet in packets for text in texts_of(packet))]
    values = (value for instance in environment.instances() for value in instance.values.values())
    for text in (*texts, *values):
        words.update(WORD.findall(text))
    for packet in packets:
        own = packet.definition
        for attribute in own.model.attributes:
            is_named = attribute.name in words or attribute.is_part_of_key
            if packet.files and attribute.scope == "Instance" and not is_named:
                message = f"attribute '{attribute.name}' of packet '{own.name}' is read by no file"
                is_own = packet.path.module == environment.path.module
                where = "" if is_own else f"packet '{own.name}' of module {packet.path.module}"
                file = f"{own.directory}/packet.json"
                name = attribute.name
                yield Problem(file, None, None, "unused_attribute", message, "warning", where, attribute=name)


def scripts_of(world: World, packets: Iterable[PacketView]) -> Iterator[str]:
    """Give the scripts that prepare the packets' actions: to them, attributes are variables of the shell."""
    branches = {branch: None for packet in packets for path in packet.branches for branch in world.dependencies(path)}
    for branch in branches:
        snapshot = world.snapshots[branch]
        for entry in snapshot.root_files.values():
            data = snapshot.read(entry.oid)
            if len(data) <= MAX_TEXT:
                yield data.decode(errors="replace")


def texts_of(packet: PacketView) -> Iterator[str]:
    """Give every text of a packet that may name an attribute."""
    for slot in (*packet.files.values(), *packet.includes.values()):
        yield text_of(slot)
    for attribute in packet.attributes.values():
        yield from (attribute.default_value, attribute.list_of_values, attribute.input_prompt)
    for definition in packet.lineage:
        yield from (definition.model.label, definition.model.key)


def unreachable_actions(environment: EnvironmentView, packets: Iterable[PacketView]) -> Iterator[Problem]:
    """Find executable files that are saved where they belong to no instance, so that nobody can execute them."""
    for packet in packets:
        for slot in packet.files.values():
            if slot.file.executable and slot.file.save_with not in INSTANCE_SCOPES and slot.entry is not None:
                message = (
                    f"'{slot.file.filename}' is marked executable, but nobody can execute it: with "
                    f"'{slot.file.save_with}' it belongs to no instance"
                )
                where = whose(slot, environment)
                yield Problem(slot.entry.path, None, None, "unreachable_action", message, "warning", where)
