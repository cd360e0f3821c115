"""All SQL about runs but the changes of status."""

import base64
import binascii
import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from infraxys.engine.status import FINAL, Status
from infraxys.kit.clock import utc_now
from infraxys.server.audit.origin import Origin
from infraxys.server.audit.trail import record as record_action
from infraxys.server.db.engine import Database
from infraxys.server.db.prepared import Prepared
from infraxys.server.db.tables import executors, idempotency_keys, run_steps, runs
from infraxys.server.errors import BadRequest
from infraxys.server.runs.transitions import RunRecord

KEY_LIFETIME = timedelta(hours=24)
SORTS = {"createdAt": runs.c.created_at, "-createdAt": runs.c.created_at}
_INSERT_RUN, _INSERT_STEP = Prepared(runs.insert()), Prepared(run_steps.insert())
# What a list reads: arguments may have megabytes each, and no list shows them.
_LISTED = [column for column in runs.c if column is not runs.c.argument]
_GET = sa.select(runs).where(runs.c.id == sa.bindparam("run_id"))
_STEPS = sa.select(run_steps).where(run_steps.c.run_id == sa.bindparam("run_id")).order_by(run_steps.c.position)
_FIND_KEY = sa.select(idempotency_keys.c.run_id, idempotency_keys.c.fingerprint).where(
    idempotency_keys.c.caller == sa.bindparam("caller"),
    idempotency_keys.c.key == sa.bindparam("key"),
    idempotency_keys.c.created_at > sa.bindparam("since"),
)

# The database's clock, now and a number of seconds ago; SQLite's is written as SQLAlchemy stores times there.
_SECONDS = sa.bindparam("seconds", type_=sa.Float)
_SQLITE_TIME = "%Y-%m-%d %H:%M:%f000"
_SQLITE_NOW = sa.func.strftime(_SQLITE_TIME, "now")
_SQLITE_SINCE = sa.func.strftime(_SQLITE_TIME, "now", sa.func.printf("-%f seconds", _SECONDS))
_POSTGRES_NOW = sa.func.clock_timestamp()
_POSTGRES_SINCE = _POSTGRES_NOW - sa.func.make_interval(0, 0, 0, 0, 0, 0, _SECONDS)


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """A caller's key with what it stands for."""

    caller: str
    key: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Existing:
    """An earlier run of the same key."""

    run_id: str
    is_same_request: bool


def insert_run(
    connection: Connection, record: RunRecord, key: IdempotencyKey | None, origin: Origin
) -> Existing | None:
    """Record a run with its steps, unless its key has one already; gives that one then. `origin` is who asked."""
    run, steps = {name: value for name, value in record.items() if name != "steps"}, record["steps"]
    if key is not None:
        found = find_key(connection, key)
        if found is not None:
            return found
        connection.execute(
            idempotency_keys.delete().where(idempotency_keys.c.caller == key.caller, idempotency_keys.c.key == key.key)
        )
    _INSERT_RUN.change(connection, run)
    _INSERT_STEP.change(connection, *steps)
    if key is not None:
        connection.execute(
            idempotency_keys.insert().values(
                caller=key.caller, key=key.key, fingerprint=key.fingerprint, run_id=run["id"], created_at=utc_now()
            )
        )
    record_action(connection, "run.accept", f"run/{run['id']}", origin=origin, **accepted(run))
    return None


def accepted(run: RunRecord) -> dict[str, Any]:
    """Give what goes on record of a run besides who asked for it. Never its argument."""
    names = ("kind", "module", "branch", "commit", "environment_id", "instance_id", "filename", "workflow_id")
    return {name: run[name] for name in (*names, "trigger", "parent_run_id", "rerun_of") if run[name] is not None}


def find_key(connection: Connection, key: IdempotencyKey) -> Existing | None:
    """Find the run of a key that is younger than a day."""
    parameters = {"caller": key.caller, "key": key.key, "since": utc_now() - KEY_LIFETIME}
    row = connection.execute(_FIND_KEY, parameters).first()
    return None if row is None else Existing(row.run_id, row.fingerprint == key.fingerprint)


