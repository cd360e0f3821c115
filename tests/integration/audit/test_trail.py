"""The chain of records on both databases: nothing is lost, changed or removed without being found."""

import hashlib
import json
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from subprocess import run
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from infraxys.kit.clock import utc_now
from infraxys.server.audit.origin import SERVER, Origin, acting
from infraxys.server.audit.trail import (
    GENESIS,
    AuditFilter,
    Checkpoint,
    Verdict,
    checkpoint,
    export_lines,
    list_records,
    record,
    verify,
    walk,
)
from infraxys.server.db.engine import Database
from infraxys.server.db.tables import audit_records

ADA = Origin("192.0.2.7", "request-1", "u-1", "ada", "t-1", None)
# What another program does that writes to the same database.
WRITER = """
import sys
from infraxys.server.audit.trail import record
from infraxys.server.db.engine import Database
database = Database(sys.argv[1])
for number in range(40):
    database.write_now(lambda connection: record(connection, "test.write", f"number/{number}"))
database.close()
"""


def write(database: Database, count: int = 1, **details: Any) -> None:
    for number in range(count):
        database.write_now(lambda c, n=number: record(c, "thing.make", f"thing/{n}", origin=ADA, **details))


def check(database: Database, kept: Checkpoint | None = None) -> Verdict:
    return verify(walk(database.read_now), kept)


def listed(database: Database, **wanted: Any) -> list[dict[str, Any]]:
    return database.read_now(lambda connection: list_records(connection, AuditFilter(**wanted), limit=500))


