"""One action in a container: its image, its streams, its end, and how it is ended."""

import asyncio
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infraxys.engine.backends.base import ActionSpec, Chunk, Exit, Image, StartFailed
from infraxys.engine.backends.container_api import READ_BYTES, ApiError, ContainerApi, Frames
from infraxys.engine.backends.container_body import EngineFacts, Place, build_body, lay_skeleton
from infraxys.engine.backends.execution import all_processes, process_namespace, signal_processes
from infraxys.engine.backends.host import hand_over, remove_tree
from infraxys.engine.backends.oom import MemoryWatch
from infraxys.engine.backends.remote import RemoteExecution
from infraxys.engine.backends.terminal import COLUMNS, ROWS, check_size
from infraxys.engine.backends.waiting import waits_for

FIRST_PAUSE, LONGEST_PAUSE = 0.005, 1.0  # between two looks at a container whose streams have ended
SILENCE_SECONDS = 30.0  # of an engine that answered before
REMOVE_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Order:
    """An action to execute in a container. `hand_to`: the account on this machine that what is writable is given to."""

    name: str
    action: ActionSpec
    image: Image
    facts: EngineFacts
    place: Place
    hand_to: tuple[int, int] | None

    def lay_out(self) -> None:
        """Prepare the files. Blocks. Raises OSError and ValueError."""
        lay_skeleton(self.place.skeleton, self.action.mounts)
        for mount in self.action.mounts:
            mount.source.lstat()  # some engines would make it
            if mount.writable and not mount.keeps_owner and self.hand_to is not None:
                hand_over(mount.source, *self.hand_to)


