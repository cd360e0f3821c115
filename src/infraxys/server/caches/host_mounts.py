"""Folders of this machine below /host in every action: for developers, on their own machine."""

import re
from collections.abc import Iterable
from pathlib import Path

from infraxys.engine.attachments import Attached
from infraxys.engine.backends.base import BackendUnavailable, Mount
from infraxys.engine.plan import Plan, PlannedStep
from infraxys.engine.run_tree import RunContext

FOLDER = "/host"
NAME = re.compile(r"[0-9A-Za-z._-]{1,100}")
WRITABLE = ":rw"
# Never, nor anything in them or above them.
CLOSED = tuple(Path(path) for path in ("/proc", "/sys", "/dev", "/boot", "/run", "/etc"))


class HostMounts:
    """Shows the same folders to every step."""

    def __init__(self, mounts: tuple[Mount, ...]) -> None:
        self.mounts = mounts

    @classmethod
    def configured(cls, setting: str, mode: str, ours: Iterable[Path]) -> "tuple[HostMounts, ...]":
        """Read the setting `name=/folder,name=/folder:rw`. `ours` are the server's own folders.

        Raises BackendUnavailable for what cannot or must not be shown.
        """
        parts = [part.strip() for part in setting.split(",") if part.strip()]
        if not parts:
            return ()
        if mode != "developer":
            raise BackendUnavailable(
                "host_mounts is for developer mode only: in server mode every person who may execute an action would "
                "get at these folders of the server; remove the setting"
            )
        mounts = tuple(read_mount(part, tuple(ours)) for part in parts)
        if len({mount.target for mount in mounts}) != len(mounts):
            raise BackendUnavailable("host_mounts names two folders with one name; give each a name of its own")
        return (cls(mounts),)

    def attach(self, plan: Plan, step: PlannedStep, run: RunContext) -> Attached:
        """Give the folders."""
        del plan, step
        if run.reads_only:
            return Attached(tuple(Mount(mount.source, mount.target) for mount in self.mounts))
        return Attached(self.mounts)


def read_mount(part: str, ours: tuple[Path, ...]) -> Mount:
    """Read one folder of the setting. Raises BackendUnavailable."""
    name, separator, written = part.partition("=")
    is_writable = written.endswith(WRITABLE)
    path = Path(written.removesuffix(WRITABLE))
    if not separator or not NAME.fullmatch(name) or name in {".", ".."} or not path.is_absolute():
        raise BackendUnavailable(
            f"host_mounts has '{part}': write name=/folder, and name=/folder:rw for one that actions may write to"
        )
    try:
        source = path.resolve(strict=True)
    except (OSError, RuntimeError):
        source = path
    if not source.is_dir():
        raise BackendUnavailable(f"host_mounts names '{path}', which is no folder of this machine")
    for closed in (*CLOSED, *(folder.resolve() for folder in ours)):
        if source.is_relative_to(closed) or closed.is_relative_to(source):
            raise BackendUnavailable(
                f"host_mounts names '{path}', which must not be shown to actions: the folders of the server and of the "
                "system, and what they are in, stay closed; name another one"
            )
    return Mount(source, f"{FOLDER}/{name}", is_writable, keeps_owner=True)
