"""What one step finds below /tmp/infraxys and nobody else does: its argument, its user, its variables, its instance."""

import json
import os
import shlex
import stat
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from infraxys.engine.backends.host import remove_tree
from infraxys.engine.limits import NO_WISHES, Wishes
from infraxys.engine.masking import Masker
from infraxys.engine.plan import PlannedModule, PlannedStep
from infraxys.engine.preparation import preparation
from infraxys.spec.names import is_exportable

ROOT = "/tmp/infraxys"  # noqa: S108 - the fixed path inside the sandbox
REST_CLIENT = "INFRAXYS-CONFIG/INFRAXYS-REST-CLIENT"  # below variables: where clients of the API look for their token
MAX_EXPORTED = 128 * 1024 - 1024  # bytes; the kernel executes nothing with a longer variable in its environment


@dataclass(frozen=True, slots=True)
class RunVariable:
    """A variable that a step gets. `file` is its place below `variables`; None for one that is not saved to a file.

    `type` is a word that those who read it know, such as SSH-PRIVATE-KEY.
    """

    name: str
    value: str
    is_exported: bool = False
    file: str | None = None
    is_secret: bool = False
    type: str = ""


@dataclass(frozen=True, slots=True)
class RunContext:
    """What a step gets from its run. `argument` is the JSON text, byte for byte as it was given.

    `token` is what the step may call the API at `rest_endpoint` with, secret and good while the run lasts. `masker`
    keeps it, and every secret among the `variables` of the run's steps, out of what is written and said.
    `overrides` are variables that win over attributes and properties. `wishes` are what the project says about limits.
    A run that `reads_only` leaves nothing for people: no artefacts, and folders of the host only to be read.
    `thread_number` tells runs of one action apart that execute at the same time.
    """

    run_id: str
    argument: bytes
    user_name: str
    user_full_name: str
    grants: tuple[str, ...]
    teams: tuple[str, ...] = ()
    projects: tuple[str, ...] = ()
    is_interactive: bool = False
    workflow_name: str | None = None
    timeout_seconds: float | None = None
    rest_endpoint: str | None = None
    wishes: Wishes = NO_WISHES
    token: str | None = None
    project_name: str = ""
    overrides: Mapping[str, str] = field(default_factory=dict)
    variables: tuple[RunVariable, ...] = ()
    thread_number: int = 1
    masker: Masker | None = None
    reads_only: bool = False


def lay_out(
    folder: Path,
    environment: Path,
    step: PlannedStep,
    run: RunContext,
    modules: Sequence[tuple[PlannedModule, Path]] = (),
) -> None:
    """Write the step's own part of the tree: `system` (shown read-only) and `instance` (its private copy). Blocks.

    `environment` is the folder of the rendered environment, `modules` are those enabled, with their folders. Raises
    OSError.
    """
    system, instance = f"{folder}/system", f"{folder}/instance"
    for path in (str(folder), system, f"{system}/custom"):
        make_folder(path)
    user = {
        "username": run.user_name,
        "full_name": run.user_full_name,
        "grants": list(run.grants),
        "teams": list(run.teams),
        "projects": list(run.projects),
    }
    variables = {**step.variables, **run_variables(step, run)}
    given = () if step.is_quick else run.variables
    exports = exported(given) + shell_exports(variables)
    if step.image:  # nothing is prepared there, and any shell can read this
        exports = exported(given) + shell_exports({**step.attributes, **variables})
    elif not step.is_quick:
        attributes = {name: value for name, value in step.attributes.items() if name not in variables}
        exports += preparation(ROOT, Path(environment), step, modules, shell_exports(attributes), run.overrides)
    write(f"{system}/custom/arguments.json", run.argument)
    write(f"{system}/current_user.json", json.dumps(user).encode())
    write(f"{system}/grants", "".join(f"{grant}\n" for grant in run.grants).encode(errors="replace"))
    write(f"{system}/environment.sh", exports.encode(errors="replace"))
    if run.overrides:
        make_folder(f"{folder}/run_overrides")
        lines = [f"{as_variable(name)}={escape_property(value)}\n" for name, value in run.overrides.items()]
        write(f"{folder}/run_overrides/override.auto_properties", "".join(lines).encode(errors="replace"))
    if run.token is not None:
        write(f"{system}/token", run.token.encode())
        client = {"endpoint": server_of(run.rest_endpoint or ""), "token": run.token}
        write(f"{system}/rest_client.json", json.dumps(client).encode())
    if any(variable.file is not None for variable in given):
        write_variables(folder / "variables", given)
    os.symlink(f"{ROOT}/core/has_grant", f"{system}/has_grant")  # noqa: PTH211 - as below
    copy_rendered(f"{environment}/{step.directory}", instance)


