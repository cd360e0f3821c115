"""Making the root of a chroot a real one: in a chroot the kernel gives nobody a user namespace, and so no sandbox."""

import ctypes
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

CLONE_NEWNS = 0x0002_0000
MS_BIND, MS_REC, MS_SLAVE, MNT_DETACH = 0x1000, 0x4000, 0x8_0000, 2
PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}  # the C library has no function for it


def make_root_real() -> bool:
    """Where this process is root in a chroot, give it a namespace of mounts whose root the chroot's is.

    Nothing else of the system is seen in it. What is mounted in the chroot stays, and what is mounted later appears.
    Call it before there are threads. Tells whether something was done; where that is not allowed, nothing changes.
    """
    if os.geteuid() != 0 or os.uname().machine not in PIVOT_ROOT or not is_chroot():
        return False
    with suppress(OSError):
        here = Path.cwd()
        _move()
        os.chdir(here)
        return True
    return False


def is_chroot() -> bool:
    """Whether the root of this process, which is root, is not that of its namespace of mounts."""
    child = os.fork()  # which goes to the real root, or nowhere
    if child == 0:
        with suppress(OSError):
            facts = os.open("/proc/self/fdinfo", os.O_RDONLY | os.O_DIRECTORY)
            before = _place_of_root(facts)
            _go_to_real_root()
            os._exit(0 if _place_of_root(facts) == before else 1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status) == 1


def _place_of_root(facts: int) -> tuple[list[str], int]:
    """Give the mount that the root is in, and which folder of it it is."""
    root = os.open("/", os.O_PATH | os.O_DIRECTORY)
    with open(str(root), opener=lambda name, flags: os.open(name, flags, dir_fd=facts)) as lines:
        return [line for line in lines if line.startswith("mnt_id")], os.fstat(root).st_ino


def _move() -> None:
    _call("unshare", CLONE_NEWNS)
    root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _go_to_real_root()
        os.fchdir(root)
        try:
            _call("mount", None, b"/", None, MS_SLAVE | MS_REC, None)
            _call("mount", b".", b".", None, MS_BIND | MS_REC, None)
            os.chdir(Path.cwd())  # into what was just mounted over it
            _call("syscall", PIVOT_ROOT[os.uname().machine], b".", b".")
            _call("umount2", b".", MNT_DETACH)
        except BaseException:
            os.fchdir(root)
            os.chroot(".")
            raise
    finally:
        os.close(root)


def _go_to_real_root() -> None:
    """Join the own namespace of mounts again: that sets the root to that of the namespace."""
    namespace = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _call("setns", namespace, CLONE_NEWNS)
    finally:
        os.close(namespace)


def _call(name: str, *arguments: Any) -> None:
    """Call a function of the C library. Raises OSError."""
    library = ctypes.CDLL(None, use_errno=True)
    function = getattr(library, name)
    function.restype = ctypes.c_long
    if function(*arguments) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
