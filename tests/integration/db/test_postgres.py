"""The server's database on PostgreSQL."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from infraxys.server.auth import users
from infraxys.server.db.engine import Database, DatabaseUnavailable
from infraxys.server.db.migrate import migrate
from infraxys.server.db.tables import metadata


@pytest.fixture
def database(postgres_database: str) -> Iterator[Database]:
    database = Database(postgres_database)
    yield database
    database.close()


def test_migrating_makes_the_tables_as_they_are_declared(database: Database) -> None:
    assert migrate(database)
    with database.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    assert not migrate(database)


def test_servers_that_start_at_once_migrate_once(database: Database) -> None:
    with ThreadPoolExecutor(4) as pool:
        assert any(list(pool.map(migrate, [database] * 4)))
    assert not migrate(database)


def test_times_come_back_in_utc(database: Database) -> None:
    migrate(database)
    database.write_now(lambda connection: users.create_user(connection, "ada"))
    created = database.read_now(users.list_users)[0]["created_at"]
    assert created.utcoffset().total_seconds() == 0


def test_a_server_that_is_away_is_unavailable() -> None:
    away = Database("postgresql://nobody@127.0.0.1:1/none")
    with pytest.raises(DatabaseUnavailable):
        away.read_now(lambda connection: connection.exec_driver_sql("SELECT 1"))
    away.close()
