"""The durable engine: one workflow function behind every run, on DBOS. Its database holds ids and outcomes only.

DBOS keeps one instance per process, so there is one `DurableEngine` per process.
"""

import json
import logging
from contextlib import suppress
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from dbos import DBOS, DBOSConfig, Serializer, SetWorkflowID
from dbos import error as dbos_error
from sqlalchemy.engine import make_url

from infraxys.durable.host import RunHost, StepOutcome
from infraxys.engine.status import Status

# Changes only when workflows of an older server could not go on in a newer one.
APPLICATION_VERSION = "engine-1"
WORKFLOW = "infraxys.run"
MAX_RECOVERIES = 8
_UNFINISHED = ["PENDING", "ENQUEUED"]
log = logging.getLogger(__name__)


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
    """Store exceptions of workflows as their text; anything else unknown is a mistake of ours."""
    if isinstance(value, BaseException):
        return {"error": type(value).__name__, "message": str(value)}
    raise TypeError(f"{type(value).__name__} cannot be stored by the engine")


class _Binding:
    """The host of this process; the workflow function finds it here because DBOS calls it with stored values only."""

    host: RunHost | None = None


def _run_step(run_id: str, index: int) -> dict[str, Any]:
    host = _Binding.host
    if host is None:
        raise RuntimeError("the engine has no host")
    outcome = host.run_step(run_id, index)
    return {"status": outcome.status.value, "exitCode": outcome.exit_code}


def _run(run_id: str) -> str:
    """Execute the steps of a run in order, up to the first one that does not succeed."""
    host = _Binding.host
    if host is None:
        raise RuntimeError("the engine has no host")
    outcomes: list[StepOutcome] = []
    for index in range(host.step_count(run_id)):
        recorded = DBOS.run_step({"name": f"step {index}"}, _run_step, run_id, index)
        outcomes.append(StepOutcome(Status(recorded["status"]), recorded["exitCode"]))
        if outcomes[-1].status is not Status.SUCCESS:
            break
    host.finish(run_id, outcomes)
    return outcomes[-1].status.value if outcomes else ""


def sqlite_engine(path: Path) -> sa.Engine:
    """Open the engine's SQLite database: WAL, safe against loss of power, one transaction writing at a time."""
    engine = sa.create_engine(f"sqlite:///{path}", pool_size=8, max_overflow=8, connect_args={"timeout": 30})

    @sa.event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: object) -> None:
        cursor = connection.cursor()
        for statement in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=30000", "foreign_keys=ON"):
            cursor.execute(f"PRAGMA {statement}")
        cursor.close()

    return engine


class DurableEngine:
    """Starts runs durably and takes over those of dead processes.

    `url` is `sqlite:///<path>` or a PostgreSQL URL. `slots` runs execute at once; more wait in line, in order,
    recorded all the same.
    """

    def __init__(self, host: RunHost, url: str, *, executor_id: str, slots: int) -> None:
        self._host, self._url, self._executor_id, self._slots = host, url, executor_id, slots
        self._workflow: Any = None

    def start(self) -> None:
        """Open the database, bring it up to date and be ready for `submit`. Blocks."""
        for name in ("dbos", "alembic"):
            logging.getLogger(name).setLevel(logging.ERROR)
        config: DBOSConfig = {
            "name": "infraxys",
            "application_version": APPLICATION_VERSION,
            "executor_id": self._executor_id,
            "serializer": JsonSerializer(),
            "log_level": "ERROR",
            "max_executor_threads": self._slots + 2,
            "scheduler_polling_interval_sec": 30.0,
            "notification_listener_polling_interval_sec": 1.0,
        }
        url = make_url(self._url)
        if url.get_backend_name() == "sqlite":
            config["system_database_url"] = self._url
            config["system_database_engine"] = sqlite_engine(Path(url.database or ""))
        else:
            config["system_database_url"] = url.set(drivername="postgresql").render_as_string(hide_password=False)
            config["sys_db_pool_size"] = 20
        _Binding.host = self._host
        DBOS(config=config)
        self._workflow = DBOS.workflow(name=WORKFLOW, max_recovery_attempts=MAX_RECOVERIES)(_run)
        DBOS.launch()

    def submit(self, run_id: str) -> None:
        """Start a run; it is recorded by the engine when this returns. The same id again changes nothing. Blocks."""
        with SetWorkflowID(run_id):
            DBOS.start_workflow(self._workflow, run_id)

    def knows(self, run_ids: list[str]) -> set[str]:
        """Tell which runs the engine has a record of. Blocks."""
        found = DBOS.list_workflows(workflow_ids=run_ids, load_input=False, load_output=False)
        return {status.workflow_id for status in found}

    def unfinished_elsewhere(self) -> dict[str, list[str]]:
        """Give the unfinished runs of other executors, by executor. Blocks."""
        found: dict[str, list[str]] = {}
        for status in DBOS.list_workflows(status=_UNFINISHED, name=WORKFLOW, load_input=False, load_output=False):
            executor = status.executor_id or ""
            if executor != self._executor_id:
                found.setdefault(executor, []).append(status.workflow_id)
        return found

    def take_over(self, run_ids: list[str]) -> None:
        """Go on with runs whose process is dead. Finished steps are not executed again. Blocks."""
        if run_ids:
            DBOS.resume_workflows(run_ids)

    def forget(self, run_ids: list[str]) -> None:
        """Delete the records of finished runs. Blocks."""
        if run_ids:
            DBOS.delete_workflows(run_ids)

    def stop(self, grace_seconds: float) -> None:
        """Stop starting work and wait for what runs. Blocks for up to the grace."""
        with suppress(dbos_error.DBOSException):
            DBOS.destroy(workflow_completion_timeout_sec=max(0, int(grace_seconds)))
        _Binding.host = None
