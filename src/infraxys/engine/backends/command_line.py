"""The sandbox's command line: a pure function of what was found on the host and of the action."""

from dataclasses import dataclass
from pathlib import Path

from infraxys.engine.backends.base import ActionSpec, Mount

SHARED_MEMORY_BYTES = 64 * 1024 * 1024
VAR_TMP_BYTES = 16 * 1024 * 1024
INFRAXYS_ROOT = "/tmp/infraxys"  # noqa: S108 - the fixed path inside the sandbox
# Joins the control groups named before "--", sets what they do not cover, becomes the rest.
LAUNCHER = """while [ "$1" != -- ]; do echo $$ >"$1" || exit 126; shift; done; shift
ulimit -c 0; ulimit -n "$1"; [ "$2" = 0 ] || ulimit -u "$2" 2>/dev/null || ulimit -p "$2"
[ "$3" = 0 ] || ulimit -f "$3"; shift 3; exec "$@\""""


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What the host offers; found once at start."""

    bwrap: str
    setpriv: str | None
    merged_usr: bool
    etc: Path
    extra_read_only: tuple[Path, ...] = ()


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
    """Give the whole command: launcher, change of user (as root), bubblewrap, the action's command.

    The last argument of the action's command is the number of the gate's descriptor: the bootstrap waits there.
    """
    limits = action.limits
    processes = 0 if join_files else limits.processes
    blocks = 0 if limits.file_bytes is None else max(1, limits.file_bytes // 512)
    launcher = ["/bin/sh", "-c", LAUNCHER, "sh", *join_files, "--"]
    launcher += [str(limits.open_files), str(processes), str(blocks)]
    if uid is not None and facts.setpriv:
        launcher += [facts.setpriv, f"--reuid={uid}", f"--regid={gid}", "--clear-groups", "--"]
    return [*launcher, facts.bwrap, *sandbox_options(facts, action, descriptors), "--", *action.command]


def sandbox_options(facts: HostFacts, action: ActionSpec, descriptors: Descriptors) -> list[str]:
    """Give the options of bubblewrap, in the order that matters."""
    limits = action.limits
    options = ["--unshare-user", "--uid", "0", "--gid", "0", "--disable-userns"]
    options += ["--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try", "--hostname", "infraxys"]
    if not action.network:
        options.append("--unshare-net")
    options += ["--die-with-parent", "--cap-drop", "ALL", "--new-session"]
    options += _system(facts)
    options += ["--proc", "/proc", "--dev", "/dev"]
    options += ["--perms", "1777", "--size", str(SHARED_MEMORY_BYTES), "--tmpfs", "/dev/shm"]  # noqa: S108
    options += ["--remount-ro", "/dev"]
    options += ["--perms", "1777", "--size", str(limits.tmp_bytes), "--tmpfs", "/tmp"]  # noqa: S108
    options += ["--perms", "0700", "--size", str(limits.home_bytes), "--tmpfs", "/root"]
    options += ["--perms", "0755", "--size", "65536", "--tmpfs", INFRAXYS_ROOT]
    inside = [mount for mount in action.mounts if mount.target.startswith(INFRAXYS_ROOT)]
    outside = [mount for mount in action.mounts if not mount.target.startswith(INFRAXYS_ROOT)]
    options += _binds(inside)
    options += ["--remount-ro", INFRAXYS_ROOT]
    options += _binds(outside)
    options += ["--perms", "1777", "--size", str(VAR_TMP_BYTES), "--tmpfs", "/var/tmp"]  # noqa: S108
    options += ["--perms", "0755", "--size", "1048576", "--tmpfs", "/run"]
    options += ["--remount-ro", "/", "--chdir", action.directory]
    options += ["--json-status-fd", str(descriptors.status), "--seccomp", str(descriptors.seccomp)]
    return options


def _system(facts: HostFacts) -> list[str]:
    options = ["--ro-bind", "/usr", "/usr"]
    for name in ("bin", "sbin", "lib", "lib64"):
        if facts.merged_usr:
            options += ["--symlink", f"usr/{name}", f"/{name}"]
        else:
            options += ["--ro-bind-try", f"/{name}", f"/{name}"]
    options += ["--ro-bind", str(facts.etc), "/etc"]
    for path in facts.extra_read_only:
        options += ["--ro-bind", str(path), str(path)]
    return options


def _binds(mounts: list[Mount]) -> list[str]:
    options = []
    for mount in mounts:
        options += ["--bind" if mount.writable else "--ro-bind", str(mount.source), mount.target]
    return options
