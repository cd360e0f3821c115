"""The default backend: every action in a bubblewrap sandbox of its own. No daemon, no image."""

import asyncio
import hashlib
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infraxys.engine.backends.base import ActionSpec, BackendUnavailable, Startable, StartFailed
from infraxys.engine.backends.cgroups import Cgroups, SlotGroup, detect
from infraxys.engine.backends.command_line import Descriptors, HostFacts, build_command, check_environment
from infraxys.engine.backends.execution import Ends, SandboxExecution, all_processes
from infraxys.engine.backends.host import (
    Accounts,
    find_accounts,
    find_facts,
    hand_over,
    is_reachable,
    memory_folder,
    prepare_work_directory,
    refresh_resolver,
    remove_tree,
    resolver_state,
)
from infraxys.engine.backends.own_network import NetworkTools, OwnNetwork, find_network_tools
from infraxys.engine.backends.seccomp import FilterFile, FilterUnavailable, load_filter
from infraxys.engine.backends.spawn import Process, choose_spawner
from infraxys.engine.backends.terminal import open_terminal

ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "USER": "root",
    "TERM": "dumb",
}
SWEEP_SECONDS = 5.0
IN_CONTAINER = "in a container, start it with --security-opt seccomp=unconfined --security-opt systempaths=unconfined"
NO_NAMESPACES = (
    "user namespaces are not allowed here: sysctl kernel.unprivileged_userns_clone=1 and user.max_user_namespaces, "
    f"on Ubuntu also kernel.apparmor_restrict_unprivileged_userns=0; {IN_CONTAINER}; "
    "in a chroot, start as root and with /proc mounted"
)
HINTS = {  # what is said: how to mend it
    "mount proc": IN_CONTAINER,
    "Failed to make / slave": f"mounting is not allowed here; {IN_CONTAINER}",
    "new namespace": NO_NAMESPACES,
    "uid map": NO_NAMESPACES,
    "RTM_NEWADDR": NO_NAMESPACES,
    "pivot_root": "the root file system is an initramfs; start in a container or on a real root file system",
    "setpriv": "this process is root without the right to change to the accounts of the sandbox; give it CAP_SETUID "
    "and CAP_SETGID, or start it as an ordinary user",
    "source path": "the account of the sandbox cannot read what it is to show; see who may pass the folders above",
    "seccomp": "the kernel does not accept the system call filter; it needs CONFIG_SECCOMP_FILTER",
}
NOT_PREPARED = "the sandbox is not prepared, or was closed"
NICENESS = 5
SPAWNERS = 8  # threads that start sandboxes; what an action is made from may take one of them for long


@dataclass(frozen=True, slots=True)
class Spawned:
    """A launcher that was started, and our ends of its pipes."""

    process: Process
    ends: Ends
    has_own_network: bool


