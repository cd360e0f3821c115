"""Who calls."""

from dataclasses import dataclass

ALL_GRANTS = "*"


@dataclass(frozen=True, slots=True)
class Subject:
    """The caller of one request. `user_id` None is the operating-system user of developer mode.

    `trigger` says how a run that it starts was started; `token_id` is set for calls with a personal token, `session_id`
    for those of a person who signed in. `scopes` are the only grants that a token may use; None: all of its owner's.
    """

    user_id: str | None
    name: str
    display_name: str
    is_administrator: bool
    trigger: str = "user"
    token_id: str | None = None
    session_id: str | None = None
    scopes: frozenset[str] | None = None

    @property
    def caller_key(self) -> str:
        """What idempotency keys belong to."""
        return f"user:{self.user_id}" if self.user_id else "local"

    @property
    def grants(self) -> tuple[str, ...]:
        """The grants it has: all for administrators; teams give the others theirs."""
        own = (ALL_GRANTS,) if self.is_administrator else ()
        if self.scopes is None:
            return own
        return tuple(sorted(self.scopes if ALL_GRANTS in own else self.scopes.intersection(own)))

    def may(self, grant: str) -> bool:
        """Whether it has a grant."""
        return ALL_GRANTS in self.grants or grant in self.grants
