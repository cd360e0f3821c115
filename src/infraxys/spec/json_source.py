"""JSON with positions: values by the C parser, positions found only when a problem needs one.

Everything here takes time and memory in proportion to the file, whose size, depth and number of values are limited.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from infraxys.spec.problem import Problem, quoted

MAX_BYTES = 5 * 1024 * 1024
MAX_DEPTH = 100
MAX_VALUES = 250_000
MAX_DIGITS = 300

# A text without its end counts to the end of the file: whatever is wrong, nothing is read twice.
_TOKEN = re.compile(r'"(?:[^"\\]++|\\.?)*+"?|[\[\]{},:]|[^\s\[\]{},:"]++', re.DOTALL)
_STRUCTURE = re.compile(r'"(?:[^"\\]++|\\.?)*+"?|[\[\]{},]', re.DOTALL)
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|.)", re.DOTALL)
_MARKS = ((b"\xef\xbb\xbf", "UTF-8"), (b"\xff\xfe", "UTF-16"), (b"\xfe\xff", "UTF-16"))
Location = tuple[str | int, ...]
Node = dict[str | int, Any]


@dataclass(frozen=True, slots=True)
class Source:
    """A JSON file that could be read: its value and where everything stands."""

    text: str
    value: Any

    def position(self, location: Location) -> tuple[int, int]:
        """Give line and column (1-based) of the value at a path of keys and indexes, or else of its nearest parent."""
        return self.positions([location])[location]

    def positions(self, locations: Iterable[Location]) -> dict[Location, tuple[int, int]]:
        """Give the positions of many values, reading the text once."""
        wanted = list(locations)
        offsets = _offsets(self.text, wanted)
        found = {}
        for location in wanted:
            known = next(location[:length] for length in range(len(location), -1, -1) if location[:length] in offsets)
            found[location] = line_and_column(self.text, offsets[known])
        return found


class _Refused(Exception):  # noqa: N818 - carries what is wrong out of the parser's hooks
    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def line_and_column(text: str, offset: int) -> tuple[int, int]:
    """Give the 1-based line and column of a character offset."""
    return text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset)


def parse(data: bytes, file: str) -> tuple[Source | None, tuple[Problem, ...]]:
    """Read JSON strictly. What is wrong comes back as a problem with its position; nothing is raised."""
    if len(data) > MAX_BYTES:
        return None, (Problem(file, None, None, "too_large", f"the file is larger than {MAX_BYTES // 2**20} MiB"),)
    mark = next((name for start, name in _MARKS if data.startswith(start)), None)
    if mark is not None:
        message = f"the file starts with a {mark} byte order mark; save it as UTF-8 without one"
        return None, (Problem(file, 1, 1, "byte_order_mark", message),)
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        before = data[: error.start].decode()
        message = f"byte {error.start} (0x{data[error.start]:02x}) is not UTF-8; save the file as UTF-8"
        return None, (_at(before, len(before), file, "not_utf8", message),)
    value, problem = _value(text, file)
    return (Source(text, value), ()) if problem is None else (None, (problem,))


def _value(text: str, file: str) -> tuple[Any, Problem | None]:
    """Give the value of a text, or what keeps it from having one."""
    beyond = _beyond_limits(text)
    if beyond is not None:
        offset, code, message = beyond
        return None, _at(text, offset, file, code, message)
    try:
        value = json.loads(
            text,
            object_pairs_hook=_no_duplicates,
            parse_constant=_no_constant,
            parse_int=_bounded_int,
            parse_float=_finite_float,
        )
    except json.JSONDecodeError as error:
        offset, message = _explain(text, error)
        return None, _at(text, offset, file, "not_json", message)
    except _Refused as error:
        return None, _at(text, _refused_at(text, error.code), file, error.code, str(error))
    half = _half_pair(text) if re.search(r"\\u[dD][89a-fA-F]", text) else None
    if half is not None:
        message = "half of a surrogate pair, which is no character, stands in a text"
        return None, _at(text, half, file, "lone_surrogate", message)
    return value, None


def _at(text: str, offset: int, file: str, code: str, message: str) -> Problem:
    line, column = line_and_column(text, offset)
    return Problem(file, line, column, code, message)


def _explain(text: str, error: json.JSONDecodeError) -> tuple[int, str]:
    """Say in words what the parser found, the same for every version of Python."""
    offset = error.pos
    if error.msg.startswith("Illegal trailing comma"):
        return offset, "not JSON: a comma stands before the end; remove it"
    before = text[:offset].rstrip()
    if text[offset : offset + 1] in {"}", "]"} and before.endswith(","):
        return len(before) - 1, "not JSON: a comma stands before the end; remove it"
    if offset >= len(text.rstrip()):
        return len(text.rstrip()), "not JSON: the file ends too early" if text.strip() else "the file is empty"
    if text[offset] == "'":
        return offset, 'not JSON: texts stand between double quotes (")'
    if text.startswith(("//", "/*", "#"), offset):
        return offset, "not JSON: there are no comments in JSON; remove it"
    message = {
        "Extra data": "something follows the value; remove it",
        "Invalid control character at": "a line end, tab or control character stands in a text; write it as \\n or \\t",
        "Unterminated string starting at": "a text that begins here has no end",
    }.get(error.msg, f"{error.msg[0].lower()}{error.msg[1:]}")
    return offset, f"not JSON: {message}"


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _Refused("duplicate_key", f"key {quoted(key)} stands twice in one object; remove one")
            seen.add(key)
    return value


def _no_constant(name: str) -> None:
    raise _Refused("not_a_number", f"{name} is not JSON; numbers have to be finite")


def _bounded_int(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise _Refused("not_a_number", f"a number has more than {MAX_DIGITS} digits")
    return int(digits)


def _finite_float(digits: str) -> float:
    if _is_refused_number(digits):
        raise _Refused("not_a_number", f"number {digits[:40]} is too large or too long")
    return float(digits)


def _is_refused_number(digits: str) -> bool:
    if digits in {"NaN", "Infinity", "-Infinity"} or len(digits) > MAX_DIGITS:
        return True
    is_number = re.fullmatch(r"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?", digits, re.ASCII) is not None
    return is_number and not digits.lstrip("-").isdecimal() and abs(float(digits)) == float("inf")


def _refused_at(text: str, code: str) -> int:
    """Find what a hook of the parser refused: a number, or the second of two equal keys."""
    if code == "not_a_number":
        tokens = ((match.start(), match.group()) for match in _TOKEN.finditer(text))
        return next((start for start, token in tokens if _is_refused_number(token)), 0)
    # The parser refuses an object at its end, so that of several the innermost and earliest is meant.
    objects: list[tuple[set[str], list[int]]] = []
    token = ""
    for match in _TOKEN.finditer(text):
        before, token = token, match.group()
        if token in {"{", "["}:
            objects.append((set(), []))
        elif token in {"}", "]"} and objects:
            _, again = objects.pop()
            if again:
                return again[0]
        elif token[0] == '"' and before in {"{", ","} and re.compile(r"\s*:").match(text, match.end()):
            key = json.loads(token)
            keys, again = objects[-1]
            if key in keys:
                again.append(match.start())
            keys.add(key)
    return 0


def _half_pair(text: str) -> int | None:
    """Find an escaped surrogate without its other half."""
    high = None
    for token in _TOKEN.finditer(text):
        for match in _ESCAPE.finditer(token.group()) if token.group()[0] == '"' else ():
            unit = int(match.group(1) or "0", 16)
            start = token.start() + match.start()
            if high is not None:
                if 0xDC00 <= unit <= 0xDFFF and start == high + 6:
                    high = None
                    continue
                return high
            if 0xDC00 <= unit <= 0xDFFF:
                return start
            high = start if 0xD800 <= unit <= 0xDBFF else None
        if high is not None:
            return high
    return None


def _beyond_limits(text: str) -> tuple[int, str, str] | None:
    """Find where nesting or the number of values passes its limit: offset, code and message."""
    opened = text.count("[") + text.count("{")
    if opened <= MAX_DEPTH and opened + text.count(",") <= MAX_VALUES:
        return None  # whatever of it stands in texts
    depth = values = 0
    for match in _STRUCTURE.finditer(text):
        mark = match.group()
        if mark in {"[", "{"}:
            depth += 1
            values += 1
            if depth > MAX_DEPTH:
                return match.start(), "too_deep", f"values nest deeper than {MAX_DEPTH} levels"
        elif mark in {"]", "}"}:
            depth -= 1
        elif mark == ",":
            values += 1
        if values > MAX_VALUES:
            return match.start(), "too_many_values", f"the file holds more than {MAX_VALUES} values"
    return None


def _offsets(text: str, locations: Iterable[Location]) -> dict[Location, int]:
    """Find the offsets of the values at some paths, and of what is on the way to them, in valid JSON."""
    wanted: Node = {}
    for location in locations:
        node = wanted
        for part in location:
            node = node.setdefault(part, {})
    return dict(_walk(text, wanted))


def _walk(text: str, wanted: Node) -> Iterator[tuple[Location, int]]:
    # Of each open list or object: the index or key that comes next, and what is wanted below; None if nothing is.
    stack: list[tuple[str | int | None, Node | None]] = []
    expects_key = False
    for match in _TOKEN.finditer(text):
        mark = match.group()
        if mark == ":":
            continue
        if mark == ",":
            part, below = stack[-1]
            stack[-1] = (part + 1 if isinstance(part, int) else None, below)
            expects_key = not isinstance(part, int)
        elif mark in {"}", "]"}:
            stack.pop()
            expects_key = False
        elif expects_key:
            below = stack[-1][1]
            stack[-1] = (json.loads(mark) if below else "", below)
            expects_key = False
        else:
            node = _wanted_here(stack, wanted)
            if node is not None:
                yield tuple(part for part, _ in stack if part is not None), match.start()
            if mark in {"{", "["}:
                stack.append((0 if mark == "[" else None, node))
                expects_key = mark == "{"


def _wanted_here(stack: list[tuple[str | int | None, Node | None]], wanted: Node) -> Node | None:
    if not stack:
        return wanted
    part, below = stack[-1]
    return None if below is None or part is None else below.get(part)
