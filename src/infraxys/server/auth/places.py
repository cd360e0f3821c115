"""Where things of modules are in the tree of projects, and whether a caller may know of them."""

from collections.abc import Iterable
from dataclasses import dataclass

from infraxys.server.auth.grants import ALL_GRANTS, GRANTS
from infraxys.server.auth.rights import ROOT
from infraxys.server.auth.subject import Subject
from infraxys.server.errors import Forbidden

# Whoever has one of these on an environment's project knows of the environment.
KNOWING_ENVIRONMENTS = ("environment.read",)


@dataclass(frozen=True, slots=True)
class Place:
    """An environment on a branch; `module` is host/org/repo."""

    module: str
    branch: str
    environment_id: str


class Sight:
    """What a caller may know of when it asks for something that needs a grant: what is there for it.

    Anything else is answered as if it did not exist, in look-ups, suggestions and lists of candidates alike.
    """

    def __init__(self, subject: Subject, grant: str) -> None:
        self._subject = subject
        self._enough = (grant, *KNOWING_ENVIRONMENTS)
        self.sees_everything = subject.has_everything

    def environment(self, place: Place) -> bool:
        """Whether the caller may know of an environment."""
        project_id = project_of(self._subject, place)
        return any(self._subject.may(grant, project_id) for grant in self._enough)

    def container(self, place: Place, container_id: str) -> bool:
        """Whether the caller may know of a container."""
        return self.environment(place) and missing_grant(self._subject, place, container_id) is None


def project_of(subject: Subject, place: Place) -> str:
    """Give the project of an environment, as far as the caller's rights need to know it."""
    return subject.rights.policy.project_of(place.module, place.branch, place.environment_id)


def missing_grant(subject: Subject, place: Place, container_id: str) -> str | None:
    """Give a custom grant that a container is protected by and that the caller lacks."""
    policy = subject.rights.policy
    if not policy.protected:
        return None
    project_id = project_of(subject, place)
    needed = policy.protecting(place.module, place.environment_id, container_id, project_id)
    return next((grant for grant in sorted(needed) if not subject.may(grant, project_id)), None)


def check_place(subject: Subject, grant: str, place: Place, containers: Iterable[str]) -> None:
    """Refuse who knows of an environment but lacks the grant, or one that a container needs. Raises Forbidden."""
    if not subject.may(grant, project_of(subject, place)):
        raise Forbidden(grant)
    for container_id in containers:
        missing = missing_grant(subject, place, container_id)
        if missing is not None:
            raise Forbidden(subject.rights.policy.custom[missing].name)


def hidden_containers(subject: Subject) -> list[tuple[str, str, str, str]]:
    """Give (module, environment, container, project id) of every protected container that needs a grant it lacks."""
    policy = subject.rights.policy
    found = []
    for module, environment_id, container_id in policy.protected:
        attached = {item.project_id for item in policy.attachments.get((module, environment_id), ())}
        for project_id in sorted(attached | {ROOT}):
            needed = policy.protecting(module, environment_id, container_id, project_id)
            if any(not subject.may(grant, project_id) for grant in needed):
                found.append((module, environment_id, container_id, project_id))
    return found


def grants_in_runs(subject: Subject, place: Place) -> tuple[str, ...]:
    """Give what the actions of a run find as the grants of who started it: names, and for custom ones ids as well."""
    own = subject.grants_on(project_of(subject, place))
    custom = subject.rights.policy.custom
    if ALL_GRANTS in own:  # and every one there is: code of modules looks for names in the list
        own |= GRANTS.keys() | custom.keys()
    names = {custom[grant].name for grant in own if grant in custom}
    return tuple(sorted(own & ({ALL_GRANTS} | GRANTS.keys() | custom.keys()) | names))


def teams_in_runs(subject: Subject, place: Place) -> tuple[str, ...]:
    """Give the names of the teams that somebody is in, of those that count in an environment's project."""
    path = set(subject.rights.policy.path(project_of(subject, place)))
    return tuple(sorted({team.name for team in subject.rights.own_teams() if team.project_id in path}))
