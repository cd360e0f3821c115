"""Materialising a commit for the sandbox: plain read-only files, no filters, no hooks, nothing outside the target."""

import contextlib
import errno
import os
import shutil
import tempfile
import time
from pathlib import Path, PurePosixPath

from infraxys.resources.errors import ResourceError, TooLarge
from infraxys.resources.mirror import Mirror
from infraxys.spec.snapshot import FileEntry

MAX_TOTAL = 2 * 1024**3
MAX_FILE = 100 * 1024**2
MAX_LINK = 4000
LEFTOVER_SECONDS = 3600


def export_tree(mirror: Mirror, commit: str, target: Path, *, max_total: int = MAX_TOTAL) -> list[str]:
    """Write the files of a commit to `target`, all or nothing; does nothing when it is there.

    Symbolic links that stay inside the tree become links; others, and names that no file can have, are left out and
    named in the answer. Submodules are empty directories. Raises TooLarge, also for more than `max_total` bytes.
    """
    if target.exists():
        return []
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(target.parent)
    fresh = Path(tempfile.mkdtemp(dir=target.parent, prefix=".export-"))
    try:
        skipped = _write(mirror, commit, fresh, max_total)
        try:
            fresh.rename(target)
        except OSError:
            if not target.is_dir():  # another process may have been faster, with the same content
                raise
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise ResourceError("disk_full", f"{mirror.what} cannot be written: the disk is full") from error
        raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return skipped


def _remove_leftovers(folder: Path) -> None:
    """Remove what processes that were killed have left; nobody writes one export for that long."""
    for leftover in folder.glob(".export-*"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - leftover.stat().st_mtime > LEFTOVER_SECONDS:
                shutil.rmtree(leftover, ignore_errors=True)


def _write(mirror: Mirror, commit: str, root: Path, max_total: int) -> list[str]:
    # All of it first: limits are checked before anything is written.
    entries = list(mirror.walk(mirror.root_tree(commit)))
    if sum(entry.size for entry in entries) > max_total:
        raise TooLarge(f"{mirror.what} is larger than {max_total / 2**20:g} MiB")
    skipped = [
        entry.path
        for entry in entries
        if entry.kind != "symlink" and not (is_safe_path(entry.path) and _write_entry(mirror, entry, root / entry.path))
    ]
    # Links come last, so that no file is ever written through one.
    skipped += _write_links(mirror, [entry for entry in entries if entry.kind == "symlink"], root)
    for folder, _, _ in os.walk(root):
        Path(folder).chmod(0o755)
    return skipped


def _write_entry(mirror: Mirror, entry: FileEntry, path: Path) -> bool:
    """Write a file or the directory of a submodule; False when something stands in its place."""
    try:
        if entry.kind == "submodule":
            path.mkdir(parents=True)
            return True
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as file:
            file.write(mirror.read_up_to(entry.oid, MAX_FILE))
    except (FileExistsError, NotADirectoryError):  # a damaged tree can name two things alike
        return False
    except TooLarge as error:
        raise TooLarge(f"{error}: {entry.path}") from None
    path.chmod(0o755 if entry.executable else 0o644)  # as Git's own checkout: copies that actions make can be changed
    return True


def _write_links(mirror: Mirror, links: list[FileEntry], root: Path) -> list[str]:
    """Make the links that stay inside, by their text and by what they lead to together; gives the others."""
    skipped, made = [], []
    for entry in links:
        written = mirror.read(entry.oid).decode(errors="surrogateescape") if is_safe_path(entry.path) else ""
        path = root / entry.path
        if not stays_inside(entry.path, written) or not _is_real_directory(path.parent, root):
            skipped.append(entry.path)
            continue
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.symlink_to(written)
        except (FileExistsError, NotADirectoryError):
            skipped.append(entry.path)
        else:
            made.append(entry.path)
    # `a -> b/..` is inside by its text but leads elsewhere when b is a link itself.
    base = os.path.realpath(root)
    for name in made:
        real = os.path.realpath(root / name)
        if real != base and not real.startswith(f"{base}/"):
            (root / name).unlink()
            skipped.append(name)
    return skipped


def _is_real_directory(folder: Path, root: Path) -> bool:
    """Whether no part of a path below the root is a link."""
    return not any(
        parent.is_symlink() for parent in (folder, *folder.parents) if parent != root and root in parent.parents
    )


def is_safe_path(path: str) -> bool:
    """Whether every part of a path in a tree can be a file's name below the target."""
    parts = path.split("/")
    return len(path) <= 2000 and all(
        part not in {"", ".", ".."}
        and part.lower().rstrip(". ") != ".git"
        and "\\" not in part  # also how bytes that are no text arrive here
        and part.isprintable()
        and len(part.encode(errors="replace")) <= 255
        for part in parts
    )


def stays_inside(link: str, target: str) -> bool:
    """Whether a symbolic link, read as text, points to something inside the tree."""
    if not target or target.startswith("/") or "\x00" in target or len(target) > MAX_LINK:
        return False
    depth = len(PurePosixPath(link).parts) - 1
    for part in target.split("/"):
        depth += {"": 0, ".": 0, "..": -1}.get(part, 1)
        if depth < 0:
            return False
    return True
