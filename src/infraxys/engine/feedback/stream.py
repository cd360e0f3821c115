"""Finds requests in the standard output of an action: incremental, bounded, and free where there are none.

A request is everything between a line `<FEEDBACK>` and `</FEEDBACK>` at the beginning of a line; spaces may stand
before both. `<CLIENT-FEEDBACK>…</CLIENT-FEEDBACK>` is one line. How output is cut into chunks never matters.
"""

import re
from dataclasses import dataclass

MAX_BLOCK = 1024 * 1024  # bytes of one request with its markers; what is longer is output like any other
MAX_LINE = 64 * 1024  # bytes of a CLIENT-FEEDBACK line
_INDENT = rb"[ \t]{0,64}"
_END = rb"[ \t\r]{0,8}\n"
_CLIENT = rb"<CLIENT-FEEDBACK>([^\n]{0,%d})</CLIENT-FEEDBACK>" % MAX_LINE
_START = re.compile(rb"^" + _INDENT + rb"(?:<FEEDBACK>|" + _CLIENT + rb")" + _END, re.MULTILINE)
_IN_BLOCK = re.compile(rb"^" + _INDENT + rb"<(?:/FEEDBACK>|FEEDBACK>" + _END + rb")", re.MULTILINE)
_HINT = b"FEEDBACK>"
_LONGEST_LINE = 64 + len(b"<CLIENT-FEEDBACK></CLIENT-FEEDBACK>") + MAX_LINE + 8
_LOOK_BACK = 128  # more than a marker with its spaces


def _prefixes(marker: bytes) -> bytes:
    """Give a pattern for the marker and everything that it may begin with."""
    pattern = b""
    for byte in reversed(marker):
        pattern = b"(?:" + re.escape(bytes([byte])) + pattern + b")?"
    return pattern


# A line that is not complete yet and may still become a marker.
_PARTIAL = re.compile(
    _INDENT
    + rb"(?:<FEEDBACK>[ \t\r]{0,8}|<CLIENT-FEEDBACK>[^\n]*|"
    + _prefixes(b"<FEEDBACK>")
    + rb"|"
    + _prefixes(b"<CLIENT-FEEDBACK>")
    + rb")\Z"
)


@dataclass(frozen=True, slots=True)
class Block:
    """A request as the action wrote it: `body` between the markers, `raw` with them."""

    body: bytes
    raw: bytes


@dataclass(frozen=True, slots=True)
class ClientLine:
    """What an action tells browsers that follow it; its line is in the output as well."""

    body: bytes


@dataclass(frozen=True, slots=True)
class Rejected:
    """The beginning of something that is too long for a request, as it came; what follows is output."""

    raw: bytes


Piece = bytes | Block | ClientLine | Rejected


