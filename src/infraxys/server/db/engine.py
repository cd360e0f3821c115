"""The server's database: SQLite with one writer, or PostgreSQL. Synchronous, in threads of its own."""

import asyncio
import contextvars
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection, make_url
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import StaticPool

T = TypeVar("T")
Work = Callable[[Connection], T]
READERS = 4
MAX_TOGETHER = 64


class DatabaseUnavailable(Exception):  # noqa: N818 - reads as a state
    """The database cannot be used right now; trying again later may help."""


@dataclass(eq=False, slots=True)
class PendingWrite:
    """A function that waits for its transaction, in the context of who asked for it.

    `done` gives whether its turn has come, else others have run it.
    """

    work: Work[Any]
    context: contextvars.Context = field(default_factory=contextvars.copy_context)
    done: "Future[bool]" = field(default_factory=Future)
    result: Any = None

    def run(self, connection: Connection) -> None:
        """Run it in a transaction."""
        self.result = self.context.run(self.work, connection)


class WriteLine:
    """Who writes SQLite: one thread at a time, for all that wait when its turn comes, in one transaction.

    A transaction costs more than what is in it, since the disk has to confirm its end (docs/decisions/0006). When one
    of several functions raises, all are rolled back and run again one by one, so that each has its own outcome. The
    connection is kept: to get one from the pool and to give it back takes as long as a statement.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._connection: Connection | None = None
        self._lock = threading.Lock()
        self._waiting: deque[PendingWrite] = deque()
        self._is_writing = False

    def write(self, work: Work[T]) -> T:
        """Run a function in a transaction, in this thread or, together with others, in the thread of one of them."""
        with self._lock:
            pending = PendingWrite(work) if self._is_writing else None
            self._is_writing = True
            if pending is not None:
                self._waiting.append(pending)
        if pending is None or pending.done.result():
            return self._lead(work)
        result: T = pending.result
        return result

    def close(self) -> None:
        """Give the connection back. Nobody may write any more."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _lead(self, work: Work[T]) -> T:
        """Write one's own and what waits, then give the turn on."""
        with self._lock:
            others = [self._waiting.popleft() for _ in range(min(len(self._waiting), MAX_TOGETHER))]
        try:
            return self._write_together(work, others)
        finally:
            with self._lock:
                following = self._waiting.popleft() if self._waiting else None
                self._is_writing = following is not None
            if following is not None:
                following.done.set_result(True)

    def _write_together(self, work: Work[T], others: Sequence[PendingWrite]) -> T:
        if others:

            def write_all(connection: Connection) -> T:
                result = work(connection)
                for other in others:
                    other.run(connection)
                return result

            try:
                result = self._transact(write_all)
            except BaseException:  # noqa: BLE001 - whatever it is, it is raised again to the one whose it is
                for other in others:
                    self._write_alone(other)
            else:
                for other in others:
                    other.done.set_result(False)
                return result
        return self._transact(work)

    def _write_alone(self, write: PendingWrite) -> None:
        try:
            self._transact(write.run)
        except BaseException as error:  # noqa: BLE001 - it belongs to the thread that waits for it
            write.done.set_exception(error)
        else:
            write.done.set_result(False)

    def _transact(self, work: Work[T]) -> T:
        """Run a function in a transaction of the connection that is kept; one with which anything failed is not."""
        connection = self._connection or self._engine.connect()
        self._connection = None
        try:
            with connection.begin():
                result = work(connection)
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        return result


class Database:
    """Runs functions in transactions. `write` commits when its function returns and rolls back when it raises.

    A function may be run a second time after its transaction was rolled back: it must do nothing but read and write
    the database. SQLite has one writer at a time: whoever writes does so in its own thread, for others who wait as
    well. Handing writes to a thread of their own costs two changes of thread for each, which is more than the write
    (docs/decisions/0006).
    """

    def __init__(self, url: str) -> None:
        self.url = make_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        if self.is_sqlite:
            self._reader_engine = _sqlite(self.url, "BEGIN")
            self._writer_engine = _sqlite(self.url, "BEGIN IMMEDIATE")
        else:
            url_with_driver = self.url.set(drivername="postgresql+psycopg")
            self._reader_engine = self._writer_engine = sa.create_engine(
                url_with_driver, pool_size=8, max_overflow=4, pool_pre_ping=True, connect_args={"connect_timeout": 10}
            )
        self._line = WriteLine(self._writer_engine) if self.is_sqlite else None
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="db-read")
        self._writers = ThreadPoolExecutor(1 if self.is_sqlite else READERS, thread_name_prefix="db-write")

    @property
    def engine(self) -> sa.Engine:
        """The writing engine, for migrations."""
        return self._writer_engine

    def write(self, work: Work[T]) -> "Future[T]":
        """Run a function in a transaction, in another thread, with the caller's context variables."""
        return self._writers.submit(contextvars.copy_context().run, self.write_now, work)

    def read(self, work: Work[T]) -> "Future[T]":
        """Run a function that only reads, in another thread."""
        return self._readers.submit(self.read_now, work)

    async def awrite(self, work: Work[T]) -> T:
        """Run a function in a transaction, from the event loop."""
        return await asyncio.wrap_future(self.write(work))

    async def aread(self, work: Work[T]) -> T:
        """Run a function that only reads, from the event loop."""
        return await asyncio.wrap_future(self.read(work))

    async def alookup(self, work: Work[T]) -> T:
        """Look one thing up by its key, from the event loop.

        SQLite has the answer in less time than it takes to wake a thread; PostgreSQL is waited for in one.
        """
        return self.read_now(work) if self.is_sqlite else await self.aread(work)

    def write_now(self, work: Work[T]) -> T:
        """Run a function in a transaction, in this thread."""
        try:
            if self._line is not None:
                return self._line.write(work)
            with self._writer_engine.begin() as connection:
                return work(connection)
        except (OperationalError, sqlite3.OperationalError, PoolTimeout) as error:
            raise DatabaseUnavailable("the database cannot be written (away, locked, full or read-only)") from error

    def read_now(self, work: Work[T]) -> T:
        """Run a function that only reads, in this thread."""
        try:
            with self._reader_engine.connect() as connection:
                return work(connection)
        except (OperationalError, PoolTimeout) as error:
            raise DatabaseUnavailable("the database does not answer") from error

    def close(self) -> None:
        """Finish what was asked for and close everything."""
        self._writers.shutdown()
        self._readers.shutdown()
        if self._line is not None:
            self._line.close()
        self._reader_engine.dispose()
        self._writer_engine.dispose()


def _sqlite(url: sa.URL, begin: str) -> sa.Engine:
    """Open SQLite in WAL mode, safe against loss of power, with explicit transactions."""
    in_memory = url.database in {None, "", ":memory:"}
    options: dict[str, Any] = {"poolclass": StaticPool} if in_memory else {"pool_size": 32, "max_overflow": -1}
    engine = sa.create_engine(url, connect_args={"timeout": 30, "check_same_thread": False}, **options)

    @sa.event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # the driver starts no transactions by itself
        cursor = connection.cursor()
        for statement in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=30000", "foreign_keys=ON"):
            cursor.execute(f"PRAGMA {statement}")
        cursor.close()

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine
