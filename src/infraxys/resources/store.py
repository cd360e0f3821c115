"""All repositories on disk: fetch them with what they depend on, read them at any commit, show them to actions."""

import asyncio
import shutil
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from cachetools import LRUCache

from infraxys.resources.errors import GitFailed, InvalidUrl, ResourceError
from infraxys.resources.export import export_tree
from infraxys.resources.git import list_branches
from infraxys.resources.hosted import create_from_directory
from infraxys.resources.mirror import Mirror, escape, is_branch_name
from infraxys.resources.snapshot import PartCache, build_snapshot
from infraxys.resources.url import ALL_SCHEMES, GitUrl
from infraxys.spec.identity import BranchPath, ModuleId
from infraxys.spec.problem import Problem
from infraxys.spec.snapshot import Dependency, Snapshot

MAX_MODULES = 200  # in one dependency closure
SNAPSHOT_BYTES = 256 * 1024 * 1024


@dataclass(slots=True)
class FetchedModule:
    """A module after a fetch. `branches` are those that could be loaded, with their commits."""

    url: GitUrl
    is_dependency: bool
    branches: dict[str, str] = field(default_factory=dict)
    problems: dict[str, tuple[Problem, ...]] = field(default_factory=dict)


@dataclass(slots=True)
class Closure:
    """Everything that a fetch brought: the modules, and what could not be had (by URL)."""

    modules: dict[ModuleId, FetchedModule] = field(default_factory=dict)
    failures: dict[str, ResourceError] = field(default_factory=dict)


class ModuleStore:
    """Mirrors below `root`, exports below `exports`. Which modules are registered is the server's to know."""

    def __init__(self, root: Path, exports: Path, schemes: tuple[str, ...] = ALL_SCHEMES) -> None:
        self.root, self.exports, self.schemes = root, exports, schemes
        self._parts = PartCache()
        self._snapshots: LRUCache[tuple[ModuleId, str], Snapshot] = LRUCache(
            SNAPSHOT_BYTES, getsizeof=lambda snapshot: snapshot.weight
        )
        self._mirrors: dict[ModuleId, Mirror] = {}
        self._lock = threading.Lock()
        self._fetching: dict[ModuleId, asyncio.Lock] = {}

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
                mirror = self._mirrors[module] = Mirror(path, f"module {module}")
            return mirror

    def snapshot(self, module: ModuleId, commit: str) -> Snapshot:
        """Give a module at a commit, parsed once. Blocks. Raises ResourceError."""
        key = (module, commit)
        with self._lock:
            known = self._snapshots.get(key)
        if known is not None:
            return known
        snapshot = build_snapshot(self.mirror(module), module, commit, self._parts)
        with self._lock:
            if snapshot.weight <= self._snapshots.maxsize:
                self._snapshots[key] = snapshot
        return snapshot

    def export(self, module: ModuleId, commit: str) -> Path:
        """Give the directory that holds a module's files at a commit, read-only. Blocks the first time."""
        folder = f"{escape(module.host)}~{escape(module.org)}~{escape(module.repo)}"
        target = self.exports / folder / commit
        if not target.exists():
            export_tree(self.mirror(module), commit, target)
        return target

    async def fetch_closure(
        self, url: GitUrl, branches: tuple[str, ...] = (), on_progress: Callable[[str], None] = lambda _text: None
    ) -> Closure:
        """Fetch a module and, recursively, what its branches depend on.

        Without `branches`, all branches of the remote are taken. The same URL and branch is visited once; another
        branch of the same URL again. What fails is recorded in the closure and does not stop the rest.
        """
        closure = Closure()
        seen: set[tuple[ModuleId, str]] = set()
        waiting: list[tuple[GitUrl, tuple[str, ...], bool]] = [(url, branches, False)]
        while waiting:
            current, wanted, is_dependency = waiting.pop(0)
            fetched = closure.modules.get(current.module)
            if fetched is None:
                if len(closure.modules) >= MAX_MODULES:
                    failure = ResourceError("too_large", f"{url.module} depends on more than {MAX_MODULES} modules")
                    closure.failures[current.text] = failure
                    break
                fetched = FetchedModule(current, is_dependency)
            on_progress(f"fetching {current.module}")
            try:
                loaded = await self._fetch_one(current, wanted, fetched)
            except ResourceError as error:
                closure.failures[current.text] = error
                continue
            closure.modules[current.module] = fetched
            for dependency in self._new_dependencies(loaded, current.module, seen, closure):
                waiting.append((*dependency, True))
        return closure

    def _new_dependencies(
        self,
        snapshots: dict[str, Snapshot],
        module: ModuleId,
        seen: set[tuple[ModuleId, str]],
        closure: Closure,
    ) -> Iterable[tuple[GitUrl, tuple[str, ...]]]:
        for branch, snapshot in snapshots.items():
            seen.add((module, branch))
        for snapshot in snapshots.values():
            for dependency in snapshot.dependencies:
                try:
                    target = self.parse_url(dependency.git_url)
                except InvalidUrl as error:
                    closure.failures[dependency.git_url] = error
                    continue
                if (target.module, dependency.branch) not in seen:
                    seen.add((target.module, dependency.branch))
                    yield target, (dependency.branch,)

    async def _fetch_one(self, url: GitUrl, wanted: tuple[str, ...], fetched: FetchedModule) -> dict[str, Snapshot]:
        for name in wanted:
            if not is_branch_name(name):
                raise GitFailed("unknown_branch", f"module {url.module}: '{name[:100]}' is no branch name")
        mirror = self.mirror(url.module)
        await asyncio.to_thread(url.check_address)
        async with self._fetching.setdefault(url.module, asyncio.Lock()):
            remote = await list_branches(url.text, what=mirror.what)
            for name in wanted:
                if name not in remote:
                    known = ", ".join(sorted(remote)[:10]) or "none"
                    raise GitFailed("unknown_branch", f"{mirror.what} has no branch '{name}' (it has: {known})")
            await mirror.fetch(url.text, wanted)
        return await asyncio.to_thread(self.load_branches, url.module, wanted, fetched)

    def load_branches(
        self, module: ModuleId, wanted: tuple[str, ...], fetched: FetchedModule
    ) -> dict[str, Snapshot]:
        """Read the branches of a mirror; those that can be read at all are put into `fetched`."""
        heads = self.mirror(module).branches()
        loaded = {}
        for name, commit in heads.items():
            if wanted and name not in wanted:
                continue
            try:
                snapshot = self.snapshot(module, commit)
            except ResourceError as error:
                fetched.problems[name] = (Problem("", None, None, error.code, str(error)),)
                continue
            fetched.branches[name] = commit
            fetched.problems[name] = snapshot.problems
            loaded[name] = snapshot
        return loaded

    def create_hosted(self, module: ModuleId, directory: Path, branch: str, message: str) -> str:
        """Make a module that has no remote from a directory; gives the commit."""
        return create_from_directory(self.mirror(module), directory, branch, message)

    def remove(self, module: ModuleId) -> None:
        """Forget a module's repository and exports."""
        mirror = self.mirror(module)
        with self._lock:
            self._mirrors.pop(module, None)
            for key in [key for key in self._snapshots if key[0] == module]:
                del self._snapshots[key]
        shutil.rmtree(mirror.path, ignore_errors=True)
        folder = f"{escape(module.host)}~{escape(module.org)}~{escape(module.repo)}"
        shutil.rmtree(self.exports / folder, ignore_errors=True)
