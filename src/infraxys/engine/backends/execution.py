"""One running sandbox: its pipes, its end, and how it is ended."""

import asyncio
import json
import os
import signal
import termios
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from infraxys.engine.backends.base import Chunk, Exit, Stream
from infraxys.engine.backends.cgroups import SlotGroup
from infraxys.engine.backends.own_network import OwnNetwork
from infraxys.engine.backends.spawn import Process
from infraxys.engine.backends.terminal import hangs_up_only, is_stopped, resume_typing, set_size, suspend_typing
from infraxys.engine.backends.waiting import waits_for

READ_BYTES = 64 * 1024
AHEAD_BYTES = 1024 * 1024  # output read ahead of its reader; then the pipes are left full
AHEAD_CHUNKS = 512  # the same for writers of single bytes
STATUS_BYTES = 64 * 1024
LAST_READS = 512  # more than the largest pipe holds, and than a terminal, which gives 4 KiB at a time
START_SECONDS = 5.0
TAIL_BYTES = 2000
HANG_UP_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Ends:
    """Our ends of a sandbox's pipes, and the handle of its launcher.

    With a terminal, `stdin` and `stdout` are two descriptors of our side of it.
    """

    stdin: int
    stdout: int
    stderr: int | None
    status: int
    gate: int
    monitor: int


