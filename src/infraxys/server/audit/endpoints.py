"""The audit trail over HTTP."""

from collections.abc import AsyncIterator
from datetime import datetime
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from infraxys.server.answers import SOME_ID, Answer, Moment, Page, example
from infraxys.server.audit import trail
from infraxys.server.audit.trail import GENESIS, AuditFilter, checkpoint, export_lines, page_after
from infraxys.server.auth.permissions import Requires
from infraxys.server.auth.subject import Subject
from infraxys.server.db.engine import Database
from infraxys.server.errors import BadRequest, responses
from infraxys.server.paging import Cursor, Limit, decode_cursor, encode_cursor, listing
from infraxys.server.paths import API

router = APIRouter(prefix=f"{API}/audit", tags=["audit"])
NDJSON = "application/x-ndjson"
REFUSALS = responses(400, 401, 403, 422, 500, 503)
LINES: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {NDJSON: {"schema": {"type": "string"}}},
        "description": "every record, one a line, the oldest first; each as in the list, with `previousHash`",
    }
}
PRINTABLE = r"^[^\x00-\x1f\x7f]*$"  # PostgreSQL knows no NUL
MayRead = Annotated[Subject, Depends(Requires("audit.read"))]


class Who(Answer):
    """An account, as it was called then; nulls: nobody who is known."""

    id: str | None
    name: str | None


class Record(Answer):
    """Something that happened. Documentation of what the trail gives."""

    sequence: int
    at: Moment
    action: str
    target: str
    result: Literal["ok", "failed", "refused"]
    user: Who
    token_id: str | None
    session_id: str | None
    run_id: str | None
    address: str
    request_id: str | None
    details: dict[str, Any]
    hash: str

    model_config = example(
        sequence=34, at="2026-01-31T12:00:00.000000Z", action="token.create", target="token/4wcvCTCxbW6BrqFm",
        result="ok", user={"id": SOME_ID, "name": "ada"}, tokenId=None, sessionId="1866d04839f4806c4a2a86", runId=None,
        address="192.0.2.7", requestId="2d9b3301-cf1a-4dde-bc95-370edfcbbc97", details={"name": "pipeline"},
        hash="3a7ffc04736688c4103cf3b822cf5ecdc440e504618cce34d46b0fbf51a1c64b",
    )  # fmt: skip


class RecordPage(Page):
    """A page of records."""

    items: list[Record]


class End(Answer):
    """The last record of the chain: `text` is what `infraxys audit verify --checkpoint` takes."""

    sequence: int
    hash: str
    text: str

    model_config = example(sequence=17, hash="3f…", text="17:3f…")


def database_of(request: Request) -> Database:
    """Give the database."""
    database: Database = request.app.state.services.database
    return database


@router.get("", operation_id="list_audit_records", response_model=RecordPage, responses=REFUSALS)
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
    *,
    limit: Limit = 50,
    cursor: Cursor = None,
    sort: Annotated[Literal["at", "-at"], Query()] = "-at",
) -> Response:
    """List what happened, the latest first."""
    if any(time is not None and time.tzinfo is None for time in (since, until)):
        raise BadRequest("times have a time zone, as in 2026-01-31T12:00:00Z")
    kind = f"audit {sort}"
    after = None if cursor is None else number(decode_cursor(kind, cursor))
    wanted = AuditFilter(who=who, what=what, target=target, result=result, since=since, until=until)
    items = await database_of(request).aread(
        lambda connection: trail.list_records(
            connection, wanted, limit=limit + 1, after=after, newest_first=sort.startswith("-")
        )
    )
    following = encode_cursor(kind, str(items[limit - 1]["sequence"])) if len(items) > limit else None
    return listing(items[:limit], following)


@router.get(
    "/export", operation_id="get_audit_export", response_class=StreamingResponse, responses={**LINES, **REFUSALS}
)
async def get_audit_export(request: Request, subject: MayRead) -> Response:
    """Give every record up to now as NDJSON, each with its hash and the one before it."""
    return StreamingResponse(every_line(database_of(request)), media_type=NDJSON)


@router.get("/checkpoint", operation_id="get_audit_checkpoint", response_model=End, responses=REFUSALS)
async def get_audit_checkpoint(request: Request, subject: MayRead) -> Response:
    """Give the end of the chain, to be kept elsewhere: it shows later whether something was cut off."""
    end = await database_of(request).aread(checkpoint)
    return JSONResponse(End(sequence=end.sequence, hash=end.hash, text=str(end)).written())


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