def find_run(connection: Connection, run_id: str) -> RunRecord | None:
    """Give a run with its steps under the key "steps"."""
    row = connection.execute(_GET, {"run_id": run_id}).mappings().first()
    # Also when there is no run: who may not know of one is not to see it by the time that is taken.
    steps = connection.execute(_STEPS, {"run_id": run_id}).mappings().all()
    return None if row is None else {**row, "steps": [dict(step) for step in steps]}


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Which runs a list asks for; None is any."""

    status: tuple[str, ...] = ()
    environment_id: str | None = None
    instance_id: str | None = None
    workflow_id: str | None = None
    module: str | None = None
    branch: str | None = None
    requested_by: str | None = None
    trigger: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    text: str | None = None
    visible: sa.ColumnElement[bool] | None = None


def list_runs(
    connection: Connection, wanted: RunFilter, *, limit: int, cursor: str | None, newest_first: bool
) -> tuple[list[RunRecord], str | None]:
    """Give a page of runs and the cursor of the next one."""
    query = _filtered(wanted)
    # Ids sort by time of creation.
    if cursor is not None:
        last = decode_cursor(cursor)
        query = query.where(runs.c.id < last if newest_first else runs.c.id > last)
    query = query.order_by(runs.c.id.desc() if newest_first else runs.c.id.asc()).limit(limit + 1)
    rows = [dict(row) for row in connection.execute(query).mappings()]
    page = rows[:limit]
    if page:
        steps = connection.execute(
            sa.select(run_steps)
            .where(run_steps.c.run_id.in_([row["id"] for row in page]))
            .order_by(run_steps.c.run_id, run_steps.c.position)
        ).mappings()
        by_run: dict[str, list[dict[str, Any]]] = {}
        for step in steps:
            by_run.setdefault(step["run_id"], []).append(dict(step))
        for row in page:
            row["steps"] = by_run.get(row["id"], [])
    return page, encode_cursor(page[-1]["id"]) if len(rows) > limit else None


def _filtered(wanted: RunFilter) -> sa.Select[tuple[Any, ...]]:
    """Give the query for what a list asks for."""
    query: sa.Select[tuple[Any, ...]] = sa.select(*_LISTED)
    equals = {
        runs.c.environment_id: wanted.environment_id,
        runs.c.instance_id: wanted.instance_id,
        runs.c.workflow_id: wanted.workflow_id,
        runs.c.module: wanted.module,
        runs.c.branch: wanted.branch,
        runs.c.user_name: wanted.requested_by,
        runs.c.trigger: wanted.trigger,
    }
    for column, value in equals.items():
        if value is not None:
            query = query.where(column == value)
    if wanted.visible is not None:
        query = query.where(wanted.visible)
    if wanted.status:
        query = query.where(runs.c.status.in_(wanted.status))
    if wanted.since is not None:
        query = query.where(runs.c.created_at >= wanted.since)
    if wanted.until is not None:
        query = query.where(runs.c.created_at < wanted.until)
    if wanted.text:
        columns = (runs.c.filename, runs.c.workflow_name, runs.c.message, runs.c.user_name)
        query = query.where(sa.or_(*(column.contains(wanted.text, autoescape=True) for column in columns)))
    return query


def encode_cursor(run_id: str) -> str:
    """Make the opaque cursor that continues behind a run."""
    return base64.urlsafe_b64encode(json.dumps([1, run_id]).encode()).decode().rstrip("=")


def decode_cursor(cursor: str) -> str:
    """Read a cursor. Raises BadRequest for anything that this server did not make."""
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        version, run_id = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (ValueError, binascii.Error, TypeError, RecursionError) as error:
        raise BadRequest("the cursor is not one of this list") from error
    if version != 1 or not isinstance(run_id, str) or len(run_id) != 36:
        raise BadRequest("the cursor is not one of this list")
    return run_id


def unfinished_runs(connection: Connection) -> list[tuple[str, str]]:
    """Give (id, status) of every run that has not ended."""
    query = sa.select(runs.c.id, runs.c.status).where(runs.c.status.not_in([state.value for state in FINAL]))
    return [(row.id, row.status) for row in connection.execute(query)]


def request_cancel(connection: Connection, run_id: str) -> bool:
    """Note that somebody wants the end of a run; tells whether that is new."""
    noted = connection.execute(
        runs.update()
        .where(runs.c.id == run_id, runs.c.cancel_requested_at.is_(None))
        .values(cancel_requested_at=utc_now())
    )
    return noted.rowcount > 0


def is_queued(record: RunRecord) -> bool:
    """Whether a run has not begun."""
    return bool(record["status"] == Status.QUEUED)


class DatabaseHeartbeats:
    """Heartbeats in the table of executors, by the database's clock: those of the processes may differ."""

    def __init__(self, database: Database, host: str, pid: int) -> None:
        self._database = database
        now, since = (_SQLITE_NOW, _SQLITE_SINCE) if database.is_sqlite else (_POSTGRES_NOW, _POSTGRES_SINCE)
        is_it = executors.c.id == sa.bindparam("executor_id")
        self._update = executors.update().where(is_it).values(beat_at=now)
        self._insert = executors.insert().values(
            id=sa.bindparam("executor_id"), host=host, pid=pid, started_at=now, beat_at=now
        )
        self._delete = executors.delete().where(is_it)
        self._alive = sa.select(executors.c.id).where(executors.c.beat_at > since)
        self._dead = sa.select(executors.c.id).where(executors.c.beat_at <= since)

    def beat(self, executor_id: str) -> None:
        """Say that this process is alive."""
        values = {"executor_id": executor_id}

        def write(connection: Connection) -> None:
            if connection.execute(self._update, values).rowcount == 0:
                connection.execute(self._insert, values)

        self._database.write_now(write)

    def alive(self, within_seconds: float) -> set[str]:
        """Give the executors that were heard of lately."""
        values = {"seconds": float(within_seconds)}
        return self._database.read_now(lambda connection: set(connection.execute(self._alive, values).scalars()))

    def dead(self, older_than_seconds: float) -> list[str]:
        """Give the executors that have a record and were not heard of for so long."""
        values = {"seconds": float(older_than_seconds)}
        return self._database.read_now(lambda connection: list(connection.execute(self._dead, values).scalars()))

    def remove(self, executor_id: str) -> None:
        """Say good-bye."""
        self._database.write_now(lambda connection: connection.execute(self._delete, {"executor_id": executor_id}))
