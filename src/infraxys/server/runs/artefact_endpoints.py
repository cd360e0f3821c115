"""What runs have left, over HTTP."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel
from starlette.responses import JSONResponse, Response

from infraxys.kit import trees
from infraxys.kit.clock import timestamp
from infraxys.server.errors import NotFound, responses
from infraxys.server.files import content_type_of, file_response, moment, not_a_path
from infraxys.server.paging import decode_cursor, encode_cursor
from infraxys.server.paths import API
from infraxys.server.runs.artefacts import Artefacts
from infraxys.server.runs.reading import MayRead, find_run
from infraxys.server.runs.transitions import RunRecord

router = APIRouter(prefix=f"{API}/runs", tags=["runs"])
REFUSALS = responses(400, 401, 403, 404, 422, 500, 503)
KIND = "artefacts"


class Artefact(BaseModel):
    """A file that an action left in its artefacts folder."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)

    path: str = Field(description="below the folder", examples=["reports/plan.json"])
    bytes: int
    content_type: str = Field(description="by its name")
    modified_at: str


class ArtefactPage(BaseModel):
    """A page of artefacts."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)

    items: list[Artefact]
    next_cursor: str | None


class UnknownArtefact(NotFound):
    """The run has left no such file."""

    code = "unknown_artefact"

    def __init__(self, path: str) -> None:
        super().__init__(f"the run has no artefact '{path[:300]}'; links and special files are not kept as artefacts")


def artefacts_of(request: Request) -> Artefacts:
    """Give the service."""
    artefacts: Artefacts = request.app.state.services.artefacts
    return artefacts


def listing(artefacts: Artefacts, run: RunRecord) -> list[Artefact]:
    """Give all that a run has left, by path, as people may see it. Blocks. The one place where names are given out."""
    return [
        Artefact(
            path=path,
            bytes=entry.bytes,
            content_type=content_type_of(entry.name),
            modified_at=str(timestamp(moment(entry.modified_at))),
        )
        for path, entry in artefacts.files(run["id"])
    ]


@router.get(
    "/{run_id:segment}/artefacts", operation_id="list_artefacts", response_model=ArtefactPage, responses=REFUSALS
)
async def list_artefacts(
    request: Request,
    subject: MayRead,
    run_id: str,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    cursor: Annotated[str | None, Query(max_length=6000)] = None,
) -> Response:
    """List the files that the actions of a run have left in their artefacts folder, by path."""
    run = await find_run(request, subject, run_id, "run.read")
    found = await asyncio.to_thread(listing, artefacts_of(request), run)
    start = 0 if cursor is None else after(found, decode_cursor(KIND, cursor))
    end = start + limit
    following = encode_cursor(KIND, str(end)) if end < len(found) else None
    items = [item.model_dump(by_alias=True) for item in found[start:end]]
    return JSONResponse({"items": items, "nextCursor": following})


def after(found: list[Artefact], position: str) -> int:
    """Give where a list goes on; at its end for what is behind it."""
    return min(int(position), len(found)) if position.isascii() and position.isdigit() else len(found)


@router.get(
    "/{run_id:segment}/artefacts/{path:rest}",
    operation_id="get_artefact",
    responses={
        200: {"content": {"application/octet-stream": {}}, "description": "The file"},
        206: {"content": {"application/octet-stream": {}}, "description": "The range asked for"},
        **REFUSALS,
        **responses(416),
    },
)
async def get_artefact(request: Request, subject: MayRead, run_id: str, path: str) -> Response:
    """Give a file that an action has left, `Range` included, to be saved and not to be shown."""
    run = await find_run(request, subject, run_id, "run.read")
    try:
        names = trees.split(path)
    except ValueError as error:
        raise not_a_path(error) from error
    try:
        descriptor = await asyncio.to_thread(artefacts_of(request).open, run["id"], names or ("",))
    except OSError as error:
        raise UnknownArtefact("/".join(names)) from error
    return file_response(request, descriptor, names[-1])
