"""The one gate for every change of a run's or step's status, and who is told."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from infraxys.engine.status import ALLOWED, FINAL, Status
from infraxys.server.audit.origin import SERVER
from infraxys.server.audit.trail import FAILED, OK, record
from infraxys.server.db.prepared import Prepared
from infraxys.server.db.tables import run_steps, runs

RunRecord = dict[str, Any]
MAX_EVENTS = 1000  # that wait for one follower


@dataclass(frozen=True, slots=True)
class StepEnd:
    """How a step ended and when."""

    position: int
    status: Status
    exit_code: int | None
    at: datetime


def _may_become(column: sa.Column[str], to: Status, *also: Status) -> sa.ColumnElement[bool]:
    """Give the condition that a state may be reached from the one on record, or is one of others."""
    states = [state for state, following in ALLOWED.items() if to in following]
    return sa.or_(*(column == state for state in (*states, *also)))


_BEGIN_RUN = Prepared(
    runs.update()
    .where(
        runs.c.id == sa.bindparam("run"),
        _may_become(runs.c.status, Status.RUNNING, Status.RUNNING),
        runs.c.cancel_requested_at.is_(None),
    )
    .values(
        status=Status.RUNNING,
        started_at=sa.func.coalesce(runs.c.started_at, sa.bindparam("at", type_=runs.c.started_at.type)),
        executor_id=sa.bindparam("executor"),
    )
)
_BEGIN_STEP = Prepared(
    run_steps.update()
    .where(
        run_steps.c.run_id == sa.bindparam("run"),
        run_steps.c.position == sa.bindparam("place"),
        _may_become(run_steps.c.status, Status.RUNNING),
    )
    .values(
        status=Status.RUNNING,
        attempt=run_steps.c.attempt + 1,
        started_at=sa.bindparam("at", type_=run_steps.c.started_at.type),
        runner=sa.bindparam("executor"),
    )
)
_END_STEP = {
    status: Prepared(
        run_steps.update()
        .where(
            run_steps.c.run_id == sa.bindparam("run"),
            run_steps.c.position == sa.bindparam("place"),
            _may_become(run_steps.c.status, status),
        )
        .values(
            status=status,
            exit_code=sa.bindparam("code"),
            finished_at=sa.bindparam("at", type_=run_steps.c.finished_at.type),
        )
    )
    for status in FINAL
}
_END_RUN = {
    status: Prepared(
        runs.update().where(runs.c.id == sa.bindparam("run"), _may_become(runs.c.status, status)).values(status=status)
    )
    for status in FINAL
}
_MOVE_RUN, _MOVE_STEP = (
    {
        to: table.update().where(*conditions, table.c.status == came_from).values(status=to)
        for to, came_from in ((Status.WAITING, Status.RUNNING), (Status.RUNNING, Status.WAITING))
    }
    for table, conditions in (
        (runs, [runs.c.id == sa.bindparam("run")]),
        (run_steps, [run_steps.c.run_id == sa.bindparam("run"), run_steps.c.position == sa.bindparam("place")]),
    )
)
_SKIP_STEPS = (
    run_steps.update()
    .where(run_steps.c.run_id == sa.bindparam("run"), run_steps.c.status == Status.QUEUED)
    .values(status=Status.CANCELLED)
)


def start_step(
    connection: Connection, run_id: str, position: int, *, executor_id: str, at: datetime, previous: StepEnd | None
) -> bool:
    """Record that a step begins (and how the one before it ended). False when the run may not go on."""
    if previous is not None:
        end_step(connection, run_id, previous)
    values = {"run": run_id, "at": at, "executor": executor_id}
    if not _BEGIN_RUN.change(connection, values):
        return False
    return _BEGIN_STEP.change(connection, {**values, "place": position}) > 0


def take_back_start(connection: Connection, run_id: str, position: int) -> None:
    """Let a run that was to begin at once wait again: nothing of it has been executed."""
    for table, place in ((runs, runs.c.id == run_id), (run_steps, run_steps.c.run_id == run_id)):
        is_step = [] if table is runs else [run_steps.c.position == position]
        owner = {"executor_id": None} if table is runs else {"runner": None, "attempt": 0}
        running = table.update().where(place, *is_step, table.c.status == Status.RUNNING)
        connection.execute(running.values(status=Status.QUEUED, started_at=None, **owner))


def set_waiting(connection: Connection, run_id: str, position: int, *, is_waiting: bool) -> bool:
    """Record that a step that executes waits for a person, or does so no more. False when it executes no more."""
    to = Status.WAITING if is_waiting else Status.RUNNING
    if connection.execute(_MOVE_RUN[to], {"run": run_id}).rowcount == 0:
        return False
    return connection.execute(_MOVE_STEP[to], {"run": run_id, "place": position}).rowcount > 0


def end_step(connection: Connection, run_id: str, end: StepEnd) -> None:
    """Record the end of a step; a final state is never changed."""
    values = {"run": run_id, "place": end.position, "code": end.exit_code, "at": end.at}
    _END_STEP[end.status].change(connection, values)


def end_run(
    connection: Connection, run_id: str, status: Status, at: datetime, ends: Sequence[StepEnd], **values: object
) -> bool:
    """Record the end of a run with what is known of its steps. False when it had ended before."""
    has_moved = _END_RUN[status].change(connection, {"run": run_id, "finished_at": at, **values}) > 0
    for end in ends:
        end_step(connection, run_id, end)
    if has_moved and status is not Status.SUCCESS:
        # What comes after the step that ended the run is never executed.
        connection.execute(_SKIP_STEPS, {"run": run_id})
    if has_moved:
        result = OK if status is Status.SUCCESS else FAILED
        details = {"status": status.value, "exit_code": values.get("exit_code")}
        record(connection, "run.end", f"run/{run_id}", result=result, origin=SERVER, **details)
    return has_moved


def as_started(record: RunRecord, position: int, executor_id: str, at: datetime, previous: StepEnd | None) -> RunRecord:
    """Give a record as `start_step` has left it, without reading it again."""
    steps = [dict(step) for step in record["steps"]]
    if previous is not None:
        steps[previous.position] |= {
            "status": previous.status.value,
            "exit_code": previous.exit_code,
            "finished_at": previous.at,
        }
    attempt = steps[position]["attempt"] + 1
    steps[position] |= {
        "status": Status.RUNNING.value,
        "attempt": attempt,
        "started_at": at,
        "runner": executor_id,
    }
    started = record["started_at"] or at
    return {**record, "status": Status.RUNNING.value, "started_at": started, "executor_id": executor_id, "steps": steps}


def as_ended(
    record: RunRecord, status: Status, at: datetime, ends: Sequence[StepEnd], values: Mapping[str, object]
) -> RunRecord:
    """Give a record as `end_run` has left it, without reading it again."""
    by_position = {end.position: end for end in ends}
    steps = []
    for step in record["steps"]:
        end = by_position.get(step["position"])
        if end is not None and Status(step["status"]) not in FINAL:
            steps.append({**step, "status": end.status.value, "exit_code": end.exit_code, "finished_at": end.at})
        elif status is not Status.SUCCESS and step["status"] == Status.QUEUED:
            steps.append({**step, "status": Status.CANCELLED.value})
        else:
            steps.append(step)
    return {**record, **values, "status": status.value, "finished_at": at, "steps": steps}


@dataclass(frozen=True, slots=True)
class RunEvent:
    """Something that followers of a run get to know besides its state; without a name: that there is more log."""

    name: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Watchers:
    """Who waits for runs in this process. Used on the event loop's thread; `publish` from any."""

    loop: asyncio.AbstractEventLoop
    _ends: dict[str, list["asyncio.Future[RunRecord]"]] = field(default_factory=dict)
    _listeners: list[Callable[[RunRecord], None]] = field(default_factory=list)
    _changes: dict[str, list["asyncio.Queue[RunRecord | RunEvent]"]] = field(default_factory=dict)

    def end_of(self, run_id: str) -> "asyncio.Future[RunRecord]":
        """Give a future that gets the run's record when it ends."""
        future: asyncio.Future[RunRecord] = self.loop.create_future()
        self._ends.setdefault(run_id, []).append(future)
        return future

    def forget(self, run_id: str, future: "asyncio.Future[RunRecord]") -> None:
        """Stop waiting."""
        waiting = self._ends.get(run_id, [])
        if future in waiting:
            waiting.remove(future)
        if not waiting:
            self._ends.pop(run_id, None)

    def subscribe(self, run_id: str) -> "asyncio.Queue[RunRecord | RunEvent]":
        """Give a queue that gets every change of the run, and events up to a bound."""
        changes: asyncio.Queue[RunRecord | RunEvent] = asyncio.Queue()
        self._changes.setdefault(run_id, []).append(changes)
        return changes

    def tell(self, run_id: str, event: RunEvent) -> None:
        """Tell who follows a run of an event. On the event loop's thread; who is too slow does not get it."""
        for changes in self._changes.get(run_id, ()):
            if changes.qsize() < MAX_EVENTS:
                changes.put_nowait(event)

    def unsubscribe(self, run_id: str, changes: "asyncio.Queue[RunRecord | RunEvent]") -> None:
        """Stop following."""
        following = self._changes.get(run_id, [])
        if changes in following:
            following.remove(changes)
        if not following:
            self._changes.pop(run_id, None)

    def listen(self, listener: Callable[[RunRecord], None]) -> None:
        """Call a function, on the event loop, for every change of any run."""
        self._listeners.append(listener)

    def unlisten(self, listener: Callable[[RunRecord], None]) -> None:
        """Do not call it any more."""
        self._listeners.remove(listener)

    def is_followed(self, run_id: str) -> bool:
        """Whether somebody follows the changes of a run."""
        return run_id in self._changes or bool(self._listeners)

    def publish(self, record: Mapping[str, Any]) -> None:
        """Tell everyone who waits. Called from the engine's threads after the commit."""
        self.loop.call_soon_threadsafe(self._publish, dict(record))

    def _publish(self, record: RunRecord) -> None:
        run_id = record["id"]
        for changes in self._changes.get(run_id, []):
            changes.put_nowait(record)
        for listener in self._listeners:
            listener(record)
        if Status(record["status"]) in FINAL:
            for future in self._ends.pop(run_id, []):
                if not future.done():
                    future.set_result(record)
