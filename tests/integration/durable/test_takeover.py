"""Processes that die, hang or stop: what becomes of their runs. Real processes, really killed."""

import signal
import sqlite3
import time

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import make_url

from factories.durable import BEAT, DEAD_AFTER, plan, release
from infraxys.durable.workflow import MAX_RECOVERIES

# A dead process is found after DEAD_AFTER by a pass that comes every BEAT; DBOS looks for what is to be gone on with
# about once a second. The rest is for a machine that does other things too.
BOUND = DEAD_AFTER + BEAT + 1.1 + 10.0


def states(folder, run_id):
    connection = sqlite3.connect(folder / "engine.db")
    try:
        query = "SELECT status, recovery_attempts FROM workflow_status WHERE workflow_uuid = ?"
        return connection.execute(query, (run_id,)).fetchone()
    finally:
        connection.close()


def test_a_restart_goes_on_at_once_and_repeats_no_step(start_executor, tmp_path):
    first = start_executor("e1")
    first.call("submit", plan(tmp_path, "r", "ok", "ok", "hold", "ok"))
    first.events.wait("started", index=2)
    first.kill()
    second = start_executor("e2")
    began = time.monotonic()
    finished = second.events.wait("finished", run="r")
    # One pass of the reaper at the start, one look of DBOS at its own queue.
    assert time.monotonic() - began < 1.1 + 5.0
    assert finished[0]["statuses"] == ["SUCCESS", "SUCCESS", "LOST"]
    assert second.events.of("started") == []
    assert second.call("elsewhere") == {}
    second.call("stop", 10)
    assert states(tmp_path, "r") == ("SUCCESS", 2)


def test_a_process_that_dies_before_a_step_began_loses_nothing(start_executor, tmp_path):
    first = start_executor("e1")
    first.tell("submit", plan(tmp_path, "r", "ok", "die"))
    first.close()
    (tmp_path / "r.plan").write_text("ok\nok")
    second = start_executor("e2")
    assert second.events.wait("finished")[0]["statuses"] == ["SUCCESS", "SUCCESS"]
    assert [event["index"] for event in second.events.of("started")] == [1]


def test_a_run_that_kills_its_process_each_time_is_given_up(start_executor, tmp_path):
    first = start_executor("e1")
    first.tell("submit", plan(tmp_path, "r", "die"))
    first.close()
    second = start_executor("e2")
    second.close()  # it took the run up and died of it as well
    assert states(tmp_path, "r") == ("PENDING", 2)
    connection = sqlite3.connect(tmp_path / "engine.db")
    connection.execute("UPDATE workflow_status SET recovery_attempts = ?", (MAX_RECOVERIES + 1,))
    connection.commit()
    connection.close()
    third = start_executor("e3")
    assert third.events.wait("finished", run="r")[0]["statuses"] == ["LOST"]
    assert third.events.of("died") == []
    assert third.call("elsewhere") == {}
    third.call("submit", plan(tmp_path, "next", "ok"))
    third.events.wait("finished", run="next")


def test_runs_that_wait_survive_a_restart_and_start_in_order(start_executor, tmp_path):
    first = start_executor("e1", slots=1)
    first.call("submit", plan(tmp_path, "first", "hold"))
    first.events.wait("started")
    names = [plan(tmp_path, f"r{number}", "ok") for number in range(5)]
    for name in names:
        first.call("submit", name)
    assert first.call("cancel", "r2")
    assert first.call("waiting") == 4
    first.kill()
    second = start_executor("e2", slots=1)
    second.events.wait("finished", 5)
    assert [event["run"] for event in second.events.of("started")] == ["r0", "r1", "r3", "r4"]
    assert second.events.of("finished", run="first")[0]["statuses"] == ["LOST"]


@pytest.mark.slow
def test_no_run_is_lost_however_often_the_process_is_killed(start_executor, tmp_path):
    names = [plan(tmp_path, f"r{number}", "ok", "ok", "ok") for number in range(60)]
    executors = []
    for generation in range(4):
        executors.append(start_executor(f"e{generation}", slots=2))
        for name in names[generation * 15 : generation * 15 + 15]:
            executors[-1].call("submit", name)
        if generation < 3:
            executors[-1].events.wait("ended", 5 + generation * 4)
            executors[-1].kill()
    ended = {path.stem for path in tmp_path.glob("*.final")}
    for name in names:
        if name not in ended:
            executors[-1].events.wait("finished", run=name)
    events = [event for executor in executors for event in executor.events.all]
    started = [(event["run"], event["index"]) for event in events if event["what"] == "started"]
    assert len(started) == len(set(started))
    finished = [event["run"] for event in events if event["what"] == "finished"]
    assert len(finished) == len(set(finished))
    assert executors[-1].call("waiting") == 0
    assert executors[-1].call("elsewhere") == {}


