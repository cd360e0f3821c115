"""All repositories on disk: fetch them with what they depend on, read them at any commit, show them to actions."""

import asyncio
import logging
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cachetools import LRUCache

from infraxys.resources.edit import Author, Change
from infraxys.resources.errors import GitFailed, InvalidUrl, ResourceError, TooLarge
from infraxys.resources.export import export_tree
from infraxys.resources.git import TIMEOUT_SECONDS
from infraxys.resources.hosted import create_from_directory
from infraxys.resources.keyed_lock import KeyedLock
from infraxys.resources.mirror import Limits, Mirror, escape, is_commit_id
from infraxys.resources.snapshot import PartCache, build_snapshot
from infraxys.resources.url import ALL_SCHEMES, GitUrl
from infraxys.spec.identity import BranchPath, ModuleId
from infraxys.spec.problem import Problem
from infraxys.spec.snapshot import Dependency, Snapshot

MAX_FETCHES = 300  # branches of modules in one dependency closure
SNAPSHOT_BYTES = 256 * 1024 * 1024
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class FetchedModule:
    """A module after a fetch. `branches` are those that could be loaded, with their commits."""

    url: GitUrl
    is_dependency: bool
    branches: dict[str, str] = field(default_factory=dict)
    problems: dict[str, tuple[Problem, ...]] = field(default_factory=dict)
    diverged: tuple[str, ...] = ()  # branches with commits of this server that the remote's do not go on from


@dataclass(slots=True)
class Closure:
    """Everything that a fetch brought: the modules, and what could not be had (by URL)."""

    modules: dict[ModuleId, FetchedModule] = field(default_factory=dict)
    failures: dict[str, ResourceError] = field(default_factory=dict)


