"""The database: transactions, times, and the schema of this version."""

from collections.abc import Iterator
from concurrent.futures import wait
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from infraxys.server.db.engine import Database, DatabaseUnavailable
from infraxys.server.db.migrate import HEAD, NewerSchema, alembic_config, current_revision, migrate
from infraxys.server.db.tables import metadata
from infraxys.server.db.types import UtcDateTime

scratch = sa.Table("scratch", sa.MetaData(), sa.Column("n", sa.Integer), sa.Column("at", UtcDateTime))


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path / 'test.db'}")
    yield database
    database.close()


def count(database: Database) -> int:
    return database.read_now(
        lambda connection: connection.execute(sa.select(sa.func.count()).select_from(scratch)).scalar_one()
    )


def test_sqlite_is_safe_against_loss_of_power(database: Database) -> None:
    def pragma(connection: sa.Connection) -> list[object]:
        names = ("journal_mode", "synchronous", "foreign_keys")
        return [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in names]

    assert database.write_now(pragma) == ["wal", 2, 1]


def test_a_function_that_raises_changes_nothing(database: Database) -> None:
    scratch.create(database.engine)

    def work(connection: sa.Connection) -> None:
        connection.execute(scratch.insert().values(n=1))
        raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        database.write_now(work)
    assert count(database) == 0
    database.write_now(lambda connection: connection.execute(scratch.insert().values(n=1)))
    assert count(database) == 1


def test_writers_of_many_threads_lose_nothing(database: Database) -> None:
    scratch.create(database.engine)

    def increment(connection: sa.Connection) -> None:
        known = connection.execute(sa.select(sa.func.max(scratch.c.n))).scalar() or 0
        connection.execute(scratch.insert().values(n=known + 1))

    done, _ = wait([database.write(increment) for _ in range(50)], timeout=60)
    assert len(done) == 50
    assert count(database) == database.read_now(lambda c: c.execute(sa.select(sa.func.max(scratch.c.n))).scalar()) == 50


def test_a_database_that_cannot_be_opened_is_unavailable(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'no folder' / 'test.db'}")
    with pytest.raises(DatabaseUnavailable):
        database.read_now(lambda connection: connection.exec_driver_sql("SELECT 1"))
    with pytest.raises(DatabaseUnavailable):
        database.write_now(lambda connection: connection.exec_driver_sql("SELECT 1"))
    database.close()


def test_times_come_back_aware_in_utc_and_sort(database: Database) -> None:
    scratch.create(database.engine)
    early = datetime(2026, 1, 1, 12, 0, 0, 1, tzinfo=timezone(timedelta(hours=5)))
    times = [early, early + timedelta(microseconds=1), datetime(2026, 1, 1, 8, tzinfo=UTC)]
    database.write_now(lambda connection: connection.execute(scratch.insert(), [{"n": 1, "at": at} for at in times]))
    read = database.read_now(lambda c: c.execute(sa.select(scratch.c.at).order_by(scratch.c.at)).scalars().all())
    assert list(read) == sorted(times)
    assert all(at.tzinfo is UTC for at in read)


def test_naive_times_are_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        UtcDateTime().process_bind_param(datetime(2026, 1, 1), sa.create_engine("sqlite://").dialect)  # noqa: DTZ001 - the point


def test_migrating_makes_the_tables_as_they_are_declared(database: Database) -> None:
    assert migrate(database)
    with database.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    assert not migrate(database)


def test_the_known_head_is_the_newest_migration(database: Database) -> None:
    with database.engine.connect() as connection:
        assert ScriptDirectory.from_config(alembic_config(connection)).get_heads() == [HEAD]


def test_e8_a_newer_schema_is_refused(database: Database) -> None:
    migrate(database)
    database.write_now(lambda c: c.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(NewerSchema, match="9999"):
        migrate(database)
    assert current_revision(database) == "9999"
