"""Writes that share a transaction, and statements that are compiled once."""

import contextvars
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from infraxys.server.db.engine import Database
from infraxys.server.db.prepared import Prepared

metadata = sa.MetaData()
notes = sa.Table("notes", metadata, sa.Column("id", sa.Integer, primary_key=True), sa.Column("text", sa.String))
caller = contextvars.ContextVar("caller", default="nobody")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path}/server.sqlite3")
    metadata.create_all(database.engine)
    yield database
    database.close()


@pytest.fixture
def commits(database: Database) -> list[None]:
    seen: list[None] = []
    sa.event.listen(database.engine, "commit", lambda _: seen.append(None))
    return seen


class Crowd:
    """Writes that all come while another one is being written."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.pool = ThreadPoolExecutor(16)
        self.may_end, self.is_writing = threading.Event(), threading.Event()
        self.first = self.pool.submit(database.write_now, self._hold)

    def _hold(self, _connection: Connection) -> None:
        self.is_writing.set()
        assert self.may_end.wait(10)

    def join(self, works: list[Callable[[Connection], object]]) -> list["Future[object]"]:
        assert self.is_writing.wait(10)
        line = self.database._line
        assert line is not None
        futures = []
        for work in works:
            waiting = len(line._waiting)
            futures.append(self.pool.submit(self.database.write_now, work))
            while len(line._waiting) == waiting and not futures[-1].done():
                threading.Event().wait(0.001)
        self.may_end.set()
        self.pool.shutdown()
        return futures


def insert(number: int) -> Callable[[Connection], object]:
    return lambda connection: connection.execute(notes.insert(), {"id": number, "text": caller.get()}).rowcount


def kept(database: Database) -> list[int]:
    return list(database.read_now(lambda connection: connection.execute(sa.select(notes.c.id)).scalars().all()))


def test_what_waits_is_written_together(database: Database, commits: list[None]) -> None:
    futures = Crowd(database).join([insert(number) for number in range(8)])
    assert [future.result() for future in futures] == [1] * 8
    assert sorted(kept(database)) == list(range(8))
    assert len(commits) == 2  # that which was being written, and all others


def test_one_that_fails_takes_no_other_with_it(database: Database) -> None:
    def fail(connection: Connection) -> object:
        insert(50)(connection)
        raise ValueError("not this one")

    futures = Crowd(database).join([insert(1), fail, insert(2), fail, insert(3)])
    assert [future.exception() is None for future in futures] == [True, False, True, False, True]
    assert isinstance(futures[1].exception(), ValueError)
    assert sorted(kept(database)) == [1, 2, 3]


def test_the_first_of_many_may_fail(database: Database) -> None:
    def fail(_connection: Connection) -> object:
        raise KeyError("first")

    futures = Crowd(database).join([fail, insert(1), insert(2)])
    assert isinstance(futures[0].exception(), KeyError)
    assert sorted(kept(database)) == [1, 2]


def test_each_is_written_as_its_caller(database: Database) -> None:
    def ask(number: int) -> None:
        caller.set(f"caller {number}")
        database.write_now(insert(number))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, range(40)))
    rows = database.read_now(lambda connection: connection.execute(sa.select(notes)).all())
    assert sorted(tuple(row) for row in rows) == [(number, f"caller {number}") for number in range(40)]


def test_a_prepared_statement_does_what_the_ordinary_one_does(database: Database) -> None:
    insert_note = Prepared(notes.insert())
    rename = Prepared(
        notes.update()
        .where(notes.c.id == sa.bindparam("number"), notes.c.text == "old")
        .values(text=sa.bindparam("new"))
    )
    last = Prepared(sa.select(notes.c.id, notes.c.text).order_by(notes.c.id.desc()).limit(1))

    def work(connection: Connection) -> tuple[object, ...]:
        before = last.first(connection)
        inserted = insert_note.change(connection, {"id": 1, "text": "old"}, {"id": 2, "text": None})
        renamed = rename.change(connection, {"number": 1, "new": "it's"})
        again = rename.change(connection, {"number": 1, "new": "twice"})
        return before, inserted, renamed, again, last.first(connection)

    assert database.write_now(work) == (None, 2, 1, 0, (2, None))


def test_a_prepared_statement_is_rolled_back_with_its_transaction(database: Database) -> None:
    insert_note = Prepared(notes.insert())

    def work(connection: Connection) -> None:
        insert_note.change(connection, {"id": 1, "text": "gone"})
        raise ValueError

    with pytest.raises(ValueError):
        database.write_now(work)
    assert kept(database) == []
