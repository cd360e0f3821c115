"""`$String` and `$Integer`: the static methods of Java's classes that templates use."""

from __future__ import annotations

import re
from typing import ClassVar

from infraxys.velocity.limits import current
from infraxys.velocity.methods import JavaError
from infraxys.velocity.values import shown

MAX_FORMAT = 2000
MAX_WIDTH = 1000

# Java's format specifier: argument, flags, width, precision, conversion.
SPECIFIER = re.compile(r"%(?:(\d{1,4})\$)?([-#+ 0,(<]*)(\d*)(?:\.(\d+))?([a-zA-Z%])")
INTEGERS = {"d": "d", "x": "x", "X": "X", "o": "o"}
FLOATS = {"f": "f", "e": "e", "E": "E", "g": "g", "G": "G"}


class JavaString:
    """`$String`: join, format and valueOf."""

    VTL_METHODS: ClassVar[frozenset[str]] = frozenset({"join", "format", "valueOf"})

    def join(self, separator: object, *items: object) -> str:
        """Join the items of a list, or the arguments."""
        if not isinstance(separator, str):
            raise JavaError("the separator is no string")
        parts = list(items[0]) if len(items) == 1 and isinstance(items[0], list | tuple) else list(items)
        texts = [part if isinstance(part, str) else shown(part) for part in parts]
        budget = current()
        budget.spend(len(texts))
        budget.fits(sum(map(len, texts)) + len(separator) * max(len(texts) - 1, 0))
        return budget.made(separator.join(texts))

    def valueOf(self, value: object) -> str:  # noqa: N802 - Java's name
        """Return the text of a value."""
        return shown(value)

    def format(self, pattern: object, *values: object) -> str:
        """Format as Java's String.format: %s %d %f %x %o %e %g %b %c %n %%, widths up to MAX_WIDTH."""
        if not isinstance(pattern, str):
            raise JavaError("the format is no string")
        if len(pattern) > MAX_FORMAT:
            raise JavaError(f"the format is longer than {MAX_FORMAT:,} characters")
        arguments = list(values[0]) if len(values) == 1 and isinstance(values[0], list | tuple) else list(values)
        budget = current()
        parts: list[str] = []
        at, following, last = 0, 0, -1
        while (percent := pattern.find("%", at)) >= 0:
            match = SPECIFIER.match(pattern, percent)
            if match is None:
                raise JavaError(f"'{pattern[percent : percent + 10]}' is no format")
            parts.append(pattern[at:percent])
            at = match.end()
            if match[5] in "%n":
                parts.append("%" if match[5] == "%" else "\n")
                continue
            if match[1]:
                last = int(match[1]) - 1
            elif "<" not in match[2]:
                last, following = following, following + 1
            if not 0 <= last < len(arguments):
                raise JavaError(f"there is no argument for '{match.group()}'")
            parts.append(formatted(match, arguments[last]))
            budget.made(parts[-1])
            budget.spend(2)
        parts.append(pattern[at:])
        return budget.made("".join(parts))


class JavaInteger:
    """`$Integer`: parseInt, valueOf, toString and the bounds."""

    VTL_METHODS: ClassVar[frozenset[str]] = frozenset({"parseInt", "valueOf", "toString"})

    def parseInt(self, text: object) -> int:  # noqa: N802 - Java's name
        """Read an integer of 32 bits."""
        if not isinstance(text, str) or not re.fullmatch(r"[+-]?[0-9]{1,20}", text):
            raise JavaError(f"{'null' if text is None else repr(text)[:50]} is no integer")
        value = int(text)
        if not -(2**31) <= value < 2**31:
            raise JavaError(f"{text} is no integer of 32 bits")
        return value

    def valueOf(self, value: object) -> int:  # noqa: N802 - Java's name
        """Return an integer as it is, or read it."""
        return value if type(value) is int else self.parseInt(value)

    def toString(self, *value: object) -> str:  # noqa: N802 - Java's name
        """Return the text of an integer."""
        return shown(value[0]) if value else "class java.lang.Integer"


def formatted(match: re.Match[str], value: object) -> str:
    """Format one value by one specifier."""
    flags, conversion = match[2], match[5]
    width = bounded(match[3])
    precision = bounded(match[4])
    if value is None or conversion in "sSbBcC":
        text = plain_text(conversion, value)
        text = text if match[4] is None or conversion in "cC" else text[:precision]
    else:
        text = number_text(match.group(), flags, conversion, value, None if match[4] is None else precision, width)
    if conversion.isupper():
        text = text.upper()
    return text.ljust(width) if "-" in flags else text.rjust(width)


def bounded(digits: str | None) -> int:
    """Return a width or precision that is not too large."""
    if digits and (len(digits) > 4 or int(digits) > MAX_WIDTH):
        raise JavaError(f"a width or precision is more than {MAX_WIDTH}")
    return int(digits or 0)


def plain_text(conversion: str, value: object) -> str:
    """Return what %s, %b and %c show."""
    if conversion in "bB":
        return "false" if value is None or value is False else "true"
    if conversion in "cC" and type(value) is int and 0 <= value <= 0x10FFFF:
        return chr(value)
    return "null" if value is None else shown(value)


def number_text(spec: str, flags: str, conversion: str, value: object, precision: int | None, width: int) -> str:
    """Return what %d, %f and their like show."""
    if conversion in INTEGERS and type(value) is int:
        if conversion != "d" and value < 0:
            value += 2**32 if value >= -(2**31) else 2**64
        text = format(abs(value), ("," if "," in flags and conversion == "d" else "") + INTEGERS[conversion])
    elif conversion in FLOATS and type(value) is float:
        kind = FLOATS[conversion]
        text = format(abs(value), f"{',' if ',' in flags else ''}.{6 if precision is None else precision}{kind}")
    else:
        raise JavaError(f"'{spec}' does not fit {shown(value)[:50]!r}")
    negative = value < 0
    sign = "-" if negative else "+" if "+" in flags else " " if " " in flags else ""
    if "0" in flags:
        text = text.rjust(width - len(sign), "0")
    return sign + text
