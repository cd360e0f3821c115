"""A bare mirror of one repository: fetched by the Git command line, read by pygit2."""

import os
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pygit2

from infraxys.resources.errors import GitFailed, ResourceError, TooLarge
from infraxys.resources.git import run_git
from infraxys.spec.snapshot import FileEntry

MAX_BLOB = 16 * 1024 * 1024
MAX_ENTRIES = 200_000
MAX_DEPTH = 60
MAX_BRANCHES = 10_000
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|\.lock(?:/|\Z)|/\.|\A\.|\.\Z|\A/|/\Z|\A-|\A@\Z")
SYMLINK, SUBMODULE = 0o120000, 0o160000


def is_branch_name(name: str) -> bool:
    """Whether Git would accept the name for a branch; such a name is never an option nor a path upwards."""
    return 0 < len(name.encode(errors="replace")) <= 1000 and _FORBIDDEN.search(name) is None


@dataclass(frozen=True, slots=True)
class TreeItem:
    """An entry of a directory of a commit. `kind`: tree, file, symlink or submodule."""

    name: str
    oid: str
    kind: str
    executable: bool


class Mirror:
    """One bare repository on disk. Reading is safe from any thread."""

    def __init__(self, path: Path, what: str) -> None:
        self.path = path
        self.what = what
        self._local = threading.local()

    @property
    def exists(self) -> bool:
        """Whether the repository is on disk."""
        return (self.path / "HEAD").exists()

    def create(self) -> None:
        """Make an empty bare repository; does nothing when it is there."""
        if not self.exists:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            repository = pygit2.init_repository(str(self.path), bare=True)
            repository.config["gc.auto"] = 0  # commits that runs have pinned stay, also when a branch forgets them

    async def fetch(self, url: str, branches: tuple[str, ...] = ()) -> None:
        """Bring all branches (or the named ones) to the remote's state. Raises GitFailed."""
        self.create()
        self._remove_stale_locks()
        wanted = [f"+refs/heads/{name}:refs/heads/{name}" for name in branches] or ["+refs/heads/*:refs/heads/*"]
        options = ["--no-tags", "--force", "--no-recurse-submodules", "--no-write-fetch-head", "--quiet"]
        prune = [] if branches else ["--prune"]
        command = ["fetch", *options, *prune, "--end-of-options", url, *wanted]
        await run_git(command, what=self.what, directory=self.path)

    def _remove_stale_locks(self) -> None:
        """Remove locks that a killed fetch left: only one process uses a mirror, and it fetches one at a time."""
        for pattern in ("*.lock", "refs/**/*.lock"):
            for lock in self.path.glob(pattern):
                lock.unlink(missing_ok=True)
        for leftover in self.path.glob("objects/pack/tmp_*"):
            leftover.unlink(missing_ok=True)

    def branches(self) -> dict[str, str]:
        """Give the branches and their commits."""
        repository = self._repository()
        found = {}
        for name in repository.branches.local:
            if not is_branch_name(name):
                continue
            if len(found) >= MAX_BRANCHES:
                raise TooLarge(f"{self.what} has more than {MAX_BRANCHES} branches")
            target = repository.references[f"refs/heads/{name}"].resolve().target
            found[name] = str(target)
        return found

    def root_tree(self, commit: str) -> str:
        """Give the id of a commit's tree. Raises GitFailed when the commit is not here."""
        try:
            return str(self._repository()[commit].peel(pygit2.Commit).tree_id)
        except (KeyError, ValueError, pygit2.GitError) as error:
            raise GitFailed("unknown_commit", f"{self.what} has no commit {commit[:40]}") from error

    def list_tree(self, tree: str) -> Iterator[TreeItem]:
        """Give the entries of a directory, in Git's order. Entries whose names are not UTF-8 have them escaped."""
        repository = self._repository()
        for entry in repository[tree].peel(pygit2.Tree):
            name = entry.raw_name.decode("utf-8", "backslashreplace")
            mode = int(entry.filemode)
            if mode == SYMLINK:
                yield TreeItem(name, str(entry.id), "symlink", executable=False)
            elif mode == SUBMODULE:
                yield TreeItem(name, str(entry.id), "submodule", executable=False)
            elif entry.type_str == "tree":
                yield TreeItem(name, str(entry.id), "tree", executable=False)
            else:
                yield TreeItem(name, str(entry.id), "file", executable=mode == 0o100755)

    def size(self, oid: str) -> int:
        """Give the size of a blob without reading it."""
        return int(self._repository().odb.read_header(oid)[1])

    def read(self, oid: str) -> bytes:
        """Give the bytes of a blob. Raises ResourceError for unknown and TooLarge for huge ones."""
        try:
            if self.size(oid) > MAX_BLOB:
                raise TooLarge(f"{self.what} holds a file larger than {MAX_BLOB // 2**20} MiB")
            return bytes(self._repository().odb.read(oid)[1])
        except (KeyError, ValueError, pygit2.GitError) as error:
            raise ResourceError("unknown_blob", f"{self.what} does not hold {oid[:40]}") from error

    def walk(self, tree: str) -> Iterator[FileEntry]:
        """Give every file below a tree, depth first, within the limits. Raises TooLarge."""
        count = 0
        stack: list[tuple[str, str, int]] = [("", tree, 0)]
        while stack:
            prefix, current, depth = stack.pop()
            if depth > MAX_DEPTH:
                raise TooLarge(f"{self.what} has directories deeper than {MAX_DEPTH} levels")
            for item in self.list_tree(current):
                count += 1
                if count > MAX_ENTRIES:
                    raise TooLarge(f"{self.what} has more than {MAX_ENTRIES} files")
                path = f"{prefix}{item.name}"
                if item.kind == "tree":
                    stack.append((f"{path}/", item.oid, depth + 1))
                elif item.kind == "symlink":
                    yield FileEntry(path, item.oid, 0, kind="symlink")
                elif item.kind == "submodule":
                    yield FileEntry(path, item.oid, 0, kind="submodule")
                else:
                    yield FileEntry(path, item.oid, self.size(item.oid), item.executable)

    def _repository(self) -> pygit2.Repository:
        """Give this thread's own handle: pygit2 objects are not shared between threads."""
        repository = getattr(self._local, "repository", None)
        if repository is None:
            repository = self._local.repository = pygit2.Repository(str(self.path))
        return repository


def escape(part: str) -> str:
    """Make one directory name of a part of a module's name."""
    return re.sub(r"[^A-Za-z0-9._@+-]", lambda found: f"%{ord(found[0]):02X}", part).replace("..", "%2E%2E")


def is_within(path: Path, folder: Path) -> bool:
    """Whether a path lies below a folder, as texts."""
    return os.path.commonpath([path, folder]) == str(folder)
