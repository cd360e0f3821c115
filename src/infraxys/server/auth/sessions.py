"""Sessions of people who signed in with a browser: a row for each, and a cookie `<id>.<secret>`.

The cookie is of no use without the row; the row holds a hash of the secret only.
"""

import hashlib
import hmac
import secrets
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping
from starlette.responses import Response

from infraxys.kit.clock import utc_now
from infraxys.server.audit.origin import current
from infraxys.server.audit.trail import record
from infraxys.server.db.tables import sessions, users

# The prefix makes browsers insist on Secure, on Path=/ and on this host alone having set it.
COOKIE = "__Host-infraxys"
LIFETIME = timedelta(days=7)
MAX_SESSIONS = 50
ID_BYTES, SECRET_BYTES = 11, 32
MAX_COOKIE = 200


def create(
    connection: Connection, user_id: str, address: str, user_agent: str = "", lifetime: timedelta = LIFETIME
) -> str:
    """Start a session of a user; gives the value of the cookie. Removes what has expired, and the user's oldest."""
    session_id, secret = secrets.token_hex(ID_BYTES), secrets.token_urlsafe(SECRET_BYTES)
    now = utc_now()
    connection.execute(sessions.delete().where(sessions.c.expires_at <= now))
    kept = (
        sa.select(sessions.c.id)
        .where(sessions.c.user_id == user_id)
        .order_by(sessions.c.seen_at.desc())
        .limit(MAX_SESSIONS - 1)
    )
    ids = list(connection.execute(kept).scalars())
    if len(ids) == MAX_SESSIONS - 1:
        connection.execute(sessions.delete().where(sessions.c.user_id == user_id, sessions.c.id.not_in(ids)))
    connection.execute(
        sessions.insert().values(
            id=session_id,
            user_id=user_id,
            digest=_digest(secret),
            address=address[:64],
            user_agent=user_agent[:200],
            created_at=now,
            seen_at=now,
            expires_at=now + lifetime,
        )
    )
    name = connection.execute(sa.select(users.c.name).where(users.c.id == user_id)).scalar()
    origin = replace(current(), user_id=user_id, user_name=name, session_id=session_id)
    record(connection, "session.create", f"user/{user_id}", origin=origin)
    return f"{session_id}.{secret}"


def parse(cookie: str) -> tuple[str, str] | None:
    """Split a cookie into id and secret; None when it cannot be one."""
    session_id, separator, secret = cookie.partition(".")
    good = separator and len(cookie) <= MAX_COOKIE and session_id and secret and cookie.isascii()
    return (session_id, secret) if good else None


_FIND = (
    sa.select(
        sessions.c.id,
        sessions.c.digest,
        sessions.c.seen_at,
        sessions.c.expires_at,
        users.c.id.label("user_id"),
        users.c.name,
        users.c.display_name,
        users.c.is_administrator,
        users.c.disabled_at,
    )
    .join(users, users.c.id == sessions.c.user_id)
    .where(sessions.c.id == sa.bindparam("session_id"))
)


def find(connection: Connection, session_id: str) -> RowMapping | None:
    """Find a session with its user."""
    return connection.execute(_FIND, {"session_id": session_id}).mappings().first()


def is_usable(row: RowMapping, secret: str, now: datetime, idle: timedelta) -> bool:
    """Whether the secret is right, and session and user are still good."""
    matches = hmac.compare_digest(row["digest"], _digest(secret))
    return matches and row["expires_at"] > now and row["seen_at"] + idle > now and row["disabled_at"] is None


def mark_seen(connection: Connection, session_id: str) -> None:
    """Note that a session is in use."""
    connection.execute(sessions.update().where(sessions.c.id == session_id).values(seen_at=utc_now()))


def list_sessions(connection: Connection, user_id: str, idle: timedelta) -> list[dict[str, Any]]:
    """Give the sessions of a user that still work, the last used first, without anything secret."""
    now = utc_now()
    columns = [column for column in sessions.c if column.name != "digest"]
    query = (
        sa.select(*columns)
        .where(sessions.c.user_id == user_id, sessions.c.expires_at > now, sessions.c.seen_at > now - idle)
        .order_by(sessions.c.seen_at.desc())
    )
    return [dict(row) for row in connection.execute(query).mappings()]


def end(connection: Connection, user_id: str, session_id: str) -> bool:
    """End one session of a user; tells whether there was one."""
    query = sessions.delete().where(sessions.c.id == session_id, sessions.c.user_id == user_id)
    if connection.execute(query).rowcount == 0:
        return False
    record(connection, "session.delete", f"user/{user_id}", session=session_id)
    return True


def end_all(connection: Connection, user_id: str, keep: str | None = None) -> None:
    """End the sessions of a user, except one."""
    query = sessions.delete().where(sessions.c.user_id == user_id)
    ended = connection.execute(query if keep is None else query.where(sessions.c.id != keep))
    record(connection, "session.delete", f"user/{user_id}", count=ended.rowcount)


def set_cookie(response: Response, value: str, lifetime: timedelta = LIFETIME) -> None:
    """Give the browser its cookie."""
    response.set_cookie(
        COOKIE, value, max_age=int(lifetime.total_seconds()), path="/", secure=True, httponly=True, samesite="lax"
    )


def clear_cookie(response: Response) -> None:
    """Take the cookie from the browser."""
    response.delete_cookie(COOKIE, path="/", secure=True, httponly=True, samesite="lax")


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
