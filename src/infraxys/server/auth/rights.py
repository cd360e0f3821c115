"""What teams give to whom: one immutable picture of everything that decides, and one person's view of it."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from infraxys.server.auth.grants import ADMINISTER, ALL_GRANTS, GRANTS

ROOT = "root"
NOTHING: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Attachment:
    """An environment's place: the project for one branch, or for all whose names begin with `branch`."""

    project_id: str
    branch: str
    is_prefix: bool

    def holds(self, branch: str) -> bool:
        """Whether it is about a branch."""
        return branch.startswith(self.branch) if self.is_prefix else branch == self.branch

    @property
    def precedence(self) -> tuple[bool, int]:
        """The highest counts: one branch before many, then the longest prefix."""
        return (not self.is_prefix, len(self.branch))


@dataclass(frozen=True, slots=True)
class CustomGrant:
    """A grant that people made; it holds in its project and below."""

    id: str
    name: str
    project_id: str


@dataclass(frozen=True, slots=True)
class Team:
    """A team as far as rights go."""

    id: str
    name: str
    project_id: str


@dataclass(frozen=True, slots=True)
class IncludedContainer:
    """A container that a project shares with the environments of its tree; without overrides it counts first there."""

    module: str
    branch: str
    environment_id: str
    container_id: str
    allow_overrides: bool = True


@dataclass(frozen=True)
class Policy:
    """Everything that decides but who is in which team. `version` is the database's when it was read.

    `parents` has every project with the one above it. `given` has for each team the grants by project; `protected`
    the ids of custom grants by (module, environment id, container id); `containers` what each project includes,
    `names` what it is called.
    """

    version: int = -1
    parents: Mapping[str, str | None] = field(default_factory=lambda: {ROOT: None})
    attachments: Mapping[tuple[str, str], tuple[Attachment, ...]] = field(default_factory=dict)
    teams: Mapping[str, Team] = field(default_factory=dict)
    given: Mapping[str, Mapping[str, frozenset[str]]] = field(default_factory=dict)
    custom: Mapping[str, CustomGrant] = field(default_factory=dict)
    protected: Mapping[tuple[str, str, str], frozenset[str]] = field(default_factory=dict)
    containers: Mapping[str, tuple[IncludedContainer, ...]] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def all_names(self) -> tuple[str, ...]:
        """The names of all projects."""
        return tuple(sorted(set(self.names.values())))

    @cached_property
    def children(self) -> Mapping[str, tuple[str, ...]]:
        """The projects directly below each project."""
        found: dict[str, list[str]] = {}
        for project_id, parent in self.parents.items():
            if parent is not None:
                found.setdefault(parent, []).append(project_id)
        return {project_id: tuple(below) for project_id, below in found.items()}

    @cached_property
    def custom_of(self) -> Mapping[str, frozenset[str]]:
        """The ids of each project's own custom grants."""
        found: dict[str, set[str]] = {}
        for grant in self.custom.values():
            found.setdefault(grant.project_id, set()).add(grant.id)
        return {project_id: frozenset(grants) for project_id, grants in found.items()}

    def path(self, project_id: str) -> Iterator[str]:
        """Go from a project up to the root."""
        current: str | None = project_id
        while current is not None:
            yield current
            current = self.parents.get(current)

    def subtree(self, project_id: str) -> Iterator[str]:
        """Give a project and everything below it."""
        waiting = [project_id]
        while waiting:
            current = waiting.pop()
            yield current
            waiting += self.children.get(current, ())

    def project_of(self, module: str, branch: str, environment_id: str) -> str:
        """Give the project that an environment is attached to; the root where nobody attached it."""
        found = [item for item in self.attachments.get((module, environment_id), ()) if item.holds(branch)]
        return max(found, key=lambda item: item.precedence).project_id if found else ROOT

    def included_in(self, module: str, branch: str, environment_id: str) -> tuple[IncludedContainer, ...]:
        """Give the containers that an environment sees besides its own: those of its project first, then above it."""
        if not self.containers:
            return ()
        project_id = self.project_of(module, branch, environment_id)
        return tuple(
            item
            for project in self.path(project_id)
            for item in self.containers.get(project, ())
            if (item.module, item.branch, item.environment_id) != (module, branch, environment_id)
        )

    def losing(self, module: str, environment_id: str, branch: str, *, is_prefix: bool) -> str:
        """Give the project that loses what is attached elsewhere: of the attachment that covers the branches now."""
        found = [
            item
            for item in self.attachments.get((module, environment_id), ())
            if item.holds(branch) and (item.is_prefix or not is_prefix)
        ]
        return max(found, key=lambda item: item.precedence).project_id if found else ROOT

    def protecting(self, module: str, environment_id: str, container_id: str, project_id: str) -> frozenset[str]:
        """Give the custom grants that a container needs, of those that hold in the environment's project."""
        found = self.protected.get((module, environment_id, container_id), NOTHING)
        if not found:
            return NOTHING
        path = set(self.path(project_id))
        return frozenset(grant for grant in found if self.custom[grant].project_id in path)


EMPTY = Policy()


class Rights:
    """What one person's teams give it."""

    def __init__(self, policy: Policy = EMPTY, teams: Iterable[str] = ()) -> None:
        self.policy = policy
        self.teams = frozenset(teams)
        self._own: dict[str, set[str]] = {}
        for team in self.teams:
            for project_id, grants in policy.given.get(team, {}).items():
                self._own.setdefault(project_id, set()).update(grants)
        self._known: dict[str, frozenset[str]] = {}

    def own_teams(self) -> list[Team]:
        """Give its teams by name."""
        known = (self.policy.teams[team] for team in self.teams if team in self.policy.teams)
        return sorted(known, key=lambda team: (team.name, team.id))

    @property
    def given_on(self) -> Iterable[str]:
        """The projects on which it was given something itself."""
        return self._own

    def grants_on(self, project_id: str) -> frozenset[str]:
        """Give the grants on a project: built-in ones by name, custom ones by id.

        Administrators of a project have all built-in ones there and below, and the custom ones that were made there or
        below; those of the root have everything.
        """
        known = self._known.get(project_id)
        if known is None:
            known = self._known[project_id] = self._find(project_id) if project_id in self.policy.parents else NOTHING
        return known

    def _find(self, project_id: str) -> frozenset[str]:
        found: set[str] = set()
        passed: set[str] = set()
        for project in self.policy.path(project_id):
            own = self._own.get(project, NOTHING)
            found |= own
            passed |= self.policy.custom_of.get(project, NOTHING)
            if ADMINISTER in own:
                if project == ROOT:
                    return frozenset({ALL_GRANTS})
                found |= GRANTS.keys() | passed
        return frozenset(found)
