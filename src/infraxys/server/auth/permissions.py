"""The one permission check. Every route declares what it needs; what declares nothing is refused by a test.

A route about the whole server needs its grant on the root project. One about something in a project declares that with
`somewhere`: who has the grant nowhere is refused before anything is looked up, and the handler calls `check` with the
project when it knows it.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial

from fastapi.routing import APIRoute, APIWebSocketRoute
from starlette.requests import HTTPConnection
from starlette.routing import BaseRoute

from infraxys.server.audit.origin import Origin, current, enter
from infraxys.server.auth.access import AccessControl
from infraxys.server.auth.grants import GRANTS
from infraxys.server.auth.subject import Subject
from infraxys.server.errors import Forbidden, Problem

SIGNED_IN = ""  # enough to be known


class Requires:
    """A dependency: gives the caller, or refuses. `grant` "" asks for a known caller only.

    `leaving` lets in also those who may not use the server: without their rights, for signing out.
    """

    def __init__(self, grant: str, *, somewhere: bool = False, leaving: bool = False) -> None:
        if grant != SIGNED_IN and grant not in GRANTS:
            raise ValueError(f"unknown grant {grant}")
        self.grant, self.somewhere, self._leaving = grant, somewhere, leaving

    async def __call__(self, request: HTTPConnection) -> Subject:
        """Authenticate and check. Raises Unauthorized and Forbidden."""
        # How an answer that takes long finds out that its caller may no longer have it; see infraxys.server.guards.
        request.state.held = []
        request.state.recheck = partial(self._again, request)
        return await self._check(request)

    async def _check(self, request: HTTPConnection) -> Subject:
        services = request.app.state.services
        access: AccessControl = services.access
        subject: Subject = await services.authenticator.authenticate(request)
        if not self._leaving:
            subject = await access.with_rights(subject)
        enter(origin_of(subject))
        if self.grant and not (subject.may_somewhere(self.grant) if self.somewhere else subject.may(self.grant)):
            raise Forbidden(self.grant)
        return subject

    async def _again(self, request: HTTPConnection) -> None:
        subject = await self._check(request)
        for held in request.state.held:
            held(subject)


def origin_of(subject: Subject) -> Origin:
    """Give a caller as the audit trail names it, from where the request came."""
    return replace(
        current(),
        user_id=subject.user_id,
        user_name=subject.name,
        token_id=subject.token_id,
        session_id=subject.session_id,
        run_id=subject.run_id,
    )


class Public:
    """A dependency that says on purpose that everyone may call a route."""

    async def __call__(self) -> None:
        """Let the request pass."""


def declared(route: BaseRoute) -> "Requires | Public":
    """Give what a route needs. Raises ValueError for a route that does not declare exactly one thing."""
    if not isinstance(route, APIRoute | APIWebSocketRoute):
        raise ValueError(f"{route!r} cannot declare a permission: add it as a route of FastAPI")  # noqa: TRY004 - one kind
    found: list[Requires | Public] = []
    waiting = [route.dependant]
    while waiting:
        dependant = waiting.pop()
        if isinstance(dependant.call, Requires | Public):
            found.append(dependant.call)
        waiting += dependant.dependencies
    if len(found) != 1:
        raise ValueError(f"route {route.path} has to declare exactly one permission, and has {len(found)}")
    return found[0]


def check(subject: Subject, grant: str, project_id: str, unknown: Problem, *known_by: str) -> None:
    """Refuse who has not the grant on a project.

    Raises Forbidden for callers that one of the grants `known_by` lets know of the thing, and `unknown` for others:
    the same that they get for what does not exist.
    """
    if not subject.may(grant, project_id):
        if any(subject.may(other, project_id) for other in known_by):
            raise Forbidden(grant)
        raise unknown


def lacking(subject: Subject, team_ids: Iterable[str]) -> str | None:
    """Name a grant that teams have and the caller has not: whoever decides about them could have it then."""
    policy = subject.rights.policy
    for team in team_ids:
        for project_id, grants in sorted(policy.given.get(team, {}).items()):
            for grant in sorted(grants):
                if not subject.may(grant, project_id):
                    return policy.custom[grant].name if grant in policy.custom else grant
    return None


def hold(request: HTTPConnection, subject: Subject, condition: Callable[[Subject], None]) -> None:
    """Check a condition now, and again as long as the answer takes."""
    condition(subject)
    request.state.held.append(condition)
