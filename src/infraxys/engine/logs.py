"""Logs of runs: append-only files addressed by byte offset, written in chunks, followed while they grow.

Beside the log lies an index of fixed-size frames (offset, time, step, stream), from which structured forms are made.
The end of a log is its length and SHA-256, so that a reader can prove that it has everything.
"""

import asyncio
import hashlib
import json
import logging
import os
import struct
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from io import FileIO
from itertools import chain, pairwise
from pathlib import Path
from typing import Literal, Protocol

FLUSH_SECONDS = 0.05
FLUSH_BYTES = 64 * 1024
READ_BYTES = 256 * 1024
LINE_BYTES = 64 * 1024  # longer lines are several records
MAX_BYTES = 2 * 1024**3
FRAME = struct.Struct("<QdHBxxxxx")  # offset of the first byte, Unix time, step, stream
FREE_INDEX_BYTES = 256 * FRAME.size  # an index that is larger is never larger than a quarter of its log
LogStream = Literal["stdout", "stderr", "server"]
STREAMS: tuple[LogStream, ...] = ("stdout", "stderr", "server")
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LogEnd:
    """What a complete log is: its length in bytes and its SHA-256 in hex.

    `lost` bytes are missing because they could not be written, without the log saying so: that could not be either.
    """

    length: int
    sha256: str
    lost: int = 0


@dataclass(frozen=True, slots=True)
class Frame:
    """The bytes from `offset` on, up to the next frame's, came from this step's stream at this Unix time."""

    offset: int
    at: float
    step: int
    stream: LogStream


class StepLog(Protocol):
    """Where the output of a step goes."""

    def write(self, step: int, stream: LogStream, data: bytes) -> None:
        """Append bytes of the action."""

    def note(self, step: int, text: str) -> None:
        """Append what the server has to say."""


class LogWriter:
    """The one writer of a run's log. Used on the event loop's thread.

    An existing file is continued. Output beyond `max_bytes`, or that the disk has no room for, is not kept; a line at
    the end says how much there was. What the server itself says (`note`) is kept nevertheless.
    """

    def __init__(self, path: Path, *, max_bytes: int = MAX_BYTES) -> None:
        self.path = path
        self._digest, self.length, self._is_line_open = digest_of(path)
        # Opened with the first bytes: while the sandbox starts, and not at all for an action that says nothing.
        self._files: tuple[FileIO, FileIO] | None = None
        self._index_length = 0
        self._max_bytes = max_bytes
        self._dropped = self._lost = 0
        self._buffer = bytearray()
        self._frames = bytearray()
        self._last: tuple[int, LogStream] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._followers: list[asyncio.Future[None]] = []
        self.end: LogEnd | None = None

    def write(self, step: int, stream: LogStream, data: bytes) -> None:
        """Append bytes; they are on file, and seen by followers, within 50 ms."""
        room = max(0, self._max_bytes - self.length - len(self._buffer))
        if len(data) > room:
            self._dropped += len(data) - room
            data = data[:room]
        self._append(step, stream, data)

    def note(self, step: int, text: str) -> None:
        """Append what the server has to say, on lines of its own."""
        if self._lost:
            text = f"[infraxys] the log could not be written for a while: {self._lost} bytes were not kept\n{text}"
        if self._dropped:
            text = f"[infraxys] the log is longer than allowed: {self._dropped} bytes were not kept\n{text}"
        self._dropped = self._lost = 0
        if self._is_line_open:
            text = f"\n{text}"
        self._append(step, "server", text.encode(errors="replace"))

    def flush(self) -> None:
        """Put what is buffered on file and wake the followers."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._buffer:
            return
        data, self._buffer = bytes(self._buffer), bytearray()
        frames, self._frames = bytes(self._frames), bytearray()
        self._last = None
        try:
            file, index = self._open()
            # Frames first: a reader may see a frame without its bytes, never bytes without their frame.
            write_all(index.fileno(), frames)
            self._index_length += len(frames)
            write_all(file.fileno(), data)
        except OSError as error:
            logger.warning("log_not_written path=%s reason=%s", self.path, error.strerror)
            data = self._forget_unwritten(data)
        self._digest.update(data)
        self.length += len(data)
        self._wake()

    def close(self) -> LogEnd:
        """End the log; followers end when they have read it all."""
        if self.end is None:
            self.flush()
            lost = self._lost
            if self._dropped or lost:
                self.note(0, "")
                self.flush()
            for file in self._files or ():
                file.close()
            self.end = LogEnd(self.length, self._digest.hexdigest(), lost if self._lost else 0)
            self._wake()
        return self.end

    async def changed(self) -> None:
        """Wait until there is more on file, or the end."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._followers.append(future)
        try:
            await future
        finally:
            if future in self._followers:
                self._followers.remove(future)

    def _append(self, step: int, stream: LogStream, data: bytes) -> None:
        if not data:
            return
        offset = self.length + len(self._buffer)
        if self._last != (step, stream) and self._may_frame(step, offset):
            self._frames += FRAME.pack(offset, time.time(), step, STREAMS.index(stream))
            self._last = (step, stream)
        self._buffer += data
        self._is_line_open = not data.endswith(b"\n")
        if len(self._buffer) >= FLUSH_BYTES:
            self.flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_SECONDS, self.flush)

    def _may_frame(self, step: int, offset: int) -> bool:
        """Whether the index may grow: not when an action changes streams with every byte, but always for a new step."""
        if self._last is None or self._last[0] != step:
            return True
        return self._index_length + len(self._frames) < FREE_INDEX_BYTES + offset // 4

    def _forget_unwritten(self, data: bytes) -> bytes:
        """Make the files agree after a failed write; gives what of `data` is on file."""
        if self._files is None:
            self._lost += len(data)
            return b""
        file, index = self._files
        written = max(0, os.fstat(file.fileno()).st_size - self.length)
        self._lost += len(data) - written
        with suppress(OSError):
            mend_index(index.fileno(), index_path(self.path), self.length + written)
        return data[:written]

    def _open(self) -> tuple[FileIO, FileIO]:
        """Open log and index, where they are not."""
        if self._files is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            index = index_path(self.path).open("ab", buffering=0)
            mend_index(index.fileno(), index_path(self.path), self.length)
            self._index_length = index.tell()
            self._files = self.path.open("ab", buffering=0), index
        return self._files

    def _wake(self) -> None:
        followers, self._followers = self._followers, []
        for follower in followers:
            if not follower.done():
                follower.set_result(None)


