"""Runs as resources: list, one, its log, events, argument and plan; and how to cancel one."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from datetime import datetime
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from infraxys.engine.logs import LogReader, incomplete, to_ndjson
from infraxys.engine.status import FINAL, Status
from infraxys.kit.clock import timestamp
from infraxys.server.auth.permissions import Requires, hold
from infraxys.server.auth.subject import Subject
from infraxys.server.errors import BadRequest, NotFound, RangeNotSatisfiable, responses
from infraxys.server.files import parse_range
from infraxys.server.paths import API
from infraxys.server.runs import dialogs, repository
from infraxys.server.runs.repository import RunFilter
from infraxys.server.runs.rights import check_run, visible_runs
from infraxys.server.runs.schemas import Run, RunPage, run_object
from infraxys.server.runs.submit import Runs
from infraxys.server.runs.transitions import RunEvent, RunRecord

router = APIRouter(prefix=f"{API}/runs", tags=["runs"])
REFUSALS = responses(400, 401, 403, 404, 422, 500, 503)
HEARTBEAT_SECONDS = 15.0
READ_BYTES = 256 * 1024
ESCAPES = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[PX^_][^\x1b]*\x1b\\|[ -/]*[0-~])")
MayList = Annotated[Subject, Depends(Requires("run.list", somewhere=True))]
MayRead = Annotated[Subject, Depends(Requires("run.read", somewhere=True))]
MayCancel = Annotated[Subject, Depends(Requires("run.cancel", somewhere=True))]
MayReadArgument = Annotated[Subject, Depends(Requires("run.argument", somewhere=True))]


def runs_of(request: Request) -> Runs:
    """Give the service."""
    runs: Runs = request.app.state.services.runs
    return runs


async def find_run(request: Request, subject: Subject, run_id: str, grant: str) -> RunRecord:
    """Give a run that the caller has a grant for. Raises UnknownRun and Forbidden."""
    record = await runs_of(request).get(run_id)
    hold(request, subject, partial(check_run, record=record, grant=grant))
    return record


@router.get("", operation_id="list_runs", response_model=RunPage, responses=REFUSALS)
async def list_runs(  # noqa: PLR0913 - one parameter for each filter
    request: Request,
    subject: MayList,
    status: Annotated[list[Status] | None, Query()] = None,
    environment_id: Annotated[str | None, Query(alias="environmentId", max_length=200)] = None,
    instance_id: Annotated[str | None, Query(alias="instanceId", max_length=200)] = None,
    workflow_id: Annotated[str | None, Query(alias="workflowId", max_length=200)] = None,
    module: Annotated[str | None, Query(max_length=500)] = None,
    branch: Annotated[str | None, Query(max_length=500)] = None,
    requested_by: Annotated[str | None, Query(alias="requestedBy", max_length=200)] = None,
    trigger: Annotated[str | None, Query(max_length=16)] = None,
    since: Annotated[datetime | None, Query()] = None,
    until: Annotated[datetime | None, Query()] = None,
    text: Annotated[str | None, Query(max_length=200)] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    cursor: Annotated[str | None, Query(max_length=200)] = None,
    sort: Annotated[Literal["createdAt", "-createdAt"], Query()] = "-createdAt",
) -> Response:
    """List runs, a page at a time."""
    for moment in (since, until):
        if moment is not None and moment.tzinfo is None:
            raise BadRequest("since and until need a time zone, as in 2026-01-31T12:00:00Z")
    wanted = RunFilter(
        status=tuple(item.value for item in status or ()),
        environment_id=environment_id,
        instance_id=instance_id,
        workflow_id=workflow_id,
        module=module,
        branch=branch,
        requested_by=requested_by,
        trigger=trigger,
        since=since,
        until=until,
        text=text,
        visible=visible_runs(subject),
    )
    database = request.app.state.services.database
    page, following = await database.aread(
        lambda connection: repository.list_runs(
            connection, wanted, limit=limit, cursor=cursor, newest_first=sort.startswith("-")
        )
    )
    return JSONResponse({"items": [run_object(run) for run in page], "nextCursor": following})


@router.get("/{run_id:segment}", operation_id="get_run", response_model=Run, responses=REFUSALS)
async def get_run(
    request: Request,
    subject: MayRead,
    run_id: str,
    wait: Annotated[float, Query(ge=0, le=3600, description="wait for the end, so many seconds at most")] = 0,
) -> Response:
    """Give a run; with `wait`, as soon as it has ended."""
    runs = runs_of(request)
    record = await find_run(request, subject, run_id, "run.read")
    if wait and Status(record["status"]) not in FINAL:
        ended = await runs.end_of(run_id)
        try:
            record = await asyncio.wait_for(asyncio.shield(ended), wait)
        except TimeoutError:
            runs.watchers.forget(run_id, ended)
            record = await runs.get(run_id)
    shown = [dialogs.dialog_object(dialog) for dialog in await runs.dialogs_of(run_id)]
    return JSONResponse({**run_object(record), "dialogs": shown})


@router.post(
    "/{run_id:segment}/cancel",
    operation_id="cancel_run",
    status_code=202,
    response_model=Run,
    responses={**REFUSALS, **responses(409)},
)
async def cancel_run(request: Request, subject: MayCancel, run_id: str) -> Response:
    """End a run: SIGTERM, grace, SIGKILL for the whole tree of its action."""
    await find_run(request, subject, run_id, "run.cancel")
    return JSONResponse(run_object(await runs_of(request).cancel(run_id)), 202)


@router.get(
    "/{run_id:segment}/argument",
    operation_id="get_run_argument",
    responses={200: {"content": {"application/json": {}}, "description": "The argument, as it was given"}, **REFUSALS},
)
async def get_run_argument(request: Request, subject: MayReadArgument, run_id: str) -> Response:
    """Give the JSON value that the run was started with, with secrets of its steps masked."""
    record = await find_run(request, subject, run_id, "run.argument")
    return Response(await runs_of(request).execution.argument(record), media_type="application/json")


@router.get(
    "/{run_id:segment}/plan",
    operation_id="get_run_plan",
    responses={200: {"content": {"application/json": {}}, "description": "What was resolved"}, **REFUSALS},
)
async def get_run_plan(request: Request, subject: MayRead, run_id: str) -> Response:
    """Give the commits of every module that had a part, and the actions."""
    record = await find_run(request, subject, run_id, "run.read")
    return JSONResponse({"commits": json.loads(record["commits"]), "actions": json.loads(record["target"])["steps"]})


@router.get(
    "/{run_id:segment}/log",
    operation_id="get_run_log",
    responses={
        200: {"content": {"text/plain": {}, "application/x-ndjson": {}}, "description": "The log from the offset on"},
        206: {"content": {"text/plain": {}}, "description": "The range asked for"},
        **REFUSALS,
        **responses(416),
    },
)
async def get_run_log(
    request: Request,
    subject: MayRead,
    run_id: str,
    offset: Annotated[int, Query(ge=0, le=2**62, description="in bytes")] = 0,
    step: Annotated[int | None, Query(ge=1, le=10_000, description="the id of a step")] = None,
    form: Annotated[Literal["text", "ndjson"], Query(alias="format")] = "text",
    strip: Annotated[Literal["ansi"] | None, Query()] = None,
) -> Response:
    """Give the log as far as it is written. The header X-Log-Offset says where to go on."""
    runs = runs_of(request)
    record = await find_run(request, subject, run_id, "run.read")
    reader = runs.execution.reader(run_id)
    length = reader.length if form == "text" else reader.whole_characters(reader.length)
    headers = log_headers(record, length)
    position = None if step is None else step - 1
    if form == "ndjson":
        lines = (to_ndjson(with_text_time(item)) for item in reader.records(offset, position, length))
        return StreamingResponse(lines, media_type="application/x-ndjson", headers=headers)
    if position is not None:
        parts = reader.steps_text(position, offset, length)
        return StreamingResponse(stripped(parts) if strip else parts, media_type="text/plain", headers=headers)
    part = parse_range(request.headers.get("range"), length, "log")
    if part is not None:
        start, end = part
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{length}"
        return text_response(reader, start, end, headers, 206)
    if offset > length:
        raise RangeNotSatisfiable(f"the log has {length} bytes", headers={"Content-Range": f"bytes */{length}"})
    if strip:
        return StreamingResponse(stripped(parts_of(reader, offset, length)), media_type="text/plain", headers=headers)
    return text_response(reader, offset, length, headers, 200)


def with_text_time(record: dict[str, object]) -> dict[str, object]:
    """Write the time of a log record as the API writes times, and the step as its id."""
    at = datetime.fromtimestamp(float(str(record["time"]))).astimezone()
    return {**record, "time": at.isoformat(timespec="milliseconds"), "step": str(int(str(record["step"])) + 1)}


def log_headers(record: RunRecord, length: int) -> dict[str, str]:
    """Say where to read on, and for an ended run what the whole log is."""
    headers = {"X-Log-Offset": str(length), "Accept-Ranges": "bytes"}
    if Status(record["status"]) in FINAL and record["log_sha256"]:
        headers["X-Log-Length"] = str(record["log_bytes"])
        headers["X-Log-SHA256"] = record["log_sha256"]
    return headers


def text_response(reader: LogReader, start: int, end: int, headers: dict[str, str], status: int) -> Response:
    """Give bytes of a log; a long one in parts."""
    headers["Content-Length"] = str(end - start)
    if end - start <= READ_BYTES:
        return Response(reader.read(start, end - start), status, headers, media_type="text/plain")
    return StreamingResponse(parts_of(reader, start, end), status, headers, media_type="text/plain")


def parts_of(reader: LogReader, start: int, end: int) -> Iterator[bytes]:
    """Read a range in parts of bounded size."""
    while start < end:
        data = reader.read(start, min(READ_BYTES, end - start))
        if not data:
            return
        yield data
        start += len(data)


def stripped(parts: Iterator[bytes]) -> Iterator[bytes]:
    """Take out terminal escapes, also those that are cut between parts: whole lines at a time."""
    rest = b""
    for part in parts:
        rest += part
        whole, separator, rest = rest.rpartition(b"\n")
        if separator:
            yield ESCAPES.sub(b"", whole + separator)
        elif len(rest) > READ_BYTES:
            yield ESCAPES.sub(b"", rest)
            rest = b""
    yield ESCAPES.sub(b"", rest)


@router.get(
    "/{run_id:segment}/events",
    operation_id="follow_run",
    responses={
        200: {"content": {"text/event-stream": {}}, "description": "log, status, dialog, client and end events"},
        **REFUSALS,
    },
)
async def follow_run(
    request: Request,
    subject: MayRead,
    run_id: str,
    after: Annotated[int, Query(ge=0, le=2**62, description="byte offset to go on from")] = 0,
) -> Response:
    """Follow a run. The id of every event is the byte offset of the log behind it."""
    runs = runs_of(request)
    record = await find_run(request, subject, run_id, "run.read")
    last = request.headers.get("last-event-id")
    if last is not None:
        if not re.fullmatch(r"\d{1,18}", last):
            raise BadRequest("Last-Event-ID is not one of this stream")
        after = int(last)
    if after > runs.execution.reader(run_id).length:
        raise NotFound("the log does not reach that offset")
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(events(runs, record, after), media_type="text/event-stream", headers=headers)


async def events(runs: Runs, record: RunRecord, offset: int) -> AsyncIterator[str]:
    """Give the events of a run until its end: what is on file first, then what comes."""
    run_id = record["id"]
    changes = runs.watchers.subscribe(run_id)
    try:
        record = await runs.get(run_id)
        for first in await opening(runs, record, offset):
            yield first
        while True:
            # The order matters: the end is only reported behind the last byte of the log.
            is_final = Status(record["status"]) in FINAL
            reader = runs.execution.reader(run_id)
            while data := await asyncio.to_thread(reader.read, offset):
                whole = data[: len(data) - incomplete(data)]  # no event ends inside of a character
                if not whole and not is_final:
                    break
                yield log_event(offset, whole or data)
                offset += len(whole or data)
            if is_final:
                yield end_event(record, offset)
                return
            newer = await next_change(runs, run_id, changes)
            if newer is None:
                yield ": still here\n\n"
            elif isinstance(newer, RunEvent):
                if newer.name:
                    yield event(newer.name, offset, dict(newer.data))
            else:
                record = newer
                yield status_event(record, offset)
    finally:
        runs.watchers.unsubscribe(run_id, changes)


async def opening(runs: Runs, record: RunRecord, offset: int) -> list[str]:
    """Give the state of a run and what it asks, as events."""
    asked = [dialog for dialog in await runs.dialogs_of(record["id"]) if dialog["state"] == dialogs.OPEN]
    return [status_event(record, offset), *(event("dialog", offset, dialogs.dialog_object(item)) for item in asked)]


async def next_change(
    runs: Runs, run_id: str, changes: "asyncio.Queue[RunRecord | RunEvent]"
) -> RunRecord | RunEvent | None:
    """Wait for a change of the run or an event; None when nothing happened for a while."""
    writer = runs.execution.writer(run_id)
    waiting: list[asyncio.Task[Any]] = [asyncio.ensure_future(changes.get())]
    if writer is not None and writer.end is None:
        waiting.append(asyncio.ensure_future(writer.changed()))
    done, pending = await asyncio.wait(waiting, timeout=HEARTBEAT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    if waiting[0] in done:
        change: RunRecord | RunEvent = waiting[0].result()
        return change
    return RunEvent() if done else None


def event(name: str, offset: int, data: dict[str, Any]) -> str:
    """Write one server-sent event."""
    return f"event: {name}\nid: {offset}\ndata: {json.dumps(data)}\n\n"


def log_event(offset: int, data: bytes) -> str:
    """Write a chunk of the log: its bytes as text where they are text, else as they can be shown."""
    return event("log", offset + len(data), {"offset": offset, "text": data.decode(errors="replace")})


def status_event(record: RunRecord, offset: int) -> str:
    """Write the state of a run and its steps."""
    body = run_object(record)
    return event("status", offset, {"status": body["status"], "message": body["message"], "steps": body["steps"]})


def end_event(record: RunRecord, offset: int) -> str:
    """Write the end: how the run ended and what the whole log is."""
    return event(
        "end",
        offset,
        {
            "status": record["status"],
            "exitCode": record["exit_code"],
            "message": record["message"] or "",
            "finishedAt": timestamp(record["finished_at"]),
            "logBytes": record["log_bytes"],
            "logSha256": record["log_sha256"],
        },
    )
