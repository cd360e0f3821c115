"""Finds what authors of shell and Terraform files trip over: text that the language takes for its own."""

from __future__ import annotations

import re
from dataclasses import fields, is_dataclass
from typing import TypeAlias

from infraxys.velocity import nodes
from infraxys.velocity.errors import Source, VelocityParseError
from infraxys.velocity.parser import DIRECTIVES, parse

Finding: TypeAlias = tuple[int, int, str]

RAW = re.compile(r"(\$!?\{[A-Za-z_][A-Za-z0-9_-]*#+)|#\[\[.*?(?:\]\]#|\Z)|#\*.*?(?:\*#|\Z)|##[^\r\n]*", re.DOTALL)
EXPANSION = re.compile(r"(?<!\\)\$!?\{([A-Za-z_][A-Za-z0-9_-]*)(:?[-=?+]|[%#/^,:@]|\[[@*]\])")
ARRAY = re.compile(r"(?<!\\)\$!?([A-Za-z_][A-Za-z0-9_-]*)\[[@*]\]")
BRACE = re.compile(r"(?<!\\)\$!?([A-Za-z_][A-Za-z0-9_-]*)\{")
COMMENT = re.compile(r"(?<!\\)#([A-Za-z_][A-Za-z0-9_]*)\(")
MACRO = re.compile(r"#(?:macro|\{macro\})[ \t\r\n]*\([ \t\r\n]*([A-Za-z_@][A-Za-z0-9_@]*)")
REMEDY = "put #[[ ]]# around it, or write ${D} for $"
KNOWN = DIRECTIVES | {"if", "elseif", "set", "else", "end"}


def lint(text: str, name: str = "template") -> list[Finding]:
    """Return (line, column, message) for each suspicious place, in the order of the text.

    The places are shell expansions like `${NAME:-x}`, `$name{` and comments like `#word(` outside of `#[[ ]]#`, braces
    around a name that is set, and the first place where the text is no template, if there is one.
    """
    source = Source(name, text)
    # Raw blocks and comments keep their length, so that offsets stay true.
    live = RAW.sub(lambda match: match[1] or " " * len(match.group()), text)
    found: list[tuple[int, str]] = []
    found += [
        (match.start(), f"'{match.group()}...}}' is no shell expansion here: {REMEDY}")
        for match in EXPANSION.finditer(live)
    ]
    found += [(match.start(), f"'{match.group()}' reads as an index: {REMEDY}") for match in ARRAY.finditer(live)]
    found += [
        (match.start(), f"'{match.group()}' is not what it looks like: write ${{{match[1]}}} before a brace")
        for match in BRACE.finditer(live)
    ]
    macros = {match[1] for match in MACRO.finditer(live)}
    for match in COMMENT.finditer(live):
        if match[1] not in KNOWN and match[1] not in macros:
            message = f"'#{match[1]}(' reads as the call of a macro: put a blank behind the #, or #[[ ]]# around it"
            found.append((match.start(), message))
    warnings = [(*source.position(offset), message) for offset, message in sorted(found)]
    try:
        names = _Names(parse(text, name))
    except VelocityParseError as error:
        warnings.append((error.line or 1, error.column or 1, error.message))
    else:
        warnings += names.odd
    return sorted(warnings, key=lambda warning: warning[:2])


def free_names(text: str, name: str = "template") -> dict[str, tuple[int, int]]:
    """Return the variables that a template reads and never sets itself, with the line and column of their first use.

    Raises VelocityParseError.
    """
    found = _Names(parse(text, name))
    places = sorted(found.used.items(), key=lambda item: item[1])
    return {root: place for root, place in places if root not in found.known}


class _Names:
    """The variables of a template: those it reads, where first, those it sets, and where it does so by an odd name."""

    def __init__(self, tree: nodes.Tree) -> None:
        self.used: dict[str, tuple[int, int]] = {}
        self.known = {"foreach", "velocityCount", "velocityHasNext", "bodyContent"}
        self.odd: list[Finding] = []
        self._walk(tree.body, tree.source)
        for macro in tree.macros.values():
            self.known.update(macro.parameters)
            self._walk(macro.body, macro.source)

    def _walk(self, top: object, source: Source) -> None:
        """Go through a part of a tree; without recursion, since a long sum is a deep tree."""
        waiting = [(top, source)]
        while waiting:
            item, inside = waiting.pop()
            if isinstance(item, tuple):
                waiting += [(part, inside) for part in reversed(item)]
            elif is_dataclass(item):
                self._note(item, inside)
                inner = item.source if isinstance(item, nodes.Interpolated) else inside
                skipped = {"source", "target"} if isinstance(item, nodes.Set) and not item.target.steps else {"source"}
                parts = [getattr(item, part.name) for part in fields(item) if part.name not in skipped]
                waiting += [(part, inner) for part in reversed(parts)]

    def _note(self, item: object, source: Source) -> None:
        if isinstance(item, nodes.Foreach):
            self.known.add(item.variable)
        elif isinstance(item, nodes.Define):
            self.known.add(item.name)
        elif isinstance(item, nodes.Set) and not item.target.steps:
            self._set(item.target, source)
        elif isinstance(item, nodes.Reference) and item.root not in self.used:
            self.used[item.root] = source.position(item.offset)

    def _set(self, target: nodes.Reference, source: Source) -> None:
        self.known.add(target.name)
        if target.name != target.root:
            message = f"#set({target.text} = ...) sets another variable than ${target.root}: write ${target.root}"
            self.odd.append((*source.position(target.offset), message))
