"""Control groups, version 1, version 2 or none: one group per slot, used again and again.

What a group cannot do is kill: a sandbox is a process namespace, which the kernel ends as a whole, so groups limit,
count, and show what is left.
"""

import errno
import os
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from infraxys.engine.backends.base import Limits

ROOT = Path("/sys/fs/cgroup")
V1_CONTROLLERS = ("pids", "memory", "cpu")
SERVER_LEAF = "infraxys-server"  # where version 2 wants the processes of a group that has groups below it
CPU_PERIOD = 100_000
IO_WEIGHT = "50"  # half of what others have: the server's files come before those of actions
KILL_SECONDS = 5.0
LOWER_SECONDS = 1.0


@dataclass(slots=True)
class SlotGroup:
    """The groups of one slot: a directory per controller (v1) or one directory (v2, under the name "all")."""

    version: int
    directories: dict[str, Path]
    _limits: Limits | None = None
    _oom_kills: int | None = None

    def join_files(self, limits: Limits) -> tuple[str, ...]:
        """Give the files into which a process writes its id to join; each costs time, so none without need."""
        needed = (path for name, path in self.directories.items() if name != "cpu" or limits.cpus is not None)
        return tuple(str(path / "cgroup.procs") for path in needed)

    def apply(self, limits: Limits) -> None:
        """Set the limits; nothing is written when they are those of the last action. Raises OSError."""
        if self._oom_kills is None:
            self._oom_kills = self._count_oom_kills()
        if limits == self._limits:
            return
        self._limits = None
        quota = None if limits.cpus is None else max(1000, int(limits.cpus * CPU_PERIOD))
        if self.version == 1:
            memory = self.directories["memory"]
            # Raising and lowering need opposite orders; lifting first makes one order do.
            _try_write(memory / "memory.memsw.limit_in_bytes", "-1")
            _lower(memory / "memory.limit_in_bytes", str(limits.memory_bytes))
            _try_write(memory / "memory.memsw.limit_in_bytes", str(limits.memory_bytes))
            (self.directories["pids"] / "pids.max").write_text(str(limits.processes))
            if "cpu" in self.directories:
                _try_write(self.directories["cpu"] / "cpu.cfs_period_us", str(CPU_PERIOD))
                _try_write(self.directories["cpu"] / "cpu.cfs_quota_us", str(quota or -1))
        else:
            group = self.directories["all"]
            (group / "memory.max").write_text(str(limits.memory_bytes))
            _try_write(group / "memory.swap.max", "0")
            _try_write(group / "memory.oom.group", "1")
            (group / "pids.max").write_text(str(limits.processes))
            _try_write(group / "cpu.max", f"{quota or 'max'} {CPU_PERIOD}")
            _try_write(group / "io.weight", IO_WEIGHT)
        self._limits = limits

    def was_out_of_memory(self) -> bool:
        """Whether the kernel has killed something here for memory since the last call."""
        before, self._oom_kills = self._oom_kills or 0, self._count_oom_kills()
        return self._oom_kills > before

    def _count_oom_kills(self) -> int:
        if self.version == 1:
            return read_counter(self.directories["memory"] / "memory.oom_control", "oom_kill")
        return read_counter(self.directories["all"] / "memory.events", "oom_kill")

    def processes(self) -> list[int]:
        """Give the ids of the processes in the group."""
        directory = self.directories.get("pids") or next(iter(self.directories.values()))
        try:
            return [int(line) for line in (directory / "cgroup.procs").read_text().split()]
        except OSError:
            return []

    def kill_all(self) -> bool:
        """Kill whatever is in the group and wait until it is empty. False when something could not be killed."""
        deadline = time.monotonic() + KILL_SECONDS
        while processes := self.processes():
            if self.version == 2:
                _try_write(self.directories["all"] / "cgroup.kill", "1")
            for process in processes:
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(process, signal.SIGKILL)
            if time.monotonic() > deadline:
                return False
            time.sleep(0.002)  # the kernel has no notification for "empty" on version 1
        return True

    def remove(self) -> None:
        """Remove the directories."""
        for directory in self.directories.values():
            with suppress(OSError):
                directory.rmdir()


