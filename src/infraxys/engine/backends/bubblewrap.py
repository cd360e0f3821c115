"""The default backend: every action in a bubblewrap sandbox of its own. No daemon, no image."""

import asyncio
import hashlib
import os
import shutil
import signal
import subprocess
from collections import deque
from contextlib import suppress
from pathlib import Path

from infraxys.engine.backends.base import ActionSpec, BackendUnavailable, StartFailed
from infraxys.engine.backends.cgroups import Cgroups, SlotGroup, detect
from infraxys.engine.backends.command_line import Descriptors, HostFacts, build_command
from infraxys.engine.backends.execution import SandboxExecution
from infraxys.engine.backends.host import (
    Accounts,
    find_accounts,
    find_facts,
    hand_over,
    is_reachable,
    prepare_work_directory,
)
from infraxys.engine.backends.seccomp import FilterFile, FilterUnavailable, build_filter

# The shell that every action starts in. It waits at the gate: without the byte that says "this action can be found
# and killed" nothing of the action runs. Then it closes the gate and becomes, or sources, the command.
GATE = (
    'read -r -N 1 -u "$1" _ || exit 125; eval "exec $1<&-"; shift; '
    'if [ "$1" = source ]; then shift; . "$@"; else exec "$@"; fi'
)
SHELL = ("/bin/bash", "--norc", "--noprofile", "-c", GATE, "bash")
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "USER": "root",
    "TERM": "dumb",
}


