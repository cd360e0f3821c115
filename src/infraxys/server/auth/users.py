"""Accounts."""

import re
import unicodedata
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from infraxys.kit.clock import new_id, utc_now
from infraxys.server.db.tables import users

_NAME = re.compile(r"[\w.@+-]{1,100}\Z")


class UserProblem(ValueError):  # noqa: N818 - what is wrong with an account
    """An account cannot be made or found; the message says why."""


def normalise(name: str) -> str:
    """Give the form in which names are compared: look-alikes of one name are one name."""
    normal = unicodedata.normalize("NFKC", name).strip().casefold()
    if not _NAME.match(normal):
        raise UserProblem("a user name has letters, digits and . _ @ + - only, up to 100 of them")
    return normal


def create_user(
    connection: Connection, name: str, *, is_administrator: bool = False, password_hash: str | None = None
) -> str:
    """Make an account; gives its id. Raises UserProblem."""
    normal = normalise(name)
    if find_user(connection, normal) is not None:
        raise UserProblem(f"user '{name}' exists already")
    user_id = new_id()
    connection.execute(
        users.insert().values(
            id=user_id,
            name=normal,
            display_name=name.strip(),
            kind="local",
            is_administrator=is_administrator,
            password_hash=password_hash,
            created_at=utc_now(),
        )
    )
    return user_id


def find_user(connection: Connection, name: str) -> dict[str, Any] | None:
    """Find an account by its name."""
    row = connection.execute(sa.select(users).where(users.c.name == normalise(name))).mappings().first()
    return dict(row) if row else None


def list_users(connection: Connection) -> list[dict[str, Any]]:
    """Give all accounts by name, without anything secret."""
    columns = [users.c.id, users.c.name, users.c.display_name, users.c.kind, users.c.is_administrator]
    query = sa.select(*columns, users.c.created_at, users.c.disabled_at).order_by(users.c.name)
    return [dict(row) for row in connection.execute(query).mappings()]


def disable_user(connection: Connection, name: str) -> None:
    """Lock an account out; its tokens stop working with the next request. Raises UserProblem."""
    query = users.update().where(users.c.name == normalise(name)).values(disabled_at=utc_now())
    if connection.execute(query).rowcount == 0:
        raise UserProblem(f"there is no user '{name}'")
