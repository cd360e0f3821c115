"""What the engine stores, and how."""

import json
import logging
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import make_url

from infraxys.durable import storage
from infraxys.durable.reaper import DEAD_AFTER_SECONDS
from infraxys.durable.storage import JsonSerializer, configuration, route_logging, sqlite_engine


def test_values_are_stored_as_json_and_come_back() -> None:
    serializer = JsonSerializer()
    text = serializer.serialize({"args": ("run-1",), "kwargs": {}})
    assert json.loads(text) == {"args": ["run-1"], "kwargs": {}}
    assert serializer.deserialize(text) == {"args": ["run-1"], "kwargs": {}}


def test_of_an_exception_only_the_type_is_stored() -> None:
    assert "hunter2" not in JsonSerializer().serialize(RuntimeError("password hunter2"))


def test_an_object_that_is_no_json_is_refused() -> None:
    with pytest.raises(TypeError, match="object cannot be stored"):
        JsonSerializer().serialize(object())


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "mysql://localhost/x"])
def test_a_database_that_cannot_keep_runs_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="the engine's"):
        configuration(url, "e1")


def test_nothing_is_sent_anywhere() -> None:
    config = configuration("postgresql://user:secret@localhost/x", "e1")
    assert config.get("conductor_key") is None
    assert config.get("enable_otlp") is False
    assert config.get("system_database_url") == "postgresql://user:secret@localhost/x"


def test_a_process_that_hangs_in_a_transaction_loses_its_locks_before_it_counts_as_dead() -> None:
    seconds = configuration("postgresql://localhost/x", "e1").get("sys_db_idle_transaction_timeout_sec")
    assert seconds is not None
    assert 0 < seconds < DEAD_AFTER_SECONDS


def test_the_version_of_the_interpreter_is_changed_by_hand_only() -> None:
    assert storage.APPLICATION_VERSION == "engine-1"


def test_sqlite_loses_nothing_when_the_process_dies(tmp_path: Path) -> None:
    engine = sqlite_engine(make_url(f"sqlite:///{tmp_path}/engine.db"))
    with engine.connect() as connection:
        settings = {
            name: connection.execute(sa.text(f"PRAGMA {name}")).scalar()
            for name in ("journal_mode", "synchronous", "busy_timeout", "foreign_keys")
        }
    engine.dispose()
    assert settings == {"journal_mode": "wal", "synchronous": 1, "busy_timeout": 30000, "foreign_keys": 1}


def test_writers_wait_for_one_another_and_none_is_locked_out(tmp_path: Path) -> None:
    engine = sqlite_engine(make_url(f"sqlite:///{tmp_path}/engine.db"))
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE t (n INTEGER)"))
        connection.execute(sa.text("INSERT INTO t VALUES (0)"))

    def count_up() -> None:
        for _ in range(20):
            with engine.begin() as connection:
                connection.execute(sa.text("UPDATE t SET n = n + 1"))

    threads = [threading.Thread(target=count_up) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    with engine.connect() as connection:
        assert connection.execute(sa.text("SELECT n FROM t")).scalar() == 160
    engine.dispose()


def test_a_writer_that_fails_gives_its_turn_back(tmp_path: Path) -> None:
    engine = sqlite_engine(make_url(f"sqlite:///{tmp_path}/engine.db"))
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE t (n INTEGER PRIMARY KEY)"))
        connection.execute(sa.text("INSERT INTO t VALUES (1)"))
    for statement in ("INSERT INTO t VALUES (1)", "INSERT INTO missing VALUES (1)", "INSERT INTO"):
        with pytest.raises(sa.exc.DBAPIError), engine.begin() as connection:
            connection.execute(sa.text(statement))
    done = threading.Event()

    def write() -> None:
        with engine.begin() as connection:
            connection.execute(sa.text("DELETE FROM t"))
        done.set()

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    assert done.wait(10)
    thread.join()
    engine.dispose()


def test_messages_of_the_library_go_where_all_others_go() -> None:
    route_logging()
    logger = logging.getLogger("dbos")
    assert logger.propagate
    assert logger.level == logging.WARNING
    assert not [handler for handler in logger.handlers if isinstance(handler, logging.StreamHandler)]
