"""Snapshots made in memory from a mapping of files, for tests of the engine that need no Git."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from infraxys.engine.pins import Pins
from infraxys.engine.world import World
from infraxys.spec import names
from infraxys.spec.identity import BranchPath, ModuleId
from infraxys.spec.load import load_container, load_environment, load_packet, load_role
from infraxys.spec.snapshot import (
    ContainerDefinition,
    Dependency,
    EnvironmentDefinition,
    FileEntry,
    PacketDefinition,
    RoleDefinition,
    Snapshot,
)

MODULE = ModuleId("host", "org", "repo")
MAIN = BranchPath(MODULE, "main")


def snapshot(
    files: Mapping[str, Any], module: ModuleId = MODULE, dependencies: tuple[Dependency, ...] = ()
) -> Snapshot:
    """Build a snapshot; values are texts or JSON."""
    data = {path: value if isinstance(value, str) else json.dumps(value) for path, value in files.items()}
    blobs = {hashlib.sha1(text.encode()).hexdigest(): text.encode() for text in data.values()}
    entries = {path: FileEntry(path, hashlib.sha1(text.encode()).hexdigest(), len(text)) for path, text in data.items()}
    packets, roles, environments = {}, {}, {}
    for path, text in data.items():
        parts = path.split("/")
        if parts[0] == "packets" and parts[-1] == "packet.json":
            loaded = load_packet(text.encode(), path)
            assert loaded.model is not None, loaded.problems
            folder = f"packets/{parts[1]}/files/"
            own = {name.removeprefix(folder): entry for name, entry in entries.items() if name.startswith(folder)}
            packets[parts[1]] = PacketDefinition(parts[1], f"packets/{parts[1]}", loaded.model, own)
        elif parts[0] == "roles" and parts[-1] == "role.json":
            role = load_role(text.encode(), path)
            assert role.model is not None, role.problems
            roles[parts[1]] = RoleDefinition(parts[1], f"roles/{parts[1]}", role.model)
    for path, text in data.items():
        parts = path.split("/")
        if parts[-1] == "environment.json":
            environment = load_environment(text.encode(), path)
            assert environment.model is not None, environment.problems
            containers = []
            for other in sorted(data):
                inner = other.split("/")
                if inner[:2] == parts[:2] and inner[-1] == "container.json":
                    container = load_container(data[other].encode(), other)
                    assert container.model is not None, container.problems
                    name = names.container_name(inner[2])
                    containers.append(ContainerDefinition(name, other.rpartition("/")[0], container.model))
            definition = EnvironmentDefinition(
                parts[1], f"environments/{parts[1]}", environment.model, tuple(containers)
            )
            environments[environment.model.id] = definition
    commit = hashlib.sha1(json.dumps(data, sort_keys=True).encode()).hexdigest()
    return Snapshot(
        module=module,
        commit=commit,
        packets={item.model.id: item for item in packets.values()},
        packets_by_name={name.lower(): item for name, item in packets.items()},
        roles={item.model.id: item for item in roles.values()},
        roles_by_name={name.lower(): item for name, item in roles.items()},
        environments=environments,
        dependencies=dependencies,
        root_files={path: entry for path, entry in entries.items() if path.rpartition("/")[0] in {"", "auto-source"}},
        settings={},
        problems=(),
        read=blobs.__getitem__,
    )


def world(*snapshots: Snapshot, root: BranchPath = MAIN) -> World:
    """Put snapshots together; dependencies' URLs are `host/org/repo`."""
    by_path = {BranchPath(item.module, "main"): item for item in snapshots}
    commits = {path: item.commit for path, item in by_path.items()}

    def load(module: ModuleId, commit: str) -> Snapshot:
        del commit
        return by_path[BranchPath(module, "main")]

    def branch_of(dependency: Dependency) -> BranchPath:
        return BranchPath(ModuleId.parse(dependency.git_url), dependency.branch)

    return World(root, Pins(commits, load), branch_of)


def attribute(name: str, default: str = "", **more: Any) -> dict[str, Any]:
    """Declare an attribute that is a template."""
    return {"id": f"a-{name}", "name": name, "defaultValue": default, "parseWithVelocity": True, **more}


def template(name: str, **more: Any) -> dict[str, Any]:
    """Declare a file that is a template."""
    return {"id": f"f-{name}", "filename": name, "parseWithVelocity": True, **more}


def instance(
    instance_id: str, packet: str, children: list[dict[str, Any]] | None = None, **values: str
) -> dict[str, Any]:
    """Put a packet (by its name) to use."""
    made: dict[str, Any] = {
        "id": instance_id,
        "packetName": packet,
        "packetPath": str(MAIN),
        "velocityName": instance_id.replace("-", "_"),
        "attributes": [{"name": name, "value": value} for name, value in values.items()],
    }
    return {**made, "instances": children} if children else made


def environment(*instances: dict[str, Any], name: str = "prod", container: str = "web", **more: Any) -> dict[str, Any]:
    """Give the files of an environment `e-<name>` with one container `c-<container>`."""
    return {
        f"environments/{name}/environment.json": {"id": f"e-{name}", "workflows": []},
        f"environments/{name}/{container}/container.json": {
            "id": f"c-{container}",
            "roles": more.get("roles", []),
            "instances": list(instances),
        },
    }
