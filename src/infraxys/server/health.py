"""Whether the server lives and is ready, what it is, and who the caller is."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import JSONResponse, Response

from infraxys import __version__
from infraxys.server.auth.permissions import SIGNED_IN, Public, Requires
from infraxys.server.auth.subject import Subject
from infraxys.server.auth.tokens import list_tokens, revoke_token
from infraxys.server.errors import NotFound, responses
from infraxys.server.paths import API
from infraxys.server.runs.schemas import timestamp

router = APIRouter(tags=["server"])
OK: dict[int | str, dict[str, Any]] = {200: {"content": {"application/json": {}}, "description": "OK"}}
Known = Annotated[Subject, Depends(Requires(SIGNED_IN))]


@router.get("/health", operation_id="get_health", include_in_schema=False, dependencies=[Depends(Public())])
@router.get(f"{API}/health/live", operation_id="get_health_live", responses=OK, dependencies=[Depends(Public())])
async def live() -> Response:
    """Answer as long as the process does."""
    return JSONResponse({"status": "ok"})


@router.get(
    f"{API}/health/ready",
    operation_id="get_health_ready",
    responses={**OK, **responses(503)},
    dependencies=[Depends(Public())],
)
async def ready(request: Request) -> Response:
    """Answer 200 when runs can be taken."""
    is_ready, reason = await request.app.state.services.readiness()
    if is_ready:
        return JSONResponse({"status": "ok"})
    return JSONResponse({"status": "unavailable", "reason": reason}, 503, {"Retry-After": "5"})


@router.get(f"{API}/server", operation_id="get_server", responses={**OK, **responses(401, 403, 500)})
async def server(request: Request, subject: Annotated[Subject, Depends(Requires("server.read"))]) -> Response:
    """Give the version, the mode and the limits."""
    settings = request.app.state.services.settings
    return JSONResponse(
        {
            "version": __version__,
            "mode": settings.mode,
            "backends": [settings.backend],
            "limits": {
                "bodyBytes": settings.body_limit,
                "logBytes": settings.log_limit,
                "slots": settings.slots,
                "memoryBytes": settings.memory_limit,
                "processes": settings.process_limit,
            },
        }
    )


@router.get(f"{API}/me", operation_id="get_me", responses={**OK, **responses(401, 500)})
async def me(subject: Known) -> Response:
    """Give the caller."""
    return JSONResponse(
        {
            "id": subject.user_id,
            "name": subject.name,
            "displayName": subject.display_name,
            "isAdministrator": subject.is_administrator,
            "teams": [],
            "grants": list(subject.grants),
        }
    )


@router.get(f"{API}/tokens", operation_id="list_tokens", responses={**OK, **responses(401, 500, 503)})
async def tokens(request: Request, subject: Known) -> Response:
    """List the caller's own tokens."""
    if subject.user_id is None:
        return JSONResponse({"items": [], "nextCursor": None})
    user_id = subject.user_id
    rows = await request.app.state.services.database.aread(lambda connection: list_tokens(connection, user_id))
    items = [
        {
            "id": row["id"],
            "name": row["name"],
            "createdAt": timestamp(row["created_at"]),
            "expiresAt": timestamp(row["expires_at"]),
            "lastUsedAt": timestamp(row["last_used_at"]),
            "lastUsedAddress": row["last_used_address"],
        }
        for row in rows
    ]
    return JSONResponse({"items": items, "nextCursor": None})


@router.delete(
    API + "/tokens/{token_id:segment}",
    operation_id="delete_token",
    status_code=204,
    responses=responses(401, 404, 500, 503),
)
async def delete_token(request: Request, subject: Known, token_id: str) -> Response:
    """Delete one of the caller's own tokens."""
    user_id = subject.user_id or ""
    database = request.app.state.services.database
    if not await database.awrite(lambda connection: revoke_token(connection, token_id, user_id)):
        raise NotFound("you have no such token")
    return Response(status_code=204)