class ContainerExecution(RemoteExecution):
    """An action in a container. Made by the container backend."""

    def __init__(
        self,
        api: ContainerApi,
        order: Order,
        release: Callable[[RemoteExecution], None],
        hidden: str,
        *,
        is_held: bool,
    ) -> None:
        self._api, self._order, self._name = api, order, order.name
        self._writer: asyncio.StreamWriter | None = None
        self._writing = asyncio.Lock()
        self._process = 0
        self._size = (COLUMNS, ROWS)
        self._resizing: asyncio.Task[None] | None = None
        self._watch: MemoryWatch | None = None
        self._creating: asyncio.Task[str] | None = None
        self._pump: asyncio.Task[None] | None = None
        super().__init__(release, hidden, is_held=is_held)

    async def write(self, data: bytes, *, is_hidden: bool = False) -> None:
        """Give bytes to the action's standard input; does nothing once it has ended.

        A terminal in a container shows what is hidden as well: it cannot be told from here not to.
        """
        del is_hidden
        await asyncio.wait([self._begin])
        async with self._writing:
            if self._writer is not None:
                with suppress(OSError):
                    self._writer.write(data)
                    await self._writer.drain()

    def end_idle_input(self) -> bool:
        """End standard input if a process waits for it right now; tells whether."""
        if self._order.action.is_interactive or self._writer is None or not self._process:
            return False
        try:
            pipe = str(Path(f"/proc/{self._process}/fd/0").readlink())
        except OSError:  # another machine's, or another account's
            return False
        if not any(waits_for(process, pipe) for process in self._inner_processes()):
            return False
        self._writer.write_eof()
        return True

    def resize(self, columns: int, rows: int) -> bool:
        """Change the size of its terminal. False when it has none, or none any more. Raises ValueError."""
        check_size(columns, rows)
        if not self._order.action.is_interactive or self._writer is None:
            return False
        self._size = (columns, rows)
        if self._process:
            self._resizing = self._loop.create_task(self._set_size())
        return True

    async def _set_size(self) -> None:
        with suppress(ApiError):
            await self._api.resize(self._name, *self._size)

    async def _bring_up(self) -> None:
        found = await self._find_image(self._order.image)
        await self._tell(f"image {describe_image(self._order.image, found)}")
        body = await self._prepare(str(found["Id"]))
        self._creating = self._loop.create_task(self._api.create(self._name, body))
        await asyncio.shield(self._creating)
        reader, self._writer = await self._api.attach(self._name)
        await self._pass_gate()
        await self._api.start(self._name)
        self._pump = self._loop.create_task(self._read(reader))
        with suppress(ApiError):
            self._process = int((await self._api.state(self._name)).get("Pid") or 0)
        if self._process:
            self._watch = MemoryWatch(self._process)
        if self._order.action.is_interactive:
            await self._set_size()

    async def _prepare(self, image_id: str) -> dict[str, Any]:
        order = self._order
        try:
            body = build_body(order.action, image_id, order.facts, order.place)
            await asyncio.to_thread(order.lay_out)
        except ValueError as error:
            raise StartFailed(str(error)) from error
        except OSError as error:
            raise StartFailed(f"the server cannot prepare its files: {error.strerror}") from error
        return body

    async def _find_image(self, image: Image) -> dict[str, Any]:
        found = None if image.pull_policy == "always" else await self._api.find_image(image.reference)
        if found is None and image.pull_policy == "never":
            raise StartFailed(f"image '{image.reference}' is not on this machine, and it is never to be pulled")
        if found is None:
            try:
                await self._api.pull(image)
            except ApiError as error:
                raise StartFailed(f"image '{image.reference}' cannot be pulled: {error}") from error
            found = await self._api.find_image(image.reference)
        if found is None:
            raise StartFailed(f"image '{image.reference}' was pulled and is not there")
        return found

    async def _read(self, reader: asyncio.StreamReader) -> None:
        frames = None if self._order.action.is_interactive else Frames()
        with suppress(OSError):
            while data := await reader.read(READ_BYTES):
                if chunks := frames.feed(data) if frames else [Chunk("stdout", data)]:
                    await self._ahead.put(chunks)

    async def _end(self) -> Exit:
        if self._pump is not None:
            await self._pump
        state = await self._stopped_state()
        was_seen = self._watch is not None and self._watch.was_out_of_memory
        return self._describe(
            int(state.get("ExitCode") or 0), is_out_of_memory=was_seen or bool(state.get("OOMKilled"))
        )

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

    async def _ask_to_end(self, grace_seconds: float) -> None:
        """SIGTERM to all processes but the first, which as an init only passes it on to its child.

        Where they cannot be seen from here, the first has to do that.
        """
        del grace_seconds
        inner = self._inner_processes()
        if inner:
            signal_processes(inner, signal.SIGTERM, process_namespace(self._process))
        else:
            with suppress(ApiError):
                await self._api.kill(self._name, "SIGTERM")

    def _inner_processes(self) -> list[int]:
        """Give the processes of the action, as far as they can be seen, without the first."""
        namespace = process_namespace(self._process) if self._process else ""
        if not namespace:
            return []
        return [one for one in all_processes() if one != self._process and process_namespace(one) == namespace]

    async def _kill(self) -> None:
        with suppress(ApiError):
            await self._api.kill(self._name, "SIGKILL")

    async def _dismantle(self) -> None:
        if self._pump is not None and not self._pump.done():
            self._pump.cancel()
            await asyncio.wait([self._pump])
        if self._creating is not None:  # what is being made cannot be removed yet
            await asyncio.gather(self._creating, return_exceptions=True)
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()
        if self._watch is not None:
            self._watch.close()
        if self._creating is not None:
            await self._remove()
        await asyncio.to_thread(remove_tree, self._order.place.skeleton)

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


def describe_image(image: Image, found: dict[str, Any]) -> str:
    """Say which content a reference stands for, by the registry's digest where there is one."""
    repository = image.reference.partition("@")[0]
    path = repository[: repository.rindex(":")] if ":" in repository.rpartition("/")[2] else repository
    digests = [str(one) for one in found.get("RepoDigests") or []]
    own = next((one for one in digests if one.startswith(f"{path}@")), None)
    return f"{image.reference} is {own or found['Id']}"
