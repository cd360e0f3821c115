"""What executions have in common that happen in another service: held start, output read ahead, end and clean-up."""

import asyncio
import signal
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncIterator, Callable

from infraxys.engine.backends.base import Chunk, Exit, StartFailed
from infraxys.engine.backends.execution import AHEAD_BYTES, AHEAD_CHUNKS


class RemoteError(Exception):
    """The service refused something, or does not answer (`status` 0). The message is its own."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class Ahead:
    """Chunks that were read and not yet taken. Who puts in waits while there are too many."""

    def __init__(self) -> None:
        self._chunks: deque[Chunk] = deque()
        self._bytes = 0
        self._is_ended = False
        self._changed = asyncio.Condition()

    async def put(self, chunks: list[Chunk]) -> None:
        """Add chunks; waits before, while there are too many."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._bytes <= AHEAD_BYTES and len(self._chunks) <= AHEAD_CHUNKS)
            self._chunks.extend(chunks)
            self._bytes += sum(len(chunk.data) for chunk in chunks)
            self._changed.notify_all()

    async def end(self) -> None:
        """Say that nothing more comes."""
        async with self._changed:
            self._is_ended = True
            self._changed.notify_all()

    async def chunks(self) -> AsyncIterator[Chunk]:
        """Give all chunks until the end."""
        while True:
            async with self._changed:
                await self._changed.wait_for(lambda: bool(self._chunks) or self._is_ended)
                taken, self._chunks = self._chunks, deque()
                self._bytes = 0
                self._changed.notify_all()
            if not taken:
                return
            for chunk in taken:
                yield chunk


class RemoteExecution(ABC):
    """An action that another service executes. Used on the event loop's thread only.

    `hidden` is a path left out of messages. Nothing of the service is asked before the first time that the loop runs.
    """

    def __init__(self, release: "Callable[[RemoteExecution], None]", hidden: str, *, is_held: bool) -> None:
        self._loop = asyncio.get_running_loop()
        self._release, self._hidden = release, hidden
        self._gate = asyncio.Event()
        if not is_held:
            self._gate.set()
        self._ahead = Ahead()
        self._is_begun = False
        self._terminating: asyncio.Task[None] | None = None
        self._begin = self._loop.create_task(self._bring_up())
        self._finished = self._loop.create_task(self._to_end())

    @abstractmethod
    async def _bring_up(self) -> None:
        """Prepare everything, `_pass_gate`, and let the action begin. Raises StartFailed and RemoteError.

        Is cancelled when the action is ended before it has passed the gate.
        """

    @abstractmethod
    async def _end(self) -> Exit:
        """Wait for the end of an action that has begun, and for its output. Raises RemoteError."""

    @abstractmethod
    async def _ask_to_end(self, grace_seconds: float) -> None:
        """Ask all processes of the action to end."""

    @abstractmethod
    async def _kill(self) -> None:
        """End all processes of the action."""

    @abstractmethod
    async def _dismantle(self) -> None:
        """Remove everything that was made for the action."""

    def let_begin(self) -> None:
        """Let an action begin that was started to wait for this."""
        self._gate.set()

    def output(self) -> AsyncIterator[Chunk]:
        """Give chunks in the order read, until all writers are gone."""
        return self._ahead.chunks()

    def end_idle_input(self) -> bool:
        """End standard input if a process waits for it right now: not where processes cannot be looked at."""
        return False

    def resize(self, columns: int, rows: int) -> bool:
        """Change the size of its terminal, where it has one."""
        del columns, rows
        return False

    async def terminate(self, grace_seconds: float) -> None:
        """SIGTERM to every process of the action, after the grace SIGKILL to all.

        Idempotent; a later call with a shorter grace shortens it.
        """
        if self._terminating is None:
            self._terminating = self._loop.create_task(self._terminate(grace_seconds))
        elif not self._terminating.done():
            self._loop.call_later(grace_seconds, lambda: self._loop.create_task(self._kill()))
        await asyncio.shield(self._terminating)

    async def wait(self) -> Exit:
        """Wait for the end and for the clean-up of everything that was made for the action."""
        return await asyncio.shield(self._finished)

    async def _tell(self, line: str) -> None:
        """Say something of our own on the action's standard error."""
        await self._ahead.put([Chunk("stderr", f"[infraxys] {line}\n".encode(errors="replace"))])

    async def _pass_gate(self) -> None:
        """Wait until the action may begin."""
        await self._gate.wait()
        self._is_begun = True

    async def _terminate(self, grace_seconds: float) -> None:
        if not self._is_begun:
            self._begin.cancel()
        else:
            await asyncio.wait([self._begin])
            if grace_seconds > 0:
                await self._ask_to_end(grace_seconds)
                await asyncio.wait([self._finished], timeout=grace_seconds)
            if not self._finished.done():
                await self._kill()
        await asyncio.wait([self._finished])

    async def _to_end(self) -> Exit:
        try:
            return await self._end_of_action()
        finally:
            if not self._begin.done():
                self._begin.cancel()
                await asyncio.wait([self._begin])
            await self._dismantle()
            await self._ahead.end()
            self._release(self)

    async def _end_of_action(self) -> Exit:
        try:
            await self._begin
            return await self._end()
        except asyncio.CancelledError:
            if self._terminating is None:
                raise  # the server itself is ending
            return Exit(128 + signal.SIGKILL, signal.SIGKILL)
        except (StartFailed, RemoteError) as error:
            return Exit(None, start_error=str(error).replace(self._hidden, "<work>"))

    def _describe(self, code: int, *, is_out_of_memory: bool) -> Exit:
        number = code - 128 if 128 < code < 193 and self._terminating is not None else None
        return Exit(code, number, is_out_of_memory and code != 0)
