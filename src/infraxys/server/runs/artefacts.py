"""What actions leave in their artefacts folder: kept with the run when there is something, gone when there is not."""

import os
import threading
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from infraxys.engine.attachments import Attached
from infraxys.engine.backends.base import Mount
from infraxys.engine.masking import Masker
from infraxys.engine.plan import Plan, PlannedStep
from infraxys.engine.run_tree import ROOT, RunContext
from infraxys.kit import trees
from infraxys.kit.trees import Entry
from infraxys.server.runs.artefact_secrets import hide_secrets, masked_copy

TARGET = f"{ROOT}/artefacts"
VARIABLE = "INFRAXYS_ARTEFACTS"
MAX_FILES = 10_000  # and folders, of one run


class Artefacts:
    """The folders of all runs: `<root>/<beginning of the id>/<id>/`, one for all steps of a run.

    While a step executes that is the first one to leave something, the folder is one of those in `<root>/empty/`. At
    the end of a step its secrets are taken out of what it has left.

    `gid` is the group of the accounts that actions run as, None where they have ours. `limit` is in bytes, for a run.
    """

    def __init__(self, root: Path, gid: int | None, limit: int) -> None:
        self.root, self.limit = root, limit
        self._gid = gid
        self._trash, self._empty, self._spare = root / "trash", root / "empty", root / "spare"
        self._ready: list[Path] = []
        self._open: dict[str, tuple[Path, Masker]] = {}  # of runs whose actions execute
        self._lock = threading.Lock()

    def prepare(self) -> None:
        """Make the folder. Blocks. Raises OSError."""
        self._make(self.root)
        self._make(self._empty)
        for folder in (self._trash, self._spare):
            folder.mkdir(exist_ok=True)
            folder.chmod(0o700)
        with trees.opened(self._empty) as top:
            trees.move_contents_out(top, self._trash)
        trees.clear(self._trash)
        trees.clear(self._spare)

    def folder(self, run_id: str) -> Path:
        """Give the place of a run's artefacts; it need not exist."""
        return self.root / run_id[:6] / run_id

    def attach(self, plan: Plan, step: PlannedStep, run: RunContext) -> Attached:
        """Give a step a folder: that of its run, if an earlier step has left something, else an empty one."""
        del plan, step
        if run.reads_only:
            return Attached()
        kept = self.folder(run.run_id)
        folder = kept if kept.exists() else self._take()
        masker = run.masker or Masker()
        with self._lock:
            self._open[run.run_id] = folder, masker
        return Attached(
            (Mount(folder, TARGET, writable=True),),
            variables={VARIABLE: TARGET},
            has_left=lambda: not trees.is_empty(folder),
            settle=lambda: self._settle(run.run_id, folder, masker),
            release=lambda: self._release(run.run_id, folder),
        )

    def _take(self) -> Path:
        """Give an empty folder: one that an action has left empty, so that most runs make none."""
        with suppress(IndexError):
            return self._ready.pop()
        folder = self._empty / uuid4().hex
        folder.mkdir(mode=0o700)
        return folder

    def _make(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        if self._gid is not None:
            os.chown(folder, -1, self._gid)
        folder.chmod(0o700 if self._gid is None else 0o710)

    def _settle(self, run_id: str, folder: Path, masker: Masker) -> str:
        """Keep what a step has left, unless it is too much. Blocks."""
        size = trees.measure(folder, max_entries=MAX_FILES, max_depth=trees.MAX_PARTS)
        if size.is_whole and size.bytes <= self.limit:
            with trees.opened(folder) as top:
                said = hide_secrets(top, masker, self._spare, most=MAX_FILES)
            kept = self.folder(run_id)
            if folder != kept and size.entries:
                self._make(kept.parent)
                folder.rename(kept)
                with self._lock:
                    self._open[run_id] = kept, masker
            return said
        with trees.opened(folder) as top:
            trees.move_contents_out(top, self._trash)
        trees.clear(self._trash)
        return (
            f"the artefacts were not kept: {size.bytes} bytes in {size.entries} files and folders, and {self.limit} "
            f"bytes in {MAX_FILES} are allowed, {trees.MAX_PARTS} folders deep"
        )

    def _release(self, run_id: str, folder: Path) -> None:
        with self._lock:
            self._open.pop(run_id, None)
        if folder.parent != self._empty or not folder.exists():
            return  # kept
        if trees.is_empty(folder):
            folder.chmod(0o700)  # whatever the action has made of it
            self._ready.append(folder)
        else:  # of an action that nobody saw the end of
            with suppress(OSError), trees.opened(self._empty) as top:  # what stays is cleared at the next start
                trees.move_out(top, (folder.name,), self._trash)

    def files(self, run_id: str) -> list[tuple[str, Entry]]:
        """Give the path and the data of every plain file that the actions of a run have left, by path. Blocks."""
        folder, masker = self._where(run_id)
        try:
            with trees.opened(folder) as top:
                found = trees.files(top, most=MAX_FILES)
        except OSError:
            return []
        return found if masker is None else [(masker.text(path), entry) for path, entry in found]

    def open(self, run_id: str, names: tuple[str, ...]) -> int:
        """Open a file. Blocks. Raises OSError, NotPlain for anything but a plain file."""
        folder, masker = self._where(run_id)
        with trees.opened(folder) as top:
            descriptor = trees.open_file(top, names)
        return descriptor if masker is None else masked_copy(descriptor, masker, self._spare)

    def _where(self, run_id: str) -> tuple[Path, Masker | None]:
        """Give where the artefacts of a run are just now, and what hides secrets in them while an action executes."""
        return self._open.get(run_id) or (self.folder(run_id), None)

    def remove(self, run_id: str) -> None:
        """Remove what a run has left; for when its log goes. Blocks."""
        folder = self.folder(run_id)
        with suppress(FileNotFoundError), trees.opened(folder.parent) as parent:
            trees.move_out(parent, (folder.name,), self._trash)
            trees.clear(self._trash)
