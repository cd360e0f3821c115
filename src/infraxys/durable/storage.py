"""Where the engine keeps its memory, and in which form: JSON, in SQLite or PostgreSQL."""

import json
import logging
import sqlite3
import threading
import time
from typing import Any, Self

import sqlalchemy as sa
from dbos import DBOSConfig, Serializer
from sqlalchemy.engine import URL, make_url

# Changes only when workflows of an older server could not go on in a newer one.
APPLICATION_VERSION = "engine-1"
APPLICATION_NAME = "infraxys"


class JsonSerializer(Serializer):
    """What the engine stores is JSON: nothing in its database is ever executed when read."""

    def serialize(self, data: Any) -> str:
        """Write a value."""
        return json.dumps(data, default=_plain)

    def deserialize(cls, serialized_data: str) -> Any:  # noqa: N805 - the base class says so
        """Read a value."""
        return json.loads(serialized_data)

    def name(self) -> str:
        """Give the name that is stored beside each value."""
        return "infraxys-json"


def _plain(value: object) -> object:
    """Store exceptions by type only, since their text may hold anything; all else unknown is a mistake of ours."""
    if isinstance(value, BaseException):
        return {"error": type(value).__name__}
    raise TypeError(f"{type(value).__name__} cannot be stored by the engine")


class _OneWriter(sqlite3.Connection):
    """A connection whose writing transactions wait in line for those of the same process.

    SQLite itself waits by sleeping for longer and longer, which lets some wait 100 times as long as others.
    """

    turn: threading.Lock  # shared by the connections of an engine
    has_turn = False

    def cursor(self, factory: Any = None) -> Any:
        return super().cursor(factory or _Cursor)

    def take_turn(self) -> None:
        if not self.has_turn:
            self.turn.acquire()
            self.has_turn = True

    def end_turn(self) -> None:
        if self.has_turn and not self.in_transaction:
            self.has_turn = False
            self.turn.release()

    def commit(self) -> None:
        try:
            super().commit()
        finally:
            self.end_turn()

    def rollback(self) -> None:
        try:
            super().rollback()
        finally:
            self.end_turn()

    def close(self) -> None:
        super().close()
        if self.has_turn:
            self.has_turn = False
            self.turn.release()


class _Cursor(sqlite3.Cursor):
    """Takes the turn with the statement that begins a writing transaction, as the driver recognises it."""

    connection: _OneWriter

    def execute(self, sql: str, parameters: Any = ()) -> Self:
        if sql.lstrip()[:6].upper() not in _BEGIN_TO_WRITE:
            return super().execute(sql, parameters)
        self.connection.take_turn()
        try:
            return super().execute(sql, parameters)
        finally:
            self.connection.end_turn()

    def executemany(self, sql: str, parameters: Any) -> Self:
        self.connection.take_turn()
        try:
            return super().executemany(sql, parameters)
        finally:
            self.connection.end_turn()


_BEGIN_TO_WRITE = {"INSERT", "UPDATE", "DELETE", "REPLAC", "BEGIN "}


KNOWS_FRACTIONS = (3, 42)  # the SQLite whose unixepoch() takes 'subsec', which DBOS expects from Python 3.12 on


def _unixepoch(modifier: str) -> float:
    """Stand in for unixepoch('subsec') where SQLite is older."""
    if modifier != "subsec":
        raise ValueError(modifier)
    return time.time()


def sqlite_engine(url: URL) -> sa.Engine:
    """Open the engine's SQLite database: WAL, one transaction writing at a time.

    It may forget its last moments when the machine loses its power, and nothing when only the process dies: the
    server's own database, which forgets nothing, says what has begun and what has ended (docs/decisions/0003).
    """
    turn = threading.Lock()

    def connect(database: str, **options: Any) -> _OneWriter:
        connection = sqlite3.connect(database, factory=_OneWriter, **options)
        connection.turn = turn
        # A writer takes the lock at once; one that began by reading could not get it any more.
        connection.isolation_level = "IMMEDIATE"
        for statement in ("busy_timeout=30000", "journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {statement}")
        if sqlite3.sqlite_version_info < KNOWS_FRACTIONS:
            connection.create_function("unixepoch", 1, _unixepoch)
        return connection

    path = url.database or ""
    return sa.create_engine(url, creator=lambda: connect(path, check_same_thread=False), pool_size=8, max_overflow=24)


def configuration(url: str, executor_id: str) -> DBOSConfig:
    """Give DBOS what it needs and nothing that reports elsewhere. Raises ValueError for a URL that it cannot use."""
    config: DBOSConfig = {
        "name": APPLICATION_NAME,
        "application_version": APPLICATION_VERSION,
        "executor_id": executor_id,
        "serializer": JsonSerializer(),
        "log_level": "WARNING",
        "enable_otlp": False,
        # None of these is used; what cannot be turned off shall be rare, what is waited for at a stop short.
        "use_listen_notify": False,
        "notification_listener_polling_interval_sec": 0.5,
        "scheduler_polling_interval_sec": 3600.0,
    }
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        if parsed.database in {None, "", ":memory:"}:
            raise ValueError("the engine's SQLite database must be a file")
        config["system_database_url"] = url
        config["system_database_engine"] = sqlite_engine(parsed)
    elif parsed.get_backend_name() == "postgresql":
        plain = parsed.set(drivername="postgresql")
        config["system_database_url"] = plain.render_as_string(hide_password=False)
        config["sys_db_pool_size"] = 20
        # A process that hangs in the middle of a transaction must not keep others from taking over its runs.
        config["sys_db_idle_transaction_timeout_sec"] = 5.0
    else:
        raise ValueError(f"the engine's database must be SQLite or PostgreSQL, not '{parsed.get_backend_name()}'")
    return config


def route_logging() -> None:
    """Send DBOS's messages where all others go; without a handler it would add one of its own that writes to stderr."""
    logger = logging.getLogger("dbos")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    # Its messages at INFO name every workflow it touches.
    logger.setLevel(logging.WARNING)
