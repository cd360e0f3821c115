"""One action in a container: its image, its streams, its end, and how it is ended."""

import asyncio
import signal
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

from infraxys.engine.backends.base import Chunk, Exit, StartFailed
from infraxys.engine.backends.container_api import READ_BYTES, ApiError, ContainerApi, Frames
from infraxys.engine.backends.execution import (
    AHEAD_BYTES,
    AHEAD_CHUNKS,
    all_processes,
    process_namespace,
    signal_processes,
)
from infraxys.engine.backends.oom import MemoryWatch

FIRST_PAUSE, LONGEST_PAUSE = 0.005, 1.0  # between two looks at a container whose streams have ended
SILENCE_SECONDS = 30.0  # of an engine that answered before
REMOVE_SECONDS = 20.0

Prepare = Callable[["ContainerExecution"], Awaitable[dict[str, Any]]]


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


class ContainerExecution:
    """An action in a container. Made by the container backend; used on the event loop's thread only.

    `prepare` sees to the image and gives the body that the container is made from; `name` is the container's.
    `release` is called once, when nothing of the action is left. `hidden` is a path left out of messages.
    """

    def __init__(
        self,
        api: ContainerApi,
        name: str,
        prepare: Prepare,
        release: Callable[["ContainerExecution"], Awaitable[None]],
        hidden: str,
        *,
        is_held: bool,
    ) -> None:
        self._api, self._name, self._prepare, self._release, self._hidden = api, name, prepare, release, hidden
        self._loop = asyncio.get_running_loop()
        self._gate = asyncio.Event()
        if not is_held:
            self._gate.set()
        self._ahead = Ahead()
        self._writer: asyncio.StreamWriter | None = None
        self._is_terminal = False
        self._writing = asyncio.Lock()
        self._process = 0
        self._watch: MemoryWatch | None = None
        self._is_begun = False
        self._creating: asyncio.Task[str] | None = None
        self._pump: asyncio.Task[None] | None = None
        self._terminating: asyncio.Task[None] | None = None
        self._begin = self._loop.create_task(self._bring_up())
        self._finished = self._loop.create_task(self._to_end())

    def let_begin(self) -> None:
        """Let an action begin that was started to wait for this."""
        self._gate.set()

    def output(self) -> AsyncIterator[Chunk]:
        """Give chunks in the order read, until all writers are gone."""
        return self._ahead.chunks()

    async def tell(self, line: str) -> None:
        """Say something of our own on the action's standard error, before it begins."""
        await self._ahead.put([Chunk("stderr", f"[infraxys] {line}\n".encode())])

    async def write(self, data: bytes) -> None:
        """Give bytes to the action's standard input; does nothing once it has ended."""
        await asyncio.wait([self._begin])
        async with self._writing:
            if self._writer is not None:
                with suppress(OSError):
                    self._writer.write(data)
                    await self._writer.drain()

    async def terminate(self, grace_seconds: float) -> None:
        """SIGTERM to every process of the action, after the grace SIGKILL to the whole container.

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

    async def _bring_up(self) -> None:
        """Make the container and let it begin. Raises StartFailed and ApiError."""
        body = await self._prepare(self)
        self._is_terminal = bool(body["Tty"])
        self._creating = self._loop.create_task(self._api.create(self._name, body))
        await asyncio.shield(self._creating)
        reader, self._writer = await self._api.attach(self._name)
        await self._gate.wait()
        self._is_begun = True
        await self._api.start(self._name)
        self._pump = self._loop.create_task(self._read(reader))
        with suppress(ApiError):
            self._process = int((await self._api.state(self._name)).get("Pid") or 0)
        if self._process:
            self._watch = MemoryWatch(self._process)

    async def _read(self, reader: asyncio.StreamReader) -> None:
        frames = Frames(is_terminal=self._is_terminal)
        with suppress(OSError):
            while data := await reader.read(READ_BYTES):
                if chunks := frames.feed(data):
                    await self._ahead.put(chunks)

    async def _to_end(self) -> Exit:
        try:
            end = await self._end_of_action()
        finally:
            await self._clean_up()
        return end

    async def _end_of_action(self) -> Exit:
        try:
            await self._begin
            if self._pump is not None:
                await self._pump
            state = await self._stopped_state()
        except asyncio.CancelledError:
            if self._terminating is None:
                raise  # the server itself is ending
            return Exit(128 + signal.SIGKILL, signal.SIGKILL)
        except (StartFailed, ApiError) as error:
            return Exit(None, start_error=str(error).replace(self._hidden, "<work>"))
        return self._describe(state)

    async def _stopped_state(self) -> dict[str, Any]:
        """Wait until the container has ended, which it nearly always has when its streams are closed."""
        pause, silent_since = FIRST_PAUSE, None
        while True:
            try:
                state = await self._api.state(self._name)
                silent_since = None
            except ApiError as error:
                silent_since = silent_since or self._loop.time()
                if error.status or self._loop.time() - silent_since > SILENCE_SECONDS:
                    raise ApiError(f"the container was lost while the action ran: {error}") from error
            else:
                if not state.get("Running") and state.get("Status") not in {"created", "initialized", "stopping"}:
                    return state
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    def _describe(self, state: dict[str, Any]) -> Exit:
        code = int(state.get("ExitCode") or 0)
        is_out_of_memory = bool(state.get("OOMKilled")) or (self._watch is not None and self._watch.was_out_of_memory)
        number = code - 128 if 128 < code < 193 and self._terminating is not None else None
        return Exit(code, number, is_out_of_memory and code != 0)

    async def _terminate(self, grace_seconds: float) -> None:
        if not self._is_begun:
            self._begin.cancel()
        else:
            await asyncio.wait([self._begin])
            if grace_seconds > 0:
                await self._ask_to_end()
                await asyncio.wait([self._finished], timeout=grace_seconds)
            if not self._finished.done():
                await self._kill()
        await asyncio.wait([self._finished])

    async def _ask_to_end(self) -> None:
        """SIGTERM to all processes but the first, which as an init only passes it on to its child.

        Where they cannot be seen from here, the first has to do that.
        """
        namespace = process_namespace(self._process) if self._process else ""
        if namespace:
            inner = [one for one in all_processes() if one != self._process and process_namespace(one) == namespace]
            signal_processes(inner, signal.SIGTERM, namespace)
        else:
            with suppress(ApiError):
                await self._api.kill(self._name, "SIGTERM")

    async def _kill(self) -> None:
        with suppress(ApiError):
            await self._api.kill(self._name, "SIGKILL")

    async def _clean_up(self) -> None:
        for task in (self._begin, self._pump):
            if task is not None and not task.done():
                task.cancel()
                await asyncio.wait([task])
        if self._creating is not None:  # what is being made cannot be removed yet
            await asyncio.gather(self._creating, return_exceptions=True)
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()
        if self._watch is not None:
            self._watch.close()
        await self._remove()
        await self._ahead.end()
        await self._release(self)

    async def _remove(self) -> None:
        """Remove the container; what the engine does not remove now, the next start of the server does."""
        pause = FIRST_PAUSE
        with suppress(TimeoutError):
            async with asyncio.timeout(REMOVE_SECONDS):
                while True:
                    try:
                        await self._api.remove(self._name)
                    except ApiError:
                        await asyncio.sleep(pause)
                        pause *= 4
                    else:
                        return