class BubblewrapBackend:
    """Runs actions with bubblewrap. `work` is the folder whose parts are shown to actions; `slots` run at once.

    Call `prepare` before anything else. `accounts`: whom actions run as on the host, otherwise chosen for `work`.
    `extra_read_only`: host folders with tools that actions see at the same path. `bwrap`: another binary.
    """

    name = "bubblewrap"

    def __init__(
        self,
        work: Path,
        *,
        slots: int = 16,
        accounts: Accounts | None = None,
        extra_read_only: tuple[Path, ...] = (),
        bwrap: str | None = None,
    ) -> None:
        self.work = work.absolute()
        self.accounts = accounts or find_accounts(slots, self.work)
        self._slots = slots
        self._extra, self._bwrap = extra_read_only, bwrap
        self._free: deque[int] = deque(range(slots))
        self._waiting: deque[asyncio.Future[int]] = deque()
        self._facts: HostFacts | None = None
        self._filter: FilterFile | None = None
        self._cgroups = Cgroups(0)
        self._groups: list[SlotGroup | None] = [None] * slots
        self._resolver = (0, 0, 0)
        self._running: dict[SandboxExecution, int] = {}
        self._network_tools: NetworkTools | str = "the sandbox is not prepared"
        self._starting: set[asyncio.Task[Any]] = set()
        self._spawner = choose_spawner()
        # Threads that live as long as the backend: a sandbox dies with the thread that started it.
        self._spawning = ThreadPoolExecutor(min(slots, SPAWNERS), thread_name_prefix="spawn")

    def prepare(self) -> None:
        """Find what the host offers, make the work directory ready and clear what a killed server left. Blocks.

        Raises BackendUnavailable.
        """
        prepare_work_directory(self.work, self.accounts)
        if not is_reachable(self.work, self.accounts):
            raise BackendUnavailable(
                "the accounts that actions run as cannot reach the work folder, because a folder above it is closed to "
                "others; start with --work-dir and a folder such as /var/lib/infraxys-work"
            )
        try:
            program = load_filter()
        except FilterUnavailable as error:
            raise BackendUnavailable(str(error)) from error
        self._cgroups = detect(f"infraxys-{hashlib.sha256(os.fsencode(self.work)).hexdigest()[:12]}")
        self.sweep_leftovers()
        self._resolver = resolver_state()
        self._facts = find_facts(self.work, self.accounts, self._extra, self._bwrap)
        try:
            self._groups = [self._cgroups.slot(slot) for slot in range(self._slots)]
        except OSError:
            self._cgroups, self._groups = Cgroups(0), [None] * self._slots
        self._network_tools = find_network_tools()
        self._filter = FilterFile(program)

    @property
    def limits_by(self) -> str:
        """What enforces limits here, for people: "cgroup v1", "cgroup v2" or "rlimits"."""
        return f"cgroup v{self._cgroups.version}" if self._cgroups.version else "rlimits"

    async def probe(self) -> None:
        """Execute `true` with the real settings. Raises BackendUnavailable naming what failed."""
        for network in (True, False):
            try:
                action = ActionSpec("probe", "probe", ("/bin/true",), ENVIRONMENT, "/", network=network)
                end = await (await self.start(action)).wait()
            except StartFailed as error:
                raise BackendUnavailable(f"the sandbox does not start: {error}") from error
            if end.code != 0:
                said = end.start_error or f"exit {end.code}"
                raise BackendUnavailable(f"the sandbox does not work here: {advice(said)}")

    async def probe_own_network(self) -> None:
        """Execute `true` with network `loopback-refused`. Raises StartFailed naming what failed."""
        action = ActionSpec("probe", "probe", ("/bin/true",), ENVIRONMENT, "/", is_loopback_refused=True)
        await (await self.start(action)).wait()

    async def start(self, action: Startable, *, is_held: bool = False) -> SandboxExecution:
        """Start one action; waits for a free slot. Raises StartFailed, and what making the action raises."""
        slot = await self._take_slot()
        starting = asyncio.get_running_loop().create_task(self._start(action, slot, is_held=is_held))
        self._starting.add(starting)
        starting.add_done_callback(self._starting.discard)
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            starting.add_done_callback(self._end_unwanted)
            raise

    def start_here(self, make: Callable[[], ActionSpec]) -> Coroutine[Any, Any, SandboxExecution] | None:
        """Start an action, held, in this thread, if a slot is free."""
        try:
            slot = self._free.popleft()
        except IndexError:
            return None
        spawned: Future[Spawned] = Future()
        try:
            spawned.set_result(self._make_and_spawn(make, slot))
        except BaseException as error:  # noqa: BLE001 - raised again where it is awaited
            spawned.set_exception(error)
        return self._adopt(spawned, slot, is_held=True)

    async def _start(self, action: Startable, slot: int, *, is_held: bool) -> SandboxExecution:
        if self._filter is None:
            self._give_slot(slot)
            raise StartFailed(NOT_PREPARED)
        return await self._adopt(self._spawning.submit(self._make_and_spawn, action, slot), slot, is_held=is_held)

    async def _adopt(self, spawning: "Future[Spawned]", slot: int, *, is_held: bool) -> SandboxExecution:
        """Give the execution of what was spawned in a thread. Raises StartFailed, and what making the action raises."""
        try:
            spawned = spawning.result() if spawning.done() else await asyncio.wrap_future(spawning)
        except BaseException as error:
            self._give_slot(slot)
            if isinstance(error, OSError):
                raise StartFailed(f"the sandbox could not be started: {error.strerror}") from error
            if isinstance(error, ValueError):
                raise StartFailed(str(error)) from error
            raise
        held = is_held or spawned.has_own_network
        group, hidden = self._groups[slot], str(self.work)
        execution = SandboxExecution(spawned.process, spawned.ends, group, self._ended, hidden, is_held=held)
        self._running[execution] = slot
        if spawned.has_own_network:
            await self._connect(execution)
            if not is_held:
                execution.let_begin()
        return execution

    async def _connect(self, execution: SandboxExecution) -> None:
        """Give a sandbox that is held its own network; without one nothing of it runs. Raises StartFailed."""
        try:
            execution.network = make_own_network(self._network_tools, self.accounts)
            child = await execution.first_process()
            if child is not None:  # else it has ended, and says why
                await execution.network.open(child)
        except BaseException:
            await execution.terminate(0)
            await execution.wait()
            raise

    def _end_unwanted(self, starting: "asyncio.Task[SandboxExecution]") -> None:
        if not starting.cancelled() and starting.exception() is None:
            task = asyncio.get_running_loop().create_task(starting.result().terminate(0))
            self._starting.add(task)
            task.add_done_callback(self._starting.discard)

    def _make_and_spawn(self, startable: Startable, slot: int) -> Spawned:
        """Make an action and start its launcher, in one thread. Raises OSError, ValueError and StartFailed."""
        facts, program = self._facts, self._filter
        if facts is None or program is None:
            raise StartFailed(NOT_PREPARED)
        action = startable if isinstance(startable, ActionSpec) else startable()
        process, ends = self._spawn(facts, program, action, slot)
        return Spawned(process, ends, has_own_network=action.network and action.is_loopback_refused)

    def _spawn(self, facts: HostFacts, program: FilterFile, action: ActionSpec, slot: int) -> tuple[Process, Ends]:
        """Start the launcher, in a thread. Raises OSError and ValueError."""
        check_environment(action.environment)
        if (resolver := resolver_state()) != self._resolver:
            self._resolver = resolver
            refresh_resolver(facts.etc)
        group = self._groups[slot]
        if group is not None:
            group.apply(action.limits)
        ours: list[int] = []
        theirs: list[int] = []
        try:
            if action.is_interactive:
                open_terminal(ours, theirs)
            else:
                open_pipes(ours, theirs, "wrr")
            stdin, stdout, stderr = theirs
            open_pipes(ours, theirs, "rw")
            status, gate, seccomp = (*theirs[-2:], program.open())
            theirs.append(seccomp)
            uid, gid = self.accounts.uid(slot, action.account), self.accounts.gid
            if uid is not None and gid is not None:
                for mount in action.mounts:
                    if mount.writable and not mount.keeps_owner:
                        hand_over(mount.source, uid, gid)
                for pipe in (stdin, stdout, stderr):
                    os.fchown(pipe, uid, gid)  # else the action could not open /dev/stdout and its like
            passed = (seccomp, status, gate)
            command = build_command(
                facts,
                action,
                Descriptors(*self._spawner.numbers(passed)),
                uid=uid,
                gid=gid,
                join_files=group.join_files(action.limits) if group else (),
            )
            process = self._spawner.spawn(command, action.environment, (stdin, stdout, stderr), passed)
            ours.append(watch(process))
            with suppress(OSError):  # what it starts inherits this: the server goes before the actions
                os.setpriority(os.PRIO_PROCESS, process.pid, NICENESS)
        except BaseException:
            close_all(ours)
            raise
        finally:
            close_all(theirs)
        *streams, status, gate, monitor = ours
        errors = None if action.is_interactive else streams[2]
        return process, Ends(streams[0], streams[1], errors, status, gate, monitor)

    def _ended(self, execution: SandboxExecution) -> None:
        self._give_slot(self._running.pop(execution))

    async def _take_slot(self) -> int:
        with suppress(IndexError):  # none is free; another thread may be faster, so it is not asked before
            return self._free.popleft()
        turn: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._give_slot(turn.result())
            raise

    def _give_slot(self, slot: int) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(slot)
                return
        self._free.appendleft(slot)  # the warmest one next

    def sweep_leftovers(self) -> int:
        """Kill sandboxes of an earlier server with this work folder and remove its run folders. Blocks.

        Gives how many processes were killed.
        """
        killed: set[int] = set()  # some are still there when they are looked for again
        deadline = time.monotonic() + SWEEP_SECONDS
        while found := find_sandboxes(self.work):
            killed.update(process for process in found if kill_sandbox(process, self.work))
            if time.monotonic() > deadline:
                break
            time.sleep(0.01)
        for group in self._cgroups.leftovers():
            group.kill_all()
            group.remove()
        remove_tree(self.work / "runs")
        return len(killed)

    def runs_folder(self) -> Path:
        """Give where the folders of running actions belong: in memory where control groups count it, else in `work`."""
        folder = memory_folder(self.work, self.accounts) if self._cgroups.version else None
        return (folder or self.work) / "runs"

    async def close(self) -> None:
        """Kill what still runs and remove everything the backend made."""
        program, self._filter = self._filter, None
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_exception(StartFailed("the server is stopping"))
        while self._starting:
            await asyncio.wait(self._starting)
        running = list(self._running)
        await asyncio.gather(*(execution.terminate(0) for execution in running))
        await asyncio.gather(*(execution.wait() for execution in running))
        self._spawning.shutdown()
        for group in self._groups:
            if group is not None:
                group.remove()
        if program is not None:
            program.close()


