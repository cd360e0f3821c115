"""Whether the server lives and is ready, and what it is."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import JSONResponse, Response

from infraxys import __version__
from infraxys.server.auth.permissions import Public, Requires
from infraxys.server.auth.subject import Subject
from infraxys.server.errors import responses
from infraxys.server.paths import API

router = APIRouter(tags=["server"])
OK: dict[int | str, dict[str, Any]] = {200: {"content": {"application/json": {}}, "description": "OK"}}


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
