"""JSON with positions: values by the C parser, positions found only when a problem needs one."""

import json
import re
from dataclasses import dataclass
from typing import Any

from infraxys.spec.problem import Problem

MAX_BYTES = 5 * 1024 * 1024
MAX_DEPTH = 100

_SPACE = re.compile(r"[ \t\n\r]*")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_SCALAR = re.compile(r"[^\s,\]}]+")
Location = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Source:
    """A JSON file that could be read: its value and where everything stands."""

    text: str
    value: Any

    def position(self, location: Location) -> tuple[int, int]:
        """Give line and column (1-based) of the value at a path of keys and indexes; of its nearest known parent."""
        offset = 0
        for length in range(len(location), -1, -1):
            found = _find(self.text, location[:length])
            if found is not None:
                offset = found
                break
        return line_and_column(self.text, offset)


class _Refused(Exception):  # noqa: N818 - carries what is wrong out of the parser's hooks
    def __init__(self, code: str, message: str, location_hint: str | None = None) -> None:
        super().__init__(message)
        self.code, self.hint = code, location_hint


def line_and_column(text: str, offset: int) -> tuple[int, int]:
    """Give the 1-based line and column of a character offset."""
    return text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset)


def parse(  # noqa: PLR0911 - one refusal after another
    data: bytes, file: str
) -> tuple[Source | None, tuple[Problem, ...]]:
    """Read JSON strictly. What is wrong comes back as a problem with its position; nothing is raised."""
    if len(data) > MAX_BYTES:
        return None, (Problem(file, None, None, "too_large", f"the file is larger than {MAX_BYTES // 2**20} MiB"),)
    if data.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        return None, (
            Problem(file, 1, 1, "byte_order_mark", "the file starts with a byte order mark; save it as plain UTF-8"),
        )
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line, column = line_and_column(data[: error.start].decode(errors="replace"), error.start)
        return None, (Problem(file, line, column, "not_utf8", f"byte {error.start} is not UTF-8"),)
    deep = _too_deep(text)
    if deep is not None:
        line, column = line_and_column(text, deep)
        message = f"values nest deeper than {MAX_DEPTH} levels"
        return None, (Problem(file, line, column, "too_deep", message),)
    try:
        value = json.loads(text, object_pairs_hook=_no_duplicates, parse_constant=_no_constants, parse_int=_bounded_int)
    except json.JSONDecodeError as error:
        message = f"not JSON: {error.msg[0].lower()}{error.msg[1:]}"
        return None, (Problem(file, error.lineno, error.colno, "not_json", message),)
    except _Refused as error:
        line, column = line_and_column(text, _occurrence(text, error.hint, error.code))
        return None, (Problem(file, line, column, error.code, str(error)),)
    surrogate = re.search(r"\\u[dD][89a-fA-F]", text)
    if surrogate is not None:
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            line, column = line_and_column(text, surrogate.start())
            message = "a text holds half of a surrogate pair, which is no character"
            return None, (Problem(file, line, column, "lone_surrogate", message),)
    return Source(text, value), ()


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _Refused("duplicate_key", f"key '{key[:100]}' stands twice in one object", json.dumps(key))
            seen.add(key)
    return value


def _no_constants(name: str) -> None:
    raise _Refused("not_json", f"{name} is not JSON", name)


def _bounded_int(digits: str) -> int:
    if len(digits) > 300:
        raise _Refused("not_json", "a number has more than 300 digits", digits)
    return int(digits)


def _too_deep(text: str) -> int | None:
    """Find where nesting passes the limit, reading brackets outside strings only."""
    depth = 0
    for match in re.finditer(r'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]', text, re.DOTALL):
        mark = match.group()
        if mark in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                return match.start()
        elif mark in "]}":
            depth -= 1
    return None


def _occurrence(text: str, hint: str | None, code: str) -> int:
    """Find the text that was refused: the second of a duplicate key, else the first."""
    if hint is None:
        return 0
    first = text.find(hint)
    second = text.find(hint, first + 1) if code == "duplicate_key" and first >= 0 else -1
    return max(first, second, 0)


def _find(text: str, location: Location) -> int | None:
    """Find the offset of the value at a path in valid JSON; None when the path does not exist."""
    offset = _skip(text, 0)
    for part in location:
        found = _member(text, offset, part) if isinstance(part, str) else _item(text, offset, part)
        if found is None:
            return None
        offset = found
    return offset


def _skip(text: str, offset: int) -> int:
    match = _SPACE.match(text, offset)
    return match.end() if match else offset


def _member(text: str, offset: int, key: str) -> int | None:
    if text[offset] != "{":
        return None
    offset = _skip(text, offset + 1)
    while text[offset] != "}":
        match = _STRING.match(text, offset)
        if match is None:
            return None
        value = _skip(text, _skip(text, match.end()) + 1)
        if json.loads(match.group()) == key:
            return value
        offset = _after_comma(text, _end(text, value))
    return None


def _item(text: str, offset: int, index: int) -> int | None:
    if text[offset] != "[":
        return None
    offset = _skip(text, offset + 1)
    for _ in range(index):
        if text[offset] == "]":
            return None
        offset = _after_comma(text, _end(text, offset))
    return None if text[offset] == "]" else offset


def _after_comma(text: str, offset: int) -> int:
    offset = _skip(text, offset)
    return _skip(text, offset + 1) if text[offset] == "," else offset


def _end(text: str, offset: int) -> int:
    """Give the offset behind the value that starts at `offset`."""
    if text[offset] == '"':
        match = _STRING.match(text, offset)
    elif text[offset] in "[{":
        depth = 0
        for token in re.compile(r'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]', re.DOTALL).finditer(text, offset):
            depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(token.group(), 0)
            if depth == 0:
                return token.end()
        return len(text)
    else:
        match = _SCALAR.match(text, offset)
    return match.end() if match else len(text)
