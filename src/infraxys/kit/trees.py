"""Folders that somebody else may fill: read, written, measured and removed without following a link or leaving them.

Every step goes from an open folder to one plain name in it. Whoever exchanges names meanwhile changes what is found,
but never where it is. Nothing here is recursive: a tree may be as deep as its maker liked.
"""

import errno
import os
import stat
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Self
from uuid import uuid4

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
MAX_NAME = 255
MAX_PARTS = 64
MAX_DEPTH = 128  # of what is measured; a folder below is counted as if it were too large
MAX_ENTRIES = 1_000_000
BATCH = 1000
PAUSE_EVERY, PAUSE_SECONDS = 200, 0.001  # other threads have the interpreter as well
MAX_IDLE_ROUNDS = 3


class NotPlain(OSError):  # noqa: N818 - reads as what is wrong
    """There is something else than a plain file or folder at that name."""


@dataclass(frozen=True, slots=True)
class Size:
    """What is in a folder: bytes on disk and entries. Not `is_whole`: there is more than could be counted."""

    bytes: int = 0
    entries: int = 0
    is_whole: bool = True


@dataclass(frozen=True, slots=True)
class Entry:
    """Something in a folder. `kind` is "file", "folder", "link" or "other"; `modified_at` is seconds since 1970."""

    name: str
    kind: str
    bytes: int
    modified_at: float
    is_executable: bool = False


@dataclass(frozen=True, slots=True)
class Owner:
    """Whom something that is made belongs to; the process itself where there is no choice."""

    uid: int
    gid: int

    @classmethod
    def of(cls, folder: int) -> "Owner | None":
        """Give the owner of an open folder, if something can be given to it."""
        if os.geteuid() != 0:
            return None
        status = os.fstat(folder)
        return cls(status.st_uid, status.st_gid)


def split(path: str) -> tuple[str, ...]:
    """Split a percent-encoded path into names; () for an empty one. Raises ValueError for what is no plain path."""
    if not path:
        return ()
    names = tuple(urllib.parse.unquote(part, errors="strict") for part in path.split("/"))
    if len(names) > MAX_PARTS:
        raise ValueError(f"a path has {MAX_PARTS} parts at most")
    for name in names:
        if name in {"", ".", ".."} or "/" in name or not name.isprintable() or len(name.encode()) > MAX_NAME:
            raise ValueError("every part of a path is a plain name")
    return names


@contextmanager
def opened(folder: Path) -> Iterator[int]:
    """Open a folder. Raises OSError."""
    descriptor = os.open(folder, FOLDER)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def descended(top: int, names: tuple[str, ...], *, make: bool = False) -> Iterator[int]:
    """Open a folder below another; with `make`, those that are missing are made. Raises OSError, NotPlain."""
    current = os.dup(top)
    try:
        for name in names:
            following = _enter(current, name, make=make)
            os.close(current)
            current = following
        yield current
    finally:
        os.close(current)


def _enter(folder: int, name: str, *, make: bool) -> int:
    try:
        return os.open(name, FOLDER, dir_fd=folder)
    except FileNotFoundError:
        if not make:
            raise
    except OSError as error:
        raise NotPlain(error.errno, f"'{name}' is no folder") from error
    with suppress(FileExistsError):
        os.mkdir(name, 0o755, dir_fd=folder)
        give(folder, name)
    return os.open(name, FOLDER, dir_fd=folder)


def give(folder: int, name: str) -> None:
    """Give what we have just made in an open folder to the folder's owner, and let others in."""
    owner = Owner.of(folder)
    with suppress(OSError):  # exchanged for something else already
        made = os.open(name, FOLDER, dir_fd=folder)
        try:
            os.fchmod(made, 0o755)
            if owner is not None:
                os.fchown(made, owner.uid, owner.gid)
        finally:
            os.close(made)


def open_file(top: int, names: tuple[str, ...]) -> int:
    """Open a plain file below a folder for reading. Raises OSError; NotPlain for links, folders, pipes and their like.

    The caller closes the descriptor.
    """
    with descended(top, names[:-1]) as folder:
        try:
            descriptor = os.open(names[-1], FILE, dir_fd=folder)
        except OSError as error:
            if error.errno in {errno.ELOOP, errno.ENXIO}:
                raise NotPlain(error.errno, "not a plain file") from error
            raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NotPlain(errno.EINVAL, "not a plain file")
    return descriptor