def find_sandboxes(work: Path) -> list[int]:
    """Find sandboxes by the work folder's path on their command line."""
    return [process for process in all_processes() if is_sandbox(process, work)]


def is_sandbox(process: int, work: Path) -> bool:
    """Whether a process is a sandbox, or about to become one, that shows parts of this work folder."""
    try:
        words = Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    marker = os.fsencode(work) + b"/"
    return b"--json-status-fd" in words and any(word.startswith(marker) for word in words)


def kill_sandbox(process: int, work: Path) -> bool:
    """Kill a process if it is a sandbox still; tells whether it was."""
    with suppress(OSError):
        handle = os.pidfd_open(process)
        try:
            if is_sandbox(process, work):
                signal.pidfd_send_signal(handle, signal.SIGKILL)
                return True
        finally:
            os.close(handle)
    return False


def watch(process: Process) -> int:
    """Give a handle of a process that was just started; it is ended if there is none. Blocks. Raises OSError."""
    try:
        return os.pidfd_open(process.pid)
    except OSError:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        raise


def open_pipes(ours: list[int], theirs: list[int], what_we_do: str) -> None:
    """Make pipes, one for each letter: `r` for one that we read, `w` for one that we write. Raises OSError."""
    for letter in what_we_do:
        read, write = os.pipe()
        ours.append(read if letter == "r" else write)
        theirs.append(write if letter == "r" else read)


def make_own_network(tools: NetworkTools | str, accounts: Accounts) -> OwnNetwork:
    """Make the network of one sandbox, not open yet. Raises StartFailed where this host cannot."""
    if isinstance(tools, str):
        raise StartFailed(f"network 'loopback-refused' is not possible on this server: {tools}")
    return OwnNetwork(tools, is_other_account=accounts.uid_base is not None)


def close_all(descriptors: list[int]) -> None:
    """Close descriptors."""
    for descriptor in descriptors:
        os.close(descriptor)


def advice(said: str) -> str:
    """Add to what was said how to mend it."""
    found = next((hint for text, hint in HINTS.items() if text in said), None)
    return f"{said} ({found})" if found else said
