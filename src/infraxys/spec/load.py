"""From the bytes of a file to its model, with every problem at its place. One broken file never affects another."""

import difflib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from typing import Generic, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from infraxys.spec.check import (
    Finding,
    check_container,
    check_environment,
    check_module,
    check_packet,
    check_role,
    check_unknown,
)
from infraxys.spec.json_source import Location, Source, parse
from infraxys.spec.models import Container, Environment, Model, ModuleFile, Packet, Role
from infraxys.spec.problem import Problem, quoted

M = TypeVar("M", bound=Model)
MAX_PROBLEMS = 50  # reported per file
MAX_ERRORS = 5000  # of one file's shape; with more, none is explained
# Where a value stands in the legacy dialect when validation names it by its new key.
LEGACY_KEYS = {
    "id": "guid",
    "menuCaption": "menuLabel",
    "environmentId": "environmentGuid",
    "containerId": "containerGuid",
    "instanceId": "instanceGuid",
    "packetFileId": "packetFileGuid",
    "referenceChildIdFilter": "referenceChildGuidFilter",
    "packetId": "packetGuid",
    "packetName": "packetGuid",
    "packetPath": "packetGuid",
    "path": "roleGuid",
}
_EXPECTED = {
    "string": "a text",
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "tuple": "a list",
    "model": "an object",
    "dict": "an object",
}
_KINDS = {bool: "a boolean", str: "a text", int: "a number", float: "a number", list: "a list", dict: "an object"}
_BOUNDS = {
    "greater_than": ("gt", "greater than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than_equal": ("le", "at most"),
}


@dataclass(frozen=True, slots=True)
class Loaded(Generic[M]):
    """A file that was read. `model` is None when it cannot be used at all."""

    model: M | None
    problems: tuple[Problem, ...]


def load_packet(data: bytes, file: str) -> Loaded[Packet]:
    """Read a packet.json."""
    return _load(Packet, data, file, check_packet)


def load_role(data: bytes, file: str) -> Loaded[Role]:
    """Read a role.json."""
    return _load(Role, data, file, check_role)


def load_container(data: bytes, file: str) -> Loaded[Container]:
    """Read a container.json."""
    return _load(Container, data, file, check_container)


def load_environment(data: bytes, file: str) -> Loaded[Environment]:
    """Read an environment.json."""
    return _load(Environment, data, file, check_environment)


def load_module(data: bytes, file: str) -> Loaded[ModuleFile]:
    """Read a module.json."""
    return _load(ModuleFile, data, file, check_module)


def _load(model_type: type[M], data: bytes, file: str, check: Callable[[M], Iterator[Finding]]) -> Loaded[M]:
    source, problems = parse(data, file)
    if source is None:
        return Loaded(None, problems)
    if not isinstance(source.value, dict):
        message = f"the file has to be a JSON object, this is {_kind(source.value)}"
        return Loaded(None, _place([Finding((), "wrong_type", message)], source, file))
    try:
        model = model_type.model_validate(source.value)
    except ValidationError as error:
        return Loaded(None, _place(_explain_all(error, source.value), source, file))
    return Loaded(model, _place(chain(check(model), check_unknown(model)), source, file))


def _place(findings: Iterable[Finding], source: Source, file: str) -> tuple[Problem, ...]:
    """Give the first findings their positions, in the order of the file."""
    kept = [(_as_written(finding.location, source.value)[0], finding) for finding in islice(findings, MAX_PROBLEMS)]
    if not kept:
        return ()
    positions = source.positions(location for location, _ in kept)
    return tuple(
        sorted(
            (
                Problem(file, *positions[location], item.code, item.message, "warning" if item.is_warning else "error")
                for location, item in kept
            ),
            key=lambda problem: (problem.line, problem.column),
        )
    )


def _explain_all(error: ValidationError, root: object) -> Iterator[Finding]:
    count = error.error_count()
    if count > MAX_ERRORS:
        yield Finding((), "too_many_problems", f"{count} values are missing or wrong; this is not a file of this kind")
    else:
        yield from (_explain(item, root) for item in error.errors(include_url=False)[:MAX_PROBLEMS])


def _explain(error: ErrorDetails, root: object) -> Finding:
    """Say in words what validation found: what is wrong and what is expected."""
    location, value = _as_written(error["loc"], root)
    name = dotted(location)
    kind, context = error["type"], error.get("ctx", {})
    if kind == "missing":
        name = dotted((*location, str(error["loc"][-1])))
        return Finding(location, "missing_field", f"'{name}' is missing")
    if kind == "literal_error":
        allowed = _allowed(value, str(context.get("expected", "")))
        return Finding(location, "unknown_value", f"'{name}' is {_show(value)}; {allowed}")
    if kind.startswith("string_too"):
        what = "is empty" if kind == "string_too_short" else f"is longer than {context['max_length']} characters"
        return Finding(location, "wrong_length", f"'{name}' {what}")
    if kind in _BOUNDS:
        key, words = _BOUNDS[kind]
        bound = f"{words} {context[key]:.0f}"
        return Finding(location, "out_of_range", f"'{name}' is {_show(value)}; it has to be {bound}")
    expected = _EXPECTED.get(kind.split("_")[0])
    if expected is None:
        return Finding(location, kind, f"'{name}' {error['msg']}")
    return Finding(location, "wrong_type", f"'{name}' has to be {expected}, this is {_kind(value)}")


def _as_written(loc: tuple[int | str, ...], root: object) -> tuple[Location, object]:
    """Follow a path of new names in the file as it is written; it ends where the file has nothing more of it."""
    value = root
    location: list[str | int] = []
    for part in loc:
        if isinstance(value, dict) and isinstance(part, str):
            key = part if part in value else LEGACY_KEYS.get(part, part)
            if key not in value:
                break
            location.append(key)
            value = value[key]
        elif isinstance(value, list) and isinstance(part, int) and part < len(value):
            location.append(part)
            value = value[part]
        else:
            break
    return tuple(location), value


def dotted(location: Location) -> str:
    """Write a path as people do: `files[2].saveWith`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{quoted(part)[1:-1]}" for part in location)
    return text.removeprefix(".") or "the file"


def _allowed(value: object, allowed: str) -> str:
    choices = [choice.strip(" '") for choice in allowed.replace(" or ", ", ").split(",")]
    upper = {choice.upper(): choice for choice in choices}
    near = difflib.get_close_matches(str(value)[:100].upper(), upper, n=1, cutoff=0.6)
    possible = f"possible are {', '.join(choices)}"
    return f"did you mean '{upper[near[0]]}'? ({possible})" if near else possible


def _kind(value: object) -> str:
    return "null" if value is None else _KINDS.get(type(value), "something else")


def _show(value: object) -> str:
    if isinstance(value, str):
        return quoted(value, 60)
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
