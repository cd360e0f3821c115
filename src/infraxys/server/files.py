"""Files that actions made, over HTTP: sent as they are, and so that no browser does anything with them."""

import asyncio
import mimetypes
import os
import re
import urllib.parse
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from email.utils import formatdate

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from infraxys.server.errors import BadRequest, RangeNotSatisfiable

READ_BYTES = 256 * 1024
UNKNOWN = "application/octet-stream"
TEXT = "text/plain; charset=utf-8"
# A page of ours must not be made to load these: with their own types they would be scripts and styles of our origin.
ACTIVE = re.compile(r"(text|application)/((x-)?(java|ecma|live|j)script|css)\b.*")
# A file opened in a browser is saved; if it is shown in spite of that, it has no origin and loads nothing.
HEADERS = {
    "Content-Security-Policy": "sandbox; default-src 'none'; frame-ancestors 'none'",
    "Accept-Ranges": "bytes",
}


def content_type_of(name: str) -> str:
    """Give the type of a file by its name; scripts and styles are plain text."""
    guessed, encoding = mimetypes.guess_type(name, strict=False)
    if guessed is None or encoding is not None:
        return UNKNOWN
    if ACTIVE.match(guessed):
        return TEXT
    return f"{guessed}; charset=utf-8" if guessed.startswith("text/") else guessed


def file_response(request: Request, descriptor: int, name: str) -> Response:
    """Send an open file, or the range of it that is asked for; closes it. Raises RangeNotSatisfiable."""
    try:
        status = os.fstat(descriptor)
        start, end, code = 0, status.st_size, 200
        headers = {
            **HEADERS,
            "Content-Disposition": f"attachment; filename*=UTF-8''{urllib.parse.quote(name, safe='')}",
            "Last-Modified": formatdate(status.st_mtime, usegmt=True),
        }
        wanted = None if "if-range" in request.headers else request.headers.get("range")
        if (part := parse_range(wanted, status.st_size, "file")) is not None:
            start, end = part
            headers["Content-Range"], code = f"bytes {start}-{end - 1}/{status.st_size}", 206
        headers["Content-Length"] = str(end - start)
    except BaseException:
        os.close(descriptor)
        raise
    return FileResponse(descriptor, start, end, code, headers, content_type_of(name))


class FileResponse(StreamingResponse):
    """An open file, closed however the answer ends."""

    def __init__(
        self, descriptor: int, start: int, end: int, status: int, headers: dict[str, str], media_type: str
    ) -> None:
        self._descriptor: int | None = descriptor
        super().__init__(_parts(descriptor, start, end), status, headers, media_type)

    async def __call__(self, *arguments: object) -> None:
        """Send it."""
        try:
            await super().__call__(*arguments)  # type: ignore[arg-type]  # scope, receive, send
        finally:
            self.close()

    def close(self) -> None:
        """Close the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


async def _parts(descriptor: int, start: int, end: int) -> AsyncIterator[bytes]:
    """Read a range in parts of bounded size; less when the file got shorter."""
    while start < end:
        data = await asyncio.to_thread(os.pread, descriptor, min(READ_BYTES, end - start), start)
        if not data:
            return
        yield data
        start += len(data)


def parse_range(value: str | None, length: int, what: str) -> tuple[int, int] | None:
    """Read a Range header with one range of bytes (RFC 9110). Raises RangeNotSatisfiable.

    None where there is none, or one that is to be ignored: in another unit, several ranges, or nonsense.
    """
    match = re.fullmatch(r"bytes=(\d{0,30})-(\d{0,30})", (value or "").strip(), re.ASCII)
    if match is None or not (match[1] or match[2]) or (match[1] and match[2] and int(match[2]) < int(match[1])):
        return None
    if not match[1]:
        start, end = max(0, length - int(match[2])), length
    else:
        start = int(match[1])
        end = min(int(match[2]) + 1, length) if match[2] else length
    if start >= length:
        raise RangeNotSatisfiable(f"the {what} has {length} bytes", headers={"Content-Range": f"bytes */{length}"})
    return start, end


def not_a_path(error: ValueError) -> BadRequest:
    """Refuse a path."""
    return BadRequest(f"that is no path of a file: {error}")


def moment(seconds: float) -> datetime:
    """Give a time that somebody wrote into a file system, where it can be written at all."""
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return datetime.fromtimestamp(0, UTC)
