"""Caches over HTTP."""

import asyncio
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import JSONResponse, Response

from infraxys.kit.trees import NotPlain
from infraxys.server.auth.access import AccessControl
from infraxys.server.auth.permissions import Requires, hold
from infraxys.server.auth.subject import Subject
from infraxys.server.caches.access import check_cache, is_visible
from infraxys.server.caches.errors import UnknownCache, UnknownCacheFile
from infraxys.server.caches.schemas import (
    CacheFile,
    CacheFolder,
    CacheObject,
    CachePage,
    cache_object,
    entry_object,
)
from infraxys.server.caches.store import Cache, CacheName, Level
from infraxys.server.caches.transfer import folder_entries, names_of, note, open_file, receive, store_of
from infraxys.server.errors import BadRequest, responses
from infraxys.server.files import file_response
from infraxys.server.paging import decode_cursor, encode_cursor
from infraxys.server.paths import API

router = APIRouter(prefix=f"{API}/caches", tags=["caches"])
REFUSALS = responses(400, 401, 403, 404, 422, 500, 503)
WRITE_REFUSALS = {**REFUSALS, **responses(408, 409, 413)}
BYTES: dict[str, Any] = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
FILE_BODY = {"requestBody": {"content": BYTES, "required": True}}
FILE: dict[int | str, dict[str, Any]] = {
    200: {"content": {**BYTES, "application/json": {}}, "description": "The file; of a folder what is in it"},
    206: {"content": BYTES, "description": "The range asked for"},
    **REFUSALS,
    **responses(416),
}
MayList = Annotated[Subject, Depends(Requires("cache.list", somewhere=True))]
MayRead = Annotated[Subject, Depends(Requires("cache.read", somewhere=True))]
MayModify = Annotated[Subject, Depends(Requires("cache.modify", somewhere=True))]
MayDelete = Annotated[Subject, Depends(Requires("cache.delete", somewhere=True))]
Text = Annotated[str | None, Query(max_length=500)]
Limit = Annotated[int, Query(ge=1, le=500)]
Cursor = Annotated[str | None, Query(max_length=1000)]
Executable = Annotated[
    Literal["true", "false"], Query(description="whether actions may execute it, as tools in `bin` must be")
]


async def find(request: Request, subject: Subject, level: str, cache_id: str, grant: str) -> Cache:
    """Give a cache that the caller has a grant for. Raises UnknownCache and Forbidden.

    A project has a cache from the moment that somebody asks for it.
    """
    store = store_of(request)
    cache = store.find(level, cache_id)
    name = cache.name if cache is not None else CacheName("project", cache_id)
    if cache is None and not (level == "project" and await is_project(request, cache_id)):
        raise UnknownCache(cache_id)
    hold(request, subject, partial(check_cache, name=name, grant=grant, unknown=UnknownCache(cache_id)))
    if cache is None:
        cache = await asyncio.to_thread(store.make, name)
    return cache


async def is_project(request: Request, project_id: str) -> bool:
    """Whether there is a project, also one that another server has just made."""
    access: AccessControl = request.app.state.services.access
    if project_id not in access.policy.parents:
        await access.refresh()
    return project_id in access.policy.parents


