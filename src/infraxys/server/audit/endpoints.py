"""The audit trail over HTTP."""

from collections.abc import AsyncIterator
from datetime import datetime
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from infraxys.server.audit import trail
from infraxys.server.audit.trail import GENESIS, AuditFilter, checkpoint, export_lines, page_after
from infraxys.server.auth.permissions import Requires
from infraxys.server.auth.subject import Subject
from infraxys.server.db.engine import Database
from infraxys.server.errors import BadRequest, responses
from infraxys.server.paging import decode_cursor, encode_cursor
from infraxys.server.paths import API

router = APIRouter(prefix=f"{API}/audit", tags=["audit"])
NDJSON = "application/x-ndjson"
REFUSALS = responses(400, 401, 403, 422, 500, 503)
OK: dict[int | str, dict[str, Any]] = {200: {"content": {"application/json": {}}, "description": "OK"}}
LINES: dict[int | str, dict[str, Any]] = {
    200: {"content": {NDJSON: {}}, "description": "every record, one a line, the oldest first"}
}
PRINTABLE = r"^[^\x00-\x1f\x7f]*$"  # PostgreSQL knows no NUL
MayRead = Annotated[Subject, Depends(Requires("audit.read"))]


def database_of(request: Request) -> Database:
    """Give the database."""
    database: Database = request.app.state.services.database
    return database


@router.get("", operation_id="list_audit_records", responses={**OK, **REFUSALS})
async def list_audit_records(  # noqa: PLR0913 - one parameter for each filter
    request: Request,
    subject: MayRead,
    who: Annotated[str | None, Query(max_length=300, pattern=PRINTABLE, description="a user's name or id")] = None,
    what: Annotated[
        str | None, Query(max_length=64, pattern=PRINTABLE, description="an action as `token.create`, or `token`")
    ] = None,
    target: Annotated[str | None, Query(max_length=300, pattern=PRINTABLE, description="as `run/<id>`")] = None,
    result: Annotated[Literal["ok", "failed", "refused"] | None, Query()] = None,
    since: Annotated[datetime | None, Query()] = None,
    until: Annotated[datetime | None, Query()] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    cursor: Annotated[str | None, Query(max_length=1000)] = None,
) -> Response:
    """List what happened, the latest first."""
    if any(time is not None and time.tzinfo is None for time in (since, until)):
        raise BadRequest("times have a time zone, as in 2026-01-31T12:00:00Z")
    before = None if cursor is None else number(decode_cursor("audit", cursor))
    wanted = AuditFilter(who=who, what=what, target=target, result=result, since=since, until=until)
    items = await database_of(request).aread(
        lambda connection: trail.list_records(connection, wanted, limit=limit + 1, before=before)
    )
    following = encode_cursor("audit", str(items[limit - 1]["sequence"])) if len(items) > limit else None
    return JSONResponse({"items": items[:limit], "nextCursor": following})


@router.get("/export", operation_id="get_audit_export", responses={**LINES, **REFUSALS})
async def get_audit_export(request: Request, subject: MayRead) -> Response:
    """Give every record up to now as NDJSON, each with its hash and the one before it."""
    return StreamingResponse(every_line(database_of(request)), media_type=NDJSON)


@router.get("/checkpoint", operation_id="get_audit_checkpoint", responses={**OK, **REFUSALS})
async def get_audit_checkpoint(request: Request, subject: MayRead) -> Response:
    """Give the end of the chain, to be kept elsewhere: it shows later whether something was cut off."""
    end = await database_of(request).aread(checkpoint)
    return JSONResponse({"sequence": end.sequence, "hash": end.hash, "text": str(end)})


async def every_line(database: Database) -> AsyncIterator[str]:
    """Give the export a page at a time."""
    end = await database.aread(checkpoint)
    after, previous = 0, GENESIS
    while after < end.sequence:
        rows = await database.aread(partial(page_after, after=after, limit=min(trail.PAGE, end.sequence - after)))
        if not rows:
            return
        text, previous = export_lines(rows, previous)
        after = rows[-1]["sequence"]
        yield text


def number(text: str) -> int:
    """Read the key of a cursor. Raises BadRequest."""
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise BadRequest("the cursor is not one of this list")
    return int(text)
