"""Starting a program by the C library's `posix_spawn`, so that nothing else of the server waits for it.

`subprocess` holds the interpreter's lock until the kernel has loaded the new program: a millisecond or two, in which
no other run and no request goes on.
"""

import ctypes
import errno
import fcntl
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from typing import Protocol

FIRST_PASSED = 3  # what is passed beside the standard streams has the numbers from here on
SETSIGDEF, SETSIGMASK, SETSID = 0x04, 0x08, 0x80  # POSIX_SPAWN_*, the same in the GNU library and musl
# A shell without job control starts what is in the background with interrupts ignored; actions must not inherit that.
FRESH = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}
RESTORED_BY_PYTHON = {signal.SIGPIPE, signal.SIGXFSZ}
OPAQUE_BYTES = 512  # more than any of the library's structures is long


class SpawnUnavailable(Exception):  # noqa: N818 - reads as a state
    """The C library lacks what is needed to start a program with no descriptor but those that are passed."""


class Process(Protocol):
    """A child process."""

    pid: int

    def wait(self) -> int:
        """Wait for the end; gives the exit code, or the negative number of a signal. Once."""


class Spawner(Protocol):
    """Starts programs."""

    def numbers(self, passed: Sequence[int]) -> Sequence[int]:
        """Give the numbers that descriptors will have in a program that they are passed to."""

    def spawn(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        standard: tuple[int, int, int],
        passed: Sequence[int],
    ) -> Process:
        """Start a program by its absolute path, in `/` and a session of its own, with fresh signals.

        It gets `standard` as its standard streams, `passed`, and no other descriptor. Blocks until it has been loaded.
        Raises OSError and ValueError.
        """


def choose_spawner() -> Spawner:
    """Give the fast way where the C library has it."""
    try:
        return FastSpawner()
    except SpawnUnavailable:
        return PortableSpawner()


class PortableSpawner:
    """The way of the standard library."""

    def __init__(self) -> None:
        self._ignored = [number for number in FRESH - RESTORED_BY_PYTHON if signal.getsignal(number) is signal.SIG_IGN]

    def numbers(self, passed: Sequence[int]) -> Sequence[int]:
        """Give the same numbers."""
        return passed

    def spawn(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        standard: tuple[int, int, int],
        passed: Sequence[int],
    ) -> Process:
        """Start a program."""
        stdin, stdout, stderr = standard
        return subprocess.Popen(  # noqa: S603 - the caller answers for the command
            command,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            env=environment,
            cwd="/",
            pass_fds=passed,
            start_new_session=True,
            preexec_fn=self._restore if self._ignored else None,  # noqa: PLW1509 - it calls the kernel and nothing else
        )

    def _restore(self) -> None:
        for number in self._ignored:
            signal.signal(number, signal.SIG_DFL)


class Child:
    """A child process of `FastSpawner`."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def wait(self) -> int:
        """Wait for the end and take the exit status."""
        _, status = os.waitpid(self.pid, 0)
        return os.waitstatus_to_exitcode(status)


class FastSpawner:
    """`posix_spawn`. Raises SpawnUnavailable where the C library is too old (GNU before 2.34)."""

    def __init__(self) -> None:
        library = ctypes.CDLL(None)
        try:
            self._spawn = library.posix_spawn
            self._actions_init = library.posix_spawn_file_actions_init
            self._actions_destroy = library.posix_spawn_file_actions_destroy
            self._add_duplicate = library.posix_spawn_file_actions_adddup2
            self._add_close_from = library.posix_spawn_file_actions_addclosefrom_np
            self._add_folder = library.posix_spawn_file_actions_addchdir_np
        except AttributeError as error:
            raise SpawnUnavailable(str(error)) from error
        self._attributes = self._prepare_attributes(library)

    def numbers(self, passed: Sequence[int]) -> Sequence[int]:
        """Give the first free numbers."""
        return range(FIRST_PASSED, FIRST_PASSED + len(passed))

    def spawn(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        standard: tuple[int, int, int],
        passed: Sequence[int],
    ) -> Process:
        """Start a program."""
        moved: list[int] = []
        descriptors = (*standard, *passed)
        actions = ctypes.create_string_buffer(OPAQUE_BYTES)
        check(self._actions_init(actions))
        try:
            for number, descriptor in enumerate(descriptors):
                source = descriptor
                if descriptor < len(descriptors):  # its number is about to be another one's
                    source = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, len(descriptors))
                    moved.append(source)
                check(self._add_duplicate(actions, source, number))
            check(self._add_close_from(actions, len(descriptors)))
            check(self._add_folder(actions, b"/"))
            pid = ctypes.c_int()
            arguments = strings(command)
            variables = strings([f"{name}={value}" for name, value in environment.items()])
            check(self._spawn(ctypes.byref(pid), arguments[0], actions, self._attributes, arguments, variables))
        finally:
            self._actions_destroy(actions)
            for descriptor in moved:
                os.close(descriptor)
        return Child(pid.value)

    @staticmethod
    def _prepare_attributes(library: ctypes.CDLL) -> "ctypes.Array[ctypes.c_char]":
        attributes = ctypes.create_string_buffer(OPAQUE_BYTES)
        default, blocked = ctypes.create_string_buffer(OPAQUE_BYTES), ctypes.create_string_buffer(OPAQUE_BYTES)
        check(library.posix_spawnattr_init(attributes))
        library.sigemptyset(blocked)
        library.sigemptyset(default)
        for number in FRESH:
            library.sigaddset(default, int(number))
        check(library.posix_spawnattr_setsigdefault(attributes, default))
        check(library.posix_spawnattr_setsigmask(attributes, blocked))
        check(library.posix_spawnattr_setflags(attributes, ctypes.c_short(SETSIGDEF | SETSIGMASK | SETSID)))
        return attributes


def strings(texts: Sequence[str]) -> "ctypes.Array[ctypes.c_char_p]":
    """Give texts as C has them: an array that ends with a null. Raises ValueError for a text with a NUL in it."""
    encoded = os.fsencode("\0".join(texts)).split(b"\0")
    if len(encoded) != max(len(texts), 1):
        raise ValueError("a program's argument cannot hold a NUL character")
    return (ctypes.c_char_p * (len(texts) + 1))(*encoded[: len(texts)], None)


def check(result: int) -> None:
    """Raise OSError for an error number."""
    if result:
        raise OSError(result, os.strerror(result) if result in errno.errorcode else "unknown error")
