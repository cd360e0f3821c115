"""What a container is made from: a pure function of the action and of what is known of the engine."""

import posixpath
import resource
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infraxys.engine.backends.base import ActionSpec, Mount
from infraxys.engine.backends.command_line import (
    INFRAXYS_ROOT,
    RUN_BYTES,
    SHARED_MEMORY_BYTES,
    VAR_TMP_BYTES,
    check_environment,
    split_mounts,
)

LABEL = "infraxys.work"
HOME = "/home/infraxys"  # in no image: over a folder of the image, a memory file system would get its access rights
ROOT_HOME = "/root"  # where other backends have an empty home
MAX_PROCESSES = 32768  # of the whole account; what the action may start is held by its control group
SOURCE = ("/bin/bash", "--norc", "--noprofile", "-c", '. "$@"', "bash")


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """What the container engine at the socket is.

    `is_rootless`: root inside a container is this process's own account outside. `is_podman`: it gives a memory file
    system the access rights of what is below, unless told not to. `has_limits`: it can limit memory and processes.
    """

    name: str
    version: str
    is_rootless: bool
    is_podman: bool
    has_limits: bool


@dataclass(frozen=True, slots=True)
class Place:
    """What a container gets from its backend: account, network, skeleton of the fixed path, mark of the work folder."""

    user: str
    network: str
    skeleton: Path
    mark: str


def build_body(action: ActionSpec, image: str, facts: EngineFacts, place: Place) -> dict[str, Any]:
    """Give the body of the call that makes the container, from an image's id. Raises ValueError.

    What is in it can be read by whoever may use the engine: no secret is in it.
    """
    environment = {**action.environment, "HOME": HOME}
    check_environment(environment)
    command = action.command
    if command[0] == "source":  # the shell that sources a script, which other backends start anyway
        command = (*SOURCE, *command[1:])
    if command[0]:
        program = {"Entrypoint": list(command), "Cmd": []}
    else:
        program = {"Cmd": list(command[1:])} if command[1:] else {}
    return {
        "Image": image,
        **program,
        "Env": [f"{name}={value}" for name, value in environment.items()],
        "User": place.user,
        "WorkingDir": HOME if action.directory == ROOT_HOME else action.directory,
        "Labels": {LABEL: place.mark, "infraxys.run": action.run_id, "infraxys.step": action.step_id},
        "AttachStdin": True,
        "AttachStdout": True,
        "AttachStderr": True,
        "OpenStdin": True,
        "StdinOnce": True,
        "Tty": action.is_interactive,
        "HostConfig": host_config(action, facts, place),
    }


def host_config(action: ActionSpec, facts: EngineFacts, place: Place) -> dict[str, Any]:
    """Give the limits, the mounts and what the container may not."""
    limits = action.limits
    config: dict[str, Any] = {
        "NetworkMode": place.network if action.network else "none",
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges"],
        "Privileged": False,
        "ReadonlyRootfs": True,
        "Init": True,
        "IpcMode": "private",
        "RestartPolicy": {"Name": "no"},
        "LogConfig": {"Type": "none"},
        "Ulimits": ulimits(action, facts),
        "ShmSize": SHARED_MEMORY_BYTES,
        "Tmpfs": {
            "/tmp": tmpfs(limits.tmp_bytes, "1777", facts),  # noqa: S108 - inside the container
            HOME: tmpfs(limits.home_bytes, "1777", facts),
            "/var/tmp": tmpfs(VAR_TMP_BYTES, "1777", facts),  # noqa: S108 - inside the container
            "/run": tmpfs(RUN_BYTES, "0755", facts),
        },
        "Mounts": [bind(mount) for mount in all_mounts(action.mounts, place.skeleton)],
    }
    if facts.has_limits:
        config |= {
            "Memory": limits.memory_bytes,
            "MemorySwap": limits.memory_bytes,
            "PidsLimit": limits.processes,
            "NanoCpus": int((limits.cpus or 0) * 1e9),
        }
    return config


def all_mounts(mounts: Iterable[Mount], skeleton: Path) -> list[Mount]:
    """Give the mounts with the fixed path itself, read-only, so that nobody can move it away or add to it."""
    inside, outside = split_mounts(mounts)
    return [Mount(skeleton, INFRAXYS_ROOT), *inside, *outside]


def lay_skeleton(skeleton: Path, mounts: Iterable[Mount]) -> None:
    """Make the empty folders that the mounts below the fixed path lie over. Blocks. Raises OSError and ValueError."""
    inside, _ = split_mounts(mounts)
    skeleton.mkdir(parents=True)
    for mount in inside:
        folder = skeleton / posixpath.relpath(mount.target, INFRAXYS_ROOT)
        folder.mkdir(parents=True, exist_ok=True)
    for path in [skeleton, *skeleton.rglob("*")]:
        path.chmod(0o755)


def ulimits(action: ActionSpec, facts: EngineFacts) -> list[dict[str, Any]]:
    """Give the limits of processes: the engine's own defaults may be more than this machine lets it set."""
    wanted = {
        "nofile": (action.limits.open_files, resource.RLIMIT_NOFILE),
        "nproc": (MAX_PROCESSES, resource.RLIMIT_NPROC),
        "core": (0, resource.RLIMIT_CORE),
    }
    values = {name: lowest(value, resource.getrlimit(number)[1]) for name, (value, number) in wanted.items()}
    if action.limits.file_bytes is not None:
        values["fsize"] = action.limits.file_bytes
    if not facts.has_limits:
        values["data"] = action.limits.memory_bytes
    return [{"Name": name, "Soft": value, "Hard": value} for name, value in values.items()]


def lowest(wanted: int, highest: int) -> int:
    """Give what is wanted, or the highest that is possible."""
    return wanted if highest == resource.RLIM_INFINITY else min(wanted, highest)


def tmpfs(size: int, mode: str, facts: EngineFacts) -> str:
    """Give the options of a memory file system."""
    return f"rw,exec,nosuid,nodev,size={size},mode={mode}" + (",notmpcopyup" if facts.is_podman else "")


def bind(mount: Mount) -> dict[str, Any]:
    """Give a mount as the API has it."""
    return {
        "Type": "bind",
        "Source": str(mount.source),
        "Target": mount.target,
        "ReadOnly": not mount.writable,
        "BindOptions": {"Propagation": "rprivate"},
    }
