"""From a request's credentials to its subject."""

import asyncio
import getpass
import os
from datetime import timedelta

from starlette.requests import Request

from infraxys.kit.clock import utc_now
from infraxys.server.auth import tokens
from infraxys.server.auth.subject import Subject
from infraxys.server.auth.tokens import TokenKey
from infraxys.server.db.engine import Database
from infraxys.server.errors import BadRequest, Unauthorized

SCHEMES = {"token", "bearer"}
USED_EVERY = timedelta(minutes=1)


class Authenticator:
    """Finds out who calls. In developer mode a request without credentials is the operating-system user's."""

    def __init__(self, database: Database, key: TokenKey, *, is_developer: bool) -> None:
        self._database, self._key = database, key
        self._local = local_subject() if is_developer else None
        self._marking: dict[str, asyncio.Future[None]] = {}

    async def authenticate(self, request: Request) -> Subject:
        """Give the caller. Raises Unauthorized, with the same text for every reason."""
        headers = request.headers.getlist("authorization")
        if not headers:
            if self._local is None:
                raise Unauthorized
            return self._local
        if len(headers) > 1:
            raise BadRequest("there is more than one Authorization header")
        scheme, _, credentials = headers[0].strip().partition(" ")
        parsed = tokens.parse(credentials.strip())
        if scheme.lower() not in SCHEMES or parsed is None:
            raise Unauthorized
        return await self._by_token(*parsed, request.client.host if request.client else "")

    async def _by_token(self, token_id: str, secret: str, address: str) -> Subject:
        digest = self._key.digest(secret)
        row = await self._database.aread(lambda connection: tokens.find_token(connection, token_id))
        now = utc_now()
        if row is None or not tokens.is_usable(row, digest, now):
            raise Unauthorized
        if row["last_used_at"] is None or now - row["last_used_at"] > USED_EVERY:
            self._mark_used(token_id, address)
        return Subject(
            user_id=row["user_id"],
            name=row["name"],
            display_name=row["display_name"],
            is_administrator=bool(row["is_administrator"]),
            trigger="token",
            token_id=token_id,
        )

    def _mark_used(self, token_id: str, address: str) -> None:
        """Note the use without letting the request wait for it; one note at a time for each token."""
        if token_id in self._marking:
            return
        future = asyncio.wrap_future(
            self._database.write(lambda connection: tokens.mark_used(connection, token_id, address))
        )
        self._marking[token_id] = future
        future.add_done_callback(lambda done: self._marked(token_id, done))

    def _marked(self, token_id: str, future: "asyncio.Future[None]") -> None:
        self._marking.pop(token_id, None)
        if not future.cancelled():
            future.exception()  # a use that could not be noted harms nobody


def local_subject() -> Subject:
    """Give the operating-system user, who may do everything in developer mode."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = f"uid-{os.getuid()}"
    return Subject(user_id=None, name=name, display_name=name, is_administrator=True)
