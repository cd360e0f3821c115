"""The database on SQLite and on PostgreSQL."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from infraxys.server.db.engine import Database
from infraxys.server.db.migrate import migrate


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'test.db'}"
    given: str = request.getfixturevalue("postgres_database")
    return given


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    database = Database(url)
    migrate(database)
    yield database
    database.close()
