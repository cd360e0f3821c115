"""One process with SQLite: what is promised about accepted runs."""

import json
import os
import queue
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from dbos import DBOS

from factories.durable import plan, release
from infraxys.durable import engine as engine_module
from infraxys.durable import kept
from infraxys.durable.engine import QUEUE


def rows(folder: Path, query: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(folder / "engine.db")
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def test_the_steps_of_a_run_execute_in_order_and_its_end_is_told(start_engine, tmp_path):
    running = start_engine()
    running.engine.submit(plan(tmp_path, "r", "ok", "ok", "ok"))
    assert running.events.wait("finished", run="r")[0]["statuses"] == ["SUCCESS"] * 3
    assert [event["index"] for event in running.events.of("started")] == [0, 1, 2]


def test_the_first_step_that_fails_ends_the_run(start_engine, tmp_path):
    running = start_engine()
    running.engine.submit(plan(tmp_path, "r", "ok", "fail", "ok"))
    assert running.events.wait("finished")[0]["statuses"] == ["SUCCESS", "FAILED"]
    assert len(running.events.of("started")) == 2


def test_a_run_is_recorded_when_submit_returns(start_engine, tmp_path):
    running = start_engine(slots=1)
    for name in ("first", "second"):
        running.engine.submit(plan(tmp_path, name, "hold"))
        assert running.engine.knows([name, "other"]) == {name}
    for name in ("first", "second"):
        release(tmp_path, name)
    running.events.wait("finished", 2)


def test_a_run_that_fifty_submit_executes_once(start_engine, tmp_path):
    running = start_engine()
    plan(tmp_path, "r", "hold")
    together = threading.Barrier(50)

    def submit() -> None:
        together.wait(30)
        running.engine.submit("r")

    with ThreadPoolExecutor(50) as pool:
        for future in [pool.submit(submit) for _ in range(50)]:
            future.result()
    running.events.wait("started")
    running.engine.submit("r")
    release(tmp_path, "r")
    running.events.wait("finished")
    running.engine.submit("r")
    # Whatever the others had left behind would be executed before this one, or beside it.
    running.engine.submit(plan(tmp_path, "last", "ok"))
    running.events.wait("finished", run="last")
    assert len(running.events.of("started", run="r")) == 1
    assert running.events.of("lost") == []
    assert running.engine.waiting() == 0


def test_never_more_runs_execute_than_there_are_slots_and_all_end(start_engine, tmp_path):
    running = start_engine(slots=3)
    names = [plan(tmp_path, f"r{number}", "ok", "ok") for number in range(40)]
    holding = [plan(tmp_path, f"h{number}", "hold") for number in range(3)]
    for name in holding:
        running.engine.submit(name)
    running.events.wait("started", 3)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(running.engine.submit, names))
    assert running.engine.waiting() == 40
    for name in holding:
        release(tmp_path, name)
    running.events.wait("finished", 43)
    assert running.host.most_at_once == 3


def test_runs_that_wait_start_by_priority_then_in_order(start_engine, tmp_path):
    running = start_engine(slots=1)
    running.engine.submit(plan(tmp_path, "first", "hold"))
    running.events.wait("started")
    for name, priority in (("low", 9), ("a", 5), ("b", 5), ("c", 5), ("high", 1)):
        running.engine.submit(plan(tmp_path, name, "ok"), priority)
    # One of them may have been taken from the queue already: the one that was first then.
    release(tmp_path, "first")
    running.events.wait("finished", 6)
    assert [event["run"] for event in running.events.of("started")][1:] == ["high", "a", "b", "c", "low"]


def test_a_run_that_waits_and_is_cancelled_never_starts(start_engine, tmp_path):
    running = start_engine(slots=1)
    running.engine.submit(plan(tmp_path, "first", "hold"))
    running.events.wait("started")
    for name in ("second", "third"):
        running.engine.submit(plan(tmp_path, name, "ok"))
    assert running.engine.cancel("second")
    assert not running.engine.cancel("second")
    assert running.engine.waiting() == 1
    release(tmp_path, "first")
    running.events.wait("finished", run="third")
    assert running.events.of("started", run="second") == []


def test_a_run_that_executes_or_has_ended_is_not_cancelled_by_the_engine(start_engine, tmp_path):
    running = start_engine()
    running.engine.submit(plan(tmp_path, "r", "hold", "ok"))
    running.events.wait("started")
    assert not running.engine.cancel("r")
    release(tmp_path, "r")
    assert running.events.wait("finished")[0]["statuses"] == ["SUCCESS", "SUCCESS"]
    assert not running.engine.cancel("r")
    assert not running.engine.cancel("unknown")


