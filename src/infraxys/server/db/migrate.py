"""Bringing the database to the schema of this version."""

from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from infraxys.server.db.engine import Database

if TYPE_CHECKING:
    from alembic.config import Config

# The newest migration in `migrations/versions/`; a test compares. Alembic is imported only when there is work.
HEAD = "0010"


class NewerSchema(Exception):  # noqa: N818 - reads as what is wrong
    """The database was written by a newer Infraxys than this one."""


def current_revision(database: Database) -> str | None:
    """Give the revision that the database is at; None for an empty one."""

    def read(connection: sa.Connection) -> str | None:
        if not sa.inspect(connection).has_table("alembic_version"):
            return None
        return connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()

    return database.read_now(read)


def migrate(database: Database) -> bool:
    """Apply what is missing; tells whether there was anything. Raises NewerSchema."""
    current = current_revision(database)
    if current == HEAD:
        return False
    if current is not None and current > HEAD:
        raise NewerSchema(
            f"the database is of a newer Infraxys (schema {current}, this one knows {HEAD}); start that version, or "
            "restore a backup made before the upgrade"
        )
    from alembic import command  # noqa: PLC0415 - see HEAD

    with database.engine.begin() as connection:
        if not database.is_sqlite:  # several servers may start at once; SQLite has one writer anyhow
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(7236019)"))
        command.upgrade(alembic_config(connection), HEAD)
    return True


def alembic_config(connection: sa.Connection) -> "Config":
    """Give Alembic's configuration for our migrations on a connection."""
    from alembic.config import Config  # noqa: PLC0415 - see HEAD

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config
