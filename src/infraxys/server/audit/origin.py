"""Who does something and from where: known for each request, and carried along to what it writes."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Origin:
    """The caller as the trail names it. `address` is "server" for what the server does by itself, "cli" for commands.

    `run_id` is set for calls of an action with the token of its run; `session_id` and `token_id` hold no secret.
    """

    address: str
    request_id: str | None = None
    user_id: str | None = None
    user_name: str | None = None
    token_id: str | None = None
    session_id: str | None = None
    run_id: str | None = None


SERVER = Origin("server")
_current: ContextVar[Origin] = ContextVar("audit_origin", default=SERVER)


def current() -> Origin:
    """Give who is served right now; the server itself outside of requests."""
    return _current.get()


def enter(origin: Origin) -> None:
    """Say who is served from here on, in this task."""
    _current.set(origin)


@contextmanager
def acting(origin: Origin) -> Iterator[None]:
    """Say who is served within a block."""
    token = _current.set(origin)
    try:
        yield
    finally:
        _current.reset(token)
