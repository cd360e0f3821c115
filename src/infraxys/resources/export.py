"""Materialising a commit for the sandbox: plain read-only files, no filters, no hooks, nothing outside the target."""

import os
import shutil
import tempfile
from pathlib import Path, PurePosixPath

from infraxys.resources.errors import TooLarge
from infraxys.resources.mirror import Mirror
from infraxys.spec.snapshot import FileEntry

MAX_TOTAL = 2 * 1024**3


def export_tree(mirror: Mirror, commit: str, target: Path) -> list[str]:
    """Write the files of a commit to `target`, all or nothing; does nothing when it is there.

    Symbolic links that stay inside the tree become links; others, and names that no file can have, are left out and
    named in the answer. Submodules are empty directories. Raises TooLarge.
    """
    if target.exists():
        return []
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(dir=target.parent, prefix=".export-"))
    try:
        skipped = _write(mirror, commit, fresh)
        fresh.chmod(0o755)
        fresh.rename(target)
    except OSError:
        if not target.exists():  # another thread may have been faster, with the same content
            raise
        skipped = []
    finally:
        if fresh.exists():
            shutil.rmtree(fresh, ignore_errors=True)
    return skipped


def _write(mirror: Mirror, commit: str, root: Path) -> list[str]:
    skipped: list[str] = []
    total = 0
    links: list[FileEntry] = []
    for entry in mirror.walk(mirror.root_tree(commit)):
        if not is_safe_path(entry.path):
            skipped.append(entry.path)
        elif entry.kind == "symlink":
            links.append(entry)
        elif entry.kind == "submodule":
            (root / entry.path).mkdir(parents=True, exist_ok=True)
        else:
            total += entry.size
            if total > MAX_TOTAL:
                raise TooLarge(f"{mirror.what} is larger than {MAX_TOTAL // 2**30} GiB")
            path = root / entry.path
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as file:
                file.write(mirror.read(entry.oid))
            path.chmod(0o555 if entry.executable else 0o444)
    # Links come last, so that no file is ever written through one.
    for entry in links:
        written = mirror.read(entry.oid).decode(errors="surrogateescape")
        if not stays_inside(entry.path, written):
            skipped.append(entry.path)
            continue
        path = root / entry.path
        path.parent.mkdir(parents=True, exist_ok=True)
        os.symlink(written, path)
    for folder, _, _ in os.walk(root):
        Path(folder).chmod(0o755)
    return skipped


def is_safe_path(path: str) -> bool:
    """Whether every part of a path in a tree can be a file's name below the target."""
    parts = path.split("/")
    return len(path) <= 3000 and all(
        part not in {"", ".", ".."}
        and part.lower().rstrip(". ") != ".git"
        and "\x00" not in part
        and "\\" not in part
        and len(part.encode(errors="replace")) <= 255
        for part in parts
    )


def stays_inside(link: str, target: str) -> bool:
    """Whether a symbolic link, read as text, points to something inside the tree."""
    if not target or target.startswith("/") or "\x00" in target or len(target) > 4000:
        return False
    depth = len(PurePosixPath(link).parts) - 1
    for part in target.split("/"):
        depth += {"": 0, ".": 0, "..": -1}.get(part, 1)
        if depth < 0:
            return False
    return True
