"""The sandbox's command line: a pure function of what was found on the host and of the action."""

import posixpath
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from infraxys.engine.backends.base import ActionSpec, Mount

SHARED_MEMORY_BYTES = 64 * 1024 * 1024
VAR_TMP_BYTES = 16 * 1024 * 1024
RUN_BYTES = 1024 * 1024
SHARED_THREADS = 1024  # what other actions of a shared account may start, where no control groups count each alone
INFRAXYS_ROOT = "/tmp/infraxys"  # noqa: S108 - the fixed path inside the sandbox
SSH_FOLDERS = ("", "/keys", "/generated.d")  # the bootstrap would have to start a program to make them
SYSTEM_FOLDERS = ("usr", "bin", "sbin", "lib", "lib64", "etc", "proc", "dev", "sys")
# Joins the control groups named before "--", sets the limits that they do not cover (0 is none), becomes the rest.
# dash spells the limit of processes -p, other shells -u. When the host's memory runs out, actions go before the server.
LAUNCHER = """while [ "$1" != -- ]; do echo $$ >"$1" || exit 126; shift; done; shift
umask 022; echo 500 >/proc/self/oom_score_adj
ulimit -c 0; ulimit -n "$1" 2>/dev/null; [ "$2" = 0 ] || ulimit -u "$2" 2>/dev/null || ulimit -p "$2"
[ "$3" = 0 ] || ulimit -f "$3"; [ "$4" = 0 ] || ulimit -d "$4"; shift 4; exec "$@\""""
# The shell that every action starts in. It waits at the gate: without the byte that says "this action can be found and
# killed" nothing of the action runs. Then it closes the gate and becomes, or sources, the command. It starts with -p so
# that nothing in the environment (BASH_ENV, exported functions) runs before the gate.
GATE = (
    'set +p; read -r -N 1 -u "$1" _ || exit 125; eval "exec $1<&-"; shift; '
    'if [ "$1" = source ]; then shift; . "$@"; else exec "$@"; fi'
)
# For an interactive action it is the first process of a session whose terminal are the standard streams, which
# bubblewrap only passes on: an interrupt key ends what the action has in the foreground, and nothing of the sandbox.
SHELL = ("/bin/bash", "--norc", "--noprofile", "-p", "-c", GATE, "bash")
# Variables with which the C library or a shell would run other code in the launcher, which is outside of the sandbox.
DANGEROUS = re.compile(r"(LD_|BASH_|MALLOC_|GLIBC_|GCONV_|RES_|SHELLOPTS$|BASHOPTS$|ENV$|IFS$|PS4$|LOCPATH$|NLSPATH$)")


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What the host offers; found once at start.

    `other_threads`: what the limit of processes has to allow besides the action's own, because the kernel counts by
    account and the action has that of the server. `own_resolver` is the resolv.conf of actions with a network of their
    own.
    """

    bwrap: str
    setpriv: str | None
    merged_usr: bool
    etc: Path
    extra_read_only: tuple[Path, ...] = ()
    other_threads: int = 0
    setsid: str | None = None
    own_resolver: Path | None = None


@dataclass(frozen=True, slots=True)
class Descriptors:
    """Numbers of the inherited descriptors: seccomp program, status pipe, gate."""

    seccomp: int
    status: int
    gate: int


def build_command(
    facts: HostFacts,
    action: ActionSpec,
    descriptors: Descriptors,
    *,
    uid: int | None,
    gid: int | None,
    join_files: tuple[str, ...] = (),
) -> list[str]:
    """Give the whole command: launcher, change of user (as root), bubblewrap, the gate, the action's command.

    Limits that control groups would hold are left to the launcher when `join_files` is empty. Raises ValueError for a
    mount whose target is not a plain absolute path outside of the system's folders, and for what the host lacks.
    """
    limits = action.limits
    processes, data_kilobytes = limits.processes + facts.other_threads, limits.memory_bytes // 1024
    if action.account and uid is not None:
        processes += SHARED_THREADS
    if join_files:
        processes = data_kilobytes = 0
    blocks = 0 if limits.file_bytes is None else max(1, limits.file_bytes // 512)
    command = ["/bin/sh", "-c", LAUNCHER, "sh", *join_files, "--"]
    command += [str(limits.open_files), str(processes), str(blocks), str(data_kilobytes)]
    if uid is not None and facts.setpriv:
        command += [facts.setpriv, f"--reuid={uid}", f"--regid={gid}", "--clear-groups", "--"]
    command += [facts.bwrap, *sandbox_options(facts, action, descriptors), "--"]
    if action.is_interactive:
        if facts.setsid is None:
            raise ValueError("an interactive action needs the command setsid on the server: apt-get install util-linux")
        command += [facts.setsid, "-c"]
    return [*command, *SHELL, str(descriptors.gate), *action.command]


def sandbox_options(facts: HostFacts, action: ActionSpec, descriptors: Descriptors) -> list[str]:
    """Give the options of bubblewrap, in the order that matters."""
    limits = action.limits
    inside, outside = split_mounts(action.mounts)
    return [
        *("--unshare-user", "--uid", "0", "--gid", "0", "--disable-userns"),
        *("--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try", "--hostname", "infraxys"),
        *(() if action.network and not action.is_loopback_refused else ("--unshare-net",)),
        # As root it may do with its own files what their modes forbid. It could change the modes, so nothing is gained,
        # but modules were written for a root that can (`chmod -R 600 ~/.aws`).
        *("--die-with-parent", "--cap-drop", "ALL", "--cap-add", "CAP_DAC_OVERRIDE"),
        *(() if action.is_interactive else ("--new-session",)),
        *_system(facts),
        *_resolver(facts, action),
        *("--proc", "/proc", "--dev", "/dev"),
        *_tmpfs("/dev/shm", "1777", SHARED_MEMORY_BYTES),  # noqa: S108 - inside the sandbox
        *("--remount-ro", "/dev"),
        *_tmpfs("/tmp", "1777", limits.tmp_bytes),  # noqa: S108 - inside the sandbox
        *_tmpfs("/root", "0700", limits.home_bytes),
        *(word for folder in SSH_FOLDERS for word in ("--perms", "0700", "--dir", f"/root/.ssh{folder}")),
        *_tmpfs("/var/tmp", "1777", VAR_TMP_BYTES),  # noqa: S108 - inside the sandbox
        *_tmpfs("/run", "0755", RUN_BYTES),
        *_binds(Mount(path, str(path)) for path in facts.extra_read_only),
        *_tmpfs(INFRAXYS_ROOT, "0755", 65536),
        *_binds(inside),
        *("--remount-ro", INFRAXYS_ROOT),
        *_binds(outside),
        *("--remount-ro", "/", "--chdir", action.directory),
        *("--json-status-fd", str(descriptors.status), "--seccomp", str(descriptors.seccomp)),
    ]


def split_mounts(mounts: Iterable[Mount]) -> tuple[list[Mount], list[Mount]]:
    """Part the mounts into those below the fixed path, which is sealed after them, and others. Raises ValueError."""
    inside: list[Mount] = []
    outside: list[Mount] = []
    for mount in mounts:
        target = mount.target
        parts = target.split("/")
        if (
            posixpath.normpath(target) != target
            or not target.startswith("/")
            or target.startswith("//")
            or "\0" in target
        ):
            raise ValueError(f"a mount's target must be a plain absolute path, not {target!r}")
        if target in ("/", "/tmp", INFRAXYS_ROOT) or parts[1] in SYSTEM_FOLDERS:  # noqa: S108 - inside the sandbox
            raise ValueError(f"nothing may be mounted over {target!r}")
        (inside if target.startswith(f"{INFRAXYS_ROOT}/") else outside).append(mount)
    return inside, outside


def check_environment(environment: Mapping[str, str]) -> None:
    """Raise ValueError for a variable that would do something before the action is in its sandbox."""
    for name, value in environment.items():
        if DANGEROUS.match(name):
            raise ValueError(f"the environment variable {name} cannot be given to an action; set it in the action")
        if not name or "=" in name or "\0" in name or "\0" in value:
            raise ValueError(f"the environment variable {name!r} has a character that no variable can have")


def _system(facts: HostFacts) -> list[str]:
    options = ["--ro-bind", "/usr", "/usr"]
    for name in ("bin", "sbin", "lib", "lib64"):
        if facts.merged_usr:
            options += ["--symlink", f"usr/{name}", f"/{name}"]
        else:
            options += ["--ro-bind-try", f"/{name}", f"/{name}"]
    return [*options, "--ro-bind", str(facts.etc), "/etc"]


def _resolver(facts: HostFacts, action: ActionSpec) -> tuple[str, ...]:
    if facts.own_resolver is None or not (action.network and action.is_loopback_refused):
        return ()
    return ("--ro-bind", str(facts.own_resolver), "/etc/resolv.conf")


def _tmpfs(target: str, mode: str, size: int) -> tuple[str, ...]:
    return ("--perms", mode, "--size", str(size), "--tmpfs", target)


def _binds(mounts: Iterable[Mount]) -> list[str]:
    options = []
    for mount in mounts:
        options += ["--bind" if mount.writable else "--ro-bind", str(mount.source), mount.target]
    return options
