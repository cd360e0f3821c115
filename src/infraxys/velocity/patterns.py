"""Java's regular expressions for replaceAll, replaceFirst, matches and split, on `regex` with a time limit."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

import regex

from infraxys.velocity.errors import LimitError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from infraxys.velocity.limits import Budget

MAX_PATTERN = 1000
MAX_REPEAT = 1000
SMALL = 10_000  # a result of fewer characters fits without counting
REGEX_SECONDS = 0.25

SPECIAL = frozenset(r"\^$.|?*+()[]{}")
SPECIAL_REPLACEMENT = frozenset("$\\")
PLAIN_REPLACEMENT = re.compile(r"[^$\\]+")
REPEAT = re.compile(r"\{(\d+)(,?)(\d*)\}")
LINE_TERMINATORS = r"[^\n\r\u0085\u2028\u2029]"
TRANSLATED = {
    "z": r"\Z",
    "Z": r"(?=(?:\r\n|[\n\r\u0085\u2028\u2029])?\Z)",
    "h": r"[ \t\xA0\u1680\u180e\u2000-\u200a\u202f\u205f\u3000]",
}


class PatternError(Exception):
    """A regular expression or replacement that is not well-formed."""


def translate(pattern: str) -> str:
    r"""Translate a Java pattern to `regex`: \Q..\E, \z, \Z, \h, and a dot that stops at all of Java's line ends."""
    parts: list[str] = []
    at, in_class = 0, 0
    dot_all = pattern.startswith("(?s")
    while at < len(pattern):
        char = pattern[at]
        if char == "\\":
            following = pattern[at + 1 : at + 2]
            if following == "Q":
                end = pattern.find(r"\E", at + 2)
                end = len(pattern) if end < 0 else end
                parts.append(regex.escape(pattern[at + 2 : end]))
                at = end + 2
                continue
            parts.append(TRANSLATED.get(following, char + following) if not in_class else char + following)
            at += 2
            continue
        if char == "[":
            in_class += 1
        elif char == "]" and in_class:
            in_class -= 1
        parts.append(LINE_TERMINATORS if char == "." and not in_class and not dot_all else char)
        at += 1
    return "".join(parts)


@lru_cache(maxsize=512)
def compiled(pattern: str) -> regex.Pattern[str]:
    """Compile a Java pattern; its counted repeats multiply to at most MAX_REPEAT."""
    if len(pattern) > MAX_PATTERN:
        raise LimitError(f"A regular expression is longer than {MAX_PATTERN} characters")
    product = 1
    for found in REPEAT.finditer(pattern):
        product *= max(int(found[1][:6]), int(found[3][:6] or 0), 1)
        if product > MAX_REPEAT:
            raise LimitError(f"The counted repeats of a regular expression multiply to more than {MAX_REPEAT}")
    try:
        return regex.compile(translate(pattern), regex.VERSION1 | regex.ASCII)
    except (regex.error, KeyError, ValueError, IndexError, OverflowError, RecursionError) as error:
        raise PatternError(f"the regular expression {pattern!r} is not valid: {error}") from None


def plain(pattern: str) -> bool:
    """Whether a pattern matches just itself."""
    return not SPECIAL.intersection(pattern)


