"""From the bytes of a file to its model, with every problem at its place. One broken file never affects another."""

import difflib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from infraxys.spec import names
from infraxys.spec.json_source import Location, Source, parse
from infraxys.spec.models import Container, Environment, Instance, Model, ModuleFile, Packet, Role
from infraxys.spec.problem import Problem

M = TypeVar("M", bound=Model)
MAX_PROBLEMS = 50  # reported per file
# Where a value stands in the legacy dialect when validation names it by its new key.
LEGACY_KEYS = {"id": "guid", "menuCaption": "menuLabel", "containerId": "containerGuid", "instanceId": "instanceGuid"}


@dataclass(frozen=True, slots=True)
class Loaded(Generic[M]):
    """A file that was read. `model` is None when it cannot be used at all."""

    model: M | None
    problems: tuple[Problem, ...]


def load_packet(data: bytes, file: str) -> Loaded[Packet]:
    """Read a packet.json."""
    return _load(Packet, data, file, _check_packet)


def load_role(data: bytes, file: str) -> Loaded[Role]:
    """Read a role.json."""
    return _load(Role, data, file, lambda model: _check_instances(model.instances, ("instances",)))


def load_container(data: bytes, file: str) -> Loaded[Container]:
    """Read a container.json."""
    return _load(Container, data, file, lambda model: _check_instances(model.instances, ("instances",)))


def load_environment(data: bytes, file: str) -> Loaded[Environment]:
    """Read an environment.json."""
    return _load(Environment, data, file, _check_environment)


def load_module(data: bytes, file: str) -> Loaded[ModuleFile]:
    """Read a module.json."""
    return _load(ModuleFile, data, file, lambda _model: ())


@dataclass(frozen=True, slots=True)
class _Finding:
    """A problem before its position is looked up. `fatal` ones make the file unusable."""

    location: Location
    code: str
    message: str
    is_warning: bool = False


def _load(model_type: type[M], data: bytes, file: str, check: Callable[[M], Iterable["_Finding"]]) -> Loaded[M]:
    source, problems = parse(data, file)
    if source is None:
        return Loaded(None, problems)
    if not isinstance(source.value, dict):
        message = f"a JSON object is expected, this is {_kind(source.value)}"
        return Loaded(None, (_place(_Finding((), "wrong_type", message), source, file),))
    try:
        model = model_type.model_validate(source.value)
    except ValidationError as error:
        findings: Iterable[_Finding] = [_explain(item, source.value) for item in error.errors(include_url=False)]
        return Loaded(None, tuple(_place(finding, source, file) for finding in list(findings)[:MAX_PROBLEMS]))
    found = list(check(model))[:MAX_PROBLEMS]
    return Loaded(model, tuple(_place(finding, source, file) for finding in found))


def _place(finding: _Finding, source: Source, file: str) -> Problem:
    line, column = source.position(finding.location)
    return Problem(file, line, column, finding.code, finding.message, "warning" if finding.is_warning else "error")


def _explain(error: ErrorDetails, root: object) -> _Finding:
    """Say in words what pydantic found."""
    location, value = _locate(error["loc"], root)
    name = dotted(location)
    kind, context = error["type"], error.get("ctx", {})
    if kind == "missing":
        return _Finding(location[:-1], "missing_field", f"'{name}' is missing")
    if kind == "literal_error":
        allowed = str(context.get("expected", ""))
        return _Finding(location, "unknown_value", f"'{name}' is {_show(value)}; {_allowed(value, allowed)}")
    if kind.startswith("string_too"):
        limit = context.get("max_length", context.get("min_length"))
        what = "is empty" if kind == "string_too_short" else f"is longer than {limit} characters"
        return _Finding(location, "wrong_length", f"'{name}' {what}")
    if kind in {"greater_than", "less_than_equal"}:
        bound = context.get("gt", context.get("le"))
        word = "greater than" if kind == "greater_than" else "at most"
        return _Finding(location, "out_of_range", f"'{name}' is {_show(value)}; it has to be {word} {bound}")
    expected = {
        "string": "a text",
        "bool": "true or false",
        "int": "a whole number",
        "float": "a number",
        "tuple": "a list",
        "model": "an object",
        "dict": "an object",
    }.get(kind.split("_")[0])
    if expected is None:
        return _Finding(location, "invalid", f"'{name}': {error['msg']}")
    return _Finding(location, "wrong_type", f"'{name}' has to be {expected}, this is {_kind(value)}")


