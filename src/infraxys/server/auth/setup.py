"""The link that makes the first administrator: works once, for a day, while there is no administrator."""

import hashlib
import secrets
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from infraxys.kit.clock import utc_now
from infraxys.server.db.tables import setup_links, users

LIFETIME = timedelta(hours=24)


def create_link(connection: Connection) -> tuple[str, datetime] | None:
    """Make a link's secret; gives it with its end, or None when there is an administrator. Earlier ones stay good."""
    if has_administrator(connection):
        return None
    connection.execute(setup_links.delete().where(setup_links.c.expires_at <= utc_now()))
    secret, expires_at = secrets.token_urlsafe(32), utc_now() + LIFETIME
    connection.execute(setup_links.insert().values(digest=_digest(secret), expires_at=expires_at))
    return secret, expires_at


def is_good(connection: Connection, secret: str) -> bool:
    """Tell whether a secret is of a link that still works."""
    query = sa.select(setup_links.c.digest).where(
        setup_links.c.digest == _digest(secret), setup_links.c.expires_at > utc_now()
    )
    return connection.execute(query).first() is not None and not has_administrator(connection)


def use(connection: Connection, secret: str) -> bool:
    """Use a link up, and all others with it; tells whether it was good. Of two at once one wins."""
    if not is_good(connection, secret):
        return False
    won = connection.execute(setup_links.delete().where(setup_links.c.digest == _digest(secret))).rowcount > 0
    connection.execute(setup_links.delete())
    return won


def has_administrator(connection: Connection) -> bool:
    """Tell whether any account is an administrator's, disabled ones included."""
    return connection.execute(sa.select(users.c.id).where(users.c.is_administrator).limit(1)).first() is not None


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
