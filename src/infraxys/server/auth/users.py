"""Accounts."""

import re
import unicodedata
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from infraxys.kit.clock import new_id, utc_now
from infraxys.server.audit.trail import record
from infraxys.server.db.tables import sessions, tokens, users

_NAME = re.compile(r"[\w.@+-]{1,100}\Z")
# "local" signs in here, "oidc" elsewhere, "service" not at all.
LOCAL, OIDC, SERVICE = "local", "oidc", "service"
# Everything but the password's hash.
COLUMNS = tuple(column for column in users.c if column.name != "password_hash")


class UserProblem(ValueError):  # noqa: N818 - what is wrong with an account
    """An account cannot be made, found or changed; the message says why, `code` is for programs."""

    def __init__(self, message: str, code: str = "invalid_user") -> None:
        super().__init__(message)
        self.code = code


def normalise(name: str) -> str:
    """Give the form in which names are compared: look-alikes of one name are one name."""
    normal = unicodedata.normalize("NFKC", name).strip().casefold()
    if not _NAME.match(normal):
        raise UserProblem("a user name has letters, digits and . _ @ + - only, up to 100 of them")
    return normal


def create_user(
    connection: Connection,
    name: str,
    *,
    display_name: str | None = None,
    kind: str = LOCAL,
    is_administrator: bool = False,
    password_hash: str | None = None,
) -> str:
    """Make an account; gives its id. Raises UserProblem."""
    normal = normalise(name)
    if find_user(connection, normal) is not None:
        raise UserProblem(f"user '{name}' exists already", "user_exists")
    user_id = new_id()
    values = {
        "id": user_id,
        "name": normal,
        "display_name": (display_name or name).strip(),
        "kind": kind,
        "is_administrator": is_administrator,
        "password_hash": password_hash,
        "created_at": utc_now(),
    }
    try:
        with connection.begin_nested():
            connection.execute(users.insert().values(values))
    except sa.exc.IntegrityError as error:  # somebody was faster, on PostgreSQL
        raise UserProblem(f"user '{name}' exists already", "user_exists") from error
    record(connection, "user.create", f"user/{user_id}", name=normal, kind=kind, is_administrator=is_administrator)
    return user_id


def find_user(connection: Connection, name: str) -> dict[str, Any] | None:
    """Find an account by its name, with the hash of its password. Raises UserProblem for what cannot be a name."""
    row = connection.execute(sa.select(users).where(users.c.name == normalise(name))).mappings().first()
    return dict(row) if row else None


def find_by_id(connection: Connection, user_id: str) -> dict[str, Any] | None:
    """Find an account by its id, with the hash of its password."""
    row = connection.execute(sa.select(users).where(users.c.id == user_id)).mappings().first()
    return dict(row) if row else None


def list_users(
    connection: Connection,
    *,
    limit: int | None = None,
    after: str | None = None,
    text: str | None = None,
    by: Literal["name", "id"] = "name",
    is_reversed: bool = False,
) -> list[dict[str, Any]]:
    """Give accounts by name or id, those behind `after`, without anything secret."""
    column = users.c[by]
    query = sa.select(*COLUMNS).order_by(column.desc() if is_reversed else column).limit(limit)
    if after is not None:
        query = query.where(column < after if is_reversed else column > after)
    if text:
        wanted = unicodedata.normalize("NFKC", text).casefold()
        query = query.where(
            sa.or_(
                users.c.name.contains(wanted, autoescape=True),
                sa.func.lower(users.c.display_name).contains(wanted, autoescape=True),
            )
        )
    return [dict(row) for row in connection.execute(query).mappings()]


def set_disabled(connection: Connection, user_id: str, *, is_disabled: bool) -> None:
    """Lock an account out, or let it in again. One that is locked out loses its sessions and tokens for good.

    Raises UserProblem rather than leaving no administrator.
    """
    if is_disabled:
        keep_an_administrator(connection, user_id)
        connection.execute(sessions.delete().where(sessions.c.user_id == user_id))
        connection.execute(tokens.delete().where(tokens.c.user_id == user_id))
    query = users.update().where(users.c.id == user_id)
    connection.execute(
        query.where(users.c.disabled_at.is_(None)).values(disabled_at=utc_now())
        if is_disabled
        else query.values(disabled_at=None)
    )
    record(connection, "user.update", f"user/{user_id}", is_disabled=is_disabled)


def set_administrator(connection: Connection, user_id: str, *, is_administrator: bool) -> None:
    """Give or take every grant. Raises UserProblem rather than leaving no administrator."""
    if not is_administrator:
        keep_an_administrator(connection, user_id)
    connection.execute(users.update().where(users.c.id == user_id).values(is_administrator=is_administrator))
    record(connection, "user.update", f"user/{user_id}", is_administrator=is_administrator)


def set_display_name(connection: Connection, user_id: str, display_name: str) -> None:
    """Change what people read."""
    connection.execute(users.update().where(users.c.id == user_id).values(display_name=display_name))
    record(connection, "user.update", f"user/{user_id}", display_name=display_name)


def set_password(connection: Connection, user_id: str, password_hash: str) -> None:
    """Change the password; the account's sessions end with it."""
    connection.execute(sessions.delete().where(sessions.c.user_id == user_id))
    set_password_hash(connection, user_id, password_hash)
    record(connection, "user.update", f"user/{user_id}", password="changed")  # noqa: S106 - not one


def set_password_hash(connection: Connection, user_id: str, password_hash: str) -> None:
    """Store the same password in another way."""
    connection.execute(users.update().where(users.c.id == user_id).values(password_hash=password_hash))


def delete_user(connection: Connection, user_id: str) -> None:
    """Remove an account with its sessions and tokens. Raises UserProblem rather than leaving no administrator."""
    keep_an_administrator(connection, user_id)
    name = connection.execute(sa.select(users.c.name).where(users.c.id == user_id)).scalar()
    connection.execute(users.delete().where(users.c.id == user_id))
    record(connection, "user.delete", f"user/{user_id}", name=name)


def keep_an_administrator(connection: Connection, user_id: str) -> None:
    """Raise UserProblem when the account is the last administrator that can be used."""
    query = sa.select(users.c.id).where(users.c.is_administrator, users.c.disabled_at.is_(None)).with_for_update()
    able = list(connection.execute(query).scalars())
    if able == [user_id]:
        raise UserProblem("this is the last administrator; make somebody else one first", "last_administrator")
