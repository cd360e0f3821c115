"""One running sandbox: its pipes, its end, and how it is ended."""

import asyncio
import json
import os
import signal
import subprocess
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path

from infraxys.engine.backends.base import Chunk, Exit, Stream
from infraxys.engine.backends.cgroups import SlotGroup

READ_BYTES = 64 * 1024
QUEUE_BYTES = 1024 * 1024  # output read ahead of its reader; then the pipes are left full
STATUS_BYTES = 64 * 1024
START_SECONDS = 5.0
TAIL_BYTES = 2000


class Output:
    """Both output pipes of an action, read without blocking and never far ahead of the reader."""

    def __init__(self, loop: asyncio.AbstractEventLoop, stdout: int, stderr: int) -> None:
        self._loop = loop
        self._open: dict[int, Stream] = {stdout: "stdout", stderr: "stderr"}
        self._chunks: deque[Chunk] = deque()
        self._queued = 0
        self._paused = False
        self._waiter: asyncio.Future[None] | None = None
        self.error_tail = b""
        for descriptor in self._open:
            os.set_blocking(descriptor, False)
            loop.add_reader(descriptor, self._read, descriptor)

    def _read(self, descriptor: int) -> None:
        stream = self._open[descriptor]
        try:
            data = os.read(descriptor, READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            if stream == "stderr":
                self.error_tail = (self.error_tail + data)[-TAIL_BYTES:]
            self._chunks.append(Chunk(stream, data))
            self._queued += len(data)
            if self._queued > QUEUE_BYTES and not self._paused:
                self._paused = True
                for other in self._open:
                    self._loop.remove_reader(other)
        else:
            self._loop.remove_reader(descriptor)
            os.close(descriptor)
            del self._open[descriptor]
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def chunks(self) -> AsyncIterator[Chunk]:
        """Give what was read, until both pipes have ended."""
        while True:
            while self._chunks:
                chunk = self._chunks.popleft()
                self._queued -= len(chunk.data)
                if self._paused and self._queued < QUEUE_BYTES // 2:
                    self._paused = False
                    for descriptor in self._open:
                        self._loop.add_reader(descriptor, self._read, descriptor)
                yield chunk
            if not self._open:
                return
            self._waiter = self._loop.create_future()
            await self._waiter

    def close(self) -> None:
        """Stop reading; for executions that nobody reads to the end."""
        for descriptor in list(self._open):
            self._loop.remove_reader(descriptor)
            os.close(descriptor)
        self._open.clear()
        self._wake()


class SandboxExecution:
    """An action in its sandbox. Made by the bubblewrap backend; used on the event loop's thread only."""

    def __init__(
        self,
        process: "subprocess.Popen[bytes]",
        status: int,
        gate: int,
        group: SlotGroup | None,
        release: Callable[[], None],
    ) -> None:
        assert process.stdout is not None and process.stderr is not None and process.stdin is not None  # noqa: S101, PT018 - pipes were asked for
        self._loop = asyncio.get_running_loop()
        self._process = process
        self._group = group
        self._oom_before = group.oom_kills() if group else 0
        self._release = release
        self._gate: int | None = gate
        self._status, self._status_text = status, b""
        self._child: int | None = None
        self._child_pidfd: int | None = None
        self._reported_exit = False
        self._started: asyncio.Future[None] = self._loop.create_future()
        self._monitor_gone: asyncio.Future[None] = self._loop.create_future()
        self._child_gone: asyncio.Future[None] = self._loop.create_future()
        self._terminating: asyncio.Task[None] | None = None
        self._is_terminated = False
        self._finished: asyncio.Task[Exit] | None = None
        self._output = Output(self._loop, os.dup(process.stdout.fileno()), os.dup(process.stderr.fileno()))
        process.stdout.close()
        process.stderr.close()
        self._stdin: int | None = os.dup(process.stdin.fileno())
        process.stdin.close()
        os.set_blocking(self._stdin, False)
        os.set_blocking(status, False)
        self._loop.add_reader(status, self._read_status)
        self._monitor_pidfd = os.pidfd_open(process.pid)
        self._loop.add_reader(self._monitor_pidfd, self._monitor_ended)

    def output(self) -> AsyncIterator[Chunk]:
        """Give chunks in the order read, until all writers are gone."""
        return self._output.chunks()

    async def write(self, data: bytes) -> None:
        """Give bytes to the action's standard input."""
        view = memoryview(data)
        while view and self._stdin is not None:
            try:
                view = view[os.write(self._stdin, view) :]
            except BlockingIOError:
                ready = self._loop.create_future()
                self._loop.add_writer(self._stdin, ready.set_result, None)
                try:
                    await ready
                finally:
                    if self._stdin is not None:
                        self._loop.remove_writer(self._stdin)
            except OSError:
                return

    async def terminate(self, grace_seconds: float) -> None:
        """SIGTERM to every process of the action, after the grace SIGKILL to the whole tree. Idempotent."""
        self._is_terminated = True
        if self._terminating is None:
            self._terminating = self._loop.create_task(self._terminate(grace_seconds))
        await asyncio.shield(self._terminating)

    async def wait(self) -> Exit:
        """Wait for the end and for the clean-up of everything that was made for the action."""
        if self._finished is None:
            self._finished = self._loop.create_task(self._finish())
        return await asyncio.shield(self._finished)

    def _read_status(self) -> None:
        """Read bubblewrap's JSON lines; they arrive in several writes."""
        try:
            data = os.read(self._status, 4096)
        except BlockingIOError:
            return
        if not data or len(self._status_text) > STATUS_BYTES:
            self._loop.remove_reader(self._status)
            os.close(self._status)
            if not self._started.done():
                self._started.set_result(None)  # ended before there was anything to start
            return
        *lines, self._status_text = (self._status_text + data).split(b"\n")
        for line in lines:
            self._take_status(line)

    def _take_status(self, line: bytes) -> None:
        try:
            status = json.loads(line)
        except ValueError:
            return
        if "exit-code" in status:
            self._reported_exit = True
        child = status.get("child-pid")
        if child is not None and self._child is None:
            try:
                self._child_pidfd = os.pidfd_open(child)
            except ProcessLookupError:
                return
            self._child = child
            self._loop.add_reader(self._child_pidfd, self._child_ended)
            if not self._is_terminated:
                self._open_gate()
            if not self._started.done():
                self._started.set_result(None)

    def _open_gate(self) -> None:
        """Let the action begin: from here on it can be found and killed."""
        if self._gate is not None:
            with suppress(BrokenPipeError):
                os.write(self._gate, b"g")
            self._close_gate()

    def _close_gate(self) -> None:
        if self._gate is not None:
            os.close(self._gate)
            self._gate = None

    def _monitor_ended(self) -> None:
        self._loop.remove_reader(self._monitor_pidfd)
        os.close(self._monitor_pidfd)
        self._process.wait()
        self._monitor_gone.set_result(None)

    def _child_ended(self) -> None:
        assert self._child_pidfd is not None  # noqa: S101 - this is its reader
        self._loop.remove_reader(self._child_pidfd)
        os.close(self._child_pidfd)
        self._child_pidfd = None
        self._child_gone.set_result(None)

    async def _terminate(self, grace_seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(self._started), START_SECONDS)
        if self._child is None:
            self._kill_monitor()
            return
        was_gated = self._gate is not None
        if not was_gated and grace_seconds > 0:
            for process in self._inner_processes():
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(process, signal.SIGTERM)
            with suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(self._child_gone), grace_seconds)
        self._kill_child()
        self._close_gate()
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(self._monitor_gone), START_SECONDS)
        if not self._monitor_gone.done():
            self._kill_monitor()

    def _kill_child(self) -> None:
        if self._child_pidfd is not None:
            with suppress(ProcessLookupError, PermissionError):
                signal.pidfd_send_signal(self._child_pidfd, signal.SIGKILL)

    def _kill_monitor(self) -> None:
        if not self._monitor_gone.done():
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._monitor_pidfd, signal.SIGKILL)

    def _inner_processes(self) -> list[int]:
        """The processes of the sandbox's own process namespace, without its first one."""
        try:
            namespace = os.readlink(f"/proc/{self._child}/ns/pid")
        except OSError:
            return []
        candidates = self._group.processes() if self._group else _all_processes()
        found = []
        for process in candidates:
            with suppress(OSError):
                if process != self._child and os.readlink(f"/proc/{process}/ns/pid") == namespace:
                    found.append(process)
        return found

    async def _finish(self) -> Exit:
        await self._monitor_gone
        await self._started
        if self._child is not None:
            self._kill_child()  # does nothing when it has ended, as it does before its monitor
            await self._child_gone
        self._close_gate()
        if self._stdin is not None:
            os.close(self._stdin)
            self._stdin = None
        out_of_memory = False
        if self._group is not None:
            if self._group.processes():
                await asyncio.to_thread(self._group.kill_all)
            out_of_memory = self._group.oom_kills() > self._oom_before
        self._release()
        code = self._process.returncode
        if not self._reported_exit and not self._is_terminated and not out_of_memory:
            said = self._output.error_tail.decode(errors="replace").strip() or f"exit status {code}"
            return Exit(None, start_error=said)
        known = code if code >= 0 else 128 - code
        return Exit(known, known - 128 if 128 < known < 193 and self._is_terminated else None, out_of_memory)


def _all_processes() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
