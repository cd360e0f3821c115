"""Databases of both kinds."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from infraxys.server.db.engine import Database
from infraxys.server.db.migrate import migrate


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    if request.param == "sqlite":
        folder: Path = tmp_path_factory.mktemp("lists")
        opened = Database(f"sqlite:///{folder / 'test.db'}")
    else:
        opened = Database(request.getfixturevalue("postgres_module_database"))
    migrate(opened)
    yield opened
    opened.close()
