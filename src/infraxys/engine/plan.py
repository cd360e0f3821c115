"""A plan: everything resolved that one run needs. Immutable, pure data, the same for the same commits."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from infraxys.engine.backends.base import PullPolicy
from infraxys.engine.limits import NO_WISHES, Wishes
from infraxys.spec.identity import BranchPath

SOURCED_SUFFIX = ".sh"


@dataclass(frozen=True, slots=True)
class PlannedModule:
    """A module enabled for a step: which commit is shown at `modules/<host>/<org>/<repo>/<branch>`."""

    path: BranchPath
    commit: str


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """One action, resolved.

    `directory` is the instance directory below the environments root, `<environment>/<container>/<instance>`.
    `attributes` are exported to the action as shell variables (names checked, dangerous ones left out);
    `variables` are those of spec 6.5. `timeout_seconds` is the packet file's own limit; `wishes` are the others.
    `image` is the container image to execute in, as the packet file has it, with its `custom_command` in place of the
    file itself; `pull_policy` None is the server's.
    """

    id: str
    name: str
    container_id: str
    instance_id: str
    packet_id: str
    filename: str
    directory: str
    attributes: Mapping[str, str]
    variables: Mapping[str, str]
    modules: tuple[PlannedModule, ...]
    timeout_seconds: float
    is_quick: bool = False
    image: str = ""
    custom_command: str = ""
    pull_policy: PullPolicy | None = None
    is_interactive: bool = False
    wishes: Wishes = NO_WISHES

    @property
    def is_sourced(self) -> bool:
        """`.sh` files are sourced in the bootstrap shell, everything else is executed by its shebang."""
        return self.filename.endswith(SOURCED_SUFFIX)


@dataclass(frozen=True, slots=True)
class RenderedFile:
    """A generated file. `path` is below the environments root; `content` is what the action finds there."""

    path: str
    content: bytes
    executable: bool = False


@dataclass(frozen=True, slots=True)
class RenderedEnvironment:
    """All generated files of an environment, with the id of their content (`digest`, hex SHA-256)."""

    digest: str
    directory: str
    files: tuple[RenderedFile, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run executes. `commits` pins every module branch that had a part in it."""

    kind: Literal["action", "workflow", "adhoc"]
    branch_path: BranchPath
    commit: str
    commits: Mapping[BranchPath, str]
    environment_id: str
    environment_name: str
    rendered: RenderedEnvironment
    steps: tuple[PlannedStep, ...]
    workflow_id: str | None = None
    workflow_name: str | None = None
