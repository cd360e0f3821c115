"""Text of others on a person's terminal: it may have colours, and nothing else that a terminal obeys."""

import codecs
import re
import sys
from typing import BinaryIO

MAX_HELD = 4096  # characters of an escape sequence whose end is not there yet
_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[PX^_][^\x1b]*\x1b\\|[ -/]*[0-Z\\`-~])")
_PARTIAL = re.compile(r"\x1b(?:\[[0-?]*[ -/]*|\][^\x07\x1b]*\x1b?|[PX^_][^\x1b]*\x1b?|[ -/]*)\Z")
_COLOUR = re.compile(r"\x1b\[[0-9;:]*m")
# Controls of a terminal, and those that turn the direction of writing around.
_UNSAFE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


class SafeText:
    """Makes bytes that come piece by piece safe to be shown: lines, tabs and colours stay."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""

    def feed(self, data: bytes, *, is_last: bool = False) -> str:
        """Give what can be shown of it."""
        text, self._rest = self._rest + self._decoder.decode(data, is_last), ""
        if not is_last and (found := _PARTIAL.search(text, max(0, len(text) - MAX_HELD))):
            text, self._rest = text[: found.start()], found[0]
        parts, place = [], 0
        for escape in _ESCAPE.finditer(text):
            parts.append(_UNSAFE.sub("", text[place : escape.start()]))
            if _COLOUR.fullmatch(escape[0]):
                parts.append(escape[0])
            place = escape.end()
        return "".join((*parts, _UNSAFE.sub("", text[place:])))


class LogOutput:
    """Where a log is written to: byte for byte, unless a person looks at it."""

    def __init__(self, stream: BinaryIO | None = None) -> None:
        self._stream = stream or sys.stdout.buffer
        self._safe = SafeText() if self._stream.isatty() else None

    def write(self, data: bytes) -> None:
        """Write a piece."""
        self._stream.write(data if self._safe is None else self._safe.feed(data).encode())
        self._stream.flush()

    def close(self) -> None:
        """Write what is left, and end the colours."""
        if self._safe is not None:
            self._stream.write(self._safe.feed(b"", is_last=True).encode() + b"\x1b[0m")
            self._stream.flush()


def plain(text: str) -> str:
    """Give a text of others without anything that a terminal obeys."""
    return _UNSAFE.sub("", _ESCAPE.sub("", text))