class LogReader:
    """Reads a log at any offset, finished or not. `writer` is the one that still writes it, if any."""

    def __init__(self, path: Path, writer: LogWriter | None = None) -> None:
        self._path, self._writer = path, writer

    @property
    def length(self) -> int:
        """How many bytes are on file."""
        if self._writer is not None:
            return self._writer.length
        try:
            return self._path.stat().st_size
        except FileNotFoundError:
            return 0

    def read(self, offset: int, limit: int = READ_BYTES) -> bytes:
        """Give up to `limit` bytes from `offset`; fewer at the end."""
        end = min(offset + limit, self.length)
        if end <= offset:
            return b""
        with self._path.open("rb") as file:
            file.seek(offset)
            return file.read(end - offset)

    def tail(self, limit: int) -> tuple[bytes, bool]:
        """Give the last `limit` bytes and whether there were more before."""
        length = self.length
        return self.read(max(0, length - limit), limit), length > limit

    async def follow(self, offset: int) -> AsyncIterator[tuple[int, bytes]]:
        """Give (offset, bytes) from `offset` on as the log grows, until its end. Nothing twice, nothing left out."""
        while True:
            data = await asyncio.to_thread(self.read, offset)
            if data:
                yield offset, data
                offset += len(data)
            elif self._writer is None or (self._writer.end is not None and offset >= self._writer.length):
                return
            elif offset >= self._writer.length:
                await self._writer.changed()

    def whole_characters(self, end: int) -> int:
        """Move an end of what is there so far to the front of a character that is written in part only."""
        if self._writer is None or self._writer.end is not None:
            return end
        start = max(0, end - 3)
        return end - incomplete(self.read(start, end - start))

    def frames(self, offset: int = 0) -> Iterator[Frame]:
        """Give the index, from the frame on that `offset` is in. Bytes without a frame belong to the first step."""
        try:
            file = index_path(self._path).open("rb")
        except FileNotFoundError:
            yield Frame(0, 0.0, 0, "stdout")
            return
        with file:
            count = os.fstat(file.fileno()).st_size // FRAME.size
            first, last = (
                0,
                count,
            )  # frames before `first` begin at `offset` or before it, those from `last` on behind it
            while first < last:
                middle = (first + last) // 2
                if frame_at(file.fileno(), middle).offset <= offset:
                    first = middle + 1
                else:
                    last = middle
            if first == 0:
                yield Frame(0, 0.0, 0, "stdout")
            file.seek(max(0, first - 1) * FRAME.size)
            for _ in range(max(0, first - 1), count):
                yield unpack(file.read(FRAME.size))

    def records(self, offset: int = 0, step: int | None = None, end: int | None = None) -> Iterator[dict[str, object]]:
        """Give lines as records: offset, time, step, stream, text; of one step only, up to `end`.

        A line is cut where another stream comes between, and when it is very long; never inside of a character. The
        time is that at which its first byte arrived.
        """
        start, rest = Frame(0, 0.0, 0, "stdout"), b""  # the line that is not complete yet
        for frame, data in self._pieces(offset, step, self.length if end is None else end):
            place = frame.offset
            if rest and (frame.step, frame.stream, place) != (start.step, start.stream, start.offset + len(rest)):
                yield record(start, rest)
                rest = b""
            for line in split_lines(data):
                if not rest:
                    start = replace(frame, offset=place)
                place += len(line)
                rest += line
                while len(rest) > LINE_BYTES or rest.endswith(b"\n"):
                    size = len(rest) if len(rest) <= LINE_BYTES else LINE_BYTES - incomplete(rest[:LINE_BYTES])
                    yield record(start, rest[:size])
                    start, rest = replace(start, offset=start.offset + size), rest[size:]
        if rest:
            yield record(start, rest)

    def steps_text(self, step: int, offset: int = 0, end: int | None = None) -> Iterator[bytes]:
        """Give the bytes of one step only, in pieces of bounded size."""
        for _, data in self._pieces(offset, step, self.length if end is None else end):
            yield data

    def _pieces(self, offset: int, step: int | None, end: int) -> Iterator[tuple[Frame, bytes]]:
        """Give the bytes from `offset` to `end`, each piece with its frame, moved to where the piece begins."""
        for frame, following in pairwise(chain(self.frames(offset), [Frame(end, 0.0, 0, "stdout")])):
            place, stop = max(frame.offset, offset), min(following.offset, end)
            while place < stop and step in {None, frame.step}:
                data = self.read(place, min(READ_BYTES, stop - place))
                if not data:
                    return
                yield replace(frame, offset=place), data
                place += len(data)


