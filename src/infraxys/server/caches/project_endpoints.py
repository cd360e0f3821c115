"""The calls for files of project caches that existing clients make."""

import asyncio
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from infraxys.server.caches.endpoints import BYTES, WRITE_REFUSALS, MayModify, MayRead, find, target
from infraxys.server.caches.transfer import decoded, names_of, open_file, receive
from infraxys.server.errors import BadRequest, responses
from infraxys.server.files import file_response
from infraxys.server.paths import API

router = APIRouter(prefix=f"{API}/cache/projects", tags=["caches"])
REFUSALS = responses(400, 401, 403, 404, 416, 422, 500, 503)
FILE: dict[int | str, dict[str, Any]] = {200: {"content": BYTES, "description": "The file"}, **REFUSALS}
TEXT_BODY = {
    "requestBody": {
        "content": {"text/plain": {"schema": {"type": "string"}}, "application/json": {"schema": {"type": "string"}}},
        "description": "the file as base64 text",
        "required": True,
    }
}
STORED: dict[int | str, dict[str, Any]] = {200: {"content": {"application/json": {}}, "description": "Written"}}


@router.get("/{project_id:segment}/{path:rest}", operation_id="get_project_cache_file", responses=FILE)
async def get_project_cache_file(request: Request, subject: MayRead, project_id: str, path: str) -> Response:
    """Give a file of a project's cache."""
    names = names_of(path)
    if not names:
        raise BadRequest("the path names no file")
    cache = await find(request, subject, "project", project_id, "cache.read")
    return file_response(request, await asyncio.to_thread(open_file, cache, names), names[-1])


@router.post(
    "/{project_id:segment}/{path:rest}",
    operation_id="update_project_cache_file",
    responses={**STORED, **WRITE_REFUSALS},
    openapi_extra=TEXT_BODY,
)
async def update_project_cache_file(request: Request, subject: MayModify, project_id: str, path: str) -> Response:
    """Write a file into a project's cache, in place of the one that is there."""
    cache, names = await target(request, subject, "project", project_id, path)
    written = await receive(request, cache, names, decoded(request.stream()))
    return JSONResponse({"status": "SUCCESS", "path": "/".join(names), "bytes": written.bytes})
