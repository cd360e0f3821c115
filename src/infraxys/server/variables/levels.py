"""Where variables are set, and which of them a step gets."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from infraxys.server.auth.places import Place
from infraxys.server.auth.rights import ROOT, Policy

PROJECT: Final = "project"
ENVIRONMENT: Final = "environment"
CONTAINER: Final = "container"
RANKS = {PROJECT: 0, ENVIRONMENT: 1, CONTAINER: 2}


@dataclass(frozen=True, slots=True)
class Level:
    """A project, or an environment or a container of it on one branch or (`is_prefix`) on those that begin so.

    `module` is host/org/repo.
    """

    kind: Literal["project", "environment", "container"]
    project_id: str = ""
    module: str = ""
    environment_id: str = ""
    branch: str = ""
    is_prefix: bool = False
    container_id: str = ""

    @property
    def path(self) -> tuple[str, ...]:
        """What tells it from every other level."""
        if self.kind == PROJECT:
            return (PROJECT, self.project_id)
        pattern = f"{self.branch}*" if self.is_prefix else self.branch
        own = (self.kind, self.module, self.environment_id, pattern)
        return (*own, self.container_id) if self.kind == CONTAINER else own

    @property
    def key(self) -> str:
        """The same in 64 characters."""
        return hashlib.sha256(json.dumps(self.path).encode()).hexdigest()

    def owner(self, policy: Policy) -> str:
        """Give the project that decides about it."""
        if self.kind == PROJECT:
            return self.project_id
        return policy.losing(self.module, self.environment_id, self.branch, is_prefix=self.is_prefix)

    def holds(self, place: Place, container_id: str) -> bool:
        """Whether it is about a container at a place; for levels below projects."""
        if (self.module, self.environment_id) != (place.module, place.environment_id):
            return False
        is_branch = place.branch.startswith(self.branch) if self.is_prefix else place.branch == self.branch
        return is_branch and (self.kind == ENVIRONMENT or self.container_id == container_id)

    @property
    def nearness(self) -> tuple[int, bool, int]:
        """The higher, the nearer to the action; projects among themselves are told apart by the tree."""
        return (RANKS[self.kind], not self.is_prefix, len(self.branch))


@dataclass(frozen=True, slots=True)
class Entry:
    """A variable without its value."""

    id: str
    level: Level
    name: str
    type: str
    is_protected: bool
    allow_overrides: bool
    is_exported: bool
    is_file: bool


@dataclass(frozen=True, slots=True)
class Book:
    """All variables without their values, as of a version of the database."""

    version: int = -1
    by_project: Mapping[str, tuple[Entry, ...]] = field(default_factory=dict)
    by_environment: Mapping[tuple[str, str], tuple[Entry, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, version: int, entries: Iterable[Entry]) -> "Book":
        """Sort entries by where they are."""
        projects: dict[str, list[Entry]] = {}
        environments: dict[tuple[str, str], list[Entry]] = {}
        for entry in entries:
            level = entry.level
            if level.kind == PROJECT:
                projects.setdefault(level.project_id, []).append(entry)
            else:
                environments.setdefault((level.module, level.environment_id), []).append(entry)
        return cls(
            version,
            {key: tuple(found) for key, found in projects.items()},
            {key: tuple(found) for key, found in environments.items()},
        )

    @property
    def is_empty(self) -> bool:
        """Whether there is no variable at all."""
        return not self.by_project and not self.by_environment

    def resolve(self, policy: Policy, place: Place, container_id: str) -> list[Entry]:
        """Give what a step in a container gets, by name: the nearest of each name that no level above has closed.

        A level of many branches is one of the project that these branches are attached to; branches of it that are
        attached elsewhere do not get what it says.
        """
        owner = policy.project_of(place.module, place.branch, place.environment_id)
        chain: list[Entry] = []
        for project_id in reversed([*policy.path(owner)] or [ROOT]):
            chain += self.by_project.get(project_id, ())
        near = (
            entry
            for entry in self.by_environment.get((place.module, place.environment_id), ())
            if entry.level.holds(place, container_id) and entry.level.owner(policy) == owner
        )
        chain += sorted(near, key=lambda entry: entry.level.nearness)
        found: dict[str, Entry] = {}
        for entry in chain:
            above = found.get(entry.name)
            if above is None or above.allow_overrides:
                found[entry.name] = entry
        return sorted(found.values(), key=lambda entry: entry.name)