def put_file(top: int, names: tuple[str, ...], source: Path, *, executable: bool, replace: bool) -> bool:
    """Move a file of our own to a place below a folder, at once or not at all, for the folder's owner.

    Both are on one file system. Gives whether there was one before. Raises FileExistsError when there is and it may not
    be replaced, NotPlain when something else is there, OSError.
    """
    owner = Owner.of(top)
    with descended(top, names[:-1], make=True) as folder:
        try:
            there = os.stat(names[-1], dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            there = None
        if there is not None and not stat.S_ISREG(there.st_mode):
            raise NotPlain(errno.EEXIST, "there is something else than a plain file")
        source.chmod(0o755 if executable else 0o644)
        if owner is not None:
            os.chown(source, owner.uid, owner.gid)
        if replace:
            os.rename(source, names[-1], dst_dir_fd=folder)
        else:
            os.link(source, names[-1], dst_dir_fd=folder)
            source.unlink()
        return there is not None


def entries(folder: int) -> list[Entry]:
    """Give the first entries of an open folder, of a bounded number, by name."""
    with os.scandir(folder) as found:
        some = list(islice(found, BATCH * 10))
    return sorted((_entry(one) for one in some if one.name.isprintable()), key=lambda one: one.name)


def _entry(found: "os.DirEntry[str]") -> Entry:
    try:
        status = found.stat(follow_symlinks=False)
    except OSError:
        return Entry(found.name, "other", 0, 0)
    mode = status.st_mode
    if stat.S_ISREG(mode):
        return Entry(found.name, "file", status.st_size, status.st_mtime, bool(mode & stat.S_IXUSR))
    kind = "folder" if stat.S_ISDIR(mode) else "link" if stat.S_ISLNK(mode) else "other"
    return Entry(found.name, kind, 0, status.st_mtime)


def is_empty(folder: Path) -> bool:
    """Whether there is nothing in a folder, or no such folder. Cheap."""
    try:
        with os.scandir(folder) as found:
            return next(found, None) is None
    except OSError:
        return not folder.exists()


def measure(top: Path, *, max_entries: int = MAX_ENTRIES, max_depth: int = MAX_DEPTH) -> Size:
    """Count what is in a folder, holes of files left out and files of several names once. Leaves time to others."""
    total = count = 0
    is_whole = True
    seen: set[int] = set()
    with suppress(OSError), _Walk(top) as walk:
        for entry, status in walk:
            count += 1
            if count > max_entries:
                return Size(total, count - 1, is_whole=False)
            if count % PAUSE_EVERY == 0:
                time.sleep(PAUSE_SECONDS)
            if stat.S_ISDIR(status.st_mode):
                is_whole &= walk.depth < max_depth and walk.enter(entry.name)
            elif status.st_nlink > 1:
                if status.st_ino in seen:
                    continue
                seen.add(status.st_ino)
            total += status.st_blocks * 512
    return Size(total, count, is_whole)


class _Walk:
    """Goes through a folder and those that `enter` names, depth first."""

    def __init__(self, top: Path) -> None:
        self._waiting: list[tuple[int, Iterator[os.DirEntry[str]]]] = []
        self._add(os.open(top, FOLDER))

    def _add(self, folder: int) -> None:
        self._waiting.append((folder, os.scandir(folder)))

    @property
    def depth(self) -> int:
        """How many folders are open."""
        return len(self._waiting)

    def enter(self, name: str) -> bool:
        """Go on in a folder of the current one; False when it cannot be opened."""
        folder = open_any(self._waiting[-1][0], name)
        if folder is not None:
            self._add(folder)
        return folder is not None

    def __iter__(self) -> Iterator[tuple[os.DirEntry[str], os.stat_result]]:
        while self._waiting:
            entry = next(self._waiting[-1][1], None)
            if entry is None:
                self._leave()
                continue
            with suppress(OSError):  # gone meanwhile
                yield entry, entry.stat(follow_symlinks=False)

    def _leave(self) -> None:
        folder, found = self._waiting.pop()
        found.close()  # type: ignore[attr-defined]  # scandir's iterator has it
        os.close(folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        while self._waiting:
            self._leave()


def open_any(folder: int, name: str) -> int | None:
    """Open a folder even if its owner, who is ourselves, has closed it; None when it cannot be opened."""
    try:
        return os.open(name, FOLDER, dir_fd=folder)
    except PermissionError:
        with suppress(OSError):
            _unlock(folder, name)
            return os.open(name, FOLDER, dir_fd=folder)
    except OSError:
        pass
    return None


def _unlock(folder: int, name: str) -> None:
    """Let ourselves into a folder that an action of our own account has closed."""
    if os.geteuid() == 0:
        return
    descriptor = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    try:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            Path(f"/proc/self/fd/{descriptor}").chmod(stat.S_IRWXU)
    finally:
        os.close(descriptor)


def move_out(top: int, names: tuple[str, ...], trash: Path) -> None:
    """Move what is at a place below a folder out of it, links themselves. Raises FileNotFoundError and OSError."""
    with descended(top, names[:-1]) as folder, opened(trash) as target:
        _unlock(folder, names[-1])
        os.rename(names[-1], uuid4().hex, src_dir_fd=folder, dst_dir_fd=target)


def move_contents_out(top: int, trash: Path) -> None:
    """Move everything out of a folder, which itself stays where it is for those who use it. Raises OSError.

    What is made meanwhile stays as well, unless there was so much that it was not seen in one look.
    """
    some = [""] * BATCH
    while len(some) == BATCH:
        with os.scandir(top) as found:
            some = [entry.name for entry in islice(found, BATCH)]
        for name in some:
            with suppress(FileNotFoundError):
                move_out(top, (name,), trash)


def clear(trash: Path, seconds: float = 300) -> bool:
    """Remove everything in a folder; False when something cannot be removed, or not in that time.

    Folders are brought to the top one after the other, so that no path gets longer than two names.
    """
    idle = count = 0
    deadline = time.monotonic() + seconds
    with opened(trash) as top:
        while True:
            with os.scandir(top) as found:
                some = [entry.name for entry in islice(found, BATCH)]
            if not some:
                return True
            removed = [_remove(top, name) for name in some]
            idle = 0 if any(removed) else idle + 1
            if idle >= MAX_IDLE_ROUNDS or time.monotonic() > deadline:
                return False
            count += len(some)
            if count >= PAUSE_EVERY:
                count = 0
                time.sleep(PAUSE_SECONDS)


def _remove(top: int, name: str) -> bool:
    """Remove a file, or an empty folder after moving the folders in it to the top."""
    if _unlink(top, name):
        return True
    folder = open_any(top, name)
    if folder is None:
        return False
    try:
        with suppress(OSError):
            if os.geteuid() != 0:
                os.fchmod(folder, stat.S_IRWXU)
        with os.scandir(folder) as found:
            for entry in found:
                if not _unlink(folder, entry.name):
                    with suppress(OSError):
                        _unlock(folder, entry.name)
                        os.rename(entry.name, uuid4().hex, src_dir_fd=folder, dst_dir_fd=top)
    finally:
        os.close(folder)
    try:
        os.rmdir(name, dir_fd=top)
    except OSError:
        return False  # somebody was still at it; the next round finds the rest
    return True


def _unlink(folder: int, name: str) -> bool:
    """Remove anything but a folder; True also when it is gone already."""
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def files(top: int, *, most: int, max_depth: int = MAX_PARTS) -> list[tuple[str, Entry]]:
    """Give the plain files in an open folder and below, by path; those whose names can be written in one only."""
    found: list[tuple[str, Entry]] = []
    waiting: list[tuple[str, ...]] = [()]
    while waiting and len(found) < most:
        names = waiting.pop()
        try:
            with descended(top, names) as folder:
                some = entries(folder)
        except OSError:
            continue
        for entry in some:
            if entry.kind == "file":
                found.append(("/".join((*names, entry.name)), entry))
            elif entry.kind == "folder" and len(names) + 1 < max_depth:
                waiting.append((*names, entry.name))
    return sorted(found[:most])