def _locate(loc: tuple[int | str, ...], root: object) -> tuple[Location, object]:
    """Follow pydantic's path in the file as written: legacy names, and no names of union members."""
    value = root
    location: list[str | int] = []
    for part in loc:
        if isinstance(value, dict) and isinstance(part, str):
            key = part if part in value else LEGACY_KEYS.get(part, part)
            if key not in value and location and part in {"int", "float", "str"}:
                continue
            location.append(key)
            value = value.get(key)
        elif isinstance(value, list) and isinstance(part, int) and part < len(value):
            location.append(part)
            value = value[part]
    return tuple(location), value


def dotted(location: Location) -> str:
    """Write a path as people do: `files[2].saveWith`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return text.removeprefix(".") or "the file"


def _allowed(value: object, allowed: str) -> str:
    choices = [choice.strip(" '") for choice in allowed.replace(" or ", ", ").split(",")]
    near = difflib.get_close_matches(str(value).upper(), [choice.upper() for choice in choices], n=1, cutoff=0.6)
    meant = next((choice for choice in choices if near and choice.upper() == near[0]), None)
    return f"did you mean '{meant}'?" if meant else f"possible are {', '.join(choices)}"


def _kind(value: object) -> str:
    if value is None:
        return "null"
    kinds = {bool: "a boolean", str: "a text", int: "a number", float: "a number", list: "a list", dict: "an object"}
    return kinds.get(type(value), "something else")


def _show(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _doubles(items: Iterable[tuple[Location, str]], what: str, code: str) -> Iterator[_Finding]:
    seen: set[str] = set()
    for location, key in items:
        if key and key in seen:
            yield _Finding(location, code, f"{what} '{key[:200]}' stands twice")
        seen.add(key)


def _check_packet(packet: Packet) -> Iterator[_Finding]:
    for index, attribute in enumerate(packet.attributes):
        location: Location = ("attributes", index, "name")
        if not names.is_exportable(attribute.name):
            message = f"attribute '{attribute.name[:200]}' cannot be a shell variable of this name; it is not exported"
            yield _Finding(location, "not_exportable", message, is_warning=True)
    for index, file in enumerate(packet.files):
        if not names.is_safe_file_name(file.filename):
            message = (
                f"'{file.filename[:200]}' cannot be a file name: one plain name, without a path or special characters"
            )
            yield _Finding(("files", index, "filename"), "unsafe_file_name", message)
        if any(not names.is_safe_file_name(part) for part in file.directory.split("/") if part):
            message = f"'{file.directory[:200]}' cannot be a directory below the instance"
            yield _Finding(("files", index, "directory"), "unsafe_file_name", message)
    attributes, files = list(enumerate(packet.attributes)), list(enumerate(packet.files))
    yield from _doubles(((("attributes", i, "name"), a.name) for i, a in attributes), "attribute", "duplicate_name")
    yield from _doubles(((("attributes", i, "id"), a.id) for i, a in attributes), "attribute id", "duplicate_id")
    yield from _doubles(((("files", i, "filename"), f.filename) for i, f in files), "file", "duplicate_name")
    yield from _doubles(((("files", i, "id"), f.id) for i, f in files), "file id", "duplicate_id")
    if packet.id and any(reference.id == packet.id for reference in packet.extends):
        yield _Finding(("extends",), "extends_itself", "the packet extends itself")


def _check_environment(environment: Environment) -> Iterator[_Finding]:
    ids = ((("workflows", index, "id"), item.id) for index, item in enumerate(environment.workflows))
    yield from _doubles(ids, "workflow id", "duplicate_id")


def _check_instances(instances: tuple[Instance, ...], base: Location) -> Iterator[_Finding]:
    yield from _doubles(_instance_ids(instances, base), "instance id", "duplicate_id")
    for location, instance in _walk(instances, base):
        if not (instance.packet_id or instance.packet_name):
            yield _Finding(location, "missing_field", f"instance '{instance.id}' names no packet (packetId)")


def _walk(instances: tuple[Instance, ...], base: Location) -> Iterator[tuple[Location, Instance]]:
    for index, instance in enumerate(instances):
        yield (*base, index), instance
        yield from _walk(instance.instances, (*base, index, "instances"))


def _instance_ids(instances: tuple[Instance, ...], base: Location) -> Iterator[tuple[Location, str]]:
    for location, instance in _walk(instances, base):
        yield (*location, "id"), instance.id
