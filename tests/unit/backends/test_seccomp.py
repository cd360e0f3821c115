import os
import struct

import pytest

from infraxys.engine.backends import seccomp
from infraxys.engine.backends.seccomp import (
    REFUSED,
    SHIPPED,
    FilterFile,
    FilterUnavailable,
    compile_filter,
    load_filter,
)

ALLOW, EPERM, ENOSYS, KILL = 0x7FFF0000, 0x00050001, 0x00050026, 0
ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
NUMBERS = {  # system call: number on x86_64, on aarch64
    "write": (1, 64), "mount": (165, 40), "ptrace": (101, 117), "keyctl": (250, 219), "unshare": (272, 97),
    "bpf": (321, 280), "open_by_handle_at": (304, 265), "clone": (56, 220), "clone3": (435, 435), "ioctl": (16, 29),
    "socket": (41, 198), "execve": (59, 221), "chown": (92, 55), "io_uring_setup": (425, 425), "chroot": (161, 51),
}  # fmt: skip
NEW_USER, SIGCHLD, HIGH = 0x10000000, 17, 1 << 32


def interpret(program: bytes, number: int, architecture: int, *arguments: int) -> int:
    """Run a filter program as the kernel does; gives the action."""
    data = struct.pack("<IIQ6Q", number, architecture, 0, *(*arguments, 0, 0, 0, 0, 0, 0)[:6])
    steps = [struct.unpack_from("<HBBI", program, at) for at in range(0, len(program), 8)]
    accumulator = at = 0
    jumps = {0x15: lambda k: accumulator == k, 0x25: lambda k: accumulator > k, 0x35: lambda k: accumulator >= k}
    while True:
        code, if_true, if_false, k = steps[at]
        at += 1
        if code == 0x20:
            accumulator = struct.unpack_from("<I", data, k)[0]
        elif code == 0x54:
            accumulator &= k
        elif code == 0x05:
            at += k
        elif code == 0x06:
            return k
        else:
            at += if_true if jumps[code](k) else if_false


@pytest.mark.parametrize("machine", SHIPPED)
@pytest.mark.parametrize(
    ("call", "arguments", "action"),
    [
        ("write", (1,), ALLOW),
        ("execve", (), ALLOW),
        ("chown", (), ALLOW),
        ("mount", (), EPERM),
        ("ptrace", (), EPERM),
        ("keyctl", (), EPERM),
        ("unshare", (0,), EPERM),
        ("bpf", (), EPERM),
        ("chroot", (), EPERM),
        ("io_uring_setup", (), EPERM),
        ("open_by_handle_at", (), EPERM),
        ("clone", (SIGCHLD,), ALLOW),
        ("clone", (NEW_USER | SIGCHLD,), EPERM),
        ("clone", (0x20000 | SIGCHLD,), EPERM),
        ("clone3", (), ENOSYS),
        ("ioctl", (0, 0x5413), ALLOW),
        ("ioctl", (0, 0x5412), EPERM),
        ("ioctl", (0, HIGH | 0x5412), EPERM),
        ("ioctl", (0, 0x541C), EPERM),
        ("socket", (1,), ALLOW),
        ("socket", (2,), ALLOW),
        ("socket", (10,), ALLOW),
        ("socket", (16,), ALLOW),
        ("socket", (17,), EPERM),
        ("socket", (38,), EPERM),
        ("socket", (HIGH | 38,), EPERM),
        ("socket", (40,), EPERM),
        ("socket", (45,), EPERM),
        ("socket", (46,), EPERM),
        ("socket", (0xFFFFFFFF,), EPERM),
    ],
)
def test_the_shipped_filter_allows_and_refuses(
    machine: str, call: str, arguments: tuple[int, ...], action: int
) -> None:
    number = NUMBERS[call][list(ARCHITECTURES).index(machine)]
    assert interpret(load_filter(machine), number, ARCHITECTURES[machine], *arguments) == action


@pytest.mark.parametrize("machine", SHIPPED)
def test_a_call_by_another_architecture_kills(machine: str) -> None:
    other = next(value for name, value in ARCHITECTURES.items() if name != machine)
    assert interpret(load_filter(machine), 1, other) == KILL


@pytest.mark.parametrize("machine", SHIPPED)
def test_the_shipped_filter_is_the_compiled_one(machine: str) -> None:
    library = pytest.importorskip("pyseccomp")
    compiled = compile_filter(machine)
    arch = getattr(library.Arch, SHIPPED[machine])
    numbers = {library.resolve_syscall(arch, name) for name in (*REFUSED, "clone", "clone3", "ioctl", "socket", "read")}
    for number in sorted(number for number in numbers if number >= 0):
        for argument in (0, 1, 17, 38, 45, 46, NEW_USER | SIGCHLD, HIGH | 40):
            arguments = (number, ARCHITECTURES[machine], argument, argument)
            assert interpret(compiled, *arguments) == interpret(load_filter(machine), *arguments)


def test_an_unknown_architecture_without_libseccomp_is_refused_with_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyseccomp", None)
    with pytest.raises(FilterUnavailable, match="apt-get install libseccomp2"):
        load_filter("riscv64")


def test_a_libseccomp_that_does_not_know_a_call_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyseccomp")
    monkeypatch.setattr(seccomp, "REFUSED", ("mount", "a_call_of_the_future"))
    with pytest.raises(FilterUnavailable, match="too old: it does not know the system call a_call_of_the_future"):
        compile_filter()


def test_every_start_reads_the_filter_from_its_beginning() -> None:
    program = load_filter("x86_64")
    file = FilterFile(program)
    for _ in range(2):
        descriptor = file.open()
        assert os.read(descriptor, 100_000) == program
        os.close(descriptor)
    file.close()