def found_in(pattern: str, text: str, budget: Budget) -> Iterator[regex.Match[str]]:
    """Give all matches, one at a time."""
    budget.spend(len(text) // 64 + 4)
    seconds = min(REGEX_SECONDS, budget.time_left())
    try:
        for match in compiled(pattern).finditer(text, timeout=seconds):
            budget.spend(4)
            yield match
    except TimeoutError:
        raise LimitError(f"The regular expression {pattern!r} takes too long") from None


def matches(text: str, pattern: str, budget: Budget) -> bool:
    """Whether the pattern matches all of the text."""
    if plain(pattern):
        return text == pattern
    budget.spend(len(text) // 64 + 4)
    try:
        return compiled(pattern).fullmatch(text, timeout=min(REGEX_SECONDS, budget.time_left())) is not None
    except TimeoutError:
        raise LimitError(f"The regular expression {pattern!r} takes too long") from None


def replacement_parts(replacement: str, groups: int, names: frozenset[str]) -> list[str | int]:
    r"""Split a replacement into texts and groups: `$1`, `${name}` and `\x` are special, a bare `$` is an error."""
    parts: list[str | int] = []
    at = 0
    while at < len(replacement):
        char = replacement[at]
        following = replacement[at + 1 : at + 2]
        if char == "\\":
            if not following:
                raise PatternError("the replacement ends with a backslash; write two")
            parts.append(following)
            at += 2
        elif char == "$":
            part, at = group_reference(replacement, at, groups, names)
            parts.append(part)
        else:
            run = PLAIN_REPLACEMENT.match(replacement, at)
            at = run.end() if run else at + 1
            parts.append(run.group() if run else char)
    return parts


def group_reference(replacement: str, at: int, groups: int, names: frozenset[str]) -> tuple[str | int, int]:
    """Parse `$1` or `${name}`; as many digits belong to the number as there are groups for."""
    named = re.compile(r"\{([A-Za-z][A-Za-z0-9]*)\}").match(replacement, at + 1)
    if named is not None:
        if named[1] not in names:
            raise PatternError(f"the replacement names a group {named[1]!r} that the pattern does not have")
        return f"\0{named[1]}", named.end()
    if not replacement[at + 1 : at + 2].isdecimal():
        raise PatternError(r"the replacement has a $ that names no group; write \$ for a dollar sign")
    end = at + 2
    while replacement[end : end + 1].isdecimal() and int(replacement[at + 1 : end + 1]) <= groups:
        end += 1
    group = int(replacement[at + 1 : end])
    if group > groups:
        raise PatternError(f"the replacement names the group {group}, the pattern has {groups}")
    return group, end


def expand(match: regex.Match[str], parts: list[str | int]) -> str:
    """Put the groups of a match into a replacement."""
    return "".join(
        (match[part] or "") if isinstance(part, int) else (match[part[1:]] or "") if part[0] == "\0" else part
        for part in parts
    )


def replace_text(text: str, old: str, new: str, budget: Budget) -> str:
    """Replace a plain text."""
    if (len(text) + 1) * (len(new) + 1) > SMALL:
        budget.fits(len(text) + text.count(old) * (len(new) - len(old)))
    return budget.made(text.replace(old, new))


def replace(text: str, pattern: str, replacement: str | None, budget: Budget, *, once: bool = False) -> str:
    """Replace what a pattern matches."""
    verbatim = replacement is not None and not SPECIAL_REPLACEMENT.intersection(replacement)
    if verbatim and replacement is not None and pattern and plain(pattern) and not once:
        return replace_text(text, pattern, replacement, budget)
    expression = compiled(pattern)
    parts: list[str | int] | None = None
    pieces: list[str] = []
    end, size = 0, 0
    for match in found_in(pattern, text, budget):
        if parts is None:
            # As in Java, a wrong replacement is an error only when something matches.
            if replacement is None:
                raise PatternError("the replacement is null")
            parts = replacement_parts(replacement, expression.groups, frozenset(expression.groupindex))
        budget.spend(len(parts))
        new = expand(match, parts)
        size += len(new)
        budget.fits(size)
        pieces += (text[end : match.start()], new)
        end = match.end()
        if once:
            break
    if parts is None:
        return text
    pieces.append(text[end:])
    budget.fits(sum(map(len, pieces)))
    return budget.made("".join(pieces))


def split(text: str, pattern: str, limit: int, budget: Budget) -> list[str]:
    """Split as Java: no empty first part for an empty match, and with limit 0 no empty parts at the end."""
    parts: list[str] = []
    end = 0
    for match in found_in(pattern, text, budget):
        if match.end() == 0 or (match.start() == match.end() == len(text)):
            continue
        if 0 < limit <= len(parts) + 1:
            break
        parts.append(text[end : match.start()])
        end = match.end()
    if not parts and end == 0:
        return [text]
    parts.append(text[end:])
    while limit == 0 and parts and not parts[-1]:
        parts.pop()
    budget.room(len(parts))
    return parts
