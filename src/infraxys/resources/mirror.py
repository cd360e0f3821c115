"""A bare mirror of one repository: fetched by the Git command line, read by pygit2."""

import asyncio
import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pygit2

from infraxys.resources.edit import SERVER, Author, Change, write_tree
from infraxys.resources.errors import GitFailed, ResourceError, TooLarge
from infraxys.resources.git import MAX_FILE, TIMEOUT_SECONDS, list_branches, run_git
from infraxys.resources.url import GitUrl
from infraxys.spec.snapshot import FileEntry

MAX_BRANCHES = 10_000
SYMLINK, SUBMODULE = 0o120000, 0o160000
HEADS, REMOTE = "refs/heads/", "refs/remotes/origin/"
_COMMIT = re.compile(r"[0-9a-f]{40}\Z")
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|\.lock(?:/|\Z)|/\.|\A\.|\.\Z|\A/|/\Z|\A-|\A@\Z|\AHEAD\Z")
_UNSAFE = re.compile(rb"[^A-Za-z0-9._@+-]|\A\.|\A\Z|(?<=\.)\.")
# What a fetch that was killed leaves behind.
_LEFTOVERS = ("*.lock", "refs/**/*.lock", "objects/**/*.lock", "objects/pack/tmp_*", "objects/??/tmp_obj_*",
              "objects/tmp_objdir-*", "objects/incoming-*")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of a repository is read; beyond it, the repository is refused with TooLarge."""

    blob_bytes: int = 16 * 1024 * 1024
    entries: int = 200_000
    depth: int = 60
    branches: int = MAX_BRANCHES
    pack_bytes: int = MAX_FILE


def is_branch_name(name: str) -> bool:
    """Whether Git would accept the name for a branch; such a name is never an option nor a path upwards."""
    try:
        parts = name.encode().split(b"/")
    except UnicodeEncodeError:
        return False
    return sum(map(len, parts)) <= 1000 and max(map(len, parts)) <= 240 and bool(name) and not _FORBIDDEN.search(name)


def is_commit_id(commit: str) -> bool:
    """Whether a text is a whole commit id: no abbreviation, no reference, no path."""
    return _COMMIT.match(commit) is not None


@dataclass(frozen=True, slots=True)
class TreeItem:
    """An entry of a directory of a commit. `kind`: tree, file, symlink or submodule."""

    name: str
    oid: str
    kind: str
    executable: bool


class Mirror:
    """One bare repository on disk. Reading is safe from any thread; one fetch at a time, also between processes."""

    def __init__(self, path: Path, what: str, limits: Limits | None = None) -> None:
        self.path = path
        self.what = what
        self.limits = limits or Limits()
        self._lock = threading.RLock()
        self._opened: pygit2.Repository | None = None

    @property
    def exists(self) -> bool:
        """Whether the repository is on disk."""
        return (self.path / "HEAD").exists()

    def create(self) -> None:
        """Make an empty bare repository; does nothing when it is there."""
        if self.exists:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(dir=self.path.parent, prefix=".new-"))
        try:
            pygit2.init_repository(str(fresh), bare=True)
            with contextlib.suppress(OSError):  # somebody else was faster
                fresh.rename(self.path)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)

    async def fetch(
        self,
        url: GitUrl,
        branches: tuple[str, ...] = (),
        *,
        discard: bool = False,
        pin: str = "",
        timeout: float = TIMEOUT_SECONDS,  # noqa: ASYNC109 - passed on
    ) -> dict[str, str]:
        """Bring all branches, or the named ones, to the remote's state; gives them with their commits here.

        A branch with commits of ours (`commit`) stays as it is until the remote has those, see `ahead_behind`; with
        `discard` it loses them. Commits that no branch has any more stay, so that what runs have pinned is there.
        Whatever happens to a fetch, the repository stays valid. `pin`: see GitUrl.check_address. Raises GitFailed and
        TooLarge.
        """
        settings = [f"http.curloptResolve={pin}"] if pin else []
        await asyncio.to_thread(self.create)
        async with self._only_fetch(timeout) as lock:
            await asyncio.to_thread(self._check_origin, url)
            listing = await list_branches(url.text, what=self.what, timeout=min(timeout, 60), settings=settings)
            remote = {name: commit for name, commit in listing.items() if is_branch_name(name)}
            wanted = self._choose(remote, branches)
            known = await asyncio.to_thread(self._drop_vanished, remote)
            # Branches whose names are refused are not fetched either, so each is named.
            specs = [f"+{HEADS}{name}:{REMOTE}{name}" for name, commit in wanted.items() if known.get(name) != commit]
            options = ["--no-tags", "--force", "--no-recurse-submodules", "--no-write-fetch-head", "--quiet", "--stdin"]
            if specs:
                await run_git(
                    [f"--git-dir={self.path}", "fetch", *options, "--end-of-options", url.text],
                    what=self.what,
                    timeout=timeout,
                    settings=settings,
                    keep_open=(lock,),
                    max_file=self.limits.pack_bytes,
                    given="\n".join(specs).encode(),
                )
            return await asyncio.to_thread(self._follow, wanted, known, discard=discard)

    def _follow(self, wanted: Iterable[str], known: Mapping[str, str], *, discard: bool) -> dict[str, str]:
        """Move branches to where the remote's are, unless that would lose commits of ours; gives where they are.

        `known` is where the remote's were before this fetch.
        """
        with self._lock:
            repository = self._repository()
            heads, remote = self._references(HEADS), self._references(REMOTE)
            for name in wanted:
                head, target = heads.get(name), remote.get(name)
                if target is None or head == target:
                    continue
                is_ours = head is not None and known.get(name, head) != head
                if discard or head is None or not is_ours or repository.descendant_of(target, head):
                    repository.references.create(f"{HEADS}{name}", target, force=True)
                    heads[name] = target
            return {name: heads[name] for name in wanted if name in heads}

    async def push(
        self,
        url: GitUrl,
        branch: str,
        *,
        pin: str = "",
        timeout: float = TIMEOUT_SECONDS,  # noqa: ASYNC109 - passed on
    ) -> str:
        """Bring the commits of a branch to the remote; gives the commit that both have then. Raises GitFailed.

        The remote's own commits are never overwritten: with such, it refuses (`push_rejected`).
        """
        settings = [f"http.curloptResolve={pin}"] if pin else []
        async with self._only_fetch(timeout) as lock:
            commit = self.branches().get(branch)
            if commit is None:
                raise GitFailed("unknown_branch", f"{self.what} has no branch {branch[:100]!a} here")
            options = ["--quiet", "--no-verify", "--no-follow-tags", "--recurse-submodules=no"]
            await run_git(
                [f"--git-dir={self.path}", "push", *options, "--end-of-options", url.text, f"{commit}:{HEADS}{branch}"],
                what=self.what,
                timeout=timeout,
                settings=settings,
                keep_open=(lock,),
            )
            with self._lock:
                self._repository().references.create(f"{REMOTE}{branch}", commit, force=True)
            return commit

    def commit(self, branch: str, base: str, changes: Iterable[Change], message: str, author: Author) -> str:
        """Change files of a branch that is at the commit `base`; gives the new commit.

        Raises GitFailed (branch_moved) when the branch is elsewhere, and ResourceError for what cannot be written.
        """
        moved = GitFailed("branch_moved", f"branch '{branch}' of {self.what} has moved meanwhile; try again")
        with self._lock:
            repository = self._repository()
            reference = repository.references.get(f"{HEADS}{branch}") if is_branch_name(branch) else None
            if reference is None or str(reference.target) != base:
                raise moved
            tree = write_tree(repository, repository[base].peel(pygit2.Commit).tree, changes)
            now = int(time.time())
            made = repository.create_commit(None, author.signature(now), SERVER.signature(now), message, tree, [base])
            try:
                reference.set_target(made)  # refused when another process was faster
            except (KeyError, ValueError, pygit2.GitError) as error:
                raise moved from error
            return str(made)

    def diverged(self, branches: Iterable[str]) -> tuple[str, ...]:
        """Give those of the branches that have commits of ours while the remote has others."""
        return tuple(name for name in branches if all(self.ahead_behind(name)))

    def ahead_behind(self, branch: str) -> tuple[int, int]:
        """Count the commits that a branch has here and the remote has not, and the other way round."""
        with self._lock:
            repository = self._repository()
            head, target = (repository.references.get(f"{prefix}{branch}") for prefix in (HEADS, REMOTE))
            if head is None or target is None or head.target == target.target:
                return 0, 0
            ahead, behind = repository.ahead_behind(head.target, target.target)
            return int(ahead), int(behind)

    def _choose(self, remote: dict[str, str], branches: tuple[str, ...]) -> dict[str, str]:
        if not remote:  # also what some broken servers answer: no reason to forget what is here
            raise GitFailed("no_branches", f"{self.what} has no branches; push one to it first")
        for name in branches:
            if name not in remote:
                known = ", ".join(sorted(remote)[:10]) or "none"
                shown = name if is_branch_name(name) else ascii(name[:100])
                raise GitFailed("unknown_branch", f"{self.what} has no branch '{shown}' (it has: {known})")
        wanted = {name: remote[name] for name in branches} if branches else remote
        if len(wanted) > self.limits.branches:
            raise TooLarge(f"{self.what} has more than {self.limits.branches} branches; name those that you need")
        return wanted

    def _check_origin(self, url: GitUrl) -> None:
        """Remember where a mirror comes from: two folders of one name must not become one module."""
        with self._lock:
            config = self._repository().config
            known = config["remote.origin.url"] if "remote.origin.url" in config else ""  # noqa: SIM401 - it has no get
            if known == url.text:
                return
            if known and (url.scheme == "file" or known.startswith("file:")):
                message = f"{self.what} is already another repository of the same name; remove that module first"
                raise GitFailed("other_repository", message)
            config["remote.origin.url"] = url.text

    def _drop_vanished(self, remote: dict[str, str]) -> dict[str, str]:
        """Delete branches that the remote has no more; gives where the others were. Their commits stay.

        A branch with commits of ours is kept.
        """
        with self._lock:
            heads, known = self._references(HEADS), self._references(REMOTE)
            references = self._repository().references
            for name in [name for name in {**heads, **known} if name not in remote]:
                head, target = heads.get(name), known.get(name)
                if head is not None and (target is None or head == target):
                    references.delete(f"{HEADS}{name}")
                if target is not None and head in {None, target}:
                    references.delete(f"{REMOTE}{name}")
        return known

    @contextlib.asynccontextmanager
    async def _only_fetch(self, timeout: float) -> AsyncIterator[int]:  # noqa: ASYNC109 - a deadline for waiting
        """Be the only one who fetches into this mirror; gives the lock's descriptor, for Git to inherit.

        The kernel frees the lock when the last process that has it open is gone, so a killed server whose Git still
        runs keeps it. Whoever gets it knows that every lock file of Git is a leftover.
        """
        descriptor = os.open(self.path / "infraxys.fetch", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                async with asyncio.timeout(timeout):
                    while not _try_lock(descriptor):  # noqa: ASYNC110 - the other may be another process
                        await asyncio.sleep(0.02)
            except TimeoutError:
                raise GitFailed("busy", f"{self.what} is being fetched for longer than {timeout:g} seconds") from None
            await asyncio.to_thread(self._remove_leftovers)
            yield descriptor
        finally:
            os.close(descriptor)

    def _remove_leftovers(self) -> None:
        for pattern in _LEFTOVERS:
            for leftover in self.path.glob(pattern):
                if leftover.is_dir():
                    shutil.rmtree(leftover, ignore_errors=True)
                else:
                    leftover.unlink(missing_ok=True)

    def branches(self) -> dict[str, str]:
        """Give the branches and their commits."""
        if not self.exists:
            return {}
        with self._lock:
            return self._references(HEADS)

    def _references(self, prefix: str) -> dict[str, str]:
        """Give the branches below `HEADS` or `REMOTE` with their commits; to be called with the lock held."""
        found: dict[str, str] = {}
        repository = self._repository()
        kind = pygit2.enums.BranchType.LOCAL if prefix == HEADS else pygit2.enums.BranchType.REMOTE
        for raw in repository.raw_listall_branches(kind):
            name = raw.decode(errors="replace").removeprefix("" if prefix == HEADS else "origin/")
            if is_branch_name(name) and raw.endswith(name.encode()):
                found[name] = str(repository.lookup_reference(f"{prefix}{name}").resolve().target)
        return found

    def root_tree(self, commit: str) -> str:
        """Give the id of a commit's tree. Raises GitFailed when the commit is not here."""
        try:
            if self.exists and is_commit_id(commit):
                with self._lock:
                    return str(self._repository()[commit].peel(pygit2.Commit).tree_id)
        except (KeyError, ValueError, pygit2.GitError):
            pass
        raise GitFailed("unknown_commit", f"{self.what} has no commit {commit[:40]!a}")

    def list_tree(self, tree: str) -> list[TreeItem]:
        """Give the entries of a directory, in Git's order. What no name should hold is escaped by a backslash.

        Raises ResourceError for a tree that is damaged and TooLarge for a huge one.
        """
        try:
            with self._lock:
                found = self._repository()[tree].peel(pygit2.Tree)
                if len(found) > self.limits.entries:
                    raise TooLarge(f"{self.what} has more than {self.limits.entries} files")
                return [_item(entry) for entry in found]
        except (KeyError, ValueError, pygit2.GitError) as error:
            raise ResourceError(
                "damaged", f"{self.what} holds a directory that cannot be read ({tree[:40]})"
            ) from error

    def size(self, oid: str) -> int:
        """Give the size of a blob in bytes without reading it. Raises ResourceError for unknown ones."""
        try:
            with self._lock:
                return int(self._repository().odb.read_header(oid)[1])
        except (KeyError, ValueError, pygit2.GitError) as error:
            raise ResourceError("unknown_blob", f"{self.what} does not hold {oid[:40]}") from error

    def read(self, oid: str) -> bytes:
        """Give the bytes of a blob. Raises ResourceError for unknown and TooLarge for huge ones."""
        return self.read_up_to(oid, self.limits.blob_bytes)

    def read_up_to(self, oid: str, limit: int) -> bytes:
        """Give the bytes of a blob that is not larger than `limit`. Raises ResourceError and TooLarge."""
        if self.size(oid) > limit:
            raise TooLarge(f"{self.what} holds a file larger than {limit / 2**20:g} MiB")
        try:
            with self._lock:
                return bytes(self._repository().odb.read(oid)[1])
        except (KeyError, ValueError, pygit2.GitError) as error:
            raise ResourceError("unknown_blob", f"{self.what} does not hold {oid[:40]}") from error

    def walk(self, tree: str, count: Callable[[int], None] | None = None) -> Iterator[FileEntry]:
        """Give every file below a tree, depth first, within the limits. Raises TooLarge and ResourceError.

        `count` is told how many entries are looked at; without it, the limit counts for this walk alone.
        """
        counted = 0
        stack: list[tuple[str, str, int]] = [("", tree, 1)]
        while stack:
            prefix, current, depth = stack.pop()
            if depth > self.limits.depth:
                raise TooLarge(f"{self.what} has directories deeper than {self.limits.depth} levels")
            items = self.list_tree(current)
            counted += len(items)
            if count is not None:
                count(len(items))
            elif counted > self.limits.entries:
                raise TooLarge(f"{self.what} has more than {self.limits.entries} files")
            for item in items:
                path = f"{prefix}{item.name}"
                if item.kind == "tree":
                    stack.append((f"{path}/", item.oid, depth + 1))
                elif item.kind == "symlink":
                    yield FileEntry(path, item.oid, 0, kind="symlink")
                elif item.kind == "submodule":
                    yield FileEntry(path, item.oid, 0, kind="submodule")
                else:
                    yield FileEntry(path, item.oid, self.size(item.oid), item.executable)

    def remove(self) -> None:
        """Delete the repository; a fetch that is going on fails."""
        with self._lock:
            self._opened = None
            gone = self.path.with_name(f".removed-{self.path.name}")
            shutil.rmtree(gone, ignore_errors=True)  # left by a process that was killed
            with contextlib.suppress(FileNotFoundError):
                self.path.rename(gone)
            shutil.rmtree(gone, ignore_errors=True)

    def _repository(self) -> pygit2.Repository:
        """Give the open repository; to be called, and its objects used, with the lock held."""
        if self._opened is None:
            self._opened = pygit2.Repository(str(self.path))
        return self._opened


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _item(entry: pygit2.Object) -> TreeItem:
    raw = entry.raw_name or b""
    name = raw.decode("utf-8", "backslashreplace").replace("/", "\\x2f")
    if not name.isprintable():
        name = "".join(one if one.isprintable() else ascii(one)[1:-1] for one in name)
    mode = int(entry.filemode)
    if mode == SYMLINK:
        return TreeItem(name, str(entry.id), "symlink", executable=False)
    if mode == SUBMODULE:
        return TreeItem(name, str(entry.id), "submodule", executable=False)
    if entry.type_str == "tree":
        return TreeItem(name, str(entry.id), "tree", executable=False)
    return TreeItem(name, str(entry.id), "file", executable=mode == 0o100755)


def escape(part: str) -> str:
    """Make one directory name of a part of a module's name; distinct parts give distinct names."""
    name = _UNSAFE.sub(
        lambda found: b"".join(b"%%%02X" % byte for byte in found[0]) or b"%", part.encode(errors="surrogateescape")
    ).decode()
    return name if len(name) <= 200 else f"{name[:150]}%{hashlib.sha256(name.encode()).hexdigest()}"