def record(start: Frame, data: bytes) -> dict[str, object]:
    """Give a line of a log as a record."""
    text = data.decode(errors="replace")
    return {"offset": start.offset, "time": start.at, "step": start.step, "stream": start.stream, "text": text}


def incomplete(data: bytes) -> int:
    """Count the bytes at the end that are the beginning of a UTF-8 character whose rest is not there."""
    for count in range(1, min(3, len(data)) + 1):
        byte = data[-count]
        if byte >= 0xC0:
            size = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return count if count < size else 0
        if byte < 0x80:
            return 0
    return 0


def split_lines(data: bytes) -> list[bytes]:
    """Cut after every newline (and nowhere else); a rest without one is the last item."""
    *lines, rest = data.split(b"\n")
    return [line + b"\n" for line in lines] + ([rest] if rest else [])


def digest_of(path: Path) -> tuple["hashlib._Hash", int, bool]:
    """Give the digest of a file so far, its length, and whether its last line is without an end."""
    digest = hashlib.sha256()
    length, last = 0, b"\n"
    try:
        with path.open("rb") as file:
            while data := file.read(READ_BYTES):
                digest.update(data)
                length += len(data)
                last = data[-1:]
    except FileNotFoundError:
        pass
    return digest, length, last != b"\n"


def recover(path: Path) -> LogEnd:
    """Give the end of a log whose writer was killed."""
    digest, length, _ = digest_of(path)
    return LogEnd(length, digest.hexdigest())


def mend_index(descriptor: int, path: Path, length: int) -> None:
    """Cut from an index what a killed writer left behind: half a frame, or frames of bytes that are not on file."""
    with path.open("rb") as file:
        count = os.fstat(file.fileno()).st_size // FRAME.size
        while count and frame_at(file.fileno(), count - 1).offset >= length:
            count -= 1
    os.ftruncate(descriptor, count * FRAME.size)


def frame_at(descriptor: int, number: int) -> Frame:
    """Read one frame of an index."""
    return unpack(os.pread(descriptor, FRAME.size, number * FRAME.size))


def unpack(data: bytes) -> Frame:
    """Read a frame from its bytes."""
    offset, at, step, stream = FRAME.unpack(data)
    return Frame(offset, at, step, STREAMS[min(stream, len(STREAMS) - 1)])


def index_path(path: Path) -> Path:
    """Give the place of a log's index."""
    return path.with_suffix(".index")


def write_all(descriptor: int, data: bytes) -> None:
    """Write everything, however many writes it takes."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def to_ndjson(line: dict[str, object]) -> str:
    """Write a record as one line."""
    return f"{json.dumps(line, ensure_ascii=False)}\n"
