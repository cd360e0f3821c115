"""Variables in the database. Values are sealed; see `keys`."""

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from infraxys.server.db.prepared import Prepared
from infraxys.server.db.tables import access_state, variable_state, variables
from infraxys.server.variables.keys import Bound
from infraxys.server.variables.levels import Book, Entry, Level
from infraxys.server.variables.schemas import level_of

_table = variables.c
_VERSIONS = Prepared(
    sa.select(access_state.c.version, variable_state.c.version).select_from(
        access_state.join(variable_state, sa.true())
    )
)
_RAISE = variable_state.update().values(version=variable_state.c.version + 1)
_OF_LEVEL = sa.select(variables).where(_table.level_key == sa.bindparam("key")).order_by(_table.name)
_ONE = sa.select(variables).where(_table.level_key == sa.bindparam("key"), _table.name == sa.bindparam("name"))
_BOOK = sa.select(*(column for column in variables.c if column.name not in {"sealed", "reference"}))
_SEALED = sa.select(variables).where(_table.sealed.is_not(None), _table.key_id != sa.bindparam("key"))


def versions(connection: Connection) -> tuple[int, int]:
    """Give the versions of what decides about rights, and of the variables."""
    row = _VERSIONS.first(connection)
    assert row is not None  # noqa: S101 - both tables have one row from the beginning
    return row[0], row[1]


def lock(connection: Connection) -> None:
    """Begin a change: the next run of every server sees it. Changes wait for one another here."""
    connection.execute(_RAISE)


def load_book(connection: Connection) -> Book:
    """Read all variables without their values. The version is read first: what is read with it is never older."""
    _, version = versions(connection)
    return Book.of(version, (entry_of(row) for row in connection.execute(_BOOK).mappings()))


def entry_of(row: RowMapping | Mapping[str, Any]) -> Entry:
    """Read a variable without its value."""
    return Entry(
        id=row["id"],
        level=level_of(row),
        name=row["name"],
        type=row["type"],
        is_protected=bool(row["is_protected"]),
        allow_overrides=bool(row["allow_overrides"]),
        is_exported=bool(row["is_exported"]),
        is_file=bool(row["is_file"]),
    )


def bound_of(row: RowMapping | Mapping[str, Any]) -> Bound:
    """Give what the value of a variable is bound to."""
    return Bound((*level_of(row).path, row["name"]), row["version"], bool(row["is_protected"]))


def of_level(connection: Connection, level: Level) -> Sequence[RowMapping]:
    """Give the variables of a level by name."""
    return connection.execute(_OF_LEVEL, {"key": level.key}).mappings().all()


def find(connection: Connection, level: Level, name: str) -> RowMapping | None:
    """Find a variable of a level."""
    return connection.execute(_ONE, {"key": level.key, "name": name}).mappings().first()


def with_values(connection: Connection, ids: Sequence[str]) -> Sequence[RowMapping]:
    """Give variables with their sealed values, by name."""
    query = sa.select(variables).where(_table.id.in_(ids)).order_by(_table.name)
    return connection.execute(query).mappings().all()


def insert(connection: Connection, row: RowMapping | Mapping[str, Any]) -> None:
    """Record a variable."""
    connection.execute(variables.insert(), dict(row))


def update(connection: Connection, row: RowMapping | Mapping[str, Any]) -> None:
    """Record what a variable is now."""
    connection.execute(variables.update().where(_table.id == row["id"]).values(**row))


def delete(connection: Connection, variable_id: str) -> None:
    """Remove a variable."""
    connection.execute(variables.delete().where(_table.id == variable_id))


def are_any_sealed(connection: Connection) -> bool:
    """Whether there is a value that needs a master key."""
    return connection.execute(sa.select(_table.id).where(_table.sealed.is_not(None)).limit(1)).first() is not None


def sealed_under_others(connection: Connection, key_id: str) -> Sequence[RowMapping]:
    """Give the variables whose values are not sealed under this master key."""
    return connection.execute(_SEALED, {"key": key_id}).mappings().all()
