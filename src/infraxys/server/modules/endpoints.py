"""Modules over HTTP."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse, Response

from infraxys.server.auth.permissions import Requires
from infraxys.server.auth.subject import Subject
from infraxys.server.body import plain, read_json_object, validate
from infraxys.server.errors import responses
from infraxys.server.modules.service import Fetched, Modules
from infraxys.server.paths import API
from infraxys.spec.problem import Problem as FileProblem

router = APIRouter(prefix=f"{API}/modules", tags=["modules"])
REFUSALS = responses(400, 401, 403, 404, 408, 409, 413, 422, 500, 503)


class AddModule(BaseModel):
    """What to register. Without branches, all of the repository's."""

    model_config = ConfigDict(extra="forbid", strict=True)

    url: Annotated[str, Field(min_length=1, max_length=2000)]
    branches: Annotated[list[Annotated[str, Field(min_length=1, max_length=500)]], Field(max_length=1000)] = []


class FetchModule(BaseModel):
    """How to fetch: commits of this server that the remote does not have are kept, unless they are to be dropped."""

    model_config = ConfigDict(extra="forbid", strict=True)

    discard: bool = False


class Pushed(BaseModel):
    """Where a branch is, here and at the remote."""

    branch: str
    commit: str


BODY: dict[str, Any] = {
    "requestBody": {"content": {"application/json": {"schema": AddModule.model_json_schema()}}, "required": True}
}
FETCH_BODY: dict[str, Any] = {
    "requestBody": {"content": {"application/json": {"schema": FetchModule.model_json_schema()}}, "required": False}
}
OK: dict[int | str, dict[str, Any]] = {200: {"content": {"application/json": {}}, "description": "OK"}}


def modules_of(request: Request) -> Modules:
    """Give the service."""
    modules: Modules = request.app.state.services.modules
    return modules


@router.get("", operation_id="list_modules", responses={**OK, **REFUSALS})
async def list_modules(request: Request, subject: Annotated[Subject, Depends(Requires("module.list"))]) -> Response:
    """List the registered modules with their branches and what is wrong with them."""
    rows = await modules_of(request).list_all()
    return JSONResponse({"items": [module_object(row) for row in rows], "nextCursor": None})


@router.post("", operation_id="add_module", status_code=201, responses=REFUSALS, openapi_extra=BODY)
async def add_module(request: Request, subject: Annotated[Subject, Depends(Requires("module.create"))]) -> Response:
    """Register a repository with everything that it depends on."""
    body = validate(AddModule, plain((await read_json_object(request)).value))
    return JSONResponse(fetched_object(await modules_of(request).add(body.url, tuple(body.branches))), 201)


@router.post(
    "/{module:segment}/fetch",
    operation_id="fetch_module",
    responses={**OK, **REFUSALS},
    openapi_extra=FETCH_BODY,
)
async def fetch_module(
    request: Request, subject: Annotated[Subject, Depends(Requires("module.modify"))], module: str
) -> Response:
    """Bring a module to the state of its remote.

    A branch with commits of this server that the remote does not have stays where it is; `discard` drops them.
    """
    body = validate(FetchModule, plain((await read_json_object(request)).value))
    return JSONResponse(fetched_object(await modules_of(request).fetch(module, discard=body.discard)))


@router.post(
    "/{module:segment}/branches/{branch:segment}/push",
    operation_id="push_module_branch",
    response_model=Pushed,
    responses=REFUSALS,
)
async def push_module_branch(
    request: Request, subject: Annotated[Subject, Depends(Requires("module.modify"))], module: str, branch: str
) -> Response:
    """Bring the commits that this server made on a branch to the module's remote. Others' commits stay."""
    commit = await modules_of(request).push(module, branch)
    return JSONResponse(Pushed(branch=branch, commit=commit).model_dump())


@router.delete("/{module:segment}", operation_id="remove_module", status_code=204, responses=REFUSALS)
async def remove_module(
    request: Request, subject: Annotated[Subject, Depends(Requires("module.delete"))], module: str
) -> Response:
    """Forget a module."""
    await modules_of(request).remove(module)
    return Response(status_code=204)


def problem_object(problem: FileProblem) -> dict[str, Any]:
    """Write a finding."""
    return {
        "file": problem.file,
        "line": problem.line,
        "column": problem.column,
        "code": problem.code,
        "message": problem.message,
        "severity": problem.severity,
        "where": problem.where,
    }


def module_object(row: dict[str, Any]) -> dict[str, Any]:
    """Write a registered module."""
    return {
        "id": row["id"],
        "name": row["name"],
        "url": row["url"],
        "isDependency": bool(row["is_dependency"]),
        "problem": row["problem"],
        "branches": [
            {
                "name": branch,
                "commit": commit,
                "ahead": row["ahead"].get(branch, 0),
                "problems": [problem_object(problem) for problem in row["problems"].get(branch, [])],
            }
            for branch, commit in row["branches"].items()
        ],
    }


def fetched_object(fetched: Fetched) -> dict[str, Any]:
    """Write what a fetch brought."""
    return {
        "name": str(fetched.module),
        "modules": [
            {
                "name": str(module),
                "isDependency": item.is_dependency,
                "branches": [{"name": name, "commit": commit} for name, commit in sorted(item.branches.items())],
                "problems": [
                    {"branch": branch, **problem_object(problem)}
                    for branch, problems in sorted(item.problems.items())
                    for problem in problems
                ],
            }
            for module, item in fetched.closure.modules.items()
        ],
        "failures": [
            {"url": url, "code": error.code, "message": str(error)} for url, error in fetched.closure.failures.items()
        ],
    }
