"""Watching a control group for processes that the kernel kills for memory, by others than who made the group."""

import asyncio
import os
import select
from contextlib import suppress
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")


class MemoryWatch:
    """Notes that the kernel has killed something in the memory group of a process, which may vanish any time.

    Sees nothing where the group is not to be seen from here. Made and closed on the event loop's thread.
    """

    def __init__(self, process: int) -> None:
        self.was_out_of_memory = False
        self._loop = asyncio.get_running_loop()
        self._open: list[int] = []
        self._changes: select.epoll | None = None
        self._counter = Path()
        with suppress(OSError):
            self._watch(*memory_group(process))

    def _watch(self, folder: Path, version: int) -> None:
        self._counter = folder / ("memory.oom_control" if version == 1 else "memory.events")
        counter = os.open(self._counter, os.O_RDONLY | os.O_CLOEXEC)
        self._open.append(counter)
        if version == 1:
            signal = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            self._open.append(signal)
            (folder / "cgroup.event_control").write_text(f"{signal} {counter}")
            self._loop.add_reader(signal, self._signalled, signal)
        else:  # always readable; that it has changed is an event of another kind, for which the loop has no name
            self._changes = select.epoll()
            self._changes.register(counter, select.EPOLLPRI | select.EPOLLET)
            self._loop.add_reader(self._changes.fileno(), self._changed, self._changes)
        self._count()

    def _signalled(self, signal: int) -> None:
        """Take a signal of version 1: somebody is killed, or the group is gone, and then its files are too."""
        with suppress(OSError):
            os.eventfd_read(signal)
        self.was_out_of_memory |= self._counter.exists()

    def _changed(self, changes: select.epoll) -> None:
        changes.poll(0)
        self._count()

    def _count(self) -> None:
        with suppress(OSError):
            counts = dict(line.split(maxsplit=1) for line in self._counter.read_text().splitlines() if " " in line)
            self.was_out_of_memory |= counts.get("oom_kill", "0").strip() != "0"

    def close(self) -> None:
        """Stop watching."""
        if self._changes is not None:
            self._loop.remove_reader(self._changes.fileno())
            self._changes.close()
            self._changes = None
        for descriptor in self._open:
            self._loop.remove_reader(descriptor)
            os.close(descriptor)
        self._open.clear()


def memory_group(process: int) -> tuple[Path, int]:
    """Give the folder and the version of the control group that counts a process's memory. Raises OSError."""
    places = {}
    for line in Path(f"/proc/{process}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        places.update(dict.fromkeys(controllers.split(","), path.lstrip("/")))
    if "memory" in places:
        return CGROUPS / "memory" / places["memory"], 1
    return CGROUPS / places.get("", ""), 2
