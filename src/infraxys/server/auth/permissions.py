"""The one permission check. Every route declares what it needs; what declares nothing is refused by a test."""

from collections.abc import Iterable
from functools import partial

from starlette.requests import Request

from infraxys.server.auth.subject import Subject
from infraxys.server.errors import Forbidden

# Every grant that routes may ask for, with what it allows.
GRANTS = {
    "module.list": "see registered modules",
    "module.create": "register modules",
    "module.modify": "fetch modules",
    "module.delete": "remove modules",
    "environment.read": "see environments and what they generate",
    "action.execute": "execute actions",
    "workflow.execute": "execute workflows",
    "run.list": "see runs",
    "run.read": "see a run and its log",
    "run.argument": "see the argument of a run",
    "run.cancel": "cancel runs",
    "user.list": "see accounts",
    "user.read": "see an account and what is known of its tokens",
    "user.create": "create accounts",
    "user.modify": "change and disable accounts, delete their tokens",
    "user.delete": "delete accounts",
    "server.read": "see the server's version and limits",
}
SIGNED_IN = ""  # enough to be known
# What everybody may do with his own tokens, and so what the scopes of a token may hold beside grants.
OWN_SCOPES = frozenset({"token.list", "token.delete"})


def check_scopes(scopes: Iterable[str]) -> None:
    """Raise ValueError for a scope that does not exist."""
    for scope in scopes:
        if scope not in GRANTS and scope not in OWN_SCOPES:
            raise ValueError(f"there is no scope '{scope}'")


class Requires:
    """A dependency: gives the caller, or refuses. `grant` "" asks for a known caller only."""

    def __init__(self, grant: str) -> None:
        if grant != SIGNED_IN and grant not in GRANTS:
            raise ValueError(f"unknown grant {grant}")
        self.grant = grant

    async def __call__(self, request: Request) -> Subject:
        """Authenticate and check. Raises Unauthorized and Forbidden."""
        # How an answer that takes long finds out that its caller may no longer have it; see infraxys.server.guards.
        request.state.recheck = partial(self, request)
        subject: Subject = await request.app.state.services.authenticator.authenticate(request)
        if self.grant and not subject.may(self.grant):
            raise Forbidden(self.grant)
        return subject


class Public:
    """A dependency that says on purpose that everyone may call a route."""

    async def __call__(self) -> None:
        """Let the request pass."""
