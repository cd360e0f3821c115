"""What a module holds at one commit: parsed, indexed, immutable. Made by `infraxys.resources`, read by everyone."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from infraxys.spec.identity import ModuleId
from infraxys.spec.models import Container, Environment, Packet, Role
from infraxys.spec.problem import Problem


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A file of the commit. `path` is inside the module; a symlink's or submodule's blob is data, never followed."""

    path: str
    oid: str
    size: int
    executable: bool = False
    kind: Literal["file", "symlink", "submodule"] = "file"


@dataclass(frozen=True, slots=True)
class PacketDefinition:
    """`packets/<name>/`: the packet's JSON and its files by file name."""

    name: str
    directory: str
    model: Packet
    files: Mapping[str, FileEntry]
    picture: FileEntry | None = None


@dataclass(frozen=True, slots=True)
class RoleDefinition:
    """`roles/<name>/`."""

    name: str
    directory: str
    model: Role
    picture: FileEntry | None = None


@dataclass(frozen=True, slots=True)
class ContainerDefinition:
    """`environments/<environment>/<directory>/`; `name` has `+` read as a space."""

    name: str
    directory: str
    model: Container


@dataclass(frozen=True, slots=True)
class EnvironmentDefinition:
    """`environments/<name>/` with its containers, sorted by name."""

    name: str
    directory: str
    model: Environment
    containers: tuple[ContainerDefinition, ...]


@dataclass(frozen=True, slots=True)
class Dependency:
    """One entry of module.json: a repository's URL and the branch to enable."""

    git_url: str
    branch: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A module at a commit. Never changes; shared by all runs and threads.

    `read` gives the bytes of a blob by its id. `packets`, `roles` and `environments` are by id; the `_by_name`
    mappings are by lower-case name, for references of the legacy dialect and as a fall-back for missing ids.
    `root_files` are the files in the module's root directory and in `auto-source/`, by path.
    """

    module: ModuleId
    commit: str
    packets: Mapping[str, PacketDefinition]
    packets_by_name: Mapping[str, PacketDefinition]
    roles: Mapping[str, RoleDefinition]
    roles_by_name: Mapping[str, RoleDefinition]
    environments: Mapping[str, EnvironmentDefinition]
    dependencies: tuple[Dependency, ...]
    root_files: Mapping[str, FileEntry]
    settings: Mapping[str, object]
    problems: tuple[Problem, ...]
    read: Callable[[str], bytes] = field(compare=False, repr=False)
    weight: int = 0  # estimated bytes of memory, for the bounded cache

    def workflows(self) -> Iterator[tuple[EnvironmentDefinition, str]]:
        """Every workflow id with its environment."""
        for environment in self.environments.values():
            for workflow in environment.model.workflows:
                yield environment, workflow.id
