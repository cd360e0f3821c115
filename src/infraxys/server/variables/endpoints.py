"""Variables over HTTP: the same five operations for projects, environments and containers."""

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Query, Request
from pydantic import TypeAdapter, ValidationError
from sqlalchemy.engine import Connection
from starlette.responses import JSONResponse, Response

from infraxys.server.accounts.endpoints import OK, READ_REFUSALS, REFUSALS
from infraxys.server.accounts.schemas import body_of
from infraxys.server.audit.trail import record
from infraxys.server.auth.permissions import Requires
from infraxys.server.auth.subject import Subject
from infraxys.server.errors import BadRequest, Unprocessable, responses
from infraxys.server.paging import listing
from infraxys.server.paths import API
from infraxys.server.projects.endpoints import access_of, body, viewed
from infraxys.server.projects.schemas import EVERY_BRANCH
from infraxys.server.variables.levels import CONTAINER, ENVIRONMENT, PROJECT, Level
from infraxys.server.variables.schemas import ChangeVariable, Name, SetVariable
from infraxys.server.variables.service import VariableService, describe
from infraxys.spec.identity import ModuleId

T = TypeVar("T")
router = APIRouter(prefix=API, tags=["variables"])
READ = {**OK, **READ_REFUSALS, **responses(404, 422)}
CHANGED = {**OK, **REFUSALS, **responses(404)}
GONE = {**REFUSALS, **responses(404)}
MayList = Annotated[Subject, Depends(Requires("variable.list", somewhere=True))]
MayModify = Annotated[Subject, Depends(Requires("variable.modify", somewhere=True))]
MayDelete = Annotated[Subject, Depends(Requires("variable.delete", somewhere=True))]
Module = Annotated[str, Query(min_length=5, max_length=500, description="host/org/repo")]
Branch = Annotated[
    str, Query(min_length=1, max_length=500, description="a branch, or the beginning of the names of many and `*`")
]
EnvironmentId = Annotated[str, Query(alias="environmentId", min_length=1, max_length=200)]
_NAME: TypeAdapter[str] = TypeAdapter(Name)


def project_level(project_id: str) -> Level:
    """Read which project."""
    return Level(PROJECT, project_id=project_id)


def environment_level(environment_id: str, module: Module, branch: Branch = EVERY_BRANCH) -> Level:
    """Read which environment, on which branches."""
    return Level(ENVIRONMENT, "", *_place(module, environment_id, branch))


def container_level(
    container_id: str, module: Module, environment_id: EnvironmentId, branch: Branch = EVERY_BRANCH
) -> Level:
    """Read which container of which environment, on which branches."""
    return Level(CONTAINER, "", *_place(module, environment_id, branch), container_id)


def _place(module: str, environment_id: str, branch: str) -> tuple[str, str, str, bool]:
    try:
        ModuleId.parse(module)
    except ValueError as error:
        raise BadRequest(str(error)) from None
    if EVERY_BRANCH in branch[:-1] or not (branch + environment_id).isprintable():
        raise BadRequest(
            "* can only be the last character of a branch, and only characters that can be seen are possible"
        )
    return module, environment_id, branch.removesuffix(EVERY_BRANCH), branch.endswith(EVERY_BRANCH)


def variable_name(name: str) -> str:
    """Read the name of a variable."""
    try:
        return _NAME.validate_python(name)
    except ValidationError as error:
        raise Unprocessable(f"name: {error.errors()[0]['msg']}") from None


def service_of(request: Request) -> VariableService:
    """Give the service."""
    service: VariableService = request.app.state.services.variables
    return service


async def changed(
    request: Request,
    subject: Subject,
    details: dict[str, Any],
    work: Callable[[Connection, Subject], tuple[str, T]],
) -> T:
    """Change a variable and put it on record, without its value."""
    action = {"PUT": "replace", "PATCH": "update", "DELETE": "delete"}[request.method]

    def recorded(connection: Connection, caller: Subject) -> T:
        variable_id, result = work(connection, caller)
        record(connection, f"variable.{action}", f"variable/{variable_id}", **details)
        return result

    return await access_of(request).write(subject, recorded)


def add_routes(noun: str, path: str, level_of: Callable[..., Level]) -> None:
    """Add the operations for one kind of level."""
    given_level = Annotated[Level, Depends(level_of)]
    given_name = Annotated[str, Depends(variable_name)]
    one = f"{path}/{{name:segment}}"

    @router.get(path, operation_id=f"list_{noun}_variables", responses=READ)
    async def list_variables(request: Request, subject: MayList, level: given_level) -> Response:
        """List the variables that are set here, by name. `value` is null for those that are protected."""
        service = service_of(request)
        return listing(
            await viewed(request, subject, lambda connection, caller: service.list(connection, caller, level))
        )

    @router.get(one, operation_id=f"get_{noun}_variable", responses=READ)
    async def get_variable(request: Request, subject: MayList, level: given_level, name: given_name) -> Response:
        """Give a variable that is set here. `value` is null when it is protected."""
        service = service_of(request)
        found = await viewed(request, subject, lambda connection, caller: service.get(connection, caller, level, name))
        return JSONResponse(found)

    @router.put(
        one,
        operation_id=f"replace_{noun}_variable",
        responses={**CHANGED, 201: {"content": {"application/json": {}}, "description": "Created"}},
        openapi_extra=body_of(SetVariable),
    )
    async def replace_variable(request: Request, subject: MayModify, level: given_level, name: given_name) -> Response:
        """Set a variable: its value or where that is, and everything else as sent or as it is by default.

        Steps that start from then on get it; steps that run keep what they have.
        """
        service, given = service_of(request), await body(request, SetVariable)

        def work(connection: Connection, caller: Subject) -> tuple[str, tuple[dict[str, Any], bool]]:
            item, is_new = service.replace(connection, caller, level, name, given)
            return item["id"], (item, is_new)

        item, is_new = await changed(request, subject, {"name": name, **describe(given, level)}, work)
        return JSONResponse(item, 201 if is_new else 200)

    @router.patch(one, operation_id=f"update_{noun}_variable", responses=CHANGED, openapi_extra=body_of(ChangeVariable))
    async def update_variable(request: Request, subject: MayModify, level: given_level, name: given_name) -> Response:
        """Change what is sent of a variable. One that is protected loses that only together with a new value."""
        service, given = service_of(request), await body(request, ChangeVariable)

        def work(connection: Connection, caller: Subject) -> tuple[str, dict[str, Any]]:
            item = service.update(connection, caller, level, name, given)
            return item["id"], item

        return JSONResponse(await changed(request, subject, {"name": name, **describe(given, level)}, work))

    @router.delete(one, operation_id=f"delete_{noun}_variable", status_code=204, responses=GONE)
    async def delete_variable(request: Request, subject: MayDelete, level: given_level, name: given_name) -> Response:
        """Remove a variable. What levels above have for its name counts again."""
        service = service_of(request)
        details: dict[str, Any] = {"name": name, "level": "/".join(level.path)}
        await changed(
            request,
            subject,
            details,
            lambda connection, caller: (service.delete(connection, caller, level, name), None),
        )
        return Response(status_code=204)


add_routes("project", "/projects/{project_id:segment}/variables", project_level)
add_routes("environment", "/environments/{environment_id:segment}/variables", environment_level)
add_routes("container", "/containers/{container_id:segment}/variables", container_level)
