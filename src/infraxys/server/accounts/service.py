"""Signing in and out, and the passwords and tokens behind it."""

import unicodedata
from dataclasses import replace
from datetime import timedelta
from typing import Any

from sqlalchemy.engine import Connection

from infraxys.kit.clock import utc_now
from infraxys.server.accounts import schemas
from infraxys.server.accounts.errors import (
    NoAccount,
    PasswordRefused,
    SetUpRefused,
    SignInFailed,
    WrongPassword,
    refusal,
)
from infraxys.server.audit.origin import current, enter
from infraxys.server.auth import sessions, setup, tokens, users
from infraxys.server.auth.attempts import Attempts
from infraxys.server.auth.grants import OWN_SCOPES, check_scopes
from infraxys.server.auth.passwords import Passwords, WeakPassword
from infraxys.server.auth.subject import Subject
from infraxys.server.auth.tokens import NewToken, TokenKey, TooManyTokens
from infraxys.server.auth.users import UserProblem
from infraxys.server.db.engine import Database
from infraxys.server.errors import Conflict, Forbidden, SessionRequired, TooManyRequests, Unprocessable


class Accounts:
    """What the endpoints of accounts do. Close it at the end."""

    def __init__(
        self, database: Database, key: TokenKey, *, session_idle: timedelta, session_lifetime: timedelta
    ) -> None:
        self.database = database
        self.session_idle, self.session_lifetime = session_idle, session_lifetime
        self.passwords, self.attempts = Passwords(), Attempts()
        self._key = key

    async def sign_in(self, given: schemas.SignIn, address: str, user_agent: str, cookie: str | None) -> str:
        """Start a session, in place of the one that the browser has; gives its cookie.

        Raises SignInFailed, for every reason after the same time, and TooManyRequests.
        """
        try:
            name = users.normalise(given.name)
        except UserProblem:
            name = unicodedata.normalize("NFKC", given.name)  # nobody's, but tried like any other
        self._attempt(name, address)
        row = await self.database.aread(lambda connection: find(connection, name))
        stored = row["password_hash"] if row is not None and row["disabled_at"] is None else None
        if not await self.passwords.verify(stored, given.password) or row is None:
            if row is not None:  # names that nobody has stay off the record: people type passwords there
                enter(replace(current(), user_id=row["id"], user_name=row["name"]))
            raise SignInFailed
        self.attempts.succeeded(name, address)
        fresh = await self.passwords.rehash(stored, given.password)
        user_id = row["id"]

        def write(connection: Connection) -> str:
            if fresh is not None:
                users.set_password_hash(connection, user_id, fresh)
            return self.start_session(connection, user_id, address, user_agent, cookie)

        return await self.database.awrite(write)

    def start_session(
        self,
        connection: Connection,
        user_id: str,
        address: str,
        user_agent: str,
        cookie: str | None,
        lifetime: timedelta | None = None,
    ) -> str:
        """Start a session and end the one that the browser had, whoever's it was."""
        parsed = sessions.parse(cookie or "")
        old = sessions.find(connection, parsed[0]) if parsed else None
        if parsed and old is not None and sessions.is_usable(old, parsed[1], utc_now(), self.session_idle):
            sessions.end(connection, old["user_id"], parsed[0])
        return sessions.create(connection, user_id, address, user_agent, lifetime or self.session_lifetime)

    def _attempt(self, name: str, address: str) -> None:
        wait = self.attempts.begin(name, address)
        if wait:
            raise TooManyRequests(wait)

    async def set_up(self, given: schemas.SetUp, address: str, user_agent: str) -> tuple[str, str]:
        """Make the first administrator and sign in; gives id and cookie. Raises SetUpRefused."""
        if not await self.database.aread(lambda connection: setup.is_good(connection, given.token)):
            raise SetUpRefused
        password_hash = await self.hash(given.password, given.name)

        def write(connection: Connection) -> tuple[str, str]:
            if not setup.use(connection, given.token):
                raise SetUpRefused
            user_id = users.create_user(connection, given.name, is_administrator=True, password_hash=password_hash)
            return user_id, self.start_session(connection, user_id, address, user_agent, None)

        try:
            return await self.database.awrite(write)
        except UserProblem as problem:
            raise refusal(problem) from problem

    async def change_password(
        self, subject: Subject, given: schemas.ChangePassword, address: str, user_agent: str
    ) -> str:
        """Change the caller's own password; gives the cookie of the only session that is left."""
        user_id = person(subject, "changing a password")
        self._attempt(subject.name, address)
        row = await self.database.aread(lambda connection: users.find_by_id(connection, user_id))
        if row is None or not await self.passwords.verify(row["password_hash"], given.current_password):
            raise WrongPassword
        self.attempts.succeeded(subject.name, address)
        password_hash = await self.hash(given.new_password, row["name"], row["display_name"], loc="newPassword")

        def write(connection: Connection) -> str:
            users.set_password(connection, user_id, password_hash)
            return sessions.create(connection, user_id, address, user_agent, self.session_lifetime)

        return await self.database.awrite(write)

    async def hash(self, password: str, *known: str, loc: str = "password") -> str:
        """Give what is stored of a new password. Raises PasswordRefused."""
        try:
            return await self.passwords.hash(password, *known)
        except WeakPassword as problem:
            raise PasswordRefused(str(problem), loc) from problem

    async def create_token(
        self, subject: Subject, owner: Subject | None, user_id: str, given: schemas.NewToken
    ) -> tuple[dict[str, Any], str]:
        """Make a token of an account for the caller; gives its row and its text, which is shown only now.

        `owner` is the caller where it is his own token: no scope may be wider than he is.
        """
        person(subject, "creating a token")
        now = utc_now()
        if given.expires_at is not None and given.expires_at <= now:
            raise invalid("expiresAt", "the time is over already")
        try:
            check_scopes(given.scopes or ())
        except ValueError as problem:
            raise invalid("scopes", str(problem)) from problem
        for scope in given.scopes or ():
            if owner is not None and scope not in OWN_SCOPES and not owner.may_somewhere(scope):
                raise Forbidden(scope)

        def write(connection: Connection) -> tuple[dict[str, Any], NewToken]:
            made = tokens.create_token(
                connection,
                self._key,
                user_id,
                given.name,
                description=given.description,
                expires_at=given.expires_at,
                scopes=given.scopes,
            )
            return own_token(connection, user_id, made.id), made

        try:
            row, made = await self.database.awrite(write)
        except TooManyTokens as problem:
            conflict = Conflict(str(problem))
            conflict.code = "too_many_tokens"
            raise conflict from problem
        return row, made.text

    async def rotate_token(
        self, subject: Subject, token_id: str, overlap: timedelta
    ) -> tuple[dict[str, Any], str] | None:
        """Exchange the secret of one of the caller's tokens; None when there is no such token."""
        user_id = person(subject, "rotating a token")

        def write(connection: Connection) -> tuple[dict[str, Any], str] | None:
            made = tokens.rotate_token(connection, self._key, user_id, token_id, overlap)
            return None if made is None else (own_token(connection, user_id, token_id), made.text)

        return await self.database.awrite(write)

    def close(self) -> None:
        """End the pool of the hashes."""
        self.passwords.close()


