"""Who calls, and what it may do."""

from dataclasses import dataclass, field

from infraxys.server.auth.grants import ALL_GRANTS
from infraxys.server.auth.rights import ROOT, Rights

EVERYTHING = frozenset({ALL_GRANTS})


@dataclass(frozen=True, slots=True)
class Subject:
    """The caller of one request. `user_id` None is the operating-system user of developer mode.

    `trigger` says how a run that it starts was started; `token_id` is set for calls with a personal token, `session_id`
    for those of a person who signed in, `run_id` for those of an action with the token of its run. `scopes` are the
    only grants that a token may use; None: all of its owner's.
    `rights` is what teams give it, as of this request.
    """

    user_id: str | None
    name: str
    display_name: str
    is_administrator: bool
    trigger: str = "user"
    token_id: str | None = None
    session_id: str | None = None
    run_id: str | None = None
    scopes: frozenset[str] | None = None
    rights: Rights = field(default_factory=Rights, compare=False)

    @property
    def caller_key(self) -> str:
        """What idempotency keys belong to."""
        return f"user:{self.user_id}" if self.user_id else "local"

    @property
    def is_by_provider(self) -> bool:
        """Whether it calls with an access token of the OpenID provider."""
        return self.user_id is not None and not (self.token_id or self.session_id or self.run_id)

    @property
    def has_everything(self) -> bool:
        """Whether it may do everything, so that nothing has to be looked up."""
        return self.is_administrator and self.scopes is None

    @property
    def grants(self) -> tuple[str, ...]:
        """The grants it has on the root project, which are those for the whole server."""
        return tuple(sorted(self.grants_on(ROOT)))

    def grants_on(self, project_id: str) -> frozenset[str]:
        """Give the grants it has on a project: those of its teams (all for administrators), as far as scopes go."""
        own = EVERYTHING if self.is_administrator else self.rights.grants_on(project_id)
        if self.scopes is None:
            return own
        return self.scopes if ALL_GRANTS in own else self.scopes & own

    def may(self, grant: str, project_id: str = ROOT) -> bool:
        """Whether it has a grant on a project."""
        own = self.grants_on(project_id)
        return grant in own or ALL_GRANTS in own

    def may_somewhere(self, grant: str) -> bool:
        """Whether it has a grant on any project."""
        return self.may(grant) or any(self.may(grant, project_id) for project_id in self.rights.given_on)

    def projects_with(self, grant: str) -> frozenset[str] | None:
        """Give the projects on which it has a grant; None for all there are."""
        if self.may(grant):
            return None
        policy = self.rights.policy
        return frozenset(
            below
            for project_id in self.rights.given_on
            if self.may(grant, project_id)
            for below in policy.subtree(project_id)
        )
