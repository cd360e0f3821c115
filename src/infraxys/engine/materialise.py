"""Rendered environments on disk: written once for each content, shared read-only by every action that uses it."""

import os
import tempfile
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path

from infraxys.engine.backends.base import StartFailed
from infraxys.engine.backends.host import remove_tree
from infraxys.engine.plan import RenderedEnvironment
from infraxys.spec import names

MAX_KEPT = 64


@dataclass(slots=True)
class Materialised:
    """An environment that is on disk, or being written by who holds `writing`. `users` is how many steps see it."""

    path: Path | None = None
    users: int = 0
    writing: threading.Lock = field(default_factory=threading.Lock)


class EnvironmentStore:
    """Keeps the rendered environments used last, and every one that is in use. Threads may share it."""

    def __init__(self, folder: Path, *, keep: int = MAX_KEPT) -> None:
        self._folder, self._keep = folder, keep
        self._known: OrderedDict[str, Materialised] = OrderedDict()
        self._lock = threading.Lock()

    def prepare(self) -> None:
        """Begin with an empty folder: what a killed server left there may be half written. Blocks."""
        remove_tree(self._folder)
        self._folder.mkdir(parents=True)
        self._folder.chmod(0o755)

    def acquire(self, rendered: RenderedEnvironment) -> Path:
        """Give the folder that holds the environment's directory; it stays until `release`. Blocks.

        Raises StartFailed for a file name that cannot be, and OSError.
        """
        with self._lock:
            entry = self._known.setdefault(rendered.digest, Materialised())
            entry.users += 1
            self._known.move_to_end(rendered.digest)
        try:
            with entry.writing:
                if entry.path is None or not entry.path.exists():
                    entry.path = self._write(rendered)
                return entry.path
        except BaseException:
            self.release(rendered)
            raise

    def release(self, rendered: RenderedEnvironment) -> None:
        """Say that a step does not see the environment any more; removes what is too much. Blocks."""
        with self._lock:
            self._known[rendered.digest].users -= 1
            surplus = len(self._known) - self._keep
            unused = [digest for digest, entry in self._known.items() if not entry.users] if surplus > 0 else []
            removed = [self._known.pop(digest) for digest in unused[:surplus]]
        for entry in removed:
            if entry.path is not None:
                remove_tree(entry.path)

    def _write(self, rendered: RenderedEnvironment) -> Path:
        """Write all files in a new folder, which nobody sees before it is complete."""
        root = Path(tempfile.mkdtemp(dir=self._folder, prefix=f"{rendered.digest[:16]}-"))
        try:
            environment = root / rendered.directory
            environment.mkdir()
            for file in rendered.files:
                write_file(root, file.path, file.content)
            # Modules look into these without asking whether they are there.
            for container in list(environment.iterdir()):
                if container.name != names.ENVIRONMENT_AUTO:
                    (container / names.CONTAINER_AUTO).mkdir(exist_ok=True)
            (environment / names.ENVIRONMENT_AUTO).mkdir(exist_ok=True)
            for folder, _, _ in os.walk(root):
                Path(folder).chmod(0o755)
        except BaseException:
            remove_tree(root)
            raise
        return root


def write_file(root: Path, name: str, content: bytes) -> None:
    """Write a file that everybody may read and execute: modules execute files that are no actions.

    Raises StartFailed for a name outside of the root, and OSError.
    """
    if not set(name.split("/")).isdisjoint({"", ".", ".."}):
        raise StartFailed(f"a generated file cannot be named {name!r}")
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as file:
        file.write(content)
    path.chmod(0o755)
