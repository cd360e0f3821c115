"""What the shape of a file allows but cannot work: doubles, unusable names, references that lead nowhere.

A finding is an error when something of the file is not used because of it, else a warning.
"""

import difflib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from infraxys.spec import names
from infraxys.spec.identity import BranchPath
from infraxys.spec.json_source import Location
from infraxys.spec.models import (
    ActionLimits,
    Container,
    Environment,
    Instance,
    Model,
    ModuleFile,
    Packet,
    PacketFile,
    Role,
)
from infraxys.spec.problem import quoted

MAX_UNKNOWN = 100  # keys of one file that are compared with the known ones
_VELOCITY_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*\Z")
_OLD_PATH = re.compile(r"[^\\]+(?:\\[^\\]+){4,}\Z")


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem before its position is looked up."""

    location: Location
    code: str
    message: str
    is_warning: bool = False


def check_packet(packet: Packet) -> Iterator[Finding]:
    """Check what attributes, files and parents of a packet are called."""
    for index, attribute in enumerate(packet.attributes):
        if not names.is_exportable(attribute.name):
            message = (
                f"attribute {quoted(attribute.name)} is not exported: it is not a name that a shell variable can "
                "safely have; use letters, digits and '_', and no name that the shell or a loader obeys"
            )
            yield Finding(("attributes", index, "name"), "not_exportable", message, is_warning=True)
    yield from _check_files(packet)
    attributes, files = list(enumerate(packet.attributes)), list(enumerate(packet.files))
    yield from _doubles(((("attributes", i, "name"), a.name) for i, a in attributes), "attribute", "duplicate_name")
    yield from _doubles(((("attributes", i, "id"), a.id) for i, a in attributes), "attribute id", "duplicate_id")
    yield from _doubles(((("files", i, "filename"), f.filename) for i, f in files), "file", "duplicate_name")
    yield from _doubles(((("files", i, "id"), f.id) for i, f in files), "file id", "duplicate_id")
    yield from _check_parents(packet)


def check_role(role: Role) -> Iterator[Finding]:
    """Check the instances of a role."""
    yield from _check_instances(role.instances)


def check_container(container: Container) -> Iterator[Finding]:
    """Check the roles and instances of a container."""
    roles = list(enumerate(container.roles))
    for index, role in roles:
        if not (role.id or role.name):
            yield Finding(("roles", index), "missing_field", f"'roles[{index}]' names no role; give it an 'id'")
        yield from _check_path(role.path, ("roles", index, "path"))
    yield from _doubles(((("roles", i, "id"), role.id) for i, role in roles), "role", "duplicate_id")
    yield from _check_instances(container.instances)


def check_environment(environment: Environment) -> Iterator[Finding]:
    """Check the workflows and steps of an environment."""
    workflows = list(enumerate(environment.workflows))
    yield from _doubles(((("workflows", i, "id"), item.id) for i, item in workflows), "workflow id", "duplicate_id")
    yield from _doubles(((("workflows", i, "name"), item.name) for i, item in workflows), "workflow", "duplicate_name")
    for index, workflow in workflows:
        for place, step in enumerate(workflow.steps):
            # Old steps have been put in order, so that they may not stand at this place in the file.
            location: Location = ("workflows", index, "steps", *([place] if step.location is None else []))
            if not (step.packet_file_id or step.filename):
                message = f"step {quoted(step.name)} of workflow {quoted(workflow.name)} names no file (packetFileId)"
                yield Finding(location, "missing_field", message)
            yield from _check_path(step.module_branch_path, (*location, "moduleBranchPath"))


def check_module(module: ModuleFile) -> Iterator[Finding]:
    """Check the dependencies of a module."""
    for index, dependency in enumerate(module.dependencies):
        for key, text in (("git_url", dependency.git_url), ("branch", dependency.branch)):
            if text.startswith("-") or not text.isprintable() or " " in text:
                message = f"{quoted(text)} cannot be a {'Git URL' if key == 'git_url' else 'branch'}"
                yield Finding(("dependencies", index, key), "unsafe_value", message)
    pairs = (
        (("dependencies", index), f"{dependency.git_url} {dependency.branch}")
        for index, dependency in enumerate(module.dependencies)
    )
    for finding in _doubles(pairs, "dependency", "duplicate_dependency"):
        yield Finding(finding.location, finding.code, finding.message, is_warning=True)


def check_unknown(model: Model) -> Iterator[Finding]:
    """Find keys that look like misspelt ones of the format; others are somebody's own and are kept."""
    seen = 0
    for location, item in _models_with_unknown(model, ()):
        fields = type(item).model_fields.items()
        absent = {
            (field.alias or name).lower(): field.alias or name
            for name, field in fields
            if name not in item.model_fields_set
        }
        for key in item.model_extra or {}:
            seen += 1
            if seen > MAX_UNKNOWN:
                return
            if len(key) > 40 or key.lower().endswith("guid"):
                continue
            near = difflib.get_close_matches(key.lower(), absent, n=1, cutoff=0.8)
            if near:
                message = f"{quoted(key)} is not known and has no effect; did you mean '{absent[near[0]]}'?"
                yield Finding((*location, key), "unknown_field", message, is_warning=True)


