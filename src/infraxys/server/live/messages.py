"""The messages of the live connection, as documented in docs/reference/live.md."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from pydantic.alias_generators import to_camel

from infraxys.engine.backends.terminal import MAX_CELLS
from infraxys.kit.clock import timestamp
from infraxys.server.errors import Problem
from infraxys.server.runs.schemas import run_object
from infraxys.server.runs.transitions import RunRecord

VERSION = 1
MAX_MESSAGE = 64 * 1024  # bytes that a client may send at once
MAX_FOLLOWED = 50  # runs of one connection
RunId = Annotated[str, Field(min_length=1, max_length=100)]
Cells = Annotated[int, Field(ge=1, le=MAX_CELLS)]


class Asked(BaseModel):
    """What a client sends. `id` is its own, and comes back in the answer."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, alias_generator=to_camel, hide_input_in_errors=True
    )

    id: Annotated[str, Field(max_length=100)] | None = None


class Follow(Asked):
    """Follow a run, its log from `offset` on."""

    type: Literal["follow"]
    run_id: RunId
    offset: Annotated[int, Field(ge=0, le=2**62)] = 0


class Unfollow(Asked):
    """Do not follow a run any more."""

    type: Literal["unfollow"]
    run_id: RunId


class FollowRuns(Asked):
    """Follow what happens to any run that the caller may see."""

    type: Literal["followRuns"]


class UnfollowRuns(Asked):
    """Do not follow all runs any more."""

    type: Literal["unfollowRuns"]


class Input(Asked):
    """Type something into what a run executes."""

    type: Literal["input"]
    run_id: RunId
    text: Annotated[str, Field(min_length=1, max_length=16 * 1024)]


class Resize(Asked):
    """Say how large the window is in which somebody looks at a run's terminal."""

    type: Literal["resize"]
    run_id: RunId
    columns: Cells
    rows: Cells


class Ping(Asked):
    """Ask whether the connection is alive."""

    type: Literal["ping"]


Request = Annotated[Follow | Unfollow | FollowRuns | UnfollowRuns | Input | Resize | Ping, Field(discriminator="type")]
REQUEST: TypeAdapter[Request] = TypeAdapter(Request)


def hello() -> dict[str, Any]:
    """Say what speaks here."""
    return {"type": "hello", "version": VERSION, "maxMessageBytes": MAX_MESSAGE, "maxRuns": MAX_FOLLOWED}


def done(asked: Asked) -> dict[str, Any]:
    """Confirm a request that had an id."""
    return {"type": "done", "id": asked.id}


def run(record: RunRecord) -> dict[str, Any]:
    """Give a run as it is now."""
    return {"type": "run", "run": run_object(record)}


def dialog(run_id: str, shown: Mapping[str, Any]) -> dict[str, Any]:
    """Give what an action asks or shows, or what changes of it."""
    return {"type": "dialog", "runId": run_id, "dialog": dict(shown)}


def client(run_id: str, said: Mapping[str, Any]) -> dict[str, Any]:
    """Give what an action tells browsers."""
    return {"type": "client", "runId": run_id, "client": dict(said)}


EVENTS = {"dialog": dialog, "client": client}


def log(run_id: str, offset: int, data: bytes) -> dict[str, Any]:
    """Give a piece of a log; what is no text comes as it can be shown, and counts as the bytes that it is."""
    text = data.decode(errors="replace")
    return {"type": "log", "runId": run_id, "offset": offset, "next": offset + len(data), "text": text}


def gap(run_id: str, offset: int, following: int) -> dict[str, Any]:
    """Say which piece of a log is not sent because the reader is too far behind."""
    return {"type": "gap", "runId": run_id, "offset": offset, "next": following}


def runs_gap() -> dict[str, Any]:
    """Say that changes of runs were not sent: the list has to be read again."""
    return {"type": "gap", "runs": True}


def end(record: RunRecord, offset: int) -> dict[str, Any]:
    """Say that a run has ended, what its whole log is, and that nothing follows."""
    return {
        "type": "end",
        "runId": record["id"],
        "offset": offset,
        "status": record["status"],
        "exitCode": record["exit_code"],
        "message": record["message"] or "",
        "finishedAt": timestamp(record["finished_at"]),
        "logBytes": record["log_bytes"],
        "logSha256": record["log_sha256"],
    }


def dropped(run_id: str, problem: Problem) -> dict[str, Any]:
    """Say that a run is not followed any more, and why."""
    return {"type": "dropped", "runId": run_id, "code": problem.code, "message": problem.detail}


def error(code: str, message: str, asked_id: str | None = None) -> dict[str, Any]:
    """Refuse a request."""
    return {"type": "error", "id": asked_id, "code": code, "message": message}


def pong(asked: Asked) -> dict[str, Any]:
    """Answer a ping."""
    return {"type": "pong", "id": asked.id}
