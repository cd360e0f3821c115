"""A pod's log, which comes with the time before each line, without what came before when it is asked for again."""

from datetime import datetime

from infraxys.engine.backends.base import Chunk
from infraxys.engine.backends.container_api import CHUNK_BYTES

MAX_TIME = 64  # characters; what has no space until then begins with no time

Moment = tuple[float, str]


class LogLines:
    """Takes the times out, and what was given already. `feed` what is read, `restart` before reading again."""

    def __init__(self) -> None:
        self.since: str | None = None  # from when on to ask again, in whole seconds
        self._done: tuple[Moment, int, int] | None = None  # time, lines of that time before, bytes of the line
        self._head = b""
        self._line: tuple[Moment, int] | None = None  # the last one with a time
        self._is_timed = False
        self._is_inside = False
        self._offset = 0

    def restart(self) -> None:
        """Expect lines from `since` on."""
        self._head, self._line, self._is_inside, self._offset = b"", None, False, 0

    def feed(self, data: bytes) -> list[Chunk]:
        """Take what was read; gives what is new of it."""
        new = bytearray()
        while data or self._head:
            if not self._is_inside:
                head, space, rest = (self._head + data).partition(b" ")
                self._head = b""
                if not space and b"\n" not in head and len(head) < MAX_TIME:
                    self._head = head
                    break
                data = self._begin_line(head, space, rest)
            content, end, data = data.partition(b"\n")
            new += self._take(content + end)
            self._is_inside = not end
            if not data and not self._head:
                break
        return [Chunk("stdout", bytes(new[at : at + CHUNK_BYTES])) for at in range(0, len(new), CHUNK_BYTES)]

    def _begin_line(self, head: bytes, space: bytes, rest: bytes) -> bytes:
        """Note whose line begins; gives its content, all of it where it begins with no time."""
        self._is_inside, self._offset = True, 0
        moment = moment_of(head)
        self._is_timed = moment is not None
        if moment is None:
            return head + space + rest
        number = self._line[1] + 1 if self._line is not None and self._line[0] == moment else 0
        self._line = (moment, number)
        self._since = head.decode()
        return rest

    def _take(self, piece: bytes) -> bytes:
        """Give what of a piece of the current line is new."""
        before, self._offset = self._offset, self._offset + len(piece)
        if self._line is None or not self._is_timed:
            return piece
        done = self._done
        if done is not None and self._line < done[:2]:
            return b""
        if done is not None and self._line == done[:2]:
            piece = piece[max(0, done[2] - before) :]
            if self._offset <= done[2]:
                return b""
        self._done = (*self._line, self._offset)
        self.since = whole_seconds(self._since)
        return piece


def moment_of(text: bytes) -> Moment | None:
    """Read a time as `2026-01-02T03:04:05.123456789Z`: seconds, and the fraction as text that compares as it should."""
    try:
        written = text.decode("ascii")
        return datetime.fromisoformat(whole_seconds(written)).timestamp(), fraction_of(written).ljust(9, "0")
    except (UnicodeDecodeError, ValueError):
        return None


def fraction_of(written: str) -> str:
    """Give the digits behind the point."""
    rest = written[20:] if written[19:20] == "." else ""
    return rest[: len(rest) - len(rest.lstrip("0123456789"))]


def whole_seconds(written: str) -> str:
    """Give a time without its fraction."""
    return written[:19] + written[20 + len(fraction_of(written)) :] if written[19:20] == "." else written