@contextmanager
def open_to_forgery(connection: Connection) -> Any:
    """Do what somebody can do who owns the database: take the triggers away."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("ALTER TABLE audit_records DISABLE TRIGGER ALL")
    else:
        for name in ("update", "delete", "insert"):
            connection.exec_driver_sql(f"DROP TRIGGER audit_records_{name}")
    yield


def forge(database: Database, statement: Any) -> None:
    def work(connection: Connection) -> None:
        with open_to_forgery(connection):
            connection.execute(statement)

    database.write_now(work)


def test_a_record_says_who_what_when_from_where_on_what_and_with_what_result(database: Database) -> None:
    before = utc_now()
    write(database, name="é\x00\n\ud800", many=["a"] * 100)
    (found,) = listed(database)
    at = datetime.fromisoformat(found["at"])
    assert before <= at <= utc_now()
    assert found["user"] == {"id": "u-1", "name": "ada"}
    assert (found["action"], found["target"], found["result"]) == ("thing.make", "thing/0", "ok")
    assert (found["address"], found["requestId"], found["tokenId"]) == ("192.0.2.7", "request-1", "t-1")
    assert found["details"] == {"name": "é\ufffd\ufffd\ufffd", "many": ["a"] * 50}


def test_the_caller_is_that_of_the_request_also_in_the_thread_that_writes(database: Database) -> None:
    with acting(ADA):
        database.write(lambda connection: record(connection, "thing.make")).result()
    database.write(lambda connection: record(connection, "thing.make")).result()
    assert [item["address"] for item in listed(database)] == [SERVER.address, ADA.address]


def test_what_is_rolled_back_leaves_no_record_and_no_gap(database: Database) -> None:
    def fails(connection: Connection) -> None:
        record(connection, "thing.make")
        raise LookupError

    write(database)
    with pytest.raises(LookupError):
        database.write_now(fails)
    write(database)
    assert [item["sequence"] for item in listed(database)] == [2, 1]
    assert check(database).problem == ""


def test_several_processes_and_threads_write_one_chain(database: Database, url: str) -> None:
    command = [sys.executable, "-c", WRITER, url]
    with ThreadPoolExecutor(6) as pool:
        others = [pool.submit(run, command, capture_output=True, text=True, check=False) for _ in range(2)]
        list(pool.map(lambda _: write(database, 20), range(4)))
        for other in others:
            assert other.result().returncode == 0, other.result().stderr
    verdict = check(database)
    assert (verdict.end.sequence, verdict.problem) == (2 * 40 + 4 * 20, "")


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_records SET user_name = 'eve'",
        "DELETE FROM audit_records",
        "DELETE FROM audit_records WHERE sequence = 2",
        "UPDATE audit_records SET sequence = 9 WHERE sequence = 3",
    ],
)
def test_the_database_refuses_to_change_and_to_delete(database: Database, statement: str) -> None:
    write(database, 3)
    with pytest.raises(DBAPIError, match="never changed or deleted"):
        database.write_now(lambda connection: connection.exec_driver_sql(statement))
    assert check(database).end.sequence == 3


def test_the_database_refuses_to_replace_to_leave_gaps_and_to_truncate(database: Database) -> None:
    write(database, 3)
    columns = "action, target, result, address, details, hash, at"
    values = f"SELECT {columns} FROM audit_records WHERE sequence = 1"
    replace = f"INSERT OR REPLACE INTO audit_records (sequence, {columns}) SELECT 2, {columns} FROM ({values})"
    gap = f"INSERT INTO audit_records (sequence, {columns}) SELECT 7, {columns} FROM ({values})"
    statements = (replace, gap) if database.is_sqlite else ("TRUNCATE audit_records",)
    for statement in statements:
        with pytest.raises(DBAPIError):
            database.write_now(lambda connection, text=statement: connection.exec_driver_sql(text))
    assert check(database).end.sequence == 3


@pytest.mark.parametrize(
    ("forgery", "broken_at", "problem"),
    [
        (lambda t: t.update().where(t.c.sequence == 4).values(user_name="eve"), 4, "not what was written"),
        (lambda t: t.update().where(t.c.sequence == 4).values(at=utc_now() - timedelta(days=1)), 4, "not what"),
        (lambda t: t.update().where(t.c.sequence == 4).values(hash="0" * 64), 4, "not what was written"),
        (lambda t: t.update().where(t.c.sequence == 4).values(details="no JSON"), 4, "not what was written"),
        (lambda t: t.delete().where(t.c.sequence == 4), 4, "record 4 is missing"),
        (lambda t: t.delete().where(t.c.sequence == 1), 1, "record 1 is missing"),
        (lambda t: t.update().where(t.c.sequence == 6).values(sequence=60), 6, "record 6 is missing"),
    ],
)
def test_the_first_record_that_was_forged_is_named(
    database: Database, forgery: Callable[[sa.Table], Any], broken_at: int, problem: str
) -> None:
    write(database, 6)
    forge(database, forgery(audit_records))
    verdict = check(database)
    assert verdict.broken_at == broken_at
    assert problem in verdict.problem
    assert verdict.end.sequence == broken_at - 1


def test_what_was_cut_off_at_the_end_is_found_with_a_checkpoint(database: Database) -> None:
    write(database, 5)
    kept = Checkpoint.parse(str(database.read_now(checkpoint)))
    write(database, 2)
    assert check(database, kept).problem == ""
    forge(database, audit_records.delete().where(audit_records.c.sequence > 3))
    assert check(database).problem == ""
    assert check(database, kept).broken_at == 4


def test_a_chain_that_was_written_anew_is_found_with_a_checkpoint(database: Database) -> None:
    write(database, 5)
    kept = database.read_now(checkpoint)
    forge(database, audit_records.delete())
    write(database, 8)
    assert check(database).problem == ""
    verdict = check(database, kept)
    assert (verdict.broken_at, "another one" in verdict.problem) == (5, True)


def test_an_export_can_be_checked_with_nothing_but_json_and_sha256(database: Database) -> None:
    write(database, 3, name="ü")
    text, last = export_lines(list(walk(database.read_now)), GENESIS)
    previous = GENESIS
    for line in text.splitlines():
        item = json.loads(line)
        given = item.pop("hash")
        assert item["previousHash"] == previous
        body = json.dumps(item, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        assert hashlib.sha256(body.encode()).hexdigest() == given
        previous = given
    assert previous == last == database.read_now(checkpoint).hash


def test_a_walk_of_many_pages_gives_every_record_once(database: Database) -> None:
    def many(connection: Connection) -> None:
        for number in range(2500):
            record(connection, "thing.make", f"thing/{number}")

    database.write_now(many)
    assert [row["sequence"] for row in walk(database.read_now)] == list(range(1, 2501))


def test_b01_tokens_are_masked_wherever_they_are_put(database: Database) -> None:
    secret = f"ifx_{'a' * 16}_{'b' * 43}_cccccc"
    of_run = f"ifr_{'0' * 32}_{'b' * 43}_cccccc"
    write(database, name=secret, list=[f"x{of_run}y"], nested={"deep": secret})
    database.write_now(
        lambda connection: record(connection, "thing.make", secret, origin=Origin("x", None, None, secret))
    )
    text, _ = export_lines(list(walk(database.read_now)), GENESIS)
    assert "b" * 43 not in text
    assert text.count("[token]") == 5


class TestFilters:
    @pytest.fixture(autouse=True)
    def records(self, database: Database) -> None:
        for action, target, result, who in (
            ("token.create", "token/1", "ok", "ada"),
            ("token.delete", "token/1", "ok", "bob"),
            ("tokenish.delete", "token/2", "refused", "ada"),
            ("run.end", "run/1", "failed", None),
        ):
            origin = Origin("192.0.2.1", None, who and f"id-{who}", who)
            database.write_now(lambda c, a=action, t=target, r=result, o=origin: record(c, a, t, result=r, origin=o))

    @pytest.mark.parametrize(
        ("wanted", "found"),
        [
            ({}, [4, 3, 2, 1]),
            ({"who": "ada"}, [3, 1]),
            ({"who": "id-bob"}, [2]),
            ({"who": "ADA' OR 1=1"}, []),
            ({"what": "token"}, [2, 1]),
            ({"what": "token.create"}, [1]),
            ({"what": "tok%"}, []),
            ({"target": "token/1"}, [2, 1]),
            ({"result": "failed"}, [4]),
            ({"since": datetime(2999, 1, 1, tzinfo=UTC)}, []),
            ({"until": datetime(2999, 1, 1, tzinfo=UTC)}, [4, 3, 2, 1]),
        ],
    )
    def test_a_filter_gives_what_it_says(self, database: Database, wanted: dict[str, Any], found: list[int]) -> None:
        assert [item["sequence"] for item in listed(database, **wanted)] == found
