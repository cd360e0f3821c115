"""Control groups, version 1, version 2 or none: one group per slot, used again and again."""

import os
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

from infraxys.engine.backends.base import Limits

ROOT = Path("/sys/fs/cgroup")
V1_CONTROLLERS = ("memory", "pids", "cpu", "freezer")
KILL_SECONDS = 5.0


@dataclass(slots=True)
class SlotGroup:
    """The groups of one slot: a directory per controller (v1) or one directory (v2)."""

    version: int
    directories: dict[str, Path]
    limits: Limits | None = None

    @property
    def join_files(self) -> tuple[str, ...]:
        """The files into which a process writes its id to join."""
        return tuple(str(path / "cgroup.procs") for path in dict.fromkeys(self.directories.values()))

    def apply(self, limits: Limits) -> None:
        """Set the limits; nothing is written when they are those of the last action."""
        if limits == self.limits:
            return
        if self.version == 1:
            memory = self.directories.get("memory")
            if memory:
                # Raising and lowering need opposite orders; lifting first makes one order do.
                _write(memory / "memory.memsw.limit_in_bytes", "-1")
                _write(memory / "memory.limit_in_bytes", str(limits.memory_bytes))
                _write(memory / "memory.memsw.limit_in_bytes", str(limits.memory_bytes))
            pids, cpu = self.directories.get("pids"), self.directories.get("cpu")
            if pids:
                _write(pids / "pids.max", str(limits.processes))
            if cpu:
                _write(cpu / "cpu.cfs_quota_us", str(int(limits.cpus * 100_000)) if limits.cpus else "-1")
        else:
            group = self.directories["all"]
            _write(group / "memory.max", str(limits.memory_bytes))
            _write(group / "memory.swap.max", "0")
            _write(group / "memory.oom.group", "1")
            _write(group / "pids.max", str(limits.processes))
            _write(group / "cpu.max", f"{int(limits.cpus * 100_000)} 100000" if limits.cpus else "max 100000")
        self.limits = limits

    def oom_kills(self) -> int:
        """How many processes the kernel has killed here for memory, since the group was made."""
        if self.version == 1:
            memory = self.directories.get("memory")
            return _counter(memory / "memory.oom_control", "oom_kill") if memory else 0
        return _counter(self.directories["all"] / "memory.events", "oom_kill")

    def processes(self) -> list[int]:
        """The ids of the processes in the group."""
        found: set[int] = set()
        for directory in self.directories.values():
            try:
                found.update(int(line) for line in (directory / "cgroup.procs").read_text().split())
            except OSError:
                continue
        return sorted(found)

    def kill_all(self) -> bool:
        """Kill whatever is in the group and wait until it is empty. False when something could not be killed."""
        deadline = time.monotonic() + KILL_SECONDS
        while processes := self.processes():
            if self.version == 2:
                _write(self.directories["all"] / "cgroup.kill", "1")
            for process in processes:
                try:
                    os.kill(process, signal.SIGKILL)
                except (ProcessLookupError, PermissionError):
                    continue
            if time.monotonic() > deadline:
                return False
            time.sleep(0.002)  # the kernel has no notification for "empty" on version 1
        return True

    def remove(self) -> None:
        """Remove the directories."""
        for directory in dict.fromkeys(self.directories.values()):
            try:
                directory.rmdir()
            except OSError:
                continue


@dataclass(slots=True)
class Cgroups:
    """What this host offers. `version` 0: no usable hierarchy, limits come from rlimits only."""

    version: int
    parents: dict[str, Path] = field(default_factory=dict)
    prefix: str = "infraxys"

    def slot(self, number: int) -> SlotGroup | None:
        """Make (or take over) the groups of a slot; None when there are none here."""
        if self.version == 0:
            return None
        name = f"{self.prefix}-{number}"
        directories = {}
        for controller, parent in self.parents.items():
            directory = parent / name
            try:
                directory.mkdir(exist_ok=True)
            except OSError:
                return None
            directories[controller] = directory
        return SlotGroup(self.version, directories)

    def leftovers(self) -> list[SlotGroup]:
        """The groups that an earlier process of the same prefix left."""
        found: dict[str, dict[str, Path]] = {}
        for controller, parent in self.parents.items():
            for directory in parent.glob(f"{self.prefix}-*"):
                found.setdefault(directory.name, {})[controller] = directory
        return [SlotGroup(self.version, directories) for directories in found.values()]


def detect(prefix: str) -> Cgroups:
    """Find a hierarchy in which this process may make groups that can limit memory and processes."""
    own = _own_groups()
    parents = {}
    for controller in V1_CONTROLLERS:
        path = own.get(controller)
        if path is not None and (ROOT / controller).is_dir():
            parent = ROOT / controller / path.lstrip("/")
            if (parent / "cgroup.procs").exists() and os.access(parent, os.W_OK):
                parents[controller] = parent
    if {"memory", "pids"} <= parents.keys():
        return Cgroups(1, parents, prefix)
    unified = own.get("")
    if unified is not None and (ROOT / "cgroup.controllers").exists():
        parent = ROOT / unified.lstrip("/")
        if _prepare_v2(parent):
            return Cgroups(2, {"all": parent}, prefix)
    return Cgroups(0)


def _prepare_v2(parent: Path) -> bool:
    """Move this process to a leaf and hand memory, pids and cpu down. False when this is not ours to do."""
    try:
        available = (parent / "cgroup.controllers").read_text().split()
        if not {"memory", "pids"} <= set(available) or not os.access(parent, os.W_OK):
            return False
        leaf = parent / "infraxys-server"
        leaf.mkdir(exist_ok=True)
        for process in (parent / "cgroup.procs").read_text().split():
            _write(leaf / "cgroup.procs", process)
        wanted = " ".join(f"+{name}" for name in ("memory", "pids", "cpu") if name in available)
        (parent / "cgroup.subtree_control").write_text(wanted)
    except OSError:
        return False
    return True


def _own_groups() -> dict[str, str]:
    """The groups of this process: controller name ("" for version 2) to path."""
    groups = {}
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return {}
    for line in lines:
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            groups[controller] = path
    return groups


def _write(path: Path, text: str) -> None:
    """Write a control file; a host without that knob is no failure, the others still hold."""
    try:
        path.write_text(text)
    except OSError:
        return


def _counter(path: Path, name: str) -> int:
    try:
        for line in path.read_text().splitlines():
            key, _, value = line.partition(" ")
            if key == name:
                return int(value)
    except (OSError, ValueError):
        return 0
    return 0