def exported(variables: Iterable[RunVariable]) -> str:
    """Write the variables that are exported."""
    values = {item.name: item.value for item in variables if item.is_exported and is_exportable(item.name)}
    return shell_exports(values) if values else ""


def write_variables(folder: Path, variables: Iterable[RunVariable]) -> None:
    """Write the variables that are saved to files, with what `link_rest_client` makes. Raises OSError."""
    make_folder(str(folder))
    for variable in variables:
        if variable.file is not None:
            path = folder / variable.file
            if not path.parent.exists():
                make_folder(str(path.parent))
            # The action's account is that of the server; of a server as root it is another one.
            write(path, variable.value.encode(errors="replace"), 0o444 if os.geteuid() == 0 else 0o400)
    link_rest_client(folder)


def link_rest_client(folder: Path) -> None:
    """Make the place where clients of the API look for endpoint and token; each run has its own behind the link."""
    client = folder / REST_CLIENT
    if client.exists():
        return
    if not client.parent.exists():
        make_folder(str(client.parent))
    client.symlink_to(f"{ROOT}/system/rest_client.json")


def as_variable(name: str) -> str:
    """Give the variable that a named argument sets."""
    return name.replace("-", "_").lower()


def escape_property(value: str) -> str:
    """Write a value as `export_file` of the core library reads it from a file of properties."""
    return value.replace("\\", "\\\\").replace("\r\n", "\n").replace("\n", "{CARRIAGE_RETURN}").replace("\0", "")


# Plain calls of the system: this is done for every step, and pathlib and shutil cost more than the disk.


def make_folder(path: str) -> None:
    """Make a new folder that actions may see, whatever the umask of the server."""
    os.mkdir(path)  # noqa: PTH102 - see above
    os.chmod(path, 0o755)  # noqa: PTH101, S103 - see above; no secret is in it


def write(path: str | Path, data: bytes, mode: int = 0o444) -> None:
    """Write a new file that actions may read, whatever the umask of the server."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
        os.fchmod(descriptor, mode)
    finally:
        os.close(descriptor)


def copy_rendered(source: str, target: str) -> None:
    """Copy the files of a rendered folder, all of them plain, so that their owner may change them."""
    make_folder(target)
    with os.scandir(source) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                copy_rendered(entry.path, f"{target}/{entry.name}")
            else:
                mode = entry.stat(follow_symlinks=False).st_mode
                write(f"{target}/{entry.name}", Path(entry.path).read_bytes(), stat.S_IMODE(mode) | 0o200)


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
        "THREAD_NUMBER": str(run.thread_number),
        "thread_number": str(run.thread_number),
        "ON_PROVISIONING_SERVER": "true",
        "EXECUTING_PIPELINE": "false",
        "provisioning_server": "localhost",
        "provisioning_server_docker_image": step.image,
        "project_name": run.project_name,
    }
    if run.workflow_name is not None:
        variables["WORKFLOW"] = run.workflow_name
    if run.rest_endpoint is not None:
        variables["INFRAXYS_REST_ENDPOINT"] = run.rest_endpoint
        variables["infraxys_request_url"] = server_of(run.rest_endpoint)
    return variables


def server_of(rest_endpoint: str) -> str:
    """Give the address of the server itself: what clients of the API put `/api/v1` behind."""
    return rest_endpoint.partition("/api/")[0]


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
    """Remove a step's folder. Links are removed, never followed. Blocks."""
    with suppress(OSError, RecursionError):
        remove_tree(folder)
    with suppress(OSError):
        if folder.exists():
            flatten(folder)
            remove_tree(folder)


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
