"""Which commit each module branch stands for, and which of them were looked at."""

from collections.abc import Callable, Iterator, Mapping

from infraxys.spec.identity import BranchPath, ModuleId
from infraxys.spec.snapshot import Snapshot

LoadSnapshot = Callable[[ModuleId, str], Snapshot]


class Pins(Mapping[BranchPath, Snapshot]):
    """Snapshots by branch path, loaded when first read, at the commits given.

    Remembers what was `used` and `missed`, so that whoever keeps a result made from it can tell whether that result
    still holds for newer commits, and can pin exactly what had a part in it.
    """

    def __init__(self, commits: Mapping[BranchPath, str], load: LoadSnapshot) -> None:
        self._commits = commits
        self._load = load
        self._loaded: dict[BranchPath, Snapshot] = {}
        self._missed: set[BranchPath] = set()
        self._was_listed = False

    def __getitem__(self, path: BranchPath) -> Snapshot:
        snapshot = self._loaded.get(path)
        if snapshot is None:
            commit = self._commits.get(path)
            if commit is None:
                self._missed.add(path)
                raise KeyError(path)
            snapshot = self._loaded[path] = self._load(path.module, commit)
        return snapshot

    def __contains__(self, path: object) -> bool:
        if path in self._commits:
            return True
        if isinstance(path, BranchPath):
            self._missed.add(path)
        return False

    def __iter__(self) -> Iterator[BranchPath]:
        self._was_listed = True
        return iter(self._commits)

    def __len__(self) -> int:
        return len(self._commits)

    def used(self) -> dict[BranchPath, str]:
        """Give the commits of everything that was read."""
        return {path: snapshot.commit for path, snapshot in self._loaded.items()}

    def missed(self) -> frozenset[BranchPath]:
        """Give what was looked for and is not there."""
        return frozenset(self._missed)

    def hold_for(self, commits: Mapping[BranchPath, str]) -> bool:
        """Tell whether everything read, and everything not found, would be the same with other commits."""
        if self._was_listed and commits.keys() != self._commits.keys():
            return False
        return all(commits.get(path) == snapshot.commit for path, snapshot in self._loaded.items()) and not any(
            path in commits for path in self._missed
        )