class ModuleStore:
    """Mirrors below `root`, exports below `exports`. Which modules are registered is the server's to know.

    `schemes` are the kinds of URL that are accepted; without `allow_private`, hosts at loopback and private addresses
    are refused. `timeout` is that of one fetch, in seconds.
    """

    def __init__(
        self,
        root: Path,
        exports: Path,
        schemes: tuple[str, ...] = ALL_SCHEMES,
        *,
        allow_private: bool = True,
        limits: Limits | None = None,
        timeout: float = TIMEOUT_SECONDS,
    ) -> None:
        self.root, self.exports, self.schemes = root, exports, schemes
        self._allow_private, self._limits, self._timeout = allow_private, limits, timeout
        self._parts = PartCache()
        self._snapshots: LRUCache[tuple[ModuleId, str], Snapshot] = LRUCache(
            SNAPSHOT_BYTES, getsizeof=lambda snapshot: snapshot.weight
        )
        self._mirrors: dict[ModuleId, Mirror] = {}
        self._lock = threading.Lock()
        self._work = KeyedLock()

    def parse_url(self, text: str) -> GitUrl:
        """Read a repository's URL by this server's rules. Raises InvalidUrl."""
        return GitUrl.parse(text, self.schemes)

    def branch_of(self, dependency: Dependency) -> BranchPath | None:
        """Tell which branch an entry of module.json means; None for a URL that cannot be one."""
        try:
            return BranchPath(GitUrl.parse(dependency.git_url).module, dependency.branch)
        except InvalidUrl:
            return None

    def mirror(self, module: ModuleId) -> Mirror:
        """Give the mirror of a module, whether or not it is on disk yet."""
        with self._lock:
            mirror = self._mirrors.get(module)
            if mirror is None:
                path = self.root / escape(module.host) / escape(module.org) / f"{escape(module.repo)}.git"
                mirror = self._mirrors[module] = Mirror(path, f"module {module}", self._limits)
            return mirror

    def snapshot(self, module: ModuleId, commit: str) -> Snapshot:
        """Give a module at a commit, parsed once. Blocks. Raises ResourceError."""
        key = (module, commit)
        with self._work.hold(key):
            with self._lock:
                known = self._snapshots.get(key)
            if known is not None:
                return known
            snapshot = build_snapshot(self.mirror(module), module, commit, self._parts)
            with self._lock:
                if snapshot.weight <= self._snapshots.maxsize:
                    self._snapshots[key] = snapshot
            return snapshot

    def head(self, module: ModuleId, branch: str) -> str:
        """Give the commit that a branch had at the last fetch. Raises GitFailed (unknown_branch)."""
        mirror = self.mirror(module)
        commit = mirror.branches().get(branch)
        if commit is None:
            raise GitFailed("unknown_branch", f"{mirror.what} has no branch {branch[:100]!a} here; fetch it first")
        return commit

    def export(self, module: ModuleId, commit: str) -> Path:
        """Give the directory that holds a module's files at a commit, read-only. Blocks the first time.

        What cannot be a file there (links that lead out, odd names) is left out and logged. Raises ResourceError.
        """
        if not is_commit_id(commit):
            raise GitFailed("unknown_commit", f"module {module} has no commit {commit[:40]!a}")
        target = self._exports_of(module) / commit
        if not target.exists():
            with self._work.hold(target):
                skipped = export_tree(self.mirror(module), commit, target)
            if skipped:
                shown = ", ".join(ascii(path[:200]) for path in skipped[:20])
                _log.warning("module %s at %s: %d entries left out: %s", module, commit, len(skipped), shown)
        return target

    def _exports_of(self, module: ModuleId) -> Path:
        return self.exports / escape(module.host) / escape(module.org) / escape(module.repo)

    async def fetch_closure(
        self,
        url: GitUrl,
        branches: tuple[str, ...] = (),
        on_progress: Callable[[str], None] = lambda _text: None,
        *,
        discard: bool = False,
    ) -> Closure:
        """Fetch a module and, recursively, what its branches depend on.

        Without `branches`, all branches of the remote are taken. Commits of this server that a remote does not have
        are kept; with `discard`, those of the module itself are dropped. The same URL and branch is visited once;
        another branch of the same URL again. What fails is recorded in the closure and does not stop the rest.
        """
        closure = Closure()
        seen: set[tuple[ModuleId, str]] = set()
        waiting: list[tuple[GitUrl, tuple[str, ...], bool]] = [(url, branches, False)]
        for visit, (current, wanted, is_dependency) in enumerate(waiting):  # what it waits for grows on the way
            if visit >= MAX_FETCHES:
                message = f"module {url.module} depends on more than {MAX_FETCHES} branches of modules"
                closure.failures[current.text] = TooLarge(message)
                break
            fetched = closure.modules.get(current.module) or FetchedModule(current, is_dependency)
            on_progress(f"fetching {current.module}")
            try:
                loaded = await self._fetch_one(current, wanted, fetched, discard=discard and not is_dependency)
            except ResourceError as error:
                closure.failures[current.text] = error
                continue
            closure.modules[current.module] = fetched
            seen |= {(current.module, branch) for branch in loaded}
            waiting += self._new_dependencies(loaded.values(), seen, closure)
        return closure

    def _new_dependencies(
        self, snapshots: Iterable[Snapshot], seen: set[tuple[ModuleId, str]], closure: Closure
    ) -> Iterator[tuple[GitUrl, tuple[str, ...], bool]]:
        """Give the branches of modules that are named here for the first time; `seen` learns them."""
        for dependency in (one for snapshot in snapshots for one in snapshot.dependencies):
            try:
                target = self.parse_url(dependency.git_url)
            except InvalidUrl as error:
                if len(closure.failures) < MAX_FETCHES:
                    closure.failures[dependency.git_url] = error
                continue
            if (target.module, dependency.branch) not in seen and len(seen) <= 2 * MAX_FETCHES:
                seen.add((target.module, dependency.branch))
                yield target, (dependency.branch,), True

    async def _fetch_one(
        self, url: GitUrl, wanted: tuple[str, ...], fetched: FetchedModule, *, discard: bool
    ) -> dict[str, Snapshot]:
        pin = await asyncio.to_thread(url.check_address, allow_private=self._allow_private)
        mirror = self.mirror(url.module)
        try:
            heads = await mirror.fetch(url, wanted, pin=pin, timeout=self._timeout, discard=discard)
        except GitFailed as error:
            other = url.with_git_suffix()
            if error.code != "redirected" or other is None:
                raise
            heads = await mirror.fetch(other, wanted, pin=pin, timeout=self._timeout, discard=discard)
        fetched.diverged += await asyncio.to_thread(mirror.diverged, heads)
        return await asyncio.to_thread(self._load_heads, url.module, heads, fetched)

    def load_branches(self, module: ModuleId, wanted: tuple[str, ...], fetched: FetchedModule) -> dict[str, Snapshot]:
        """Read branches of a mirror, or all; those that can be read at all are put into `fetched`."""
        heads = self.mirror(module).branches()
        chosen = {name: commit for name, commit in heads.items() if not wanted or name in wanted}
        return self._load_heads(module, chosen, fetched)

    def _load_heads(self, module: ModuleId, heads: dict[str, str], fetched: FetchedModule) -> dict[str, Snapshot]:
        loaded = {}
        for name, commit in heads.items():
            try:
                snapshot = self.snapshot(module, commit)
            except ResourceError as error:
                fetched.problems[name] = (Problem("", None, None, error.code, str(error)),)
                continue
            fetched.branches[name] = commit
            fetched.problems[name] = snapshot.problems
            loaded[name] = snapshot
        return loaded

    def commit(self, path: BranchPath, base: str, changes: Iterable[Change], message: str, author: Author) -> str:
        """Change files of a branch that is at the commit `base`; gives the new commit. Blocks.

        Raises GitFailed (branch_moved) when the branch is elsewhere, and ResourceError for what cannot be written.
        """
        return self.mirror(path.module).commit(path.branch, base, changes, message, author)

    async def push(self, url: GitUrl, branch: str) -> str:
        """Bring commits of this server to the remote; gives the commit that both have then. Raises ResourceError."""
        pin = await asyncio.to_thread(url.check_address, allow_private=self._allow_private)
        return await self.mirror(url.module).push(url, branch, pin=pin, timeout=self._timeout)

    def create_hosted(self, module: ModuleId, directory: Path, branch: str, message: str) -> str:
        """Make a module that has no remote from a directory; gives the commit."""
        return create_from_directory(self.mirror(module), directory, branch, message)

    def remove(self, module: ModuleId) -> None:
        """Forget a module's repository and exports. No run may use it any more."""
        mirror = self.mirror(module)
        with self._lock:
            self._mirrors.pop(module, None)
            for key in [key for key in self._snapshots if key[0] == module]:
                del self._snapshots[key]
        mirror.remove()
        shutil.rmtree(self._exports_of(module), ignore_errors=True)
