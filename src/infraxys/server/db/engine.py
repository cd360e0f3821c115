"""The server's database: SQLite with one writer, or PostgreSQL. Synchronous, in threads of its own."""

import asyncio
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection, make_url
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.pool import StaticPool

T = TypeVar("T")
Work = Callable[[Connection], T]
READERS = 4
GROUP = 64  # writes that share one commit at most


class DatabaseUnavailable(Exception):  # noqa: N818 - reads as a state
    """The database cannot be used right now; trying again later may help."""


class Database:
    """Runs functions in transactions. `write` commits when its function returns and rolls back when it raises.

    With SQLite one thread writes; writes that wait for it share a commit, each behind a savepoint of its own.
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
                url_with_driver, pool_size=8, max_overflow=4, pool_pre_ping=True
            )
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="db-read")
        self._writers = ThreadPoolExecutor(READERS, thread_name_prefix="db-write") if not self.is_sqlite else None
        self._queue: queue.SimpleQueue[tuple[Work[Any], Future[Any]] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        if self.is_sqlite:
            self._thread = threading.Thread(target=self._write_loop, name="db-write", daemon=True)
            self._thread.start()

    @property
    def engine(self) -> sa.Engine:
        """The writing engine, for migrations."""
        return self._writer_engine

    def write(self, work: Work[T]) -> "Future[T]":
        """Run a function in a transaction."""
        if self._writers is not None:
            return self._writers.submit(self._transaction, work)
        future: Future[T] = Future()
        self._queue.put((work, future))
        return future

    def read(self, work: Work[T]) -> "Future[T]":
        """Run a function that only reads."""
        return self._readers.submit(self._reading, work)

    async def awrite(self, work: Work[T]) -> T:
        """Run a function in a transaction, from the event loop."""
        return await asyncio.wrap_future(self.write(work))

    async def aread(self, work: Work[T]) -> T:
        """Run a function that only reads, from the event loop."""
        return await asyncio.wrap_future(self.read(work))

    def write_now(self, work: Work[T]) -> T:
        """Run a function in a transaction, from a thread."""
        return self.write(work).result()

    def read_now(self, work: Work[T]) -> T:
        """Run a function that only reads, from a thread."""
        return self._reading(work)

    def close(self) -> None:
        """Finish what was asked for and close everything."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
        if self._writers is not None:
            self._writers.shutdown()
        self._readers.shutdown()
        self._reader_engine.dispose()
        self._writer_engine.dispose()

    def _reading(self, work: Work[T]) -> T:
        try:
            with self._reader_engine.connect() as connection:
                return work(connection)
        except OperationalError as error:
            raise DatabaseUnavailable("the database does not answer") from error

    def _transaction(self, work: Work[T]) -> T:
        try:
            with self._writer_engine.begin() as connection:
                return work(connection)
        except OperationalError as error:
            raise DatabaseUnavailable("the database does not answer") from error

    def _write_loop(self) -> None:
        stopping = False
        while not stopping:
            jobs = [self._queue.get()]
            while len(jobs) < GROUP:
                try:
                    jobs.append(self._queue.get_nowait())
                except queue.Empty:
                    break
            stopping = None in jobs
            self._write_group([job for job in jobs if job is not None])

    def _write_group(self, jobs: list[tuple[Work[Any], "Future[Any]"]]) -> None:
        """Run several writes in one transaction; what one raises undoes only its own."""
        done: list[tuple[Future[Any], Any, BaseException | None]] = []
        try:
            if not jobs:
                return
            with self._writer_engine.begin() as connection:
                for work, future in jobs:
                    try:
                        with connection.begin_nested():
                            done.append((future, work(connection), None))
                    except DBAPIError as error:
                        if error.connection_invalidated or isinstance(error, OperationalError):
                            raise
                        done.append((future, None, error))
                    except Exception as error:  # noqa: BLE001 - handed to whoever asked for the write
                        done.append((future, None, error))
        except (OperationalError, DBAPIError) as error:
            unavailable = DatabaseUnavailable("the database cannot be written (locked, full or read-only)")
            unavailable.__cause__ = error
            done = [(future, None, unavailable) for _, future in jobs]
        for future, value, problem in done:
            if future.set_running_or_notify_cancel():
                if problem is None:
                    future.set_result(value)
                else:
                    future.set_exception(problem)


def _sqlite(url: sa.URL, begin: str) -> sa.Engine:
    """Open SQLite in WAL mode, safe against loss of power, with explicit transactions."""
    in_memory = url.database in {None, "", ":memory:"}
    options: dict[str, Any] = {"poolclass": StaticPool} if in_memory else {"pool_size": READERS + 1}
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
