"""The system call filter of the sandbox: allow by default, refuse what an action has no business with."""

import errno
import os
import tempfile

import pyseccomp as seccomp

REFUSED = (
    "keyctl", "add_key", "request_key", "bpf", "perf_event_open", "userfaultfd", "io_uring_setup", "io_uring_enter",
    "io_uring_register", "mount", "umount2", "move_mount", "open_tree", "fsopen", "fsconfig", "fsmount", "fspick",
    "mount_setattr", "pivot_root", "chroot", "setns", "unshare", "ptrace", "process_vm_readv", "process_vm_writev",
    "kexec_load", "kexec_file_load", "init_module", "finit_module", "delete_module", "reboot", "swapon", "swapoff",
    "settimeofday", "clock_settime", "clock_adjtime", "adjtimex", "open_by_handle_at", "name_to_handle_at", "acct",
    "quotactl", "syslog", "lookup_dcookie", "nfsservctl", "iopl", "ioperm", "vhangup", "personality", "kcmp",
    "pidfd_getfd", "fanotify_init",
)  # fmt: skip
CLONE_NEW_FLAGS = (0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000, 0x00000080)
TIOCSTI, TIOCLINUX = 0x5412, 0x541C
REFUSED_FAMILIES = (17, 38, 40)  # AF_PACKET, AF_ALG, AF_VSOCK


class FilterUnavailable(Exception):  # noqa: N818 - reads as a state
    """libseccomp is not installed."""


def build_filter() -> bytes:
    """Compile the filter for this machine. Raises FilterUnavailable."""
    try:
        rules = seccomp.SyscallFilter(defaction=seccomp.ALLOW)
    except (RuntimeError, OSError) as error:
        raise FilterUnavailable(str(error)) from error
    refuse = seccomp.ERRNO(errno.EPERM)
    for name in REFUSED:
        try:
            rules.add_rule(refuse, name)
        except (ValueError, RuntimeError, OSError):
            continue  # not a system call of this architecture
    for flag in CLONE_NEW_FLAGS:
        rules.add_rule(refuse, "clone", seccomp.Arg(0, seccomp.MASKED_EQ, flag, flag))
    # The flags of clone3 are behind a pointer; C libraries fall back to clone when it does not exist.
    rules.add_rule(seccomp.ERRNO(errno.ENOSYS), "clone3")
    for request in (TIOCSTI, TIOCLINUX):
        rules.add_rule(refuse, "ioctl", seccomp.Arg(1, seccomp.MASKED_EQ, 0xFFFFFFFF, request))
    for family in REFUSED_FAMILIES:
        rules.add_rule(refuse, "socket", seccomp.Arg(0, seccomp.EQ, family))
    with tempfile.TemporaryFile() as file:
        rules.export_bpf(file)
        file.seek(0)
        return file.read()


class FilterFile:
    """The filter as file descriptors: one for each start, because reading moves the offset."""

    def __init__(self, program: bytes) -> None:
        self._memory = os.memfd_create("infraxys-seccomp", os.MFD_CLOEXEC)
        os.write(self._memory, program)

    def open(self) -> int:
        """Give a fresh descriptor at offset 0; the caller closes it."""
        return os.open(f"/proc/self/fd/{self._memory}", os.O_RDONLY | os.O_CLOEXEC)

    def close(self) -> None:
        """Free the memory."""
        os.close(self._memory)
