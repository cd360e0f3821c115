"""The one permission check. Every route declares what it needs; what declares nothing is refused by a test."""

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
    "server.read": "see the server's version and limits",
}
SIGNED_IN = ""  # enough to be known


class Requires:
    """A dependency: gives the caller, or refuses. `grant` "" asks for a known caller only."""

    def __init__(self, grant: str) -> None:
        if grant != SIGNED_IN and grant not in GRANTS:
            raise ValueError(f"unknown grant {grant}")
        self.grant = grant

    async def __call__(self, request: Request) -> Subject:
        """Authenticate and check. Raises Unauthorized and Forbidden."""
        subject: Subject = await request.app.state.services.authenticator.authenticate(request)
        if self.grant and not subject.may(self.grant):
            raise Forbidden(self.grant)
        return subject


class Public:
    """A dependency that says on purpose that everyone may call a route."""

    async def __call__(self) -> None:
        """Let the request pass."""