@router.get("", operation_id="list_caches", response_model=CachePage, responses=REFUSALS)
async def list_caches(  # noqa: PLR0913 - one parameter for each filter
    request: Request,
    subject: MayList,
    *,
    level: Annotated[Level | None, Query()] = None,
    project_id: Annotated[str | None, Query(alias="projectId", max_length=100)] = None,
    module: Text = None,
    branch: Text = None,
    environment_id: Annotated[str | None, Query(alias="environmentId", max_length=200)] = None,
    container_id: Annotated[str | None, Query(alias="containerId", max_length=200)] = None,
    instance_id: Annotated[str | None, Query(alias="instanceId", max_length=200)] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """List caches with their size and last use, a page at a time, by level and id."""
    store = store_of(request)
    given = {
        "level": level, "project_id": project_id, "module": module, "branch": branch,
        "environment_id": environment_id, "container_id": container_id, "instance_id": instance_id,
    }  # fmt: skip
    wanted = {name: value for name, value in given.items() if value is not None}
    found = sorted(
        (cache for cache in store.all() if all(getattr(cache.name, name) == value for name, value in wanted.items())),
        key=position,
    )
    start = decode_cursor("caches", cursor) if cursor is not None else ""
    page: list[Cache] = []
    for cache in found:
        if position(cache) > start and is_visible(subject, cache):
            page.append(cache)
            if len(page) > limit:
                break
    following = encode_cursor("caches", position(page[limit - 1])) if len(page) > limit else None
    return JSONResponse({"items": [cache_object(store, cache) for cache in page[:limit]], "nextCursor": following})


def position(cache: Cache) -> str:
    """Give what lists are sorted by."""
    return f"{cache.name.level}/{cache.id}"


@router.get(
    "/{level:segment}/{cache_id:segment}", operation_id="get_cache", response_model=CacheObject, responses=REFUSALS
)
async def get_cache(request: Request, subject: MayList, level: str, cache_id: str) -> Response:
    """Give a cache: what it belongs to, its size and last use."""
    cache = await find(request, subject, level, cache_id, "cache.list")
    return JSONResponse(cache_object(store_of(request), cache))


@router.delete(
    "/{level:segment}/{cache_id:segment}", operation_id="delete_cache", status_code=204, responses=WRITE_REFUSALS
)
async def delete_cache(request: Request, subject: MayDelete, level: str, cache_id: str) -> Response:
    """Remove everything that is in a cache. Actions that have it just now go on with an empty one."""
    cache = await find(request, subject, level, cache_id, "cache.delete")
    await asyncio.to_thread(store_of(request).clean, cache)
    await note(request, "cache.delete", cache)
    return Response(status_code=204)


@router.get(
    "/{level:segment}/{cache_id:segment}/{path:rest}",
    operation_id="get_cache_file",
    response_model=CacheFolder,
    responses=FILE,
)
async def get_cache_file(
    request: Request,
    subject: MayRead,
    level: str,
    cache_id: str,
    path: str,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Response:
    """Give a file, `Range` included, to be saved and not to be shown.

    With a slash at the end: what is in a folder, by name, at most the first 10,000 entries; `path` may be empty then.
    """
    names = names_of(path.removesuffix("/"))
    cache = await find(request, subject, level, cache_id, "cache.read")
    if names and not path.endswith("/"):
        return file_response(request, await asyncio.to_thread(open_file, cache, names), names[-1])
    some = await asyncio.to_thread(folder_entries, cache, names)
    start = decode_cursor("cache files", cursor) if cursor is not None else ""
    page = [entry for entry in some if entry.name > start][: limit + 1]
    following = encode_cursor("cache files", page[limit - 1].name) if len(page) > limit else None
    return JSONResponse({"items": [entry_object(entry) for entry in page[:limit]], "nextCursor": following})


@router.put(
    "/{level:segment}/{cache_id:segment}/{path:rest}",
    operation_id="replace_cache_file",
    response_model=CacheFile,
    responses=WRITE_REFUSALS,
    openapi_extra=FILE_BODY,
)
async def replace_cache_file(
    request: Request, subject: MayModify, level: str, cache_id: str, path: str, executable: Executable = "false"
) -> Response:
    """Write a file, in place of the one that is there. Nobody sees half of it."""
    cache, names = await target(request, subject, level, cache_id, path)
    written = await receive(request, cache, names, request.stream(), executable=executable == "true")
    return JSONResponse(CacheFile(path="/".join(names), bytes=written.bytes, sha256=written.sha256).model_dump())


@router.post(
    "/{level:segment}/{cache_id:segment}/{path:rest}",
    operation_id="add_cache_file",
    status_code=201,
    response_model=CacheFile,
    responses=WRITE_REFUSALS,
    openapi_extra=FILE_BODY,
)
async def add_cache_file(
    request: Request, subject: MayModify, level: str, cache_id: str, path: str, executable: Executable = "false"
) -> Response:
    """Write a new file. One that is there already is not replaced."""
    cache, names = await target(request, subject, level, cache_id, path)
    written = await receive(request, cache, names, request.stream(), executable=executable == "true", replace=False)
    return JSONResponse(CacheFile(path="/".join(names), bytes=written.bytes, sha256=written.sha256).model_dump(), 201)


async def target(
    request: Request, subject: Subject, level: str, cache_id: str, path: str
) -> tuple[Cache, tuple[str, ...]]:
    """Find where a file goes. Raises BadRequest, UnknownCache and Forbidden."""
    names = names_of(path)
    if not names:
        raise BadRequest("the path names no file")
    return await find(request, subject, level, cache_id, "cache.modify"), names


@router.delete(
    "/{level:segment}/{cache_id:segment}/{path:rest}",
    operation_id="delete_cache_file",
    status_code=204,
    responses=WRITE_REFUSALS,
)
async def delete_cache_file(request: Request, subject: MayDelete, level: str, cache_id: str, path: str) -> Response:
    """Remove a file, or a folder with everything in it. A link is removed itself, never what it points to."""
    names = names_of(path.removesuffix("/"))
    if not names:
        raise BadRequest("the path names no file")
    cache = await find(request, subject, level, cache_id, "cache.delete")
    try:
        await asyncio.to_thread(store_of(request).clean, cache, names)
    except (FileNotFoundError, NotPlain) as error:
        raise UnknownCacheFile("/".join(names)) from error
    await note(request, "cache_file.delete", cache, path="/".join(names))
    return Response(status_code=204)
