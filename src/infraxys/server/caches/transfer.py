"""Files into and out of caches, for every route that moves them."""

import asyncio
import base64
import binascii
import hashlib
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

from infraxys.kit import trees
from infraxys.server.audit.trail import record
from infraxys.server.body import too_large
from infraxys.server.caches.errors import FileExists, NotPossibleThere, OverQuota, UnknownCache, UnknownCacheFile
from infraxys.server.caches.store import Cache, CacheStore
from infraxys.server.errors import BadRequest
from infraxys.server.files import not_a_path

WRITE_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Written:
    """A file as it came."""

    bytes: int
    sha256: str


def store_of(request: Request) -> CacheStore:
    """Give the service."""
    store: CacheStore = request.app.state.services.caches
    return store


def names_of(path: str) -> tuple[str, ...]:
    """Split the path of a file. Raises BadRequest."""
    try:
        return trees.split(path)
    except ValueError as error:
        raise not_a_path(error) from error


def open_file(cache: Cache, names: tuple[str, ...]) -> int:
    """Open a file of a cache. Blocks. Raises UnknownCacheFile."""
    try:
        with trees.opened(cache.folder) as top:
            return trees.open_file(top, names)
    except OSError as error:
        raise UnknownCacheFile("/".join(names)) from error


def folder_entries(cache: Cache, names: tuple[str, ...]) -> list[trees.Entry]:
    """Give what is in a folder of a cache. Blocks. Raises UnknownCacheFile."""
    try:
        with trees.opened(cache.folder) as top, trees.descended(top, names) as folder:
            return trees.entries(folder)
    except OSError as error:
        raise UnknownCacheFile("/".join(names)) from error


async def receive(
    request: Request,
    cache: Cache,
    names: tuple[str, ...],
    chunks: AsyncIterator[bytes],
    *,
    executable: bool = False,
    replace: bool = True,
) -> Written:
    """Write what comes to disk and then, at once, to its place in a cache; put it on record.

    Raises TooLarge, OverQuota, FileExists, NotPossibleThere and UnknownCache.
    """
    store = store_of(request)
    staged = store.stage()
    descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        try:
            limit = request.app.state.services.settings.cache_upload_limit
            written = await _write(descriptor, chunks, limit, store.quota - cache.size.bytes)
        finally:
            os.close(descriptor)
        try:
            await asyncio.to_thread(store.put, cache, names, staged, executable=executable, replace=replace)
        except FileExistsError as error:
            raise FileExists(f"the cache has a file '{'/'.join(names)}' already; PUT replaces it") from error
        except (trees.NotPlain, NotADirectoryError) as error:
            raise NotPossibleThere(
                f"'{'/'.join(names)}' is, or is in, something that is no plain file or folder"
            ) from error
        except FileNotFoundError as error:
            raise UnknownCache(cache.id) from error  # cleaned meanwhile
    finally:
        with suppress(FileNotFoundError):
            staged.unlink()
    details: dict[str, Any] = {"path": "/".join(names), "bytes": written.bytes, "sha256": written.sha256}
    await note(request, "cache_file.replace" if replace else "cache_file.add", cache, **details)
    return written


async def note(request: Request, action: str, cache: Cache, **details: Any) -> None:
    """Put on record what was done to a cache."""
    target = f"cache/{cache.name.level}/{cache.id}"
    await request.app.state.services.database.awrite(lambda connection: record(connection, action, target, **details))


async def _write(descriptor: int, chunks: AsyncIterator[bytes], limit: int, room: int) -> Written:
    digest, total, waiting = hashlib.sha256(), 0, bytearray()
    async for chunk in chunks:
        total += len(chunk)
        if total > limit:
            raise too_large(limit)
        if total > room:
            raise OverQuota(f"the cache has no room for it: {max(0, room)} bytes are left of its quota; clean it first")
        digest.update(chunk)
        waiting += chunk
        if len(waiting) >= WRITE_BYTES:
            await asyncio.to_thread(_write_all, descriptor, bytes(waiting))
            waiting.clear()
    await asyncio.to_thread(_write_all, descriptor, bytes(waiting))
    return Written(total, digest.hexdigest())


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


async def decoded(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Decode base64 text as it comes, white space and JSON's quotes left out. Raises BadRequest."""
    rest = b""
    async for chunk in chunks:
        text = rest + b"".join(chunk.translate(None, b'"').split())
        whole = len(text) - len(text) % 4
        rest = text[whole:]
        if whole:
            yield _decode(text[:whole])
    if rest:
        yield _decode(rest + b"=" * (-len(rest) % 4))


def _decode(text: bytes) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise BadRequest("the body is not base64 text") from error
