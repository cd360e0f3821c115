"""Who is alive, by the database's clock, whatever the clocks of the processes say. On both databases."""

import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from infraxys.server.db.engine import Database
from infraxys.server.db.migrate import migrate
from infraxys.server.db.tables import executors
from infraxys.server.runs.repository import DatabaseHeartbeats

# A process whose clock is `shift` seconds wrong, as far as Python can tell.
BEAT = """
import datetime, sys, time
shift = float(sys.argv[3])
real = datetime.datetime
class Shifted(real):
    @classmethod
    def now(cls, tz=None):
        return real.now(tz) + datetime.timedelta(seconds=shift)
datetime.datetime = Shifted
now = time.time
time.time = lambda: now() + shift
from infraxys.kit.clock import utc_now
assert abs((utc_now() - real.now(datetime.UTC)).total_seconds() - shift) < 60
from infraxys.server.db.engine import Database
from infraxys.server.runs.repository import DatabaseHeartbeats
database = Database(sys.argv[1])
heartbeats = DatabaseHeartbeats(database, "host", 1)
heartbeats.beat(sys.argv[2])
print(sorted(heartbeats.alive(10.0)), heartbeats.dead(10.0))
database.close()
"""


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
def heartbeats(database: Database) -> DatabaseHeartbeats:
    return DatabaseHeartbeats(database, "host", 1)


def age(database: Database, executor_id: str, seconds: float) -> None:
    """Make a heartbeat older, as if that much time had passed in the database."""

    def write(connection: sa.Connection) -> None:
        is_it = executors.c.id == executor_id
        at = connection.execute(sa.select(executors.c.beat_at).where(is_it)).scalar_one()
        connection.execute(executors.update().where(is_it).values(beat_at=at - timedelta(seconds=seconds)))

    database.write_now(write)


@pytest.mark.parametrize("shift", [-3600, 3600])
def test_a_process_with_a_wrong_clock_neither_seems_dead_nor_buries_others(
    database: Database, heartbeats: DatabaseHeartbeats, shift: int
) -> None:
    heartbeats.beat("right")
    url = database.url.render_as_string(hide_password=False)
    command = [sys.executable, "-c", BEAT, url, "wrong", str(shift)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "['right', 'wrong'] []"
    assert heartbeats.alive(10) == {"right", "wrong"}
    assert heartbeats.dead(10) == []


def test_who_was_silent_for_too_long_is_dead_until_the_next_beat(
    database: Database, heartbeats: DatabaseHeartbeats
) -> None:
    for name in ("silent", "living"):
        heartbeats.beat(name)
    age(database, "silent", 10.5)
    age(database, "living", 5)
    assert heartbeats.alive(10) == {"living"}
    assert heartbeats.dead(10) == ["silent"]
    assert heartbeats.alive(11.5) == {"living", "silent"}
    heartbeats.beat("silent")
    assert heartbeats.dead(10) == []


def test_a_good_bye_leaves_no_record(heartbeats: DatabaseHeartbeats) -> None:
    heartbeats.beat("one")
    heartbeats.remove("one")
    heartbeats.remove("one")
    assert heartbeats.alive(10) == set()
    assert heartbeats.dead(0) == []