class FeedbackStream:
    """Splits standard output into output and requests."""

    def __init__(self) -> None:
        self._held = bytearray()  # the beginning of a line that may become a marker
        self._block = bytearray()  # a request whose end has not come, with its first line
        self._searched = 0  # how much of the block has no end in it
        self._body_at = 0  # where the body begins in the block
        self._is_at_line_start = True
        self._is_behind_end = False  # the rest of the line of an end marker is empty: it is left out

    @property
    def is_holding(self) -> bool:
        """Whether something was kept back that is not known to be output or a request."""
        return bool(self._held or self._block)

    @property
    def is_in_block(self) -> bool:
        """Whether a request has begun and not ended."""
        return bool(self._block)

    def feed(self, data: bytes) -> list[Piece]:
        """Take a chunk; gives what is known by now, in order."""
        if self._is_behind_end:
            data = self._without_line_end(data)
        if not (self._held or self._block) and _HINT not in data:
            return self._plain(data)
        if len(self._held) > _LOOK_BACK and len(self._held) + len(data) <= _LONGEST_LINE and b"\n" not in data:
            self._held += data  # still the same line for browsers
            return []
        pieces: list[Piece] = []
        while data:
            data = self._in_block(data, pieces) if self._block else self._outside(data, pieces)
        return pieces

    def finish(self) -> list[Piece]:
        """Give what was kept back, as output: at the end, or when the rest did not come for too long."""
        held = bytes(self._held or self._block)
        self._held, self._block, self._is_behind_end = bytearray(), bytearray(), False
        self._is_at_line_start = False
        return [held] if held else []

    def _plain(self, data: bytes) -> list[Piece]:
        """Pass on output without any marker, but for a last line that may become one."""
        if not data:
            return []
        start = data.rfind(b"\n", max(0, len(data) - _LOOK_BACK)) + 1
        if start == 0 and (len(data) > _LOOK_BACK or not self._is_at_line_start):
            self._is_at_line_start = False
            return [data]
        if start == len(data):
            self._is_at_line_start = True
            return [data]
        if _PARTIAL.match(data, start):
            self._held, self._is_at_line_start = bytearray(data[start:]), True
            return [data[:start]] if start else []
        self._is_at_line_start = False
        return [data]

    def _outside(self, data: bytes, pieces: list[Piece]) -> bytes:
        """Take what is no part of an open request; gives what is to be looked at next."""
        if self._is_behind_end:
            data = self._without_line_end(data)
        if self._held:
            data, self._held = bytes(self._held) + data, bytearray()
        given = 0  # how much of the data is passed on
        position = 0 if self._is_at_line_start else data.find(b"\n") + 1 or len(data)
        while match := _START.search(data, position):
            position = match.end()
            if match[1] is not None:
                pieces += [data[given:position], ClientLine(match[1])]
                given = position
                continue
            begin, body_at, end = _search(data, match.start(), position, position)
            if begin > given:
                pieces.append(data[given:begin])
            if end is None:
                self._block, self._body_at = bytearray(data[begin : begin + MAX_BLOCK]), body_at - begin
                self._searched = self._body_at
                return self._no_end(data[begin + MAX_BLOCK :], pieces)
            pieces.append(Block(data[body_at : end.start()], data[begin : end.end()]))
            given = position = _behind_line_end(data, end.end())
            self._is_behind_end = position == len(data) and data[position - 1 : position] != b"\n"
        if given:
            self._is_at_line_start = data[given - 1 : given] == b"\n"
        self._last_line(data[given:], pieces)
        return b""

    def _last_line(self, data: bytes, pieces: list[Piece]) -> None:
        """Pass on output in which no marker is, but for a last line that may become one."""
        start = data.rfind(b"\n") + 1
        if start == 0 and not self._is_at_line_start:
            start = len(data)
        if start < len(data) and len(data) - start <= _LONGEST_LINE and _PARTIAL.match(data, start):
            self._held, data = bytearray(data[start:]), data[:start]
            self._is_at_line_start = True
        elif data:
            self._is_at_line_start = data.endswith(b"\n")
        if data:
            pieces.append(data)

    def _in_block(self, data: bytes, pieces: list[Piece]) -> bytes:
        """Take what follows the beginning of a request; gives what is to be looked at next."""
        room = MAX_BLOCK - len(self._block)
        self._block += data[:room]
        rest = data[room:]
        begin, body_at, end = _search(self._block, 0, self._body_at, self._searched)
        if begin:
            pieces.append(bytes(self._block[:begin]))  # another beginning: the one before has no end
            del self._block[:begin]
            self._body_at = self._searched = body_at - begin
        if end is None:
            return self._no_end(rest, pieces)
        raw = bytes(self._block[: end.end() - begin])
        pieces.append(Block(raw[self._body_at : end.start() - begin], raw))
        rest = bytes(self._block[len(raw) :]) + rest
        self._block = bytearray()
        self._is_behind_end = True
        return self._without_line_end(rest)

    def _no_end(self, rest: bytes, pieces: list[Piece]) -> bytes:
        """Go on waiting for the end of a request, unless it is too long for one."""
        # The next search begins at the last line if that may be a marker in part; a longer one cannot be.
        line = self._block.rfind(b"\n", max(self._body_at - 1, len(self._block) - _LOOK_BACK)) + 1
        self._searched = line or len(self._block)
        if len(self._block) >= MAX_BLOCK:
            pieces.append(Rejected(bytes(self._block)))
            self._is_at_line_start = self._block.endswith(b"\n")
            self._block = bytearray()
        return rest

    def _without_line_end(self, data: bytes) -> bytes:
        """Leave out the end of an end marker's line."""
        data = data.lstrip(b"\r")
        if data:
            self._is_behind_end = False
            self._is_at_line_start = data.startswith(b"\n")
            data = data.removeprefix(b"\n")
        return data


def _search(text: bytes | bytearray, begin: int, body_at: int, start: int) -> tuple[int, int, re.Match[bytes] | None]:
    """Find the end of the request that begins at `begin`, from `start` on; where it begins again, that counts."""
    while True:
        match = _IN_BLOCK.search(text, start, begin + MAX_BLOCK)
        if match is None or match[0].endswith(b"/FEEDBACK>"):
            return begin, body_at, match
        begin, body_at, start = match.start(), match.end(), match.end()


def _behind_line_end(data: bytes, position: int) -> int:
    """Give where the next line begins behind an end marker, or how far the end of its line goes."""
    while data[position : position + 1] == b"\r":
        position += 1
    return position + (data[position : position + 1] == b"\n")