def test_a_run_that_is_cancelled_in_the_instant_in_which_it_starts_still_ends(start_engine, tmp_path):
    running = start_engine()
    running.engine.submit(plan(tmp_path, "r", "hold", "ok"))
    running.events.wait("started")
    DBOS.cancel_workflow("r")  # what another process does that still saw it in the queue
    release(tmp_path, "r")
    assert running.events.wait("finished")[0]["statuses"][-1] == "CANCELLED"
    assert running.events.of("started", index=1) == []


def test_a_run_of_a_process_with_free_slots_does_not_pass_through_the_queue(start_engine, tmp_path):
    running = start_engine()
    running.engine.submit(plan(tmp_path, "r", "ok"))
    running.events.wait("finished")
    assert rows(tmp_path, "SELECT queue_name FROM workflow_status") == [(None,)]


def test_runs_that_were_started_directly_count_against_what_is_taken_from_the_queue(start_engine, tmp_path):
    """Guards the use of a private part of DBOS; without it they are taken early and wait in the process."""
    running = start_engine(slots=2)
    for name in ("a", "b"):
        running.engine.submit(plan(tmp_path, name, "hold"))
    running.events.wait("started", 2)
    running.engine.submit(plan(tmp_path, "c", "ok"))
    assert running.engine._dbos._active_workflows_set.count_for_queue(QUEUE) == 2
    for name in ("a", "b"):
        release(tmp_path, name)
    running.events.wait("finished", 3)


def test_the_slots_hold_without_the_private_part_too(start_engine, tmp_path, monkeypatch):
    monkeypatch.setattr(engine_module.DurableEngine, "_count_against_queue", lambda *_: lambda: None)
    running = start_engine(slots=2)
    for name in ("a", "b"):
        running.engine.submit(plan(tmp_path, name, "hold"))
    running.events.wait("started", 2)
    for number in range(6):
        running.engine.submit(plan(tmp_path, f"r{number}", "ok"))
    for name in ("a", "b"):
        release(tmp_path, name)
    running.events.wait("finished", 8)
    assert running.host.most_at_once == 2


def test_the_database_holds_ids_and_outcomes_only(start_engine, tmp_path):
    running = start_engine()
    running.engine.submit(plan(tmp_path, "r", "ok", "ok", "fail"))
    running.events.wait("finished")
    running.engine.stop(10)
    assert json.loads(rows(tmp_path, "SELECT inputs FROM workflow_input")[0][0]) == {"args": ["r"], "kwargs": {}}
    outputs = [
        json.loads(row[0]) for row in rows(tmp_path, "SELECT output FROM operation_outputs ORDER BY function_id")
    ]
    assert outputs == [{"status": "SUCCESS", "exitCode": 0}] * 2  # the end of the last step is the host's
    assert rows(tmp_path, "SELECT name, application_version, status FROM workflow_status") == [
        ("infraxys.run", "engine-1", "SUCCESS")
    ]


def test_ended_runs_are_forgotten_and_others_kept(start_engine, tmp_path):
    running = start_engine()
    running.engine.submit(plan(tmp_path, "done", "ok"))
    running.engine.submit(plan(tmp_path, "busy", "hold"))
    running.events.wait("finished", run="done")
    running.events.wait("started", run="busy")
    wait_until_recorded(running, "done")
    running.engine.forget(["done", "busy", "unknown"])
    running.engine.forget([])
    assert running.engine.knows(["done", "busy"]) == {"busy"}
    release(tmp_path, "busy")
    running.events.wait("finished", run="busy")


def wait_until_recorded(running, run_id):
    """The host is told the end before the engine records it; wait for the latter."""
    DBOS.retrieve_workflow(run_id).get_result(polling_interval_sec=0.01)


def test_a_stop_waits_for_the_step_that_executes_and_starts_no_other(start_engine, tmp_path):
    running = start_engine(slots=1)
    running.engine.submit(plan(tmp_path, "r", "hold", "ok"))
    running.engine.submit(plan(tmp_path, "next", "ok"))
    running.events.wait("started")
    stopping = threading.Thread(target=running.engine.stop, args=(30,))
    stopping.start()
    release(tmp_path, "r")
    stopping.join(30)
    assert not stopping.is_alive()
    assert len(running.events.of("started")) == 1
    again = start_engine("e2", slots=1)
    again.engine.take_over("e1", ["r"])
    assert again.events.wait("finished", run="r")[0]["statuses"] == ["SUCCESS", "SUCCESS"]
    again.events.wait("finished", run="next")
    assert [event["index"] for event in again.events.of("started", run="r")] == [1]


