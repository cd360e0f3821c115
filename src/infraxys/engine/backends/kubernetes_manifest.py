"""What an action becomes in a cluster: pure functions from the action to a Job and the Secrets with its files."""

import base64
import io
import json
import math
import os
import posixpath
import re
import stat
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infraxys.engine.backends.base import ActionSpec, Credentials, Image, Mount, StartFailed
from infraxys.engine.backends.command_line import INFRAXYS_ROOT, VAR_TMP_BYTES, check_environment, split_mounts
from infraxys.engine.backends.container_body import HOME, ROOT_HOME, SOURCE

PART_BYTES = 768 * 1024  # of a Secret, which may hold 1 MiB
MAX_PARTS = 10
USER = 65532  # no account of an image's own
ACTION, HELPER = "action", "files"
WORK, RUN, STEP, NETWORK = "infraxys/work", "infraxys/run", "infraxys/step", "infraxys/network"
NO_NETWORK_POLICY = "infraxys-no-network"
SHUTDOWN_SECONDS = 60  # more than the action's own limit: the server ends it before
KEPT_SECONDS = 3600  # a Job that has ended and that nobody removed
UNPACK = "cat /parts/part-* | tar -xz -C /tree"
# The first process of the container passes SIGTERM on to all others, and waits for the action in spite of it.
FORWARD = (
    "trap 'kill -TERM -1' TERM; exec 3<&0; \"$@\" <&3 3<&- & child=$!; exec 3<&-; "
    'while :; do wait "$child"; code=$?; kill -0 "$child" 2>/dev/null || exit "$code"; done'
)
POLICIES = {"always": "Always", "missing": "IfNotPresent", "never": "Never"}

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Names:
    """What belongs to one action: the Job's name, the mark of the server, how many Secrets hold its files."""

    job: str
    mark: str
    parts: int = 0

    @property
    def secrets(self) -> list[str]:
        """The names of the Secrets with the files."""
        return [f"{self.job}-{number}" for number in range(self.parts)]

    @property
    def registry(self) -> str:
        """The name of the Secret for the image's registry."""
        return f"{self.job}-registry"


def build_job(action: ActionSpec, image: Image, names: Names, helper_image: str) -> Json:
    """Give the Job, suspended. Raises ValueError for an action that cannot be."""
    check_environment(action.environment)
    annotations = {RUN: action.run_id, STEP: action.step_id}
    labels = {WORK: names.mark, "infraxys/job": names.job, NETWORK: "bridge" if action.network else "none"}
    metadata = {"labels": labels, "annotations": annotations}
    deadline = None if action.seconds is None else math.ceil(action.seconds) + SHUTDOWN_SECONDS
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": names.job, **metadata},
        "spec": {
            "suspend": True,
            "backoffLimit": 0,
            "completions": 1,
            "parallelism": 1,
            "ttlSecondsAfterFinished": KEPT_SECONDS,
            **({} if deadline is None else {"activeDeadlineSeconds": deadline}),
            "template": {"metadata": metadata, "spec": pod_spec(action, image, names, helper_image)},
        },
    }


def pod_spec(action: ActionSpec, image: Image, names: Names, helper_image: str) -> Json:
    """Give the pod: one container that unpacks the files, then the action's."""
    limits = action.limits
    sources = [{"secret": {"name": name, "items": [part_item(name)]}} for name in names.secrets]
    return {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": SHUTDOWN_SECONDS,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        **({"imagePullSecrets": [{"name": names.registry}]} if image.credentials else {}),
        "initContainers": [
            {
                "name": HELPER,
                "image": helper_image,
                "command": ["/bin/sh", "-c", UNPACK],
                "securityContext": container_security(),
                "resources": {
                    "limits": {"memory": "64Mi", "cpu": "500m"},
                    "requests": {"memory": "16Mi", "cpu": "10m"},
                },
                "volumeMounts": [
                    {"name": "parts", "mountPath": "/parts", "readOnly": True},
                    {"name": "tree", "mountPath": "/tree"},
                ],
            }
        ],
        "containers": [action_container(action, image)],
        "volumes": [
            {"name": "parts", "projected": {"sources": sources}},
            empty("tree", limits.tmp_bytes),
            empty("tmp", limits.tmp_bytes),
            empty("home", limits.home_bytes),
            empty("var-tmp", VAR_TMP_BYTES),
        ],
    }


