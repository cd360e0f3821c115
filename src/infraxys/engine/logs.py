"""Logs of runs: append-only files addressed by byte offset, written in chunks, followed while they grow.

Beside the log lies an index of fixed-size frames (offset, time, step, stream), from which structured forms are made.
The end of a log is its length and SHA-256, so that a reader can prove that it has everything.
"""

import asyncio
import hashlib
import json
import os
import struct
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

from infraxys.engine.backends.base import Stream

FLUSH_SECONDS = 0.05
FLUSH_BYTES = 64 * 1024
READ_BYTES = 256 * 1024
MAX_BYTES = 2 * 1024**3
FRAME = struct.Struct("<QdHBxxxxx")  # offset of the first byte, Unix time, step, stream
STREAMS: tuple[Stream, ...] = ("stdout", "stderr")


@dataclass(frozen=True, slots=True)
class LogEnd:
    """What a complete log is: its length in bytes and its SHA-256 in hex."""

    length: int
    sha256: str


class LogWriter:
    """The one writer of a run's log. Used on the event loop's thread.

    An existing file is continued. Output beyond `max_bytes` is not kept; a line at the end says how much there was.
    """

    def __init__(self, path: Path, *, max_bytes: int = MAX_BYTES) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._file = path.open("ab", buffering=0)
        self._index = index_path(path).open("ab", buffering=0)
        self._digest = hashlib.sha256()
        self._max_bytes = max_bytes
        self._dropped = 0
        self._buffer = bytearray()
        self._frames = bytearray()
        self._timer: asyncio.TimerHandle | None = None
        self._followers: list[asyncio.Future[None]] = []
        self.length = 0
        if self._file.tell():
            with path.open("rb") as earlier:
                while data := earlier.read(READ_BYTES):
                    self._digest.update(data)
                    self.length += len(data)
        self.end: LogEnd | None = None

    def write(self, step: int, stream: Stream, data: bytes) -> None:
        """Append bytes; they are on file, and seen by followers, within 50 ms."""
        room = self._max_bytes - self.length - len(self._buffer)
        if len(data) > room:
            self._dropped += len(data) - max(room, 0)
            data = data[: max(room, 0)]
            if not data:
                return
        offset = self.length + len(self._buffer)
        self._frames += FRAME.pack(offset, time.time(), step, STREAMS.index(stream))
        self._buffer += data
        if len(self._buffer) >= FLUSH_BYTES:
            self.flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_SECONDS, self.flush)

    def flush(self) -> None:
        """Put what is buffered on file and wake the followers."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._buffer:
            return
        data, self._buffer = bytes(self._buffer), bytearray()
        frames, self._frames = bytes(self._frames), bytearray()
        write_all(self._index.fileno(), frames)
        write_all(self._file.fileno(), data)
        self._digest.update(data)
        self.length += len(data)
        self._wake()

    def close(self) -> LogEnd:
        """End the log; followers end when they have read it all."""
        if self.end is None:
            if self._dropped:
                marker = f"\n[infraxys] the log is longer than allowed: {self._dropped} bytes were not kept\n"
                self._max_bytes += len(marker)
                self.write(0, "stderr", marker.encode())
            self.flush()
            self._file.close()
            self._index.close()
            self.end = LogEnd(self.length, self._digest.hexdigest())
            self._wake()
        return self.end

    def _wake(self) -> None:
        followers, self._followers = self._followers, []
        for follower in followers:
            if not follower.done():
                follower.set_result(None)

    async def changed(self) -> None:
        """Wait until there is more on file, or the end."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._followers.append(future)
        try:
            await future
        finally:
            if future in self._followers:
                self._followers.remove(future)


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

    def frames(self) -> list[tuple[int, float, int, Stream]]:
        """Give the index: offset, time, step and stream of every chunk."""
        try:
            data = index_path(self._path).read_bytes()
        except FileNotFoundError:
            return []
        whole = len(data) - len(data) % FRAME.size
        return [(offset, at, step, STREAMS[stream & 1]) for offset, at, step, stream in FRAME.iter_unpack(data[:whole])]

    def records(self, offset: int = 0, step: int | None = None) -> Iterator[dict[str, object]]:
        """Give the chunks as records: offset, time, step, stream, text. Texts are cut at ends of lines."""
        frames = merge_frames(self.frames())
        length = self.length
        for position, (start, at, number, stream) in enumerate(frames):
            end = frames[position + 1][0] if position + 1 < len(frames) else length
            if end <= offset or start >= length or (step is not None and step != number):
                continue
            at_offset = max(start, offset)
            for line in split_lines(self.read(at_offset, min(end, length) - at_offset)):
                yield {
                    "offset": at_offset,
                    "time": at,
                    "step": number,
                    "stream": stream,
                    "text": line.decode(errors="replace"),
                }
                at_offset += len(line)

    def steps_text(self, step: int) -> Iterator[bytes]:
        """Give the bytes of one step only."""
        frames = merge_frames(self.frames())
        for position, (start, _, number, _) in enumerate(frames):
            end = frames[position + 1][0] if position + 1 < len(frames) else self.length
            if number == step:
                yield self.read(start, end - start)


def merge_frames(frames: list[tuple[int, float, int, Stream]]) -> list[tuple[int, float, int, Stream]]:
    """Join neighbours of the same step and stream, so that a line written in pieces is one record."""
    merged: list[tuple[int, float, int, Stream]] = []
    for frame in frames:
        if merged and merged[-1][2:] == frame[2:]:
            continue
        merged.append(frame)
    return merged


def split_lines(data: bytes) -> list[bytes]:
    """Cut after every newline (and nowhere else); a rest without one is the last item."""
    *lines, rest = data.split(b"\n")
    return [line + b"\n" for line in lines] + ([rest] if rest else [])


def recover(path: Path) -> LogEnd:
    """Give the end of a log whose writer was killed."""
    digest = hashlib.sha256()
    length = 0
    try:
        with path.open("rb") as file:
            while data := file.read(READ_BYTES):
                digest.update(data)
                length += len(data)
    except FileNotFoundError:
        pass
    return LogEnd(length, digest.hexdigest())


def index_path(path: Path) -> Path:
    """Give the place of a log's index."""
    return path.with_suffix(".index")


def write_all(descriptor: int, data: bytes) -> None:
    """Write everything, however many writes it takes."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def to_ndjson(record: dict[str, object]) -> str:
    """Write a record as one line."""
    return f"{json.dumps(record, ensure_ascii=False)}\n"
