"""Real sandboxes for tests: a work folder that their accounts can reach, and short ways to run something in one."""

import asyncio
import os
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from infraxys.engine.backends.base import ActionSpec, Exit, Limits, Mount
from infraxys.engine.backends.bubblewrap import ENVIRONMENT, BubblewrapBackend, find_sandboxes
from infraxys.engine.backends.execution import SandboxExecution
from infraxys.engine.backends.host import remove_tree

MIB = 1024 * 1024
SMALL = Limits(memory_bytes=256 * MIB, processes=64, tmp_bytes=4 * MIB, home_bytes=4 * MIB)


@dataclass(frozen=True)
class Ended:
    exit: Exit
    stdout: str
    stderr: str
    seconds: float


@dataclass
class Sandbox:
    """A prepared backend with a few folders to show."""

    backend: BubblewrapBackend
    work: Path
    _number: int = 0

    def folder(self, name: str) -> Path:
        """Make an empty folder below `runs` that actions may read."""
        self._number += 1
        path = self.work / "runs" / f"{self._number}-{name}"
        path.mkdir(parents=True)
        path.parent.chmod(0o755)
        path.chmod(0o755)
        return path

    def spec(
        self,
        script: str,
        *,
        mounts: tuple[Mount, ...] = (),
        limits: Limits | None = None,
        network: bool = False,
        environment: Mapping[str, str] | None = None,
        command: tuple[str, ...] | None = None,
        is_interactive: bool = False,
        is_loopback_refused: bool = False,
    ) -> ActionSpec:
        return ActionSpec(
            run_id="run",
            step_id="step",
            command=command or ("bash", "-c", script),
            environment={**ENVIRONMENT, **(environment or {})},
            directory="/root",
            mounts=mounts,
            network=network,
            limits=limits or Limits(),
            is_interactive=is_interactive,
            is_loopback_refused=is_loopback_refused,
        )

    def run(self, script: str, **parts: object) -> Ended:
        """Run a bash script to its end on a loop of its own."""
        return asyncio.run(self.ended(script, **parts))

    def python(self, program: str, **parts: object) -> Ended:
        """Run a Python program of the host's interpreter to its end."""
        return self.run("", command=("/usr/bin/python3", "-c", program), **parts)

    async def ended(self, script: str, **parts: object) -> Ended:
        started = time.monotonic()
        execution = await self.start(script, **parts)
        out, err = await collect(execution)
        return Ended(await execution.wait(), out.decode(), err.decode(), time.monotonic() - started)

    async def start(self, script: str, **parts: object) -> SandboxExecution:
        return await self.backend.start(self.spec(script, **parts))  # type: ignore[arg-type]

    @asynccontextmanager
    async def running(self, script: str, **parts: object) -> AsyncIterator[tuple[SandboxExecution, str]]:
        """Start a script and wait for its first output; it is ended at the end."""
        execution = await self.start(script, **parts)
        try:
            first = await asyncio.wait_for(anext(execution.output()), 10)
            yield execution, first.data.decode()
        finally:
            await execution.terminate(0)
            await execution.wait()

    def left(self) -> list[int]:
        """The processes of sandboxes of this work folder."""
        return find_sandboxes(self.work)


async def collect(execution: SandboxExecution) -> tuple[bytes, bytes]:
    """Read both streams to their end, in a time that no test needs."""
    streams: dict[str, list[bytes]] = {"stdout": [], "stderr": []}

    async def read() -> None:
        async for chunk in execution.output():
            streams[chunk.stream].append(chunk.data)

    await asyncio.wait_for(read(), 60)
    return b"".join(streams["stdout"]), b"".join(streams["stderr"])


@contextmanager
def prepared_sandbox(bwrap: str | None = None, slots: int = 8, **settings: object) -> Iterator[Sandbox]:
    """Prepare a backend in a work folder of its own, and take everything away afterwards."""
    work = Path(tempfile.mkdtemp(prefix="infraxys-test-", dir="/var/tmp"))
    backend = BubblewrapBackend(work, slots=slots, bwrap=bwrap, **settings)  # type: ignore[arg-type]
    try:
        backend.prepare()
        yield Sandbox(backend, work)
    finally:
        asyncio.run(backend.close())
        remove_tree(work)


def processes_with(text: str) -> list[int]:
    """The processes that have a text on their command line, this one left out."""
    found = []
    for entry in os.scandir("/proc"):
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if text.encode() in Path(entry.path, "cmdline").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def is_gone(text: str, seconds: float = 0.1) -> bool:
    """Whether no process has a text on its command line, at the latest after some time."""
    deadline = time.monotonic() + seconds
    while processes_with(text):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True