def action_container(action: ActionSpec, image: Image) -> Json:
    """Give the container that executes the action."""
    command = list(action.command)
    if command[0] == "source":
        command = [*SOURCE, *command[1:]]
    if command[0] in {"/bin/sh", SOURCE[0]}:  # where there is a shell
        command = ["/bin/sh", "-c", FORWARD, "sh", *command]
    words = [literal(word) for word in command if word]
    program = {"command": words} if command[0] else {"args": words} if words else {}
    environment = {**action.environment, "HOME": HOME}
    limits = action.limits
    cpu = {} if limits.cpus is None else {"cpu": f"{max(1, round(limits.cpus * 1000))}m"}
    disk = str(limits.tmp_bytes * 2 + limits.home_bytes + VAR_TMP_BYTES)
    return {
        "name": ACTION,
        "image": image.reference,
        "imagePullPolicy": POLICIES[image.pull_policy],
        **program,
        "workingDir": HOME if action.directory == ROOT_HOME else action.directory,
        "env": [{"name": name, "value": literal(value)} for name, value in environment.items()],
        "stdin": True,
        "stdinOnce": True,
        "securityContext": container_security(),
        "resources": {
            "limits": {"memory": str(limits.memory_bytes), "ephemeral-storage": disk, **cpu},
            "requests": {"memory": str(min(limits.memory_bytes, 128 * 1024**2)), "cpu": "50m"},
        },
        "volumeMounts": [
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - inside the container
            {"name": "var-tmp", "mountPath": "/var/tmp"},  # noqa: S108 - inside the container
            {"name": "home", "mountPath": HOME},
            *tree_mounts(action.mounts),
        ],
        "terminationMessagePolicy": "File",
    }


def literal(text: str) -> str:
    """Write a text so that the cluster puts no variables into it."""
    return text.replace("$", "$$")


def container_security() -> Json:
    """Give what no container may."""
    return {
        "allowPrivilegeEscalation": False,
        "privileged": False,
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "capabilities": {"drop": ["ALL"]},
    }


def tree_mounts(mounts: Iterable[Mount]) -> list[Json]:
    """Give the parts of the unpacked files: the fixed path as a whole, and what is writable or elsewhere for itself."""
    inside, outside = split_mounts(mounts)
    found: list[Json] = [{"name": "tree", "mountPath": INFRAXYS_ROOT, "subPath": "root", "readOnly": True}]
    for mount in (*(one for one in inside if one.writable), *outside):
        part: Json = {"name": "tree", "mountPath": mount.target, "subPath": place_of(mount)}
        found.append(part if mount.writable else {**part, "readOnly": True})
    return found


def place_of(mount: Mount) -> str:
    """Say where in the archive the files of a mount are."""
    if mount.target.startswith(f"{INFRAXYS_ROOT}/"):
        return f"root/{posixpath.relpath(mount.target, INFRAXYS_ROOT)}"
    return f"outside{mount.target}"


def empty(name: str, size: int) -> Json:
    """Give an empty folder of limited size."""
    return {"name": name, "emptyDir": {"sizeLimit": str(size)}}


def part_item(secret: str) -> Json:
    """Say under which name a part of the archive is shown: the names are put together in their order."""
    number = int(secret.rpartition("-")[2])
    return {"key": "part", "path": f"part-{number:03}"}


def build_secrets(archive: bytes, names: Names, owner: Json) -> list[Json]:
    """Give the Secrets with the parts of an archive; they go with the Job that owns them."""
    return [
        {
            **secret_head(name, names, owner),
            "type": "Opaque",
            "data": {"part": base64.b64encode(archive[number * PART_BYTES : (number + 1) * PART_BYTES]).decode()},
        }
        for number, name in enumerate(names.secrets)
    ]