@dataclass(slots=True)
class Cgroups:
    """What this host offers. `version` 0: no usable hierarchy, limits come from rlimits only.

    `parents` are the directories below which groups are made: by controller (v1), or under "all" (v2).
    """

    version: int
    parents: dict[str, Path] = field(default_factory=dict)
    prefix: str = "infraxys"

    def slot(self, number: int) -> SlotGroup | None:
        """Make (or take over) the groups of a slot; None where there are none. Raises OSError."""
        if self.version == 0:
            return None
        directories = {name: parent / f"{self.prefix}-{number}" for name, parent in self.parents.items()}
        for directory in directories.values():
            directory.mkdir(exist_ok=True)
        return SlotGroup(self.version, directories)

    def leftovers(self) -> list[SlotGroup]:
        """Give the groups that an earlier process of the same prefix left."""
        found: dict[str, dict[str, Path]] = {}
        for name, parent in self.parents.items():
            for directory in parent.glob(f"{self.prefix}-*"):
                found.setdefault(directory.name, {})[name] = directory
        return [SlotGroup(self.version, directories) for directories in found.values()]


def detect(prefix: str, root: Path = ROOT, own: dict[str, str] | None = None) -> Cgroups:
    """Find a hierarchy in which this process may make groups that limit memory and processes.

    `own` are the groups that this process is in: controller name ("" for version 2) to path.
    """
    if own is None:
        own = parse_own_groups(Path("/proc/self/cgroup").read_text())
    parents = {}
    for controller in V1_CONTROLLERS:
        parent = root / controller / own.get(controller, "").lstrip("/")
        if controller in own and (parent / "cgroup.procs").exists() and os.access(parent, os.W_OK):
            parents[controller] = parent
    if {"memory", "pids"} <= parents.keys():
        return Cgroups(1, parents, prefix)
    if "" in own and (root / "cgroup.controllers").exists():
        path = Path(own[""])
        parent = root / str(path.parent if path.name == SERVER_LEAF else path).lstrip("/")
        if _prepare_v2(parent):
            return Cgroups(2, {"all": parent}, prefix)
    return Cgroups(0)


def _prepare_v2(parent: Path) -> bool:
    """Hand memory, pids, cpu and io down from `parent`. False when this is not ours to do."""
    try:
        available = (parent / "cgroup.controllers").read_text().split()
        if not {"memory", "pids"} <= set(available) or not os.access(parent, os.W_OK):
            return False
        wanted = [name for name in ("memory", "pids", "cpu", "io") if name in available]
        handed_down = (parent / "cgroup.subtree_control").read_text().split()
        if not set(wanted) <= set(handed_down):
            if (parent / "cgroup.type").exists():  # not the root, which alone may have both processes and groups
                leaf = parent / SERVER_LEAF
                leaf.mkdir(exist_ok=True)
                _move((parent / "cgroup.procs").read_text().split(), leaf)
            (parent / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in wanted))
    except OSError:
        return False
    return True


def _move(processes: Iterable[str], group: Path) -> None:
    for process in processes:
        _try_write(group / "cgroup.procs", process)


def parse_own_groups(text: str) -> dict[str, str]:
    """Read /proc/self/cgroup: controller name ("" for version 2) to path."""
    groups = {}
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            groups[controller] = path
    return groups


def read_counter(path: Path, name: str) -> int:
    """Read one number from a file of "name number" lines; 0 when there is none."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return 0
    for line in lines:
        key, _, value = line.partition(" ")
        if key == name:
            return int(value)
    return 0


def _lower(path: Path, text: str) -> None:
    """Write a limit. Version 1 refuses one below what is in use, which what ended here last may still free."""
    deadline = time.monotonic() + LOWER_SECONDS
    while True:
        try:
            path.write_text(text)
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _try_write(path: Path, text: str) -> None:
    """Write a control file that not every host has; the other limits still hold."""
    with suppress(OSError):
        path.write_text(text)
