"""A backend that executes nothing: what an action "does" is written in its environment. For tests.

| variable | meaning |
|---|---|
| DUMMY_OUTPUT, DUMMY_ERROR | text on standard output and standard error |
| DUMMY_EXIT_CODE | exit code; 0 without it |
| DUMMY_BLOCK | "1": does not end before `DummyBackend.release` or `terminate` |
| DUMMY_IGNORES_TERM | "1": lets the grace of `terminate` pass |
| DUMMY_ECHO | "1": writes what it is given on standard input to standard output |
| DUMMY_START_FAILS | message with which `start` fails |
| DUMMY_OUT_OF_MEMORY | "1": ends as the kernel's victim |
"""

import asyncio
from collections.abc import AsyncIterator, Callable

from infraxys.engine.backends.base import ActionSpec, Chunk, Exit, Startable, StartFailed, Stream, made

CHUNK_BYTES = 64 * 1024


class DummyExecution:
    """An action that only pretends."""

    def __init__(self, action: ActionSpec, *, is_held: bool) -> None:
        self.action = action
        self._is_held = is_held
        self.written = b""
        self.size: tuple[int, int] | None = None
        self._environment = action.environment
        self._ended: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        self._chunks: asyncio.Queue[Chunk | None] = asyncio.Queue()
        if not is_held:
            self._begin()

    def let_begin(self) -> None:
        """Begin to pretend."""
        if self._is_held and not self._ended.done():
            self._is_held = False
            self._begin()

    def _begin(self) -> None:
        self._put("stdout", self._environment.get("DUMMY_OUTPUT", "").encode())
        self._put("stderr", self._environment.get("DUMMY_ERROR", "").encode())
        if not self._is("DUMMY_BLOCK"):
            self.release()

    def release(self) -> None:
        """Let it end by itself."""
        if self._is("DUMMY_OUT_OF_MEMORY"):
            self._end(Exit(137, out_of_memory=True))
        else:
            self._end(Exit(int(self._environment.get("DUMMY_EXIT_CODE", "0"))))

    async def output(self) -> AsyncIterator[Chunk]:
        """Give what the environment says, until the end."""
        while (chunk := await self._chunks.get()) is not None:
            yield chunk
        self._chunks.put_nowait(None)  # for whoever asks again

    async def write(self, data: bytes, *, is_hidden: bool = False) -> None:
        """Remember it, and echo it when told to."""
        del is_hidden
        if not self._ended.done():
            self.written += data
            if self._is("DUMMY_ECHO"):
                self._put("stdout", data)

    def end_idle_input(self) -> bool:
        """Never waits for input."""
        return False

    def resize(self, columns: int, rows: int) -> bool:
        """Remember the size of an interactive action."""
        if not self.action.is_interactive or self._ended.done():
            return False
        self.size = (columns, rows)
        return True

    async def terminate(self, grace_seconds: float) -> None:
        """End as a signal would."""
        if self._is("DUMMY_IGNORES_TERM"):
            done, _ = await asyncio.wait([self._ended], timeout=grace_seconds)
            if not done:
                self._end(Exit(137, signal=9))
        else:
            self._end(Exit(143, signal=15))

    async def wait(self) -> Exit:
        """Wait for the end."""
        return await asyncio.shield(self._ended)

    def _is(self, name: str) -> bool:
        return self._environment.get(name) == "1"

    def _put(self, stream: Stream, data: bytes) -> None:
        for start in range(0, len(data), CHUNK_BYTES):
            self._chunks.put_nowait(Chunk(stream, data[start : start + CHUNK_BYTES]))

    def _end(self, end: Exit) -> None:
        if not self._ended.done():
            self._ended.set_result(end)
            self._chunks.put_nowait(None)


class DummyBackend:
    """Pretends to execute actions. `started` holds the executions, oldest first."""

    name = "dummy"

    def __init__(self) -> None:
        self.started: list[DummyExecution] = []

    async def probe(self) -> None:
        """Do nothing: it works everywhere."""

    async def start(self, action: Startable, *, is_held: bool = False) -> DummyExecution:
        """Start to pretend. Raises StartFailed when the environment says so."""
        action = await made(action)
        if message := action.environment.get("DUMMY_START_FAILS"):
            raise StartFailed(message)
        execution = DummyExecution(action, is_held=is_held)
        self.started.append(execution)
        return execution

    def start_here(self, make: Callable[[], ActionSpec]) -> None:  # noqa: ARG002 - the protocol has it
        """Start nothing here."""
        return

    def release(self) -> None:
        """Let everything end that blocks."""
        for execution in self.started:
            execution.release()

    async def close(self) -> None:
        """End what still runs."""
        for execution in self.started:
            await execution.terminate(0)
