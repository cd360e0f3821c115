"""The server's database: SQLite with one writer, or PostgreSQL. Synchronous, in threads of its own."""

import asyncio
import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection, make_url
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import StaticPool

T = TypeVar("T")
Work = Callable[[Connection], T]
READERS = 4


class DatabaseUnavailable(Exception):  # noqa: N818 - reads as a state
    """The database cannot be used right now; trying again later may help."""


class Database:
    """Runs functions in transactions. `write` commits when its function returns and rolls back when it raises.

    SQLite has one writer at a time: whoever writes holds a lock, in its own thread. Handing writes to a thread of
    their own costs two changes of thread for each, which is more than the write (docs/decisions/0006).
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
        self._turn: AbstractContextManager[object] = threading.Lock() if self.is_sqlite else nullcontext()
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
            with self._turn, self._writer_engine.begin() as connection:
                return work(connection)
        except (OperationalError, PoolTimeout) as error:
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
