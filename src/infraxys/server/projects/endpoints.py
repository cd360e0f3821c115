"""Projects over HTTP."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel
from sqlalchemy.engine import Connection
from starlette.responses import JSONResponse, Response

from infraxys.server.accounts.endpoints import READ_REFUSALS, REFUSALS
from infraxys.server.accounts.schemas import body_of
from infraxys.server.audit.trail import action_of, record
from infraxys.server.auth.access import AccessControl
from infraxys.server.auth.permissions import Requires
from infraxys.server.auth.subject import Subject
from infraxys.server.body import plain, read_json_object, validate
from infraxys.server.errors import responses
from infraxys.server.paging import Cursor, Limit, listing, ordered_page, sorted_page
from infraxys.server.paths import API
from infraxys.server.projects import projects, schemas

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")
router = APIRouter(prefix=f"{API}/projects", tags=["projects"])
ONE = responses(404)
LISTED = {**READ_REFUSALS, **responses(404, 422)}
CHANGED = {**REFUSALS, **ONE}
PROJECT_ID = r"^[0-9A-Za-z-]+$"
MayList = Annotated[Subject, Depends(Requires("project.list", somewhere=True))]
MayRead = Annotated[Subject, Depends(Requires("project.read", somewhere=True))]
MayCreate = Annotated[Subject, Depends(Requires("project.create", somewhere=True))]
MayModify = Annotated[Subject, Depends(Requires("project.modify", somewhere=True))]
MayDelete = Annotated[Subject, Depends(Requires("project.delete", somewhere=True))]


def access_of(request: Request) -> AccessControl:
    """Give the service."""
    access: AccessControl = request.app.state.services.access
    return access


async def body(request: Request, model: type[M]) -> M:
    """Read a body. Raises the 400s and 422s of the API."""
    given = validate(model, plain((await read_json_object(request)).value))
    request.state.given = given  # what was changed, for the audit trail; see `changed`
    return given


async def changed(request: Request, subject: Subject, work: Callable[[Connection, Subject], T]) -> T:
    """Change something in one transaction, and put it on record there."""
    given: BaseModel | None = getattr(request.state, "given", None)
    details = {
        **request.query_params,
        **request.path_params,
        **(given.model_dump(by_alias=True, exclude_unset=True) if given else {}),
    }
    operation = request.scope["route"].operation_id

    def recorded(connection: Connection, caller: Subject) -> T:
        result = work(connection, caller)
        record(connection, action_of(operation), target_of(request, operation, result), **details)
        return result

    return await access_of(request).change(subject, recorded)


def target_of(request: Request, operation: str, result: object) -> str:
    """Name what was changed: the first id of the path, else what was made."""
    for name, value in request.path_params.items():
        return f"{name.removesuffix('_id')}/{value}"
    made = result["id"] if isinstance(result, Mapping) else result
    return f"{operation.partition('_')[2]}/{made}"


async def viewed(request: Request, subject: Subject, work: Callable[[Connection, Subject], T]) -> T:
    """Read something in one transaction."""
    return await access_of(request).view(subject, work)


@router.get("", operation_id="list_projects", response_model=schemas.ProjectPage, responses=LISTED)
async def list_projects(request: Request, subject: MayList, limit: Limit = 50, cursor: Cursor = None) -> Response:
    """List the tree of projects from the top: each project behind the one above it, neighbours by name.

    `parentId` is null for the root, and where the caller may not know of the project above.
    """
    items = await viewed(request, subject, projects.tree)
    return listing(*ordered_page(items, "projects", limit, cursor))


@router.post(
    "",
    operation_id="create_project",
    status_code=201,
    response_model=schemas.OneProject,
    responses=CHANGED,
    openapi_extra=body_of(schemas.NewProject),
)
async def create_project(request: Request, subject: MayCreate) -> Response:
    """Make a project below another, with an administrators team that nobody is in yet."""
    given = await body(request, schemas.NewProject)
    project_id = await changed(request, subject, lambda connection, caller: projects.create(connection, caller, given))
    return JSONResponse(await one(request, subject, project_id, "project.create"), 201)


async def one(request: Request, subject: Subject, project_id: str, grant: str) -> dict[str, Any]:
    """Write a project that the caller has a grant for."""
    return await viewed(
        request,
        subject,
        lambda connection, caller: projects.written(caller, projects.find(connection, caller, project_id, grant)),
    )


@router.get("/{project_id:segment}", operation_id="get_project", response_model=schemas.OneProject, responses=LISTED)
async def get_project(request: Request, subject: MayRead, project_id: str) -> Response:
    """Give a project, with the grants that the caller has on it."""
    return JSONResponse(await one(request, subject, project_id, "project.read"))


@router.patch(
    "/{project_id:segment}",
    operation_id="update_project",
    response_model=schemas.OneProject,
    responses=CHANGED,
    openapi_extra=body_of(schemas.ChangeProject),
)
async def update_project(request: Request, subject: MayModify, project_id: str) -> Response:
    """Rename, describe or move a project.

    Moving it takes everything below with it. It needs `project.administer` on the project that it leaves, as people
    there lose it, and `project.create` where it goes. Teams and custom grants of projects that are not above it any
    more lose what they had in it.
    """
    given = await body(request, schemas.ChangeProject)
    await changed(request, subject, lambda connection, caller: projects.update(connection, caller, project_id, given))
    # After a move the caller may have no grant on it any more. What it has just changed it may see all the same.
    fresh = await viewed(
        request, subject, lambda connection, caller: projects.written(caller, projects.row_of(connection, project_id))
    )
    return JSONResponse(fresh)


@router.delete("/{project_id:segment}", operation_id="delete_project", status_code=204, responses=CHANGED)
async def delete_project(request: Request, subject: MayDelete, project_id: str) -> Response:
    """Remove a project that has no projects, environments or protected containers any more, with its teams."""
    await changed(request, subject, lambda connection, caller: projects.delete(connection, caller, project_id))
    return Response(status_code=204)


@router.get(
    "/{project_id:segment}/environments",
    operation_id="list_project_environments",
    response_model=schemas.AttachedEnvironmentPage,
    responses=LISTED,
)
async def list_environments(
    request: Request,
    subject: MayRead,
    project_id: str,
    limit: Limit = 50,
    cursor: Cursor = None,
    sort: Annotated[Literal["module", "-module", "createdAt", "-createdAt"], Query()] = "module",
) -> Response:
    """List the environments that are attached to a project itself."""
    items = await viewed(
        request, subject, lambda connection, caller: projects.environments(connection, caller, project_id)
    )
    return listing(*sorted_page(items, "project environments", limit, cursor, sort))


@router.post(
    "/{project_id:segment}/environments",
    operation_id="add_project_environment",
    status_code=201,
    response_model=schemas.AttachedEnvironment,
    responses=CHANGED,
    openapi_extra=body_of(schemas.AttachEnvironment),
)
async def attach_environment(request: Request, subject: MayModify, project_id: str) -> Response:
    """Attach an environment: on one branch, or on all whose names begin with what stands before a `*`.

    One branch counts before many, and a longer beginning before a shorter one. What nobody attached belongs to the
    root project. It needs `project.administer` on the project that has the environment until now; that project loses
    it when the branches are the same.
    """
    given = await body(request, schemas.AttachEnvironment)
    item = await changed(
        request, subject, lambda connection, caller: projects.attach(connection, caller, project_id, given)
    )
    return JSONResponse(item, 201)


@router.delete(
    "/{project_id:segment}/environments/{entry_id:segment}",
    operation_id="remove_project_environment",
    status_code=204,
    responses=CHANGED,
)
async def detach_environment(request: Request, subject: MayModify, project_id: str, entry_id: str) -> Response:
    """Detach an environment. Where another project gets it, that needs `project.administer`."""
    await changed(
        request, subject, lambda connection, caller: projects.detach(connection, caller, project_id, entry_id)
    )
    return Response(status_code=204)


@router.get(
    "/{project_id:segment}/containers",
    operation_id="list_included_containers",
    response_model=schemas.IncludedContainerPage,
    responses=LISTED,
)
async def list_containers(
    request: Request, subject: MayRead, project_id: str, limit: Limit = 50, cursor: Cursor = None
) -> Response:
    """List the containers that a project includes: its own, then those that it inherits, the nearest first."""
    items = await viewed(request, subject, lambda connection, caller: projects.included(connection, caller, project_id))
    return listing(*ordered_page(items, "included containers", limit, cursor))


@router.post(
    "/{project_id:segment}/containers",
    operation_id="add_included_container",
    status_code=201,
    response_model=schemas.IncludedContainer,
    responses=CHANGED,
    openapi_extra=body_of(schemas.IncludeContainer),
)
async def include_container(request: Request, subject: MayModify, project_id: str) -> Response:
    """Include a container that the caller may see: all environments of the project and below share it."""
    given = await body(request, schemas.IncludeContainer)
    item = await changed(
        request, subject, lambda connection, caller: projects.include(connection, caller, project_id, given)
    )
    return JSONResponse(item, 201)


@router.delete(
    "/{project_id:segment}/containers/{entry_id:segment}",
    operation_id="remove_included_container",
    status_code=204,
    responses=CHANGED,
)
async def exclude_container(request: Request, subject: MayModify, project_id: str, entry_id: str) -> Response:
    """Do not include a container any more."""
    await changed(
        request, subject, lambda connection, caller: projects.exclude(connection, caller, project_id, entry_id)
    )
    return Response(status_code=204)
