"""What can go wrong with a template.

Every error names the template, the line and the column (1-based) and, where there is one, the reference or directive.

    VelocityError                  anything below
    ├── VelocityParseError         the text is not a template
    ├── UndefinedReferenceError    strict mode: a variable that nobody set
    ├── MethodError                a method of a value or of the host raised
    ├── ResourceError              #parse or #include of a file that is not there
    └── LimitError                 the template wanted more than its `Limits` give
"""

from __future__ import annotations

import re
from bisect import bisect_right
from difflib import get_close_matches
from itertools import islice
from typing import TYPE_CHECKING, ClassVar, Self

if TYPE_CHECKING:
    from collections.abc import Iterable

COLUMN_BREAK = re.compile(r"\t|\r\n|\n|\r")
SHOWN_NAMES = 3
SHOWN_AVAILABLE = 12
MAX_NAMES = 2000  # that are looked at
MAX_NAME = 100  # characters of a name that is worth comparing with others
MAX_MESSAGE = 300


class Source:
    """A text with a name that can say where an offset is.

    The content of a double-quoted string is a source of its own; `outer` and `offset` say where it starts.
    """

    __slots__ = ("_marks", "name", "offset", "outer", "text")

    def __init__(self, name: str, text: str, outer: Source | None = None, offset: int = 0) -> None:
        self.name = name
        self.text = text
        self.outer = outer
        self.offset = offset
        self._marks: tuple[list[int], list[tuple[int, int]]] | None = None

    def position(self, offset: int) -> tuple[int, int]:
        """Return the 1-based line and column of an offset; a tab reaches to the next multiple of eight."""
        if self._marks is None:
            self._marks = marks(self.text, *(self.outer.position(self.offset) if self.outer is not None else (1, 1)))
        offsets, places = self._marks
        found = bisect_right(offsets, offset) - 1
        line, column = places[found]
        return line, column + offset - offsets[found]


def marks(text: str, line: int, column: int) -> tuple[list[int], list[tuple[int, int]]]:
    """Return the offsets behind each tab and line end, and the line and column there."""
    offsets, places = [0], [(line, column)]
    for found in COLUMN_BREAK.finditer(text):
        if found.group() == "\t":
            column = (places[-1][1] + found.start() - offsets[-1] - 1) // 8 * 8 + 9
        else:
            line, column = line + 1, 1
        offsets.append(found.end())
        places.append((line, column))
    return offsets, places


class VelocityError(Exception):
    """A template that cannot be parsed or rendered.

    `message` says what is wrong without the place; `str(error)` adds the place and the hint. `snippet` is the
    reference or directive as written, `suggestions` are close names that do exist, else `available` is what there is.
    """

    code: ClassVar[str] = "velocity.render"

    def __init__(self, message: str, *, snippet: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.message = message if len(message) <= MAX_MESSAGE else message[:MAX_MESSAGE] + "..."
        self.snippet = snippet[:MAX_MESSAGE]
        self.hint = hint
        self.suggestions: tuple[str, ...] = ()
        self.available: tuple[str, ...] = ()
        self.template: str | None = None
        self.line: int | None = None
        self.column: int | None = None

    def locate(self, source: Source, offset: int) -> VelocityError:
        """Set the place, unless an inner place is known already."""
        if self.template is None:
            self.template = source.name
            self.line, self.column = source.position(offset)
        return self

    def among(self, wanted: str, names: Iterable[str], prefix: str = "") -> Self:
        """Say which names there are: those that look like the wanted one, else the first ones."""
        known = list(dict.fromkeys(islice(names, MAX_NAMES)))
        self.suggestions = tuple(close_names(wanted, known, prefix))
        if not self.suggestions:
            short = [name for name in known if len(name) <= MAX_NAME]
            more = len(known) - SHOWN_AVAILABLE
            self.available = tuple(prefix + name for name in short[:SHOWN_AVAILABLE])
            self.available += (f"{more} more",) if more > 0 else ()
        return self

    def __str__(self) -> str:
        text = self.message
        if self.template is not None:
            text += f" at {self.template}[line {self.line}, column {self.column}]"
        if self.suggestions:
            text += f"; did you mean {' or '.join(self.suggestions)}?"
        elif self.available:
            text += f"; there {'is' if len(self.available) == 1 else 'are'} {', '.join(self.available)}"
        if self.hint:
            text += f"; {self.hint}"
        return text


class VelocityParseError(VelocityError):
    """The text is not a template."""

    code = "velocity.parse"


class UndefinedReferenceError(VelocityError):
    """Strict mode: a variable that is not set."""

    code = "velocity.undefined"


class MethodError(VelocityError):
    """A method raised; the original exception is the `__cause__`."""

    code = "velocity.method"


class ResourceError(VelocityError):
    """A file that #parse or #include names does not exist."""

    code = "velocity.resource"


class LimitError(VelocityError):
    """The template exceeds a limit."""

    code = "velocity.limit"


def close_names(name: str, known: Iterable[str], prefix: str = "") -> list[str]:
    """Return a few of the known names that look like `name`, each with the prefix."""
    if len(name) > MAX_NAME:
        return []
    folded: dict[str, str] = {}
    for candidate in known:
        if len(candidate) <= MAX_NAME:
            folded.setdefault(candidate.lower(), candidate)
    found = get_close_matches(name.lower(), folded, n=SHOWN_NAMES, cutoff=0.75)
    return [prefix + folded[match] for match in found if folded[match] != name]