def open_sockets():
    opened = [os.path.realpath(path) for path in Path("/proc/self/fd").iterdir()]
    return {name.rpartition("socket:[")[2].rstrip("]") for name in opened if "socket:[" in name}


def test_no_network_is_used_with_sqlite(start_engine, tmp_path):
    before = open_sockets()
    running = start_engine()
    running.engine.submit(plan(tmp_path, "r", "ok"))
    running.events.wait("finished")
    inodes = open_sockets() - before
    internet = set()
    for table in ("tcp", "tcp6", "udp", "udp6"):
        lines = Path(f"/proc/self/net/{table}").read_text().splitlines()[1:]
        internet |= {line.split()[9] for line in lines}
    assert not inodes & internet


def test_nothing_is_printed(start_engine, tmp_path, capfd):
    running = start_engine()
    running.engine.submit(plan(tmp_path, "r", "ok", "fail"))
    running.events.wait("finished")
    running.engine.stop(10)
    assert capfd.readouterr() == ("", "")


def test_the_private_way_to_take_over_is_there_and_the_public_one_does_it_too(start_engine, tmp_path, monkeypatch):
    """Guards the use of a private part of DBOS, and that the engine can do without."""
    assert callable(DBOS._recover_pending_workflows)
    first = start_engine("e1")
    first.engine.submit(plan(tmp_path, "r", "ok", "hold", "ok"))
    first.events.wait("started", index=1)
    first.engine.stop(0)
    monkeypatch.delattr(DBOS, "_recover_pending_workflows")
    second = start_engine("e2")
    assert second.engine.unfinished_elsewhere() == {"e1": ["r"]}
    second.engine.take_over("e1", ["r"])
    assert second.events.wait("finished")[0]["statuses"] == ["SUCCESS", "LOST"]
    release(tmp_path, "r", 1)  # lets the thread of the first one end
    first.events.wait("ended", index=1)


def test_failures_of_the_pace_are_reported_and_survived(start_engine, tmp_path, monkeypatch):
    reported: queue.SimpleQueue[str] = queue.SimpleQueue()

    def fail(*_: object, **__: object) -> bool:
        raise ConnectionError("the database is away")

    monkeypatch.setattr(engine_module.DurableEngine, "_adjust", fail)
    monkeypatch.setattr(engine_module.log, "exception", reported.put)
    running = start_engine()
    assert reported.get(timeout=10) == "the pace of the queue could not be adjusted"
    running.engine.submit(plan(tmp_path, "r", "ok"))
    running.events.wait("finished")


@pytest.mark.parametrize("priority", [-1, 2**31])
def test_a_priority_out_of_range_is_refused(start_engine, tmp_path, priority):
    running = start_engine(slots=1)
    running.engine.submit(plan(tmp_path, "first", "hold"))
    with pytest.raises(ValueError, match="priority"):
        running.engine.submit(plan(tmp_path, "r", "ok"), priority)
    release(tmp_path, "first")
    running.events.wait("finished")


def test_a_run_that_the_engine_fails_to_execute_is_ended_as_lost(start_engine, tmp_path, caplog):
    running = start_engine()
    running.host.step_count = lambda run_id: f"no number for {run_id}"
    running.engine.submit(plan(tmp_path, "r", "ok"))
    assert running.events.wait("finished")[0]["statuses"] == ["LOST"]
    assert "a run could not be executed to its end run_id=r" in caplog.text


def test_a_step_that_ends_after_the_stop_is_not_recorded_as_an_end(start_engine, tmp_path):
    first = start_engine("e1")
    first.engine.submit(plan(tmp_path, "r", "hold"))
    first.events.wait("started")
    first.engine.stop(0)
    release(tmp_path, "r")
    first.events.wait("ended")
    second = start_engine("e2")
    assert second.engine.unfinished_elsewhere() == {"e1": ["r"]}
    second.engine.take_over("e1", ["r"])
    assert second.events.wait("finished")[0]["statuses"] == ["LOST"]
    assert first.events.of("finished") == []


def test_many_runs_are_asked_for_at_once(start_engine, tmp_path):
    running = start_engine()
    running.engine.submit(plan(tmp_path, "r", "ok"))
    running.events.wait("finished")
    assert running.engine.knows([*(f"x{number}" for number in range(1000)), "r"]) == {"r"}


