"""Grants over HTTP: the built-in ones, those that people made, and what these protect."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from sqlalchemy.engine import Connection
from starlette.responses import JSONResponse, Response

from infraxys.server.accounts.schemas import body_of
from infraxys.server.auth.permissions import SIGNED_IN, Requires
from infraxys.server.auth.subject import Subject
from infraxys.server.paging import Cursor, Limit, listing, ordered_page
from infraxys.server.paths import API
from infraxys.server.projects import grants, schemas
from infraxys.server.projects.endpoints import CHANGED, LISTED, PROJECT_ID, body, changed, viewed

router = APIRouter(prefix=f"{API}/grants", tags=["grants"])
Known = Annotated[Subject, Depends(Requires(SIGNED_IN))]
MayList = Annotated[Subject, Depends(Requires("grant.list", somewhere=True))]
MayCreate = Annotated[Subject, Depends(Requires("grant.create", somewhere=True))]
MayModify = Annotated[Subject, Depends(Requires("grant.modify", somewhere=True))]
MayDelete = Annotated[Subject, Depends(Requires("grant.delete", somewhere=True))]


@router.get("", operation_id="list_grants", response_model=schemas.GrantPage, responses=LISTED)
async def list_grants(
    request: Request,
    subject: Known,
    project_id: Annotated[str | None, Query(alias="projectId", max_length=36, pattern=PROJECT_ID)] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """List every built-in grant with what it allows and the bundles that have it, then the custom ones.

    Everybody may see the built-in ones; custom ones need `grant.list`. With `projectId` the custom ones are those that
    can be given in that project: its own, and those of the projects above it.
    """
    items = await viewed(request, subject, lambda connection, caller: grants.catalogue(connection, caller, project_id))
    return listing(*ordered_page(items, "grants", limit, cursor))


@router.post(
    "",
    operation_id="create_grant",
    status_code=201,
    response_model=schemas.CustomGrant,
    responses=CHANGED,
    openapi_extra=body_of(schemas.NewGrant),
)
async def create_grant(request: Request, subject: MayCreate) -> Response:
    """Make a custom grant of a project: for `has_grant` in actions, and to protect containers."""
    given = await body(request, schemas.NewGrant)

    def work(connection: Connection, caller: Subject) -> dict[str, Any]:
        grant_id = grants.create(connection, caller, given)
        return schemas.custom_object(grants.find(connection, caller, grant_id, "grant.create"))

    return JSONResponse(await changed(request, subject, work), 201)


@router.get("/{grant_id:segment}", operation_id="get_grant", response_model=schemas.CustomGrant, responses=LISTED)
async def get_grant(request: Request, subject: MayList, grant_id: str) -> Response:
    """Give a custom grant."""
    row = await viewed(
        request, subject, lambda connection, caller: grants.find(connection, caller, grant_id, "grant.list")
    )
    return JSONResponse(schemas.custom_object(row))


@router.patch(
    "/{grant_id:segment}",
    operation_id="update_grant",
    response_model=schemas.CustomGrant,
    responses=CHANGED,
    openapi_extra=body_of(schemas.ChangeGrant),
)
async def update_grant(request: Request, subject: MayModify, grant_id: str) -> Response:
    """Rename or describe a custom grant. Actions that ask for it by id go on to find it."""
    given = await body(request, schemas.ChangeGrant)

    def work(connection: Connection, caller: Subject) -> dict[str, Any]:
        grants.update(connection, caller, grant_id, given)
        return schemas.custom_object(grants.find(connection, caller, grant_id, "grant.modify"))

    return JSONResponse(await changed(request, subject, work))


@router.delete("/{grant_id:segment}", operation_id="delete_grant", status_code=204, responses=CHANGED)
async def delete_grant(request: Request, subject: MayDelete, grant_id: str) -> Response:
    """Remove a custom grant that protects nothing; teams that have it lose it."""
    await changed(request, subject, lambda connection, caller: grants.delete(connection, caller, grant_id))
    return Response(status_code=204)


@router.get(
    "/{grant_id:segment}/containers",
    operation_id="list_protected_containers",
    response_model=schemas.ProtectedContainerPage,
    responses=LISTED,
)
async def list_protected(
    request: Request, subject: MayList, grant_id: str, limit: Limit = 50, cursor: Cursor = None
) -> Response:
    """List the containers that a custom grant protects."""
    items = await viewed(request, subject, lambda connection, caller: grants.protected(connection, caller, grant_id))
    return listing(*ordered_page(items, "protected containers", limit, cursor))


@router.post(
    "/{grant_id:segment}/containers",
    operation_id="add_protected_container",
    status_code=201,
    response_model=schemas.ProtectedContainer,
    responses=CHANGED,
    openapi_extra=body_of(schemas.ProtectContainer),
)
async def protect_container(request: Request, subject: MayModify, grant_id: str) -> Response:
    """Protect a container: to see it, its runs included, and to execute in it then needs the grant as well.

    It holds on every branch, as long as the environment belongs to the grant's project or to one below it.
    """
    given = await body(request, schemas.ProtectContainer)
    item = await changed(
        request, subject, lambda connection, caller: grants.protect(connection, caller, grant_id, given)
    )
    return JSONResponse(item, 201)


@router.delete(
    "/{grant_id:segment}/containers/{entry_id:segment}",
    operation_id="remove_protected_container",
    status_code=204,
    responses=CHANGED,
)
async def unprotect_container(request: Request, subject: MayModify, grant_id: str, entry_id: str) -> Response:
    """Take the protection from a container. The caller has to have the grant."""
    await changed(request, subject, lambda connection, caller: grants.unprotect(connection, caller, grant_id, entry_id))
    return Response(status_code=204)