class BubblewrapBackend:
    """Runs actions with bubblewrap. `work` is the folder whose parts are shown to actions; `slots` run at once.

    Call `prepare` before anything else.
    """

    name = "bubblewrap"

    def __init__(
        self, work: Path, *, slots: int = 16, extra_read_only: tuple[Path, ...] = (), bwrap: str | None = None
    ) -> None:
        self.work = work
        self.accounts: Accounts = find_accounts()
        self._slots = slots
        self._extra, self._bwrap = extra_read_only, bwrap
        self._free: deque[int] = deque(range(slots))
        self._waiting: deque[asyncio.Future[int]] = deque()
        self._facts: HostFacts | None = None
        self._filter: FilterFile | None = None
        self._cgroups = Cgroups(0)
        self._groups: dict[int, SlotGroup | None] = {}
        self._running: set[SandboxExecution] = set()

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
            program = build_filter()
        except FilterUnavailable as error:
            raise BackendUnavailable("libseccomp is not installed: apt-get install libseccomp2") from error
        self._filter = FilterFile(program)
        self._facts = find_facts(self.work, self.accounts, self._extra, self._bwrap)
        self._cgroups = detect(f"infraxys-{hashlib.sha256(str(self.work.absolute()).encode()).hexdigest()[:12]}")
        self.sweep()

    @property
    def limits_by(self) -> str:
        """What enforces limits here, for people: "cgroup v1", "cgroup v2" or "rlimits"."""
        return f"cgroup v{self._cgroups.version}" if self._cgroups.version else "rlimits"

    async def probe(self) -> None:
        """Execute `true` with the real settings. Raises BackendUnavailable naming what failed."""
        try:
            execution = await self.start(ActionSpec("probe", "probe", ("/bin/true",), ENVIRONMENT, "/"))
            async for _ in execution.output():
                pass
            end = await execution.wait()
        except StartFailed as error:
            raise BackendUnavailable(f"the sandbox does not start: {error}") from error
        if end.code != 0:
            raise BackendUnavailable(f"the sandbox does not work here: {advice(end.start_error or f'exit {end.code}')}")

    async def start(self, action: ActionSpec) -> SandboxExecution:
        """Start one action; waits for a free slot. Raises StartFailed."""
        slot = await self._take_slot()
        try:
            return self._spawn(action, slot)
        except BaseException as error:
            self._give_slot(slot)
            if isinstance(error, OSError):
                raise StartFailed(f"the sandbox could not be started: {error.strerror}") from error
            raise

    def _spawn(self, action: ActionSpec, slot: int) -> SandboxExecution:
        facts, program = self._facts, self._filter
        if facts is None or program is None:
            raise StartFailed("the sandbox was not prepared")
        uid, gid = self.accounts.uid(slot), self.accounts.gid
        if uid is not None and gid is not None:
            for mount in action.mounts:
                if mount.writable:
                    hand_over(mount.source, uid, gid)
        group = self._group(slot)
        if group is not None:
            group.apply(action.limits)
        status_read, status_write = os.pipe()
        gate_read, gate_write = os.pipe()
        seccomp = program.open()
        ours, theirs = [status_read, gate_write], [status_write, gate_read, seccomp]
        try:
            command = build_command(
                facts,
                ActionSpec(
                    action.run_id,
                    action.step_id,
                    (*SHELL, str(gate_read), *action.command),
                    action.environment,
                    action.directory,
                    action.mounts,
                    action.network,
                    action.limits,
                ),
                Descriptors(seccomp, status_write, gate_read),
                uid=uid,
                gid=gid,
                join_files=group.join_files if group else (),
            )
            process = subprocess.Popen(  # noqa: S603 - the command is built above, from checked parts
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=dict(action.environment),
                cwd="/",
                pass_fds=theirs,
                start_new_session=True,
            )
        except BaseException:
            for descriptor in ours:
                os.close(descriptor)
            raise
        finally:
            for descriptor in theirs:
                os.close(descriptor)
        execution = SandboxExecution(process, status_read, gate_write, group, lambda: self._ended(execution, slot))
        self._running.add(execution)
        return execution

    def _ended(self, execution: SandboxExecution, slot: int) -> None:
        self._running.discard(execution)
        self._give_slot(slot)

    def _group(self, slot: int) -> SlotGroup | None:
        if slot not in self._groups:
            self._groups[slot] = self._cgroups.slot(slot)
        return self._groups[slot]

    async def _take_slot(self) -> int:
        if self._free:
            return self._free.popleft()
        turn: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        return await turn

    def _give_slot(self, slot: int) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(slot)
                return
        self._free.appendleft(slot)  # the warmest one next

    def sweep(self) -> int:
        """Kill sandboxes of an earlier server with this work folder and remove its run folders. Blocks."""
        killed = 0
        for process in find_sandboxes(self.work):
            with suppress(ProcessLookupError, PermissionError):
                os.kill(process, signal.SIGKILL)
                killed += 1
        for group in self._cgroups.leftovers():
            group.kill_all()
            group.remove()
        shutil.rmtree(self.work / "runs", ignore_errors=True)
        return killed

    async def close(self) -> None:
        """Kill what still runs and remove everything the backend made."""
        running = list(self._running)
        await asyncio.gather(*(execution.terminate(0) for execution in running))
        await asyncio.gather(*(execution.wait() for execution in running))
        for group in self._groups.values():
            if group is not None:
                group.remove()
        if self._filter is not None:
            self._filter.close()
            self._filter = None


def find_sandboxes(work: Path) -> list[int]:
    """Find sandboxes by the work folder's path on their command line."""
    marker = f"{work.absolute()}/".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with suppress(OSError):
            words = (entry / "cmdline").read_bytes().split(b"\0")
            if b"--json-status-fd" in words and any(word.startswith(marker) for word in words):
                found.append(int(entry.name))
    return found


def advice(said: str) -> str:
    """Add to what bubblewrap said how to mend it."""
    hints = {
        "Can't mount proc": "in a container, allow it with --security-opt seccomp=unconfined --security-opt systempaths=unconfined",
        "Creating new namespace failed": "user namespaces are not allowed: sysctl kernel.unprivileged_userns_clone=1, or an AppArmor profile",
        "No permissions to create new namespace": "user namespaces are not allowed: sysctl kernel.unprivileged_userns_clone=1",
        "setting up uid map": "user namespaces are restricted (AppArmor: sysctl kernel.apparmor_restrict_unprivileged_userns=0)",
        "pivot_root": "the root file system is an initramfs; start in a container or with a real root",
        "setpriv": "this process may not change to the accounts of the sandbox; it is root without the right to",
    }
    found = next((hint for text, hint in hints.items() if text in said), None)
    return f"{said} ({found})" if found else said
