"""The data folder: its parts, their access rights, and the lock that keeps a second server out."""

import fcntl
import hashlib
import os
from pathlib import Path
from typing import IO

from infraxys.engine.backends.host import find_accounts, is_reachable


class DataFolderInUse(Exception):  # noqa: N818 - reads as what is wrong
    """Another server works on the data folder."""


class DataFolder:
    """The parts of a data folder. Everything but `work` is closed to everyone else."""

    def __init__(self, path: Path, work: Path | None = None, slots: int = 1) -> None:
        self.path = path.expanduser().absolute()
        self.database, self.keys, self.tls = self.path / "db", self.path / "keys", self.path / "tls"
        self.modules, self.logs = self.path / "modules", self.path / "logs"
        self._lock: IO[str] | None = None
        self.accounts = find_accounts(slots, self.path)
        self.work = work.expanduser().absolute() if work else self._choose_work()
        # What actions may write to and what stays: where their accounts can reach it.
        self.kept = self.path if is_reachable(self.path, self.accounts) else self.work
        self.caches, self.artefacts = self.kept / "caches", self.kept / "artefacts"

    def _choose_work(self) -> Path:
        """Put `work` inside, unless a folder above is closed to the accounts that actions run as."""
        if is_reachable(self.path, self.accounts):
            return self.path / "work"
        name = hashlib.sha256(str(self.path).encode()).hexdigest()[:16]
        return Path("/var/tmp") / f"infraxys-{os.geteuid()}-{name}"  # noqa: S108 - owned and checked in prepare

    def prepare(self) -> None:
        """Make the folders. Raises PermissionError when something of the name is not ours."""
        self.path.mkdir(parents=True, exist_ok=True)
        if self.accounts.gid is None:
            self.path.chmod(0o700)
        else:
            os.chown(self.path, 0, self.accounts.gid)
            self.path.chmod(0o710)
        for folder in (self.database, self.keys, self.tls, self.modules, self.logs):
            folder.mkdir(exist_ok=True, mode=0o700)
            folder.chmod(0o700)
        self.work.mkdir(parents=True, exist_ok=True, mode=0o700)
        status = self.work.lstat()
        if status.st_uid != os.geteuid() or self.work.is_symlink():
            raise PermissionError(f"the work folder '{self.work}' belongs to somebody else; choose another one")

    def lock(self) -> None:
        """Keep other servers out until this process ends. Raises DataFolderInUse."""
        handle = (self.path / "lock").open("w")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            handle.close()
            raise DataFolderInUse(
                f"another Infraxys server works on the data folder {self.path}; stop it or choose another --data-dir"
            ) from None
        self._lock = handle
