"""The system call filter of the sandbox: allow by default, refuse what an action has no business with.

The compiled programs of the common architectures are shipped beside this file, so that the filter is the same
everywhere and needs nothing installed. `python -m infraxys.engine.backends.seccomp` compiles them anew after a change
here; a test checks that they are what this file says. Other architectures are compiled at start with libseccomp.
"""

import errno
import os
import platform
import tempfile
from pathlib import Path

REFUSED = (
    "keyctl", "add_key", "request_key", "bpf", "perf_event_open", "userfaultfd", "io_uring_setup", "io_uring_enter",
    "io_uring_register", "mount", "umount2", "move_mount", "open_tree", "fsopen", "fsconfig", "fsmount", "fspick",
    "mount_setattr", "pivot_root", "chroot", "setns", "unshare", "ptrace", "process_vm_readv", "process_vm_writev",
    "kexec_load", "kexec_file_load", "init_module", "finit_module", "delete_module", "reboot", "swapon", "swapoff",
    "settimeofday", "clock_settime", "clock_adjtime", "adjtimex", "open_by_handle_at", "name_to_handle_at", "acct",
    "quotactl", "quotactl_fd", "syslog", "lookup_dcookie", "nfsservctl", "iopl", "ioperm", "vhangup", "personality",
    "kcmp", "pidfd_getfd", "fanotify_init",
)  # fmt: skip
CLONE_NEW_FLAGS = (0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000, 0x00000080)
TIOCSTI, TIOCLINUX = 0x5412, 0x541C
# Local, IPv4, IPv6 and netlink sockets (interface lists). Rarer families are kernel code that nobody here needs, some
# of it loaded on demand; AF_PACKET, AF_ALG and AF_VSOCK reach past the sandbox.
ALLOWED_FAMILIES = (0, 1, 2, 10, 16)
LAST_FAMILY = 45
LOW_32 = 0xFFFFFFFF  # the kernel takes these arguments as 32 bits; whatever stands above them must not matter
SHIPPED = {"x86_64": "X86_64", "aarch64": "AARCH64"}  # machine name: libseccomp's name


class FilterUnavailable(Exception):  # noqa: N818 - reads as a state
    """There is no filter for this machine; the message says what to install."""


def load_filter(machine: str = "") -> bytes:
    """Give the program for a machine (default: this one). Raises FilterUnavailable."""
    machine = machine or platform.machine()
    return _shipped(machine).read_bytes() if machine in SHIPPED else compile_filter()


def compile_filter(machine: str = "") -> bytes:
    """Compile the filter with libseccomp, for this machine or one of SHIPPED. Raises FilterUnavailable."""
    try:
        import pyseccomp as seccomp  # noqa: PLC0415 - fails without libseccomp, which most machines do not need
    except (ImportError, RuntimeError, OSError) as error:
        raise FilterUnavailable(
            f"no system call filter is shipped for {platform.machine()} and libseccomp cannot be used: "
            "apt-get install libseccomp2; pip install pyseccomp"
        ) from error
    rules = seccomp.SyscallFilter(defaction=seccomp.ALLOW)
    if machine and getattr(seccomp.Arch, SHIPPED[machine]) != seccomp.system_arch():
        rules.add_arch(getattr(seccomp.Arch, SHIPPED[machine]))
        rules.remove_arch(seccomp.Arch.NATIVE)
    refuse = seccomp.ERRNO(errno.EPERM)

    def argument(number: int, value: int, mask: int = LOW_32) -> object:
        return seccomp.Arg(number, seccomp.MASKED_EQ, mask, value)

    for name in REFUSED:
        number = seccomp.resolve_syscall(seccomp.Arch.NATIVE, name)
        if number == -1:
            raise FilterUnavailable(f"libseccomp is too old: it does not know the system call {name}")
        rules.add_rule(refuse, number)
    for flag in CLONE_NEW_FLAGS:
        rules.add_rule(refuse, "clone", argument(0, flag, flag))
    # The flags of clone3 are behind a pointer; C libraries fall back to clone when it does not exist.
    rules.add_rule(seccomp.ERRNO(errno.ENOSYS), "clone3")
    for request in (TIOCSTI, TIOCLINUX):
        rules.add_rule(refuse, "ioctl", argument(1, request))
    for family in range(LAST_FAMILY + 1):
        if family not in ALLOWED_FAMILIES:
            rules.add_rule(refuse, "socket", argument(0, family))
    rules.add_rule(refuse, "socket", seccomp.Arg(0, seccomp.GT, LAST_FAMILY))
    with tempfile.TemporaryFile() as file:
        rules.export_bpf(file)
        file.seek(0)
        return file.read()


class FilterFile:
    """The filter as file descriptors: one for each start, because reading moves the offset."""

    def __init__(self, program: bytes) -> None:
        self._memory = os.memfd_create("infraxys-seccomp", os.MFD_CLOEXEC)
        os.write(self._memory, program)
        self._path = f"/proc/self/fd/{self._memory}"

    def open(self) -> int:
        """Give a fresh descriptor at offset 0; the caller closes it."""
        return os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)

    def close(self) -> None:
        """Free the memory."""
        os.close(self._memory)


def _shipped(machine: str) -> Path:
    return Path(__file__).with_name(f"seccomp_{machine}.bpf")


if __name__ == "__main__":
    for shipped in SHIPPED:
        _shipped(shipped).write_bytes(compile_filter(shipped))
