"""What one step finds below /tmp/infraxys and nobody else does: its argument, its user, its variables, its instance."""

import json
import os
import shlex
import shutil
import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from infraxys.engine.backends.host import remove_tree
from infraxys.engine.limits import NO_WISHES, Wishes
from infraxys.engine.plan import PlannedStep

ROOT = "/tmp/infraxys"  # noqa: S108 - the fixed path inside the sandbox
MAX_EXPORTED = 128 * 1024 - 1024  # bytes; the kernel executes nothing with a longer variable in its environment


@dataclass(frozen=True, slots=True)
class RunContext:
    """What a step gets from its run. `argument` is the JSON text, byte for byte as it was given.

    `wishes` are what the project says about limits. `token` is what the step may call the API at `rest_endpoint` with,
    secret and good while the run lasts.
    """

    run_id: str
    argument: bytes
    user_name: str
    user_full_name: str
    grants: tuple[str, ...]
    teams: tuple[str, ...] = ()
    is_interactive: bool = False
    workflow_name: str | None = None
    timeout_seconds: float | None = None
    rest_endpoint: str | None = None
    wishes: Wishes = NO_WISHES
    token: str | None = None


def lay_out(folder: Path, environment: Path, step: PlannedStep, run: RunContext) -> None:
    """Write the step's own part of the tree: `system` (shown read-only) and `instance` (its private copy). Blocks.

    `environment` is the folder of the rendered environment. Raises OSError.
    """
    custom = folder / "system" / "custom"
    custom.mkdir(parents=True)
    user = {
        "username": run.user_name,
        "full_name": run.user_full_name,
        "grants": list(run.grants),
        "teams": list(run.teams),
        "projects": [],
    }
    exports = shell_exports(step.attributes) + shell_exports({**step.variables, **run_variables(step, run)})
    write(custom / "arguments.json", run.argument)
    write(folder / "system" / "current_user.json", json.dumps(user).encode())
    write(folder / "system" / "grants", "".join(f"{grant}\n" for grant in run.grants).encode(errors="replace"))
    write(folder / "system" / "environment.sh", exports.encode(errors="replace"))
    if run.token is not None:
        write(folder / "system" / "token", run.token.encode())
        client = {"endpoint": run.rest_endpoint, "token": run.token}
        write(folder / "system" / "rest_client.json", json.dumps(client).encode())
    (folder / "system" / "has_grant").symlink_to(f"{ROOT}/core/has_grant")
    instance = folder / "instance"
    shutil.copytree(environment / step.directory, instance, symlinks=True)
    for path in instance.rglob("*"):
        path.chmod(path.stat().st_mode | 0o200)
    for path in (folder.parent, folder, folder / "system", custom, instance):  # whatever the umask of the server
        path.chmod(0o755)


def write(path: Path, data: bytes) -> None:
    """Write a file that actions may read, whatever the umask of the server."""
    path.write_bytes(data)
    path.chmod(0o444)


def run_variables(step: PlannedStep, run: RunContext) -> dict[str, str]:
    """Give the variables that belong to the run rather than to the plan."""
    environment, container, instance = step.directory.split("/", 2)
    variables = {
        "APPLICATION_USER": run.user_name,
        "INTERACTIVE": "true" if run.is_interactive else "false",
        "RUN_GUID": run.run_id,
        "STEP_IDEMPOTENCY_KEY": f"{run.run_id}-{step.id}",
        "INFRAXYS_ROOT": ROOT,
        "MODULES_ROOT": f"{ROOT}/modules",
        "ENVIRONMENTS_ROOT": f"{ROOT}/environments",
        "ENVIRONMENT_DIR": f"{ROOT}/environments/{environment}",
        "CONTAINER_DIR": f"{ROOT}/environments/{environment}/{container}",
        "INSTANCE_DIR": f"{ROOT}/environments/{environment}/{container}/{instance}",
        "THREAD_NUMBER": "1",
        "thread_number": "1",
        "ON_PROVISIONING_SERVER": "true",
    }
    if run.workflow_name is not None:
        variables["WORKFLOW"] = run.workflow_name
    if run.rest_endpoint is not None:
        variables["INFRAXYS_REST_ENDPOINT"] = run.rest_endpoint
    return variables


def shell_exports(variables: Mapping[str, str]) -> str:
    """Write variables as a shell reads them back unchanged. NUL cannot be in a variable and is left out.

    One that is too long for the environment of a program is a variable of the shell only.
    """
    lines = []
    for name, value in variables.items():
        quoted = shlex.quote(value.replace("\0", ""))
        is_short = len(name) + len(value.encode(errors="replace")) < MAX_EXPORTED
        lines.append(f"{'export ' if is_short else ''}{name}={quoted}\n")
    return "".join(lines)


def clear(folder: Path) -> None:
    """Remove a step's folder, and the run's when it was the last one. Links are removed, never followed. Blocks."""
    with suppress(OSError, RecursionError):
        remove_tree(folder)
    with suppress(OSError):
        if folder.exists():
            flatten(folder)
            remove_tree(folder)
    with suppress(OSError):
        folder.parent.rmdir()


def flatten(folder: Path) -> None:
    """Bring the folders of a tree that is too deep to be removed to its top, one after the other."""
    number = 0
    waiting = [entry.name for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False)]
    while waiting:
        upper = folder / waiting.pop()
        upper.chmod(stat.S_IRWXU)
        for entry in list(os.scandir(upper)):
            if entry.is_dir(follow_symlinks=False):
                number += 1
                name = f".flat-{number}"
                Path(entry.path).chmod(stat.S_IRWXU)
                Path(entry.path).rename(folder / name)
                waiting.append(name)