class Output:
    """Both output pipes of an action, or its terminal, read without blocking and never far ahead of the reader."""

    def __init__(self, loop: asyncio.AbstractEventLoop, stdout: int, stderr: int | None) -> None:
        self._loop = loop
        self._open: dict[int, Stream] = {stdout: "stdout"}
        if stderr is not None:
            self._open[stderr] = "stderr"
        self._errors: Stream = "stdout" if stderr is None else "stderr"  # where the sandbox itself complains
        self._chunks: deque[Chunk] = deque()
        self._ahead = 0
        self._is_paused = False
        self._waiter: asyncio.Future[None] | None = None
        self.error_tail = b""
        for descriptor in self._open:
            os.set_blocking(descriptor, False)
            loop.add_reader(descriptor, self._read, descriptor)

    async def chunks(self) -> AsyncIterator[Chunk]:
        """Give what was read, until both pipes have ended."""
        while True:
            while self._chunks:
                chunk = self._chunks.popleft()
                self._ahead -= len(chunk.data)
                if self._is_paused and self._ahead < AHEAD_BYTES // 2 and len(self._chunks) < AHEAD_CHUNKS // 2:
                    self._is_paused = False
                    for descriptor in self._open:
                        self._loop.add_reader(descriptor, self._read, descriptor)
                yield chunk
            if not self._open:
                return
            self._waiter = self._loop.create_future()
            await self._waiter

    def finish(self) -> None:
        """Read what is left in the pipes of an action that has ended, and close them.

        Nobody else can hold their other ends by right; one that was handed out of the sandbox does not keep us.
        """
        for descriptor in list(self._open):
            for _ in range(LAST_READS):
                if not self._read(descriptor, is_last=True):
                    break
            if descriptor in self._open:
                self._close(descriptor)
        self._wake()

    def _read(self, descriptor: int, *, is_last: bool = False) -> bool:
        """Read once; False when there was nothing."""
        stream = self._open.get(descriptor)
        if stream is None:
            return False
        try:
            data = os.read(descriptor, READ_BYTES)
        except BlockingIOError:
            return False
        except OSError:  # how a terminal says that nobody has it any more
            data = b""
        if not data:
            self._close(descriptor)
            self._wake()
            return False
        if stream == self._errors:
            self.error_tail = (self.error_tail + data)[-TAIL_BYTES:]
        self._chunks.append(Chunk(stream, data))
        self._ahead += len(data)
        is_full = self._ahead > AHEAD_BYTES or len(self._chunks) > AHEAD_CHUNKS
        if is_full and not self._is_paused and not is_last:
            self._is_paused = True
            for other in self._open:
                self._loop.remove_reader(other)
        self._wake()
        return True

    def _close(self, descriptor: int) -> None:
        self._loop.remove_reader(descriptor)
        os.close(descriptor)
        del self._open[descriptor]

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Input:
    """The action's standard input: a pipe, or its terminal."""

    def __init__(self, loop: asyncio.AbstractEventLoop, descriptor: int, *, is_terminal: bool = False) -> None:
        self._loop = loop
        self._descriptor: int | None = descriptor
        self._is_terminal = is_terminal
        self._suspended: int | None = None  # what the terminal did for a person, while it does not
        self._turn = asyncio.Lock()
        self._waiter: asyncio.Future[None] | None = None
        os.set_blocking(descriptor, False)

    @property
    def pipe(self) -> str | None:
        """Name the pipe, as the action's processes have it too; None once it is closed."""
        return None if self._descriptor is None else f"pipe:[{os.fstat(self._descriptor).st_ino}]"

    async def write(self, data: bytes, *, is_hidden: bool = False) -> None:
        """Write all of it; waits while the action does not read. What is hidden a terminal does not show."""
        async with self._turn:
            view = memoryview(data)
            while view and self._descriptor is not None:
                try:
                    if self._is_terminal:
                        self._suit(self._descriptor, is_hidden=is_hidden)
                    view = view[os.write(self._descriptor, view) :]
                except BlockingIOError:
                    await self._writable(self._descriptor)
                except (OSError, termios.error):
                    return  # the action has closed it

    def _suit(self, terminal: int, *, is_hidden: bool) -> None:
        """Let a terminal be one for answers or for typing."""
        if is_hidden:
            self._suspended = suspend_typing(terminal) | (self._suspended or 0)
        elif self._suspended is not None:
            resume_typing(terminal, self._suspended)
            self._suspended = None

    async def _writable(self, descriptor: int) -> None:
        self._waiter = self._loop.create_future()
        self._loop.add_writer(descriptor, self._wake)
        try:
            await self._waiter
        finally:
            if self._descriptor is not None:
                self._loop.remove_writer(descriptor)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def resize(self, columns: int, rows: int) -> bool:
        """Change the size of the terminal that it is. False when it is closed. Raises ValueError."""
        if self._descriptor is None:
            return False
        set_size(self._descriptor, columns, rows)
        return True

    def close(self) -> None:
        """Close it; a waiting writer returns."""
        if self._descriptor is not None:
            self._loop.remove_writer(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = None
            self._wake()


class StatusReader:
    """Puts bubblewrap's JSON lines together; they arrive in several writes."""

    def __init__(self) -> None:
        self._rest = b""
        self.child: int | None = None
        self.is_exit_reported = False

    def feed(self, data: bytes) -> None:
        """Take what was read. What is no JSON object is skipped, and so is a line without end."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._rest = self._rest[-STATUS_BYTES:]
        for line in lines:
            try:
                status = json.loads(line)
            except ValueError:
                continue
            if isinstance(status, dict):
                if isinstance(status.get("child-pid"), int):
                    self.child = status["child-pid"]
                self.is_exit_reported |= "exit-code" in status


class SandboxExecution:
    """An action in its sandbox. Made by the bubblewrap backend; used on the event loop's thread only.

    `release` is called once, when nothing of the action is left. `hidden` is a path left out of messages.
    """

    def __init__(
        self,
        process: Process,
        ends: Ends,
        group: SlotGroup | None,
        release: Callable[["SandboxExecution"], None],
        hidden: str = "",
        *,
        is_held: bool = False,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._process = process
        self._group, self._release, self._hidden = group, release, hidden
        self.network: OwnNetwork | None = None  # closed at the end
        self._gate: int | None = ends.gate
        self._is_held = is_held
        self._was_let_in = False
        self._exit_code = 0
        self._problem = ""  # why it could not be watched
        self._status = StatusReader()
        self._status_end: int | None = ends.status
        self._child: int | None = None
        self._child_handle: int | None = None
        self._started: asyncio.Future[None] = self._loop.create_future()
        self._monitor_gone: asyncio.Future[None] = self._loop.create_future()
        self._child_gone: asyncio.Future[None] = self._loop.create_future()
        self._terminating: asyncio.Task[None] | None = None
        self._output = Output(self._loop, ends.stdout, ends.stderr)
        self._is_terminal = ends.stderr is None
        self._input = Input(self._loop, ends.stdin, is_terminal=self._is_terminal)
        os.set_blocking(ends.status, False)
        self._loop.add_reader(ends.status, self._read_status)
        self._monitor_handle = ends.monitor
        self._loop.add_reader(self._monitor_handle, self._monitor_ended)
        self._finished = self._loop.create_task(self._finish())

    def output(self) -> AsyncIterator[Chunk]:
        """Give chunks in the order read, until all writers are gone."""
        return self._output.chunks()

    async def write(self, data: bytes, *, is_hidden: bool = False) -> None:
        """Give bytes to the action's standard input; does nothing once it has ended."""
        await self._input.write(data, is_hidden=is_hidden)

    def end_idle_input(self) -> bool:
        """End standard input if a process waits for it right now; tells whether. A terminal is for who may yet type."""
        pipe = None if self._is_terminal else self._input.pipe
        if pipe is None or not any(waits_for(process, pipe) for process in self._inner_processes()):
            return False
        self._input.close()
        return True

    def resize(self, columns: int, rows: int) -> bool:
        """Change the size of its terminal. False when it has none, or none any more. Raises ValueError."""
        return self._is_terminal and self._input.resize(columns, rows)

    async def terminate(self, grace_seconds: float) -> None:
        """SIGTERM to every process of the action, after the grace SIGKILL to the whole tree.

        Idempotent; a later call with a shorter grace shortens it.
        """
        if self._terminating is None:
            self._terminating = self._loop.create_task(self._terminate(grace_seconds))
        elif not self._terminating.done():
            self._loop.call_later(grace_seconds, self._kill_child)
        await asyncio.shield(self._terminating)

    async def wait(self) -> Exit:
        """Wait for the end and for the clean-up of everything that was made for the action."""
        return await asyncio.shield(self._finished)

    def _read_status(self) -> bool:
        """Learn the sandbox's first process from the status pipe, and let the action begin. False when all is read."""
        if self._status_end is None:
            return False
        try:
            data = os.read(self._status_end, 4096)
        except BlockingIOError:
            return False
        if not data:
            self._close_status()
            return False
        self._status.feed(data)
        if self._status.child is not None and not self._started.done():
            try:
                self._child_handle = os.pidfd_open(self._status.child)
            except ProcessLookupError:
                pass  # it has ended already
            except OSError as error:  # no descriptor is free: what cannot be watched must not begin
                self._problem = error.strerror or type(error).__name__
                self._kill_monitor()
            else:
                self._child = self._status.child
                self._loop.add_reader(self._child_handle, self._child_ended)
                self._open_gate()
            self._started.set_result(None)
        return True

    def _close_status(self) -> None:
        if self._status_end is not None:
            self._loop.remove_reader(self._status_end)
            os.close(self._status_end)
            self._status_end = None
        if not self._started.done():
            self._started.set_result(None)  # ended before there was anything to start

    async def first_process(self) -> int | None:
        """Wait for the sandbox's first process; None when it has ended before there was one."""
        await asyncio.shield(self._started)
        return self._child

    def let_begin(self) -> None:
        """Let an action begin that was started to wait for this."""
        self._is_held = False
        self._open_gate()

    def _open_gate(self) -> None:
        """Let the action begin once its first process is known: from then on it can be found and killed."""
        if self._gate is not None and self._child is not None and not self._is_held and self._terminating is None:
            self._was_let_in = True
            with suppress(BrokenPipeError):
                os.write(self._gate, b"g")
            self._close_gate()

    def _close_gate(self) -> None:
        if self._gate is not None:
            os.close(self._gate)
            self._gate = None

    def _monitor_ended(self) -> None:
        self._loop.remove_reader(self._monitor_handle)
        os.close(self._monitor_handle)
        self._exit_code = self._process.wait()
        self._monitor_gone.set_result(None)

    def _child_ended(self) -> None:
        if self._child_handle is not None:
            self._loop.remove_reader(self._child_handle)
            os.close(self._child_handle)
            self._child_handle = None
            self._child_gone.set_result(None)

    async def _terminate(self, grace_seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(self._started), START_SECONDS)
        if self._child is None:
            self._kill_monitor()
            return
        inner = self._inner_processes() if self._was_let_in and grace_seconds > 0 else []
        if inner:  # without any, the action has not begun
            signal_processes(inner, signal.SIGTERM, self._namespace())
            hanging_up = self._loop.create_task(self._hang_up(inner)) if self._is_terminal else None
            with suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(self._child_gone), grace_seconds)
            if hanging_up is not None:
                hanging_up.cancel()
        self._kill_child()
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(self._monitor_gone), START_SECONDS)
        self._kill_monitor()

    async def _hang_up(self, inner: list[int]) -> None:
        """Ask what a person has stopped, and the shells that wait for one, as a terminal does that goes away.

        Again and again: a shell that is just about to wait does not hear it, and others may be just about to stop.
        """
        namespace = self._namespace()
        while namespace:
            signal_processes(filter(is_stopped, inner), signal.SIGCONT, namespace)
            signal_processes(filter(hangs_up_only, inner), signal.SIGHUP, namespace)
            await asyncio.sleep(HANG_UP_SECONDS)

    def _kill_child(self) -> None:
        """Kill the sandbox's first process; the kernel kills the others with it."""
        if self._child_handle is not None:
            with suppress(ProcessLookupError, PermissionError):
                signal.pidfd_send_signal(self._child_handle, signal.SIGKILL)

    def _kill_monitor(self) -> None:
        if not self._monitor_gone.done():
            with suppress(ProcessLookupError, PermissionError):
                signal.pidfd_send_signal(self._monitor_handle, signal.SIGKILL)

    def _namespace(self) -> str:
        return process_namespace(self._child) if self._child is not None else ""

    def _inner_processes(self) -> list[int]:
        """Give the processes of the sandbox, without its first one, which as an init would ignore the signal."""
        namespace = self._namespace()
        candidates = self._group.processes() if self._group else all_processes()
        return [one for one in candidates if one != self._child and namespace and process_namespace(one) == namespace]

    async def _finish(self) -> Exit:
        await self._monitor_gone
        while self._read_status():  # all that the monitor has written is in the pipe by now
            pass
        self._close_status()
        if self._child is not None:
            self._kill_child()  # does nothing when it has ended, as it does before its monitor
            await self._child_gone
        else:
            with suppress(OSError):  # no descriptor is free: what there is dies with its launcher
                signal_processes(session_processes(self._process.pid), signal.SIGKILL)
        self._close_gate()
        self._input.close()
        is_out_of_memory = False
        if self._group is not None:
            if self._group.processes():
                await asyncio.to_thread(self._group.kill_all)
            is_out_of_memory = self._group.was_out_of_memory()
        self._output.finish()
        if self.network is not None:
            await self.network.close()
        self._release(self)
        return self._describe(is_out_of_memory=is_out_of_memory)

    def _describe(self, *, is_out_of_memory: bool) -> Exit:
        """Tell an action that ended from a sandbox that could not be set up.

        bubblewrap reports an exit code for what it has executed. Without one the sandbox failed, unless something
        killed its processes: us, or the kernel for memory.
        """
        code = self._exit_code
        if self._problem:
            return Exit(None, start_error=self._problem)
        is_terminated = self._terminating is not None
        said = self._output.error_tail.decode(errors="replace").strip()
        was_killed = is_terminated or is_out_of_memory or (self._was_let_in and "bwrap: " not in said)
        if not self._status.is_exit_reported and not was_killed:
            said = said.replace(self._hidden, "<work>") if self._hidden else said
            return Exit(None, start_error=said or f"exit status {code}")
        known = code if code >= 0 else 128 - code
        return Exit(known, known - 128 if 128 < known < 193 and is_terminated else None, is_out_of_memory)


def process_namespace(process: int) -> str:
    """Give the name of a process's process namespace; empty when it is gone or not ours to look at."""
    try:
        return str(Path(f"/proc/{process}/ns/pid").readlink())
    except OSError:
        return ""


def all_processes() -> list[int]:
    """Give the ids of all processes that can be seen."""
    return [int(entry.name) for entry in os.scandir("/proc") if entry.name.isdigit()]


def session_processes(session: int) -> list[int]:
    """Give the processes of a session: those of a sandbox that did not come as far as its own."""
    found = []
    for process in all_processes():
        with suppress(OSError):
            after_name = Path(f"/proc/{process}/stat").read_bytes().rpartition(b")")[2].split()
            if int(after_name[3]) == session:
                found.append(process)
    return found


def signal_processes(processes: Iterable[int], number: signal.Signals, namespace: str = "") -> None:
    """Signal processes that still are in a process namespace (any when empty), by handle: an id may be used again."""
    for process in processes:
        with suppress(OSError):
            handle = os.pidfd_open(process)
            try:
                if not namespace or process_namespace(process) == namespace:
                    signal.pidfd_send_signal(handle, number)
            finally:
                os.close(handle)
