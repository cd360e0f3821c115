"""What tests of accounts share: the database on SQLite and on PostgreSQL."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from infraxys.server.auth import users
from infraxys.server.auth.tokens import TokenKey
from infraxys.server.db.engine import Database
from infraxys.server.db.migrate import migrate


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    url = (
        f"sqlite:///{tmp_path / 'test.db'}"
        if request.param == "sqlite"
        else request.getfixturevalue("postgres_database")
    )
    database = Database(url)
    migrate(database)
    yield database
    database.close()


@pytest.fixture
def key(tmp_path: Path) -> TokenKey:
    return TokenKey(tmp_path / "tokens.key")


@pytest.fixture
def ada(database: Database) -> str:
    return database.write_now(lambda connection: users.create_user(connection, "ada"))
