"""Whether a process waits for input that nobody gives: what Linux tells of a sleeping process in /proc."""

import os
import platform
import struct
from pathlib import Path

# The numbers of the calls that wait for descriptors, from the kernel's tables of system calls.
POLL, PPOLL = {"x86_64": 7}.get(platform.machine()), {"x86_64": 271, "aarch64": 73}.get(platform.machine())
POLLFD = struct.Struct("=ihh")
FOR_EVER = 0x7FFFFFFF  # more than that is negative, which to poll means without end


def waits_for(process: int, pipe: str) -> bool:
    """Whether a process sleeps in a read of a pipe: it sleeps in one, and has no other pipe that it could read."""
    folder = Path(f"/proc/{process}")
    try:
        if not any(sleeps_on(task, folder, pipe) for task in (folder / "task").iterdir()):
            return False
        readable = {
            str(entry.readlink())
            for entry in (folder / "fd").iterdir()
            if str(entry.readlink()).startswith("pipe:") and is_readable(folder / "fdinfo" / entry.name)
        }
    except (OSError, OverflowError):  # it has ended, is another account's, or made up an address
        return False
    return readable == {pipe}


def sleeps_on(task: Path, process: Path, pipe: str) -> bool:
    """Whether a thread reads a pipe, or polls that one for ever before it reads, as the shell of busybox does."""
    place = (task / "wchan").read_text()
    return "pipe_read" in place or ("poll" in place and polled_for_ever(task, process) == pipe)


def polled_for_ever(task: Path, process: Path) -> str:
    """Give what a thread polls without end, when that is one thing; else nothing. Raises OSError."""
    number, *arguments = (task / "syscall").read_text().split()
    if number not in {str(POLL), str(PPOLL)}:
        return ""
    address, count, seconds = (int(argument, 16) for argument in arguments[:3])
    is_for_ever = (seconds > FOR_EVER) if number == str(POLL) else seconds == 0
    if count != 1 or not is_for_ever:
        return ""
    with (process / "mem").open("rb", buffering=0) as memory:
        memory.seek(address)
        data = memory.read(POLLFD.size)
    if len(data) < POLLFD.size:
        return ""
    return str((process / "fd" / str(POLLFD.unpack(data)[0])).readlink())


def is_readable(information: Path) -> bool:
    """Whether an open file may be read, by what the kernel says of it."""
    flags = next(line for line in information.read_text().splitlines() if line.startswith("flags:"))
    return int(flags.split()[1], 8) & os.O_ACCMODE != os.O_WRONLY