def recorded(folder: Path, run_id: str) -> str:
    """Give what DBOS has on record of a run, without what differs from one run to the next."""
    own = ("_at", "_ms", "_xid", "_timestamp")
    with closing(sqlite3.connect(folder / "engine.db")) as connection:
        connection.row_factory = sqlite3.Row
        found = [
            {name: value for name, value in dict(row).items() if not name.endswith(own)}
            for table in ("workflow_status", "workflow_input", "workflow_output", "operation_outputs")
            for row in connection.execute(f"SELECT * FROM {table} WHERE workflow_uuid = ?", [run_id])
        ]
    return json.dumps(found).replace(run_id, "<id>")


def execute(running, folder: Path, run_id: str, *steps: str) -> None:
    assert running.engine.reserve(plan(folder, run_id, *steps))
    running.engine.execute(run_id)


def test_statements_are_compiled_once_and_write_what_dbos_writes(start_engine, tmp_path, monkeypatch):
    """Guards the use of private parts of DBOS, and that the engine can do without."""
    running = start_engine()
    assert running.engine._dbos._sys_db._execute_prepared.__module__ == kept.__name__
    execute(running, tmp_path, "ours-1", "ok", "ok")
    execute(running, tmp_path, "ours-2", "ok", "fail")
    running.engine.stop(0)
    monkeypatch.setattr(engine_module, "keep_statements", lambda _: None)
    running = start_engine()
    assert running.engine._dbos._sys_db._execute_prepared.__module__ != kept.__name__
    execute(running, tmp_path, "theirs-1", "ok", "ok")
    execute(running, tmp_path, "theirs-2", "ok", "fail")
    assert '"SUCCESS"' in recorded(tmp_path, "ours-1")
    assert recorded(tmp_path, "ours-1") == recorded(tmp_path, "theirs-1")
    assert recorded(tmp_path, "ours-2") == recorded(tmp_path, "theirs-2") != recorded(tmp_path, "ours-1")


def test_an_outcome_is_written_by_who_owns_the_workflow_only(start_engine, tmp_path):
    running = start_engine()
    execute(running, tmp_path, "r", "ok")
    database = running.engine._dbos._sys_db
    before = recorded(tmp_path, "r")
    assert not database.update_workflow_outcome("r", "ERROR", error="late")
    assert not database.update_workflow_outcome("unknown", "SUCCESS", output="x")
    assert recorded(tmp_path, "r") == before
    assert rows(tmp_path, "SELECT count(*) FROM workflow_output") == [(1,)]


def test_a_run_with_a_slot_is_executed_to_its_end_in_the_thread_of_the_caller(start_engine, tmp_path):
    running = start_engine(slots=1)
    execute(running, tmp_path, "r", "ok", "ok")
    assert [event["run"] for event in running.events.of("finished")] == ["r"]
    assert rows(tmp_path, "SELECT status FROM workflow_status WHERE workflow_uuid = 'r'") == [("SUCCESS",)]
    assert running.engine.reserve("next")


def test_a_run_that_is_known_is_not_executed_again(start_engine, tmp_path):
    running = start_engine(slots=1)
    execute(running, tmp_path, "r", "ok")
    assert running.engine.reserve("r")
    running.engine.execute("r")
    assert len(running.events.of("started")) == 1
    assert running.engine.reserve("next")


def test_a_run_that_the_engine_cannot_record_is_not_executed_and_its_slot_is_free_again(
    start_engine, tmp_path, monkeypatch
):
    running = start_engine(slots=1)
    monkeypatch.setattr(running.engine._dbos._sys_db, "init_workflow", refuse)
    assert running.engine.reserve(plan(tmp_path, "r", "ok"))
    with pytest.raises(RuntimeError, match="no room"):
        running.engine.execute("r")
    assert running.events.of("started") == []
    assert running.engine.reserve("next")


def test_a_run_with_a_slot_that_is_stopped_before_it_begins_is_not_executed(start_engine, tmp_path):
    running = start_engine(slots=1)
    assert running.engine.reserve(plan(tmp_path, "r", "ok"))
    running.engine._line.close()
    running.engine.execute("r")
    assert running.events.of("started") == []
    assert running.events.of("finished") == []
    assert rows(tmp_path, "SELECT status FROM workflow_status WHERE workflow_uuid = 'r'") == [("PENDING",)]


def refuse(*_: object, **__: object) -> None:
    raise RuntimeError("no room on the disk")