def build_registry_secret(credentials: Credentials, names: Names, owner: Json) -> Json:
    """Give the Secret by which the cluster fetches the image."""
    entry = {"username": credentials.username, "password": credentials.password}
    if credentials.identity_token:
        entry = {"identitytoken": credentials.identity_token}
    hub = "https://index.docker.io/v1/"
    registry = hub if credentials.registry == "docker.io" else credentials.registry
    config = json.dumps({"auths": {registry: entry}}).encode()
    return {
        **secret_head(names.registry, names, owner),
        "type": "kubernetes.io/dockerconfigjson",
        "data": {".dockerconfigjson": base64.b64encode(config).decode()},
    }


def secret_head(name: str, names: Names, owner: Json) -> Json:
    """Give what all Secrets of an action have."""
    reference = {"apiVersion": "batch/v1", "kind": "Job", "name": names.job, "uid": owner["metadata"]["uid"]}
    metadata = {"name": name, "labels": {WORK: names.mark}, "ownerReferences": [reference]}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "immutable": True}


def pack(mounts: tuple[Mount, ...]) -> bytes:
    """Put the files of all mounts into one compressed archive. Blocks. Raises OSError, ValueError and StartFailed.

    Links are packed as links, and nothing else than files, folders and links is.
    """
    split_mounts(mounts)
    targets = {mount.target for mount in mounts}
    limit = PART_BYTES * MAX_PARTS
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz", compresslevel=3) as archive:
        for folder in ("root", "outside"):
            archive.addfile(entry(folder, stat.S_IFDIR | 0o755))
        for mount in mounts:
            add_tree(archive, mount, targets - {mount.target})
            if data.tell() > limit:
                break
    if data.tell() > limit:
        message = (
            f"its files are more than {limit // 1024**2} MiB when compressed, which is all that the Kubernetes backend "
            "can hand over"
        )
        raise StartFailed(message)
    return data.getvalue()


def add_tree(archive: tarfile.TarFile, mount: Mount, others: set[str]) -> None:
    """Add a tree without those that are mounted inside it; they come for themselves."""
    place = place_of(mount)
    parents = place.split("/")[:-1]
    for count in range(2, len(parents) + 1):
        archive.addfile(entry("/".join(parents[:count]), stat.S_IFDIR | 0o755))
    top = os.fspath(mount.source)
    if not stat.S_ISDIR(mount.source.lstat().st_mode):
        raise ValueError(f"only folders can be shown to an action, not {mount.target}")
    archive.addfile(entry(place, stat.S_IFDIR | 0o755))
    for folder, folders, files in os.walk(top):
        inner = posixpath.relpath(folder, top)
        for name in sorted((*folders, *files)):
            below = posixpath.normpath(posixpath.join(inner, name))
            if f"{mount.target}/{below}" not in others:
                add_file(archive, Path(folder, name), f"{place}/{below}")
        folders[:] = [
            name for name in folders
            if f"{mount.target}/{posixpath.normpath(posixpath.join(inner, name))}" not in others
        ]  # fmt: skip


def add_file(archive: tarfile.TarFile, path: Path, name: str) -> None:
    """Add a file, a folder or a link."""
    mode = path.lstat().st_mode
    info = entry(name, mode)
    if stat.S_ISLNK(mode):
        info.linkname = os.readlink(path)  # noqa: PTH115 - the text as it is
        archive.addfile(info)
    elif stat.S_ISDIR(mode):
        archive.addfile(info)
    elif stat.S_ISREG(mode):
        with path.open("rb") as content:
            info.size = os.fstat(content.fileno()).st_size
            archive.addfile(info, content)


def entry(name: str, mode: int) -> tarfile.TarInfo:
    """Give the head of an entry: nobody's, of no time, with the mode that actions see."""
    info = tarfile.TarInfo(name)
    if stat.S_ISDIR(mode):
        info.type, info.mode = tarfile.DIRTYPE, 0o755
    elif stat.S_ISLNK(mode):
        info.type = tarfile.SYMTYPE
    else:
        info.mode = 0o755 if mode & 0o111 else 0o644
    return info


def job_name(mark: str, unique: str) -> str:
    """Give a name that a Job and its pod can have."""
    return f"infraxys-{mark}-{re.sub('[^a-z0-9]', '', unique.lower())[-20:]}"
