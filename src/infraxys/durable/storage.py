"""Where the engine keeps its memory, and in which form: JSON, in SQLite or PostgreSQL."""

import json
import logging
from typing import Any

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


def sqlite_engine(url: URL) -> sa.Engine:
    """Open the engine's SQLite database: WAL, safe against loss of power, one transaction writing at a time."""
    engine = sa.create_engine(url, pool_size=8, max_overflow=24)

    @sa.event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: object) -> None:
        # A writer takes the lock at once; one that began by reading could not get it any more.
        connection.isolation_level = "IMMEDIATE"
        cursor = connection.cursor()
        for statement in ("busy_timeout=30000", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            cursor.execute(f"PRAGMA {statement}")
        cursor.close()

    return engine


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
