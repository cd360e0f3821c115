"""The protocol between the runtime and whatever executes an action.

Life cycle, per action: `start` → read `Execution.output` until it ends → `wait`; `terminate` at any moment, any
number of times. All methods are called on one event loop, concurrently for different actions. A backend leaves
nothing behind: when `wait` has returned, every process of the action is gone.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

Stream = Literal["stdout", "stderr"]
PullPolicy = Literal["always", "missing", "never"]


class BackendUnavailable(Exception):  # noqa: N818 - reads as a state: "the backend is unavailable: <why>"
    """The backend cannot execute anything here; the message says which probe failed and how to mend it."""


class StartFailed(Exception):  # noqa: N818 - see above
    """This one action could not be started; the message is for the person who asked for it."""


@dataclass(frozen=True, slots=True)
class Mount:
    """A host path shown to the action at `target`, in the order given (later ones lie over earlier ones).

    With `keeps_owner` a writable one is not handed over: it is somebody's own folder.
    """

    source: Path
    target: str
    writable: bool = False
    keeps_owner: bool = False


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a registry is told to give an image: a name and password, or an identity token. Secret."""

    registry: str
    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Image:
    """What an action's root file system is made of. `reference` is complete, with registry and tag or digest."""

    reference: str
    pull_policy: PullPolicy = "missing"
    credentials: Credentials | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """What one action may use. `cpus` None is no limit; sizes are bytes."""

    memory_bytes: int = 2 * 1024**3
    processes: int = 512
    cpus: float | None = None
    tmp_bytes: int = 1024**3
    home_bytes: int = 1024**3
    file_bytes: int | None = None
    open_files: int = 4096


@dataclass(frozen=True, slots=True)
class ActionSpec:
    """Everything a backend needs to execute one action; pure data.

    `command` runs inside, with `environment` and nothing else from the host, in `directory`. A command that starts with
    the word `source` names a script for the shell that the backend starts anyway; after an empty word come arguments of
    what the image itself starts. `run_id` and `step_id` name the
    execution in messages. The sources of writable mounts are handed over to the account that the action runs as:
    actions with the same `account` run as the same one, so that they can share folders; others as any that is free.
    With `is_interactive` it has a terminal: one stream, "stdout", both ways. `is_loopback_refused` narrows `network`:
    the host's own addresses and those of its cloud's metadata cannot be reached. `image` is for backends that execute
    in one; None is the one that the backend was made with. A backend that cannot do one of these refuses to start the
    action. `seconds` is when the action will be terminated at the latest, for backends whose actions could outlive this
    process.
    """

    run_id: str
    step_id: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    directory: str
    mounts: tuple[Mount, ...] = ()
    network: bool = True
    limits: Limits = field(default_factory=Limits)
    account: str = ""
    is_interactive: bool = False
    is_loopback_refused: bool = False
    image: Image | None = None
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Exit:
    """How the action ended. `code` as a shell reports it (128 + signal); `signal` only where it is certain.

    `out_of_memory`: the kernel killed something of it for memory. `start_error`: the sandbox itself could not be set
    up, and nothing of the action ran; `code` is None then.
    """

    code: int | None
    signal: int | None = None
    out_of_memory: bool = False
    start_error: str | None = None


@dataclass(frozen=True, slots=True)
class Chunk:
    """Bytes that the action wrote, as read: at most 64 KiB, cut anywhere."""

    stream: Stream
    data: bytes


class Execution(Protocol):
    """One action that was started."""

    def let_begin(self) -> None:
        """Let an action begin that was started with `is_held`; nothing happens for another one."""

    def output(self) -> AsyncIterator[Chunk]:
        """Chunks in the order read, until all writers of both streams are gone."""

    async def write(self, data: bytes, *, is_hidden: bool = False) -> None:
        """Give bytes to the action's standard input; does nothing once it has ended.

        What is hidden a terminal does not show: it is for a program and not typed by a person.
        """

    def end_idle_input(self) -> bool:
        """End standard input if a process of the action waits for it right now; tells whether.

        False where that cannot be known, and for a terminal.
        """

    def resize(self, columns: int, rows: int) -> bool:
        """Change the size of its terminal. False when it has none, or none any more."""

    async def terminate(self, grace_seconds: float) -> None:
        """SIGTERM to every process of the action, after the grace SIGKILL to the whole tree. Idempotent."""

    async def wait(self) -> Exit:
        """Wait for the end and for the clean-up of everything that was made for the action."""


Startable = ActionSpec | Callable[[], ActionSpec]


async def made(action: Startable) -> ActionSpec:
    """Give an action that is to be started, made in a thread if it is not there yet."""
    return action if isinstance(action, ActionSpec) else await asyncio.to_thread(action)


class Backend(Protocol):
    """Executes actions."""

    name: str

    async def probe(self) -> None:
        """Execute `true` with the real settings. Raises BackendUnavailable naming what failed and what to do."""

    async def start(self, action: Startable, *, is_held: bool = False) -> Execution:
        """Start one action, or what makes it: that is called in a thread, when there is room for the action.

        With `is_held` everything is prepared and nothing of it runs before `let_begin`. Raises StartFailed, and what
        making it raises.
        """

    def start_here(self, make: Callable[[], ActionSpec]) -> Coroutine[Any, Any, Execution] | None:
        """Start an action, held, in this thread, which has to live as long as the action.

        Gives what is to be awaited once, on the event loop, for its execution; it raises as `start` does. None, and
        `make` was not called, where this backend cannot, or has no room just now.
        """

    async def close(self) -> None:
        """Kill what still runs and remove everything the backend made."""
