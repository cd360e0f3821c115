"""Reads what actions print as JSON: JSON, and also what Python prints for a dictionary. Nothing is evaluated.

Besides JSON: single quotes, Python's escapes and words (True, None), tuples, names and words without quotes, commas at
the end, comments. Bounded by the text's length, the depth of nesting and the number of values.
"""

import json
import math
import re
from typing import Any

MAX_DEPTH = 64
MAX_VALUES = 200_000
_SPACE = re.compile(r"(?:[\s,;]+|//[^\n]*|#[^\n]*|/\*.*?\*/)*", re.DOTALL)
_BLANK = re.compile(r"(?:\s+|//[^\n]*|#[^\n]*|/\*.*?\*/)*", re.DOTALL)
_TEXT = {
    '"': re.compile(r'[^"\\]*(?:\\.[^"\\]*)*', re.DOTALL),
    "'": re.compile(r"[^'\\]*(?:\\.[^'\\]*)*", re.DOTALL),
}
_PREFIX = re.compile(r"[bBrRuU]{1,2}(?=['\"])")
_WORD = re.compile(r"[^\s,:;=\[\](){}'\"#]+")
_ESCAPE = re.compile(
    r"\\(?:u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|x([0-9a-fA-F]{2})|([0-7]{1,3})|(.))",
    re.DOTALL,
)
_SIMPLE = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "a": "\a", "v": "\v", "\n": ""}
_WORDS: dict[str, Any] = {"true": True, "false": False, "null": None, "none": None}
_NUMBER = re.compile(r"[-+]?(?:\d{1,300}(?:\.\d{0,300})?|\.\d{1,300})(?:[eE][-+]?\d{1,4})?\Z")
_CLOSING = {"{": "}", "[": "]", "(": ")"}


class NotReadable(ValueError):  # noqa: N818 - reads as what it is
    """The text is neither JSON nor near to it; the message says where."""


def parse(text: str) -> Any:
    """Read a text. Raises NotReadable."""
    try:
        value = json.loads(text, strict=False, parse_constant=str, parse_int=_number, parse_float=_number)
    except (ValueError, RecursionError):
        pass
    else:
        if not _is_too_deep(value):
            return value
    return _Reader(text).read()


def _number(text: str) -> int | float | str:
    """Read a number; one that no computer has stays a text."""
    if len(text) < 300 and text.lstrip("+-").isdigit():
        return int(text)
    value = float(text)
    return value if math.isfinite(value) else text


def _is_too_deep(value: Any) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        following: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                following.extend(item.values())
            elif isinstance(item, list):
                following.extend(item)
        if not following:
            return False
        level = following
    return True


class _Reader:
    """One pass over a text."""

    def __init__(self, text: str) -> None:
        self._text, self._at, self._count = text, 0, 0

    def read(self) -> Any:
        """Read the one value that the text is."""
        self._skip(_BLANK)
        value = self._value(0)
        self._skip(_BLANK)
        if self._at != len(self._text):
            raise self._problem("there is something behind the value")
        return value

    def _value(self, depth: int) -> Any:
        self._count += 1
        if depth > MAX_DEPTH or self._count > MAX_VALUES:
            raise self._problem("it nests too deep" if depth > MAX_DEPTH else "it has too many values")
        character = self._text[self._at : self._at + 1]
        if character == "{":
            return self._object(depth)
        if character in {"[", "("}:
            return self._list(_CLOSING[character], depth)
        if character in {"'", '"'} or _PREFIX.match(self._text, self._at):
            return self._string()
        word = self._word()
        number = _NUMBER.match(word)
        return _number(word) if number else _WORDS.get(word.lower(), word)

    def _object(self, depth: int) -> Any:
        """Read `{…}`: an object, or what Python prints for a set."""
        self._at += 1
        found: dict[str, Any] = {}
        items: list[Any] = []
        while not self._closes("}"):
            key = self._value(depth + 1)
            self._skip(_BLANK)
            if self._text[self._at : self._at + 1] in {":", "="}:
                self._at += 2 if self._text.startswith("=>", self._at) else 1
                self._skip(_BLANK)
                found[key if isinstance(key, str) else str(key)] = self._value(depth + 1)
            else:
                items.append(key)
        if items and found:
            raise self._problem("a ':' is missing behind a name")
        return items or found

    def _list(self, end: str, depth: int) -> list[Any]:
        self._at += 1
        items: list[Any] = []
        while not self._closes(end):
            items.append(self._value(depth + 1))
        return items

    def _closes(self, end: str) -> bool:
        """Go to the next item; True behind the end."""
        self._skip(_SPACE)
        if self._text.startswith(end, self._at):
            self._at += 1
            return True
        if self._at == len(self._text):
            raise self._problem(f"'{end}' is missing")
        return False

    def _string(self) -> str:
        prefix = _PREFIX.match(self._text, self._at)
        if prefix:
            self._at = prefix.end()
        quote = self._text[self._at]
        match = _TEXT[quote].match(self._text, self._at + 1)
        end = match.end() if match else self._at
        if not self._text.startswith(quote, end):
            raise self._problem("the end of a text is missing")
        raw, self._at = self._text[self._at + 1 : end], end + 1
        return join_surrogates(_ESCAPE.sub(_unescape, raw)) if "\\" in raw else raw

    def _word(self) -> str:
        match = _WORD.match(self._text, self._at)
        if match is None:
            raise self._problem("a value is expected")
        self._at = match.end()
        return match[0]

    def _skip(self, what: "re.Pattern[str]") -> None:
        match = what.match(self._text, self._at)
        if match:
            self._at = match.end()

    def _problem(self, message: str) -> NotReadable:
        line = self._text.count("\n", 0, self._at) + 1
        return NotReadable(f"{message} (line {line}, column {self._at - self._text.rfind(chr(10), 0, self._at)})")


def _unescape(match: "re.Match[str]") -> str:
    digits = match[1] or match[2] or match[3]
    if digits:
        number = int(digits, 16)
        return chr(number) if number <= 0x10FFFF else "\ufffd"
    if match[4]:
        return chr(int(match[4], 8))
    return _SIMPLE.get(match[5], match[5])


def join_surrogates(text: str) -> str:
    """Put halves of characters together; a half alone becomes the mark for what cannot be shown."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
