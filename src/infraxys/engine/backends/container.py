"""Actions in containers, through the Docker-compatible API of podman or Docker on this machine."""

import asyncio
import hashlib
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from infraxys.engine.backends.base import ActionSpec, BackendUnavailable, Image, Startable, StartFailed, made
from infraxys.engine.backends.container_api import ApiError, ContainerApi, find_socket
from infraxys.engine.backends.container_body import LABEL, EngineFacts, Place
from infraxys.engine.backends.container_execution import ContainerExecution, Order
from infraxys.engine.backends.host import Accounts, find_accounts, remove_tree
from infraxys.engine.backends.remote import RemoteExecution
from infraxys.kit.clock import new_id

logger = logging.getLogger(__name__)
NO_ENGINE = (
    "no container engine was found: install podman or Docker, start its service (systemctl start podman.socket), and "
    "name its socket in the setting container_socket where it is not at the usual place"
)
SPREAD = 256  # in the pool of accounts, those of sandboxes come before as many of containers, and shared ones behind


class ContainerBackend:
    """Runs actions in containers. `work` is the folder whose parts are shown to them.

    `socket`: where the engine listens; None looks at the usual places. `image`: what actions run in that name none.
    `network`: the engine's network for actions that have one. The engine is asked for at the first action, and may
    come and go.
    """

    name = "container"

    def __init__(
        self,
        work: Path,
        *,
        socket: Path | None = None,
        accounts: Accounts | None = None,
        image: Image | None = None,
        network: str = "bridge",
    ) -> None:
        self.work = work.absolute()
        self.accounts = accounts or find_accounts(1, self.work)
        self._socket, self._image, self._network = socket, image, network
        self._mark = hashlib.sha256(os.fsencode(self.work)).hexdigest()[:12]
        self._skeletons = self.work / "containers"
        self._api: ContainerApi | None = None
        self._facts: EngineFacts | None = None
        self._connecting = asyncio.Lock()
        self._running: dict[RemoteExecution, int] = {}
        self._is_closed = False

    async def connect(self) -> EngineFacts:
        """Find the engine and remove what a killed server left in it; the first time only.

        Raises BackendUnavailable.
        """
        async with self._connecting:
            if self._facts is None:
                socket = self._socket or find_socket()
                if socket is None:
                    raise BackendUnavailable(NO_ENGINE)
                api = ContainerApi(socket)
                try:
                    self._facts = facts_of(await api.version(), await api.info())
                    await self._sweep(api)
                except ApiError as error:
                    self._facts = None
                    await api.close()
                    raise BackendUnavailable(str(error)) from error
                self._api = api
            return self._facts

    def missing(self) -> str:
        """Say what is missing to execute anything, as far as it shows without asking; empty when nothing is."""
        is_there = self._facts is not None or (find_socket() if self._socket is None else self._socket.exists())
        return "" if is_there else NO_ENGINE

    async def _sweep(self, api: ContainerApi) -> None:
        for container in await api.find_containers(f"{LABEL}={self._mark}"):
            await api.remove(container)
        await asyncio.to_thread(remove_tree, self._skeletons)

    async def probe(self) -> None:
        """Ask the engine for what is needed, and execute `true` where an image is set. Raises BackendUnavailable."""
        await self.connect()
        if self._image is None:
            return
        action = ActionSpec("probe", "probe", ("/bin/true",), {}, "/", network=False)
        execution = await self.start(action)
        end = await execution.wait()
        if end.code != 0:
            raise BackendUnavailable(f"containers do not work here: {end.start_error or f'exit {end.code}'}")

    @property
    def described(self) -> str:
        """What the engine is, for people."""
        facts = self._facts
        if facts is None:
            return "not connected"
        limits = "limits by control groups" if facts.has_limits else "no control groups: limits by rlimits"
        return f"{facts.name} {facts.version}{' without root' if facts.is_rootless else ''}; {limits}"

    async def start(self, action: Startable, *, is_held: bool = False) -> ContainerExecution:
        """Start one action: its image is fetched where needed while it is held. Raises StartFailed."""
        action = await made(action)
        if self._is_closed:
            raise StartFailed("the server is stopping")
        image = action.image or self._image
        if image is None:
            raise StartFailed("it names no container image, and the setting default_image is empty")
        if action.network and action.is_loopback_refused:
            raise StartFailed("its network is 'loopback-refused', which containers cannot have: only 'on' and 'off'")
        try:
            facts = await self.connect()
        except BackendUnavailable as error:
            raise StartFailed(str(error)) from error
        api = self._api
        if api is None:
            raise StartFailed("the server is stopping")
        number = next(one for one in range(len(self._running) + 1) if one not in self._running.values())
        uid, gid = self._account(facts, number, action.account)
        name = f"infraxys-{self._mark}-{new_id()}"
        order = Order(
            name,
            action,
            image,
            facts,
            Place(f"{uid}:{gid}", self._network, self._skeletons / name, self._mark),
            hand_to=None if facts.is_rootless or self.accounts.uid_base is None else (uid, gid),
        )
        execution = ContainerExecution(api, order, self._ended, str(self.work), is_held=is_held)
        self._running[execution] = number
        return execution

    def start_here(self, make: Callable[[], ActionSpec]) -> None:  # noqa: ARG002 - the protocol has it
        """Start nothing here."""
        return

    def _ended(self, execution: RemoteExecution) -> None:
        self._running.pop(execution, None)

    def _account(self, facts: EngineFacts, number: int, account: str) -> tuple[int, int]:
        """Give whom an action runs as: never root of this machine."""
        if facts.is_rootless:
            return 0, 0  # this process's own account, seen from inside
        uid, gid = self.accounts.uid(SPREAD + number % SPREAD, account), self.accounts.gid
        if uid is not None and gid is not None:
            return uid, gid
        return os.geteuid(), os.getegid()

    async def close(self) -> None:
        """Kill what still runs and remove everything the backend made."""
        self._is_closed = True
        running = list(self._running)
        await asyncio.gather(*(execution.terminate(0) for execution in running))
        await asyncio.gather(*(execution.wait() for execution in running))
        api, self._api = self._api, None
        if api is not None:
            with suppress(ApiError):
                await self._sweep(api)
            await api.close()


def facts_of(version: dict[str, Any], info: dict[str, Any]) -> EngineFacts:
    """Read what an engine says of itself."""
    components = [str(one.get("Name", "")) for one in version.get("Components") or []]
    name = next((one for one in components if one), "container engine")
    options = [str(one) for one in info.get("SecurityOptions") or []]
    return EngineFacts(
        name=name,
        version=str(version.get("Version", "")),
        is_rootless=any("rootless" in option for option in options),
        is_podman="podman" in name.lower(),
        has_limits=bool(info.get("MemoryLimit")) and bool(info.get("PidsLimit")),
    )
