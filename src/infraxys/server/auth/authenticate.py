"""From a request's credentials to its subject."""

import asyncio
import getpass
import ipaddress
import json
import os
from collections.abc import Callable
from datetime import timedelta
from typing import Protocol

from sqlalchemy.engine import Connection, RowMapping
from starlette.requests import HTTPConnection

from infraxys.kit.clock import utc_now
from infraxys.server.auth import run_tokens, sessions, tokens
from infraxys.server.auth.origin import check_origin
from infraxys.server.auth.rate_limits import RateLimits
from infraxys.server.auth.subject import Subject
from infraxys.server.auth.tokens import TokenKey
from infraxys.server.db.engine import Database
from infraxys.server.errors import BadRequest, Unauthorized

SCHEMES = {"token", "bearer"}
USED_EVERY = timedelta(minutes=1)
SESSION_IDLE = timedelta(hours=12)


class BearerVerifier(Protocol):
    """Knows a kind of bearer credentials other than personal tokens."""

    async def verify(self, credentials: str) -> Subject | None:
        """Give the caller; None for credentials of another kind. Raises Unauthorized for bad ones of its kind."""


class Authenticator:
    """Finds out who calls. In developer mode a request without credentials is the operating-system user's.

    `bearers` are asked, in order, about `Authorization: Bearer` credentials that are no personal token.
    """

    def __init__(
        self,
        database: Database,
        key: TokenKey,
        *,
        is_developer: bool,
        rate_limits: RateLimits | None = None,
        session_idle: timedelta = SESSION_IDLE,
    ) -> None:
        self._database, self._key = database, key
        self._local = local_subject() if is_developer else None
        self._limits, self._idle = rate_limits, session_idle
        self._marking: dict[str, asyncio.Future[None]] = {}
        self.bearers: list[BearerVerifier] = []

    async def authenticate(self, connection: HTTPConnection) -> Subject:
        """Give the caller. Raises Unauthorized, with the same text for every reason, CrossSite and TooManyRequests."""
        headers = connection.headers.getlist("authorization")
        if len(headers) > 1:
            raise BadRequest("there is more than one Authorization header")
        if headers:
            return await self._by_header(connection, headers[0])
        if self._local is not None:
            check_origin(connection)
            return self._local
        cookie = sessions.parse(connection.cookies.get(sessions.COOKIE, ""))
        if cookie is None:
            raise Unauthorized
        check_origin(connection)
        return await self._by_session(connection, *cookie)

    async def _by_header(self, connection: HTTPConnection, header: str) -> Subject:
        scheme, _, credentials = header.strip().partition(" ")
        credentials = credentials.strip()
        if scheme.lower() not in SCHEMES:
            raise Unauthorized
        parsed = tokens.parse(credentials)
        if parsed is not None:
            return await self._by_token(connection, *parsed)
        of_run = run_tokens.parse(credentials)
        if of_run is not None:
            return await self._by_run(connection, *of_run)
        for verifier in self.bearers if scheme.lower() == "bearer" else ():
            subject = await verifier.verify(credentials)
            if subject is not None:
                self._charge(connection, subject.user_id or "")
                return subject
        raise Unauthorized

    async def _by_token(self, connection: HTTPConnection, token_id: str, secret: str) -> Subject:
        digest = self._key.digest(secret)
        row = await self._database.alookup(lambda database: tokens.find_token(database, token_id))
        now = utc_now()
        if row is None or not tokens.is_usable(row, digest, now):
            raise Unauthorized
        self._charge(connection, token_id)
        if row["last_used_at"] is None or now - row["last_used_at"] > USED_EVERY:
            address = address_of(connection)
            self._mark(token_id, lambda database: tokens.mark_used(database, token_id, address))
        scopes = row["scopes"]
        return subject_of(
            row, "token", token_id=token_id, scopes=None if scopes is None else frozenset(json.loads(scopes))
        )

    async def _by_run(self, connection: HTTPConnection, run_id: str, proof: str) -> Subject:
        if not run_tokens.is_genuine(self._key, run_id, proof) or not is_on_this_host(connection):
            raise Unauthorized
        row = await self._database.alookup(lambda database: run_tokens.find(database, run_id))
        subject = run_tokens.subject_of(row, self._local)
        if subject is None:
            raise Unauthorized
        self._charge(connection, run_id)
        return subject

    async def _by_session(self, connection: HTTPConnection, session_id: str, secret: str) -> Subject:
        row = await self._database.alookup(lambda database: sessions.find(database, session_id))
        now = utc_now()
        if row is None or not sessions.is_usable(row, secret, now, self._idle):
            raise Unauthorized
        self._charge(connection, session_id)
        if now - row["seen_at"] > min(USED_EVERY, self._idle / 4):  # long before it would be idle
            self._mark(session_id, lambda database: sessions.mark_seen(database, session_id))
        return subject_of(row, "user", session_id=session_id)

    def _charge(self, connection: HTTPConnection, caller: str) -> None:
        if self._limits is not None:
            self._limits.charge(connection.scope, "token", caller)

    def _mark(self, key: str, work: Callable[[Connection], None]) -> None:
        """Note the use without letting the request wait for it; one note at a time for each token or session."""
        if key in self._marking:
            return
        future = asyncio.wrap_future(self._database.write(work))
        self._marking[key] = future
        future.add_done_callback(lambda done: self._marked(key, done))

    def _marked(self, key: str, future: "asyncio.Future[None]") -> None:
        self._marking.pop(key, None)
        if not future.cancelled():
            future.exception()  # a use that could not be noted harms nobody


def subject_of(
    row: RowMapping,
    trigger: str,
    *,
    token_id: str | None = None,
    session_id: str | None = None,
    scopes: frozenset[str] | None = None,
) -> Subject:
    """Give the caller that a row of a token or session with its user names."""
    return Subject(
        user_id=row["user_id"],
        name=row["name"],
        display_name=row["display_name"],
        is_administrator=bool(row["is_administrator"]),
        trigger=trigger,
        token_id=token_id,
        session_id=session_id,
        scopes=scopes,
    )


def address_of(connection: HTTPConnection) -> str:
    """Give the caller's address: of the connection, or of the client of a trusted proxy."""
    return connection.client.host if connection.client else ""


def is_on_this_host(connection: HTTPConnection) -> bool:
    """Whether the caller is on the server's own host, where actions execute: both ends have the same address."""
    address = address_of(connection)
    own: tuple[str, int | None] | None = connection.scope.get("server")
    try:
        is_loopback = ipaddress.ip_address(address).is_loopback
    except ValueError:
        is_loopback = False
    return is_loopback or (own is not None and address == own[0])


def local_subject() -> Subject:
    """Give the operating-system user, who may do everything in developer mode."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = f"uid-{os.getuid()}"
    return Subject(user_id=None, name=name, display_name=name, is_administrator=True)