def find(connection: Connection, name: str) -> dict[str, Any] | None:
    """Find an account by what was typed; None also for what cannot be a name."""
    try:
        return users.find_user(connection, name)
    except UserProblem:
        return None


def own_token(connection: Connection, user_id: str, token_id: str) -> dict[str, Any]:
    """Read a token that was written in the same transaction."""
    row = tokens.find_own_token(connection, user_id, token_id)
    assert row is not None  # noqa: S101 - see above
    return row


def account(subject: Subject) -> str:
    """Give the id of the caller's account. Raises NoAccount in developer mode."""
    if subject.user_id is None:
        raise NoAccount
    return subject.user_id


def person(subject: Subject, what: str) -> str:
    """Give the id of the caller's account if a person signed in to it. Raises NoAccount and SessionRequired."""
    require_person(subject, what)
    return account(subject)


def require_person(subject: Subject, what: str) -> None:
    """Refuse callers with a token; the local user of developer mode is a person. Raises SessionRequired."""
    if subject.run_id is not None or (subject.user_id is not None and subject.session_id is None):
        raise SessionRequired(what)


def require_scope(subject: Subject, scope: str) -> None:
    """Refuse a token whose scopes do not hold what everybody may do with what is his own, and tokens of runs.

    Raises Forbidden.
    """
    if subject.run_id is not None or (subject.scopes is not None and scope not in subject.scopes):
        raise Forbidden(scope)


def invalid(loc: str, message: str) -> Unprocessable:
    """Refuse a member of a body."""
    return Unprocessable(f"{loc}: {message}", errors=[{"loc": loc, "message": message}])
