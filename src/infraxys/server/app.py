"""The application: middleware in order, refusals as problem+json, and the OpenAPI document."""

import logging
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

from infraxys import __version__
from infraxys.server.api import routers
from infraxys.server.audit.refusals import Refusals
from infraxys.server.auth.permissions import SIGNED_IN, Public, Requires, declared
from infraxys.server.auth.rate_limits import RateLimits
from infraxys.server.auth.sessions import COOKIE
from infraxys.server.db.engine import DatabaseUnavailable
from infraxys.server.errors import (
    PROBLEM_SCHEMA,
    InternalError,
    MethodNotAllowed,
    NotFound,
    Problem,
    Unavailable,
    Unprocessable,
    responses,
)
from infraxys.server.examples import add_examples
from infraxys.server.guards import AuditEdge, RightsWatch, Throttle
from infraxys.server.middleware import BodyLimit, LoopbackOnly, RawPath, RequestEdge, problem_response
from infraxys.server.settings import Settings

log = logging.getLogger(__name__)
# Of any route, before it is asked: a parameter with NUL, too much, the name of another host, too many requests.
BEFORE = {str(status): answer for status, answer in responses(400, 413, 421, 429).items()}


class Running(Protocol):
    """The services behind the application; see `infraxys.server.services`."""

    settings: Settings
    rate_limits: RateLimits
    refusals: Refusals

    def lifespan(self, app: FastAPI) -> AbstractAsyncContextManager[None]:
        """Start before the first request, stop after the last one."""


def build_app(services: Running) -> FastAPI:
    """Put the application together."""
    settings = services.settings
    app = FastAPI(
        title="Infraxys",
        version=__version__,
        description="Execute and manage infrastructure automation.",
        openapi_url=None,  # see infraxys.server.reference
        docs_url=None,
        redoc_url=None,
        lifespan=services.lifespan,
        redirect_slashes=False,
    )
    app.state.services = services
    for router in routers:
        for route in router.routes:
            declared(route)  # what declares no permission is not served at all
        app.include_router(router)
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(DatabaseUnavailable, _database)
    app.add_exception_handler(Exception, _unexpected)
    # The last one added is the first one called.
    app.add_middleware(RightsWatch)
    app.add_middleware(
        BodyLimit,
        limit=settings.body_limit,
        seconds=settings.body_seconds,
        # Some clients send files as base64 text, which is a third longer, with line ends.
        upload_limit=settings.cache_upload_limit * 14 // 10,
    )
    if services.rate_limits.is_on:
        app.add_middleware(Throttle, limits=services.rate_limits)
    app.add_middleware(RawPath)
    if settings.mode == "developer":
        app.add_middleware(LoopbackOnly)
    app.add_middleware(AuditEdge, refusals=services.refusals)
    app.add_middleware(RequestEdge, has_tls=not settings.no_tls)
    app.openapi = lambda: openapi(app)  # type: ignore[method-assign]
    return app


def openapi(app: FastAPI) -> dict[str, Any]:
    """Make the OpenAPI document, once."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title,
            version=app.version,
            description=app.description,
            routes=app.routes,
            openapi_version="3.1.0",
        )
        components = document.setdefault("components", {})
        components.setdefault("schemas", {})["Problem"] = PROBLEM_SCHEMA
        components["securitySchemes"] = {
            "token": {
                "type": "apiKey",
                "in": "header",
                "name": "Authorization",
                "description": "`token <personal access token>`; `Bearer <…>` is the same",
            },
            "session": {
                "type": "apiKey",
                "in": "cookie",
                "name": COOKIE,
                "description": "set by `POST /api/v1/session`; only pages of the server itself may change something",
            },
        }
        document["security"] = [{"token": []}, {"session": []}, {}]
        needs = {
            (route.path_format, method.lower()): declared(route)
            for router in routers
            for route in api_routes(router)
            for method in route.methods or ()
        }
        for name, path in document["paths"].items():
            for method, operation in path.items():
                document_permission(operation, needs[name, method])
                operation["responses"] = {**BEFORE, **operation["responses"]}
                # We answer 422 in one form only.
                validation = operation.get("responses", {}).get("422", {})
                if "application/json" in validation.get("content", {}):
                    del operation["responses"]["422"]
        for name in ("HTTPValidationError", "ValidationError"):
            components["schemas"].pop(name, None)
        share_definitions(document["paths"], components["schemas"])
        add_examples(document)
        for schema in components["schemas"].values():
            for example in schema.get("examples", ()):  # FastAPI has left out what is null in them
                example.update({member: None for member in schema.get("required", ()) if member not in example})
        app.openapi_schema = document
    return app.openapi_schema


def share_definitions(part: Any, schemas: dict[str, Any]) -> None:
    """Move the definitions that schemas of bodies bring along to where the document's references find them."""
    if isinstance(part, list):
        for item in part:
            share_definitions(item, schemas)
    elif isinstance(part, dict):
        brought = part.pop("$defs", {})
        schemas.update(brought)
        if str(part.get("$ref", "")).startswith("#/$defs/"):
            part["$ref"] = part["$ref"].replace("#/$defs/", "#/components/schemas/")
        for item in (*part.values(), *brought.values()):
            share_definitions(item, schemas)


def api_routes(router: APIRouter) -> list[APIRoute]:
    """Give the routes of a router."""
    return [route for route in router.routes if isinstance(route, APIRoute)]


def document_permission(operation: dict[str, Any], needed: Requires | Public) -> None:
    """Say in the document what an operation needs."""
    if isinstance(needed, Public):
        text, operation["security"] = "Everybody may call this.", [{}]
    elif needed.grant == SIGNED_IN:
        text = "Needs valid credentials."
    else:
        where = "a project: that of what it is about" if needed.somewhere else "the root project"
        text = f"Needs the grant `{needed.grant}` on {where}."
        operation["x-grant"] = {"name": needed.grant, "on": "project" if needed.somewhere else "root"}
    operation["description"] = f"{operation.get('description', '')}\n\n{text}".strip()


def request_id_of(request: Request) -> str:
    """Give the id of a request."""
    return str(request.scope.get("state", {}).get("request_id", "unknown"))


async def _problem(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Problem)  # noqa: S101 - registered for it
    request.state.problem = error  # for the audit trail
    return problem_response(error, request.url.path)


async def _http_exception(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for it
    if error.status_code == 404:
        problem: Problem = NotFound("there is nothing at this path")
    elif error.status_code == 405:
        problem = MethodNotAllowed(f"{request.method} is not possible here", headers=error.headers)
    else:
        problem = Problem(str(error.detail), headers=error.headers)
        problem.status, problem.code = error.status_code, "refused"
    return problem_response(problem, request.url.path)


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for it
    findings = [
        {"loc": ".".join(str(part) for part in item["loc"]), "message": item["msg"].removeprefix("Value error, ")}
        for item in error.errors()
    ]
    first = findings[0]
    return problem_response(Unprocessable(f"{first['loc']}: {first['message']}", errors=findings), request.url.path)


async def _database(request: Request, error: Exception) -> JSONResponse:
    log.error("database_unavailable", exc_info=error)
    return problem_response(Unavailable(str(error)), request.url.path)


async def _unexpected(request: Request, error: Exception) -> JSONResponse:
    request_id = request_id_of(request)
    log.error("unexpected_error", exc_info=error)
    return problem_response(InternalError(request_id), request.url.path)
