"""A run whose start is on record although nothing of it was executed waits again, as if it had been accepted so."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from factories.runs import add_run
from infraxys.engine.status import Status
from infraxys.server.db.engine import Database
from infraxys.server.db.tables import metadata, run_steps, runs
from infraxys.server.runs.repository import find_run, is_queued
from infraxys.server.runs.transitions import end_run, start_step, take_back_start

NOW = datetime(2026, 11, 29, tzinfo=UTC)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path / 'test.db'}")
    metadata.create_all(database.engine)
    yield database
    database.close()


@pytest.fixture
def run_id(database: Database) -> str:
    place = {"module": "github.com/org/repo", "branch": "main", "environment_id": "env-1"}
    run_id = add_run(database, containers=("one", "two"), status="QUEUED", **place)
    waiting = run_steps.update().values(status="QUEUED", attempt=0)
    database.write_now(lambda connection: connection.execute(waiting) and None)
    return run_id


def test_it_is_as_it_was_and_can_begin_once_more(database: Database, run_id: str) -> None:
    before = database.read_now(lambda connection: find_run(connection, run_id))
    assert database.write_now(lambda one: start_step(one, run_id, 0, executor_id="e1", at=NOW, previous=None))
    database.write_now(lambda connection: take_back_start(connection, run_id, 0))
    after = database.read_now(lambda connection: find_run(connection, run_id))
    assert after == before
    assert after is not None
    assert is_queued(after)
    assert database.write_now(lambda one: start_step(one, run_id, 0, executor_id="e2", at=NOW, previous=None))


def test_what_has_ended_stays_ended(database: Database, run_id: str) -> None:
    database.write_now(lambda connection: end_run(connection, run_id, Status.CANCELLED, NOW, []))
    database.write_now(lambda connection: take_back_start(connection, run_id, 0))
    status = runs.select().with_only_columns(runs.c.status).where(runs.c.id == run_id)
    assert database.read_now(lambda connection: connection.execute(status).scalar()) == "CANCELLED"