def outputs(url, run_id):
    engine = sa.create_engine(make_url(url).set(drivername="postgresql+psycopg"), poolclass=sa.NullPool)
    query = "SELECT output FROM dbos.operation_outputs WHERE workflow_uuid = :run ORDER BY function_id"
    with engine.connect() as connection:
        return list(connection.execute(sa.text(query), {"run": run_id}).scalars())


def test_another_process_takes_over_from_one_that_was_killed(start_executor, tmp_path, postgres_database):
    first = start_executor("e1", postgres_database, mode="shared")
    second = start_executor("e2", postgres_database, mode="shared")
    first.call("submit", plan(tmp_path, "r", "ok", "hold", "ok"))
    first.events.wait("started", index=1)
    began = time.monotonic()
    first.kill()
    finished = second.events.wait("finished", run="r")
    assert time.monotonic() - began < BOUND
    assert finished[0]["statuses"] == ["SUCCESS", "LOST"]
    assert second.events.of("started") == []
    assert second.events.of("lost_ownership") == []


def test_e2_a_process_that_hung_cannot_record_and_ends_its_actions(start_executor, tmp_path, postgres_database):
    first = start_executor("e1", postgres_database, mode="shared")
    second = start_executor("e2", postgres_database, mode="shared")
    first.call("submit", plan(tmp_path, "r", "ok", "hold", "ok"))
    first.events.wait("started", index=1)
    first.process.send_signal(signal.SIGSTOP)
    assert second.events.wait("finished", run="r")[0]["statuses"] == ["SUCCESS", "LOST"]
    first.process.send_signal(signal.SIGCONT)
    first.events.wait("lost_ownership")
    release(tmp_path, "r", 1)
    first.events.wait("ended", index=1)
    # It goes on as any other process; by the end of this run it had time to do wrong with the other.
    first.call("submit", plan(tmp_path, "next", "ok", "ok"))
    first.events.wait("finished", run="next")
    assert first.events.of("started", run="r", index=2) == []
    assert first.events.of("finished", run="r") == []
    assert [output.replace(" ", "") for output in outputs(postgres_database, "r")] == [
        '{"status":"SUCCESS","exitCode":0}',
        '{"status":"LOST","exitCode":null}',
    ]


def test_two_survivors_take_over_each_run_once(start_executor, tmp_path, postgres_database):
    dying = [start_executor(f"d{number}", postgres_database, mode="shared") for number in range(2)]
    survivors = [start_executor(f"s{number}", postgres_database, mode="shared") for number in range(2)]
    names = []
    for number in range(6):
        names.append(plan(tmp_path, f"r{number}", "ok", "hold"))
        dying[number % 2].call("submit", names[-1])
    for executor in dying:
        executor.events.wait("started", 3, index=1)
        executor.kill()
    together = set()
    deadline = time.monotonic() + BOUND
    for name in names:
        while not (tmp_path / f"{name}.final").exists():
            assert time.monotonic() < deadline
            survivors[0].call("waiting")  # takes its time
    for survivor in survivors:
        survivor.call("waiting")
        together |= {event["run"] for event in survivor.events.of("finished")}
        assert all(event["statuses"] == ["SUCCESS", "LOST"] for event in survivor.events.of("finished"))
    lost = [event["run"] for survivor in survivors for event in survivor.events.of("lost")]
    assert sorted(lost) == sorted(names) == sorted(together)


def test_a_process_with_free_slots_takes_what_waits_at_a_busy_one(start_executor, tmp_path, postgres_database):
    busy = start_executor("e1", postgres_database, slots=1, mode="shared")
    free = start_executor("e2", postgres_database, slots=1, mode="shared")
    busy.call("submit", plan(tmp_path, "long", "hold"))
    busy.events.wait("started")
    for number in range(4):
        busy.call("submit", plan(tmp_path, f"r{number}", "ok"))
    free.events.wait("finished", 4)
    assert [event["run"] for event in free.events.of("started")] == ["r0", "r1", "r2", "r3"]
    release(tmp_path, "long")
    busy.events.wait("finished", run="long")


def test_what_a_process_leaves_at_its_stop_goes_on_elsewhere(start_executor, tmp_path, postgres_database):
    first = start_executor("e1", postgres_database, slots=1, mode="shared")
    first.call("submit", plan(tmp_path, "r", "ok", "hold"))
    first.events.wait("started", index=1)
    first.call("submit", plan(tmp_path, "waiting", "ok"))
    first.call("stop", 0)
    second = start_executor("e2", postgres_database, slots=1, mode="shared")
    assert second.events.wait("finished", run="r")[0]["statuses"] == ["SUCCESS", "LOST"]
    second.events.wait("finished", run="waiting")