def _models_with_unknown(model: Model, location: Location) -> Iterator[tuple[Location, Model]]:
    if model.model_extra and not isinstance(model, ActionLimits):  # which has a check of its own
        yield location, model
    for name, value in model:
        if isinstance(value, Model):
            yield from _models_with_unknown(value, (*location, name))
        elif isinstance(value, tuple):
            key = type(model).model_fields[name].alias or name
            for index, item in enumerate(value):
                if isinstance(item, Model):
                    yield from _models_with_unknown(item, (*location, key, index))


def _check_files(packet: Packet) -> Iterator[Finding]:
    for index, file in enumerate(packet.files):
        if not names.is_safe_file_name(file.filename):
            message = (
                f"{quoted(file.filename)} cannot be a file name; it has to be one plain name, without '/', '\\', "
                "a leading '-' or characters that do not print"
            )
            yield Finding(("files", index, "filename"), "unsafe_file_name", message)
        if any(not names.is_safe_file_name(part) for part in file.directory.split("/") if part):
            message = f"{quoted(file.directory)} cannot be a directory below the instance"
            yield Finding(("files", index, "directory"), "unsafe_file_name", message)
        yield from _check_limits(file, ("files", index, "limits"))


def _check_limits(file: PacketFile, location: Location) -> Iterator[Finding]:
    """Find limits that there are not: who wrote one relies on it."""
    known = ", ".join(field.alias or name for name, field in ActionLimits.model_fields.items())
    for key in list(file.limits.model_extra or {})[:MAX_UNKNOWN] if file.limits else ():
        message = f"{quoted(key)} is no limit and has no effect; there are {known}"
        yield Finding((*location, key), "unknown_field", message, is_warning=True)


def _check_parents(packet: Packet) -> Iterator[Finding]:
    for index, reference in enumerate(packet.extends):
        if not (reference.id or reference.name):
            yield Finding(("extends", index), "missing_field", f"'extends[{index}]' names no packet; give it an 'id'")
        elif packet.id and reference.id == packet.id:
            yield Finding(("extends", index, "id"), "extends_itself", "the packet extends itself")
        yield from _check_path(reference.module_branch_path, ("extends", index, "moduleBranchPath"))
    parents = ((("extends", i, "id"), reference.id) for i, reference in enumerate(packet.extends))
    yield from _doubles(parents, "parent", "duplicate_id")
    for written in packet.inherit_files_from:
        if _OLD_PATH.match(written) is None:
            message = rf"{quoted(written)} is not host\org\repo\branch\packet name; nothing is inherited from it"
            yield Finding(("inheritFilesFromPacketGuid",), "bad_path", message)


def _check_path(written: str, location: Location) -> Iterator[Finding]:
    """Check a reference to a branch; one that cannot be read is taken for the file's own branch."""
    if not written:
        return
    try:
        BranchPath.parse(written)
    except ValueError:
        message = rf"{quoted(written)} is not host\org\repo\branch; this file's own branch is meant instead"
        yield Finding(location, "bad_path", message, is_warning=True)


def _doubles(items: Iterable[tuple[Location, str]], what: str, code: str) -> Iterator[Finding]:
    seen: set[str] = set()
    for location, key in items:
        if key and key in seen:
            yield Finding(location, code, f"{what} {quoted(key)} stands twice; the first one counts")
        seen.add(key)


def _check_instances(instances: tuple[Instance, ...]) -> Iterator[Finding]:
    walked = list(_walk(instances, ("instances",)))
    ids = (((*location, "id"), instance.id) for location, instance in walked)
    yield from _doubles(ids, "instance id", "duplicate_id")
    for location, instance in walked:
        if not (instance.packet_id or instance.packet_name):
            message = f"instance {quoted(instance.id)} names no packet; give it a 'packetId'"
            yield Finding(location, "missing_field", message)
        yield from _check_path(instance.packet_path, (*location, "packetPath"))
        if instance.velocity_name and _VELOCITY_NAME.match(instance.velocity_name) is None:
            message = (
                f"{quoted(instance.velocity_name)} cannot be written as $name in a template; "
                "use letters, digits, '_' and '-', beginning with a letter"
            )
            yield Finding((*location, "velocityName"), "bad_velocity_name", message, is_warning=True)
        attributes = list(enumerate(instance.attributes))
        at = (*location, "attributes")
        yield from _doubles((((*at, i, "name"), item.name) for i, item in attributes), "attribute", "duplicate_name")
        yield from _doubles((((*at, i, "id"), item.id) for i, item in attributes), "attribute id", "duplicate_id")


def _walk(instances: tuple[Instance, ...], base: Location) -> Iterator[tuple[Location, Instance]]:
    for index, instance in enumerate(instances):
        yield (*base, index), instance
        yield from _walk(instance.instances, (*base, index, "instances"))
