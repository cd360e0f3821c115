"""Teams over HTTP: members and grants as their sub-resources."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from sqlalchemy.engine import Connection
from starlette.responses import JSONResponse, Response

from infraxys.server.accounts.schemas import body_of
from infraxys.server.auth.permissions import Requires
from infraxys.server.auth.subject import Subject
from infraxys.server.paging import Cursor, Limit, decode_cursor, encode_cursor, listing, ordered_page
from infraxys.server.paths import API
from infraxys.server.projects import schemas, teams
from infraxys.server.projects.endpoints import CHANGED, LISTED, PROJECT_ID, body, changed, viewed

router = APIRouter(prefix=f"{API}/teams", tags=["teams"])
MayList = Annotated[Subject, Depends(Requires("team.list", somewhere=True))]
MayRead = Annotated[Subject, Depends(Requires("team.read", somewhere=True))]
MayCreate = Annotated[Subject, Depends(Requires("team.create", somewhere=True))]
MayModify = Annotated[Subject, Depends(Requires("team.modify", somewhere=True))]
MayDelete = Annotated[Subject, Depends(Requires("team.delete", somewhere=True))]
MaySeeGrants = Annotated[Subject, Depends(Requires("grant.list", somewhere=True))]
MayGive = Annotated[Subject, Depends(Requires("grant.modify", somewhere=True))]


@router.get("", operation_id="list_teams", response_model=schemas.TeamPage, responses=LISTED)
async def list_teams(
    request: Request,
    subject: MayList,
    project_id: Annotated[str | None, Query(alias="projectId", max_length=36, pattern=PROJECT_ID)] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    sort: Annotated[Literal["createdAt", "-createdAt"], Query()] = "createdAt",
) -> Response:
    """List teams, of all projects or of one."""
    kind = f"teams {sort}"
    after = None if cursor is None else decode_cursor(kind, cursor)
    items = await viewed(
        request,
        subject,
        lambda connection, caller: teams.page(
            connection, caller, project_id=project_id, after=after, limit=limit + 1, is_reversed=sort.startswith("-")
        ),
    )
    return listing(items[:limit], encode_cursor(kind, items[limit - 1]["id"]) if len(items) > limit else None)


@router.post(
    "",
    operation_id="create_team",
    status_code=201,
    response_model=schemas.Team,
    responses=CHANGED,
    openapi_extra=body_of(schemas.NewTeam),
)
async def create_team(request: Request, subject: MayCreate) -> Response:
    """Make a team of a project. It has no members and may do nothing yet."""
    given = await body(request, schemas.NewTeam)

    def work(connection: Connection, caller: Subject) -> dict[str, Any]:
        team_id = teams.create(connection, caller, given)
        return schemas.team_object(teams.find(connection, caller, team_id, "team.create"))

    return JSONResponse(await changed(request, subject, work), 201)


@router.get("/{team_id:segment}", operation_id="get_team", response_model=schemas.Team, responses=LISTED)
async def get_team(request: Request, subject: MayList, team_id: str) -> Response:
    """Give a team."""
    row = await viewed(
        request, subject, lambda connection, caller: teams.find(connection, caller, team_id, "team.list")
    )
    return JSONResponse(schemas.team_object(row))


@router.patch(
    "/{team_id:segment}",
    operation_id="update_team",
    response_model=schemas.Team,
    responses=CHANGED,
    openapi_extra=body_of(schemas.ChangeTeam),
)
async def update_team(request: Request, subject: MayModify, team_id: str) -> Response:
    """Rename or describe a team, or choose the group of the identity provider whose members are in it.

    To choose the group the caller has to have everything that the team has.
    """
    given = await body(request, schemas.ChangeTeam)

    def work(connection: Connection, caller: Subject) -> dict[str, Any]:
        teams.update(connection, caller, team_id, given)
        return schemas.team_object(teams.find(connection, caller, team_id, "team.modify"))

    return JSONResponse(await changed(request, subject, work))


@router.delete("/{team_id:segment}", operation_id="delete_team", status_code=204, responses=CHANGED)
async def delete_team(request: Request, subject: MayDelete, team_id: str) -> Response:
    """Remove a team. Its members lose with their next request what it gave them."""
    await changed(request, subject, lambda connection, caller: teams.delete(connection, caller, team_id))
    return Response(status_code=204)


@router.get(
    "/{team_id:segment}/members",
    operation_id="list_team_members",
    response_model=schemas.MemberPage,
    responses=LISTED,
)
async def list_members(
    request: Request, subject: MayRead, team_id: str, limit: Limit = 50, cursor: Cursor = None
) -> Response:
    """List the members of a team by name."""
    after = "" if cursor is None else decode_cursor("members", cursor)
    items = await viewed(
        request,
        subject,
        lambda connection, caller: teams.members(connection, caller, team_id, after=after, limit=limit + 1),
    )
    return listing(items[:limit], encode_cursor("members", items[limit - 1]["name"]) if len(items) > limit else None)


@router.put(
    "/{team_id:segment}/members/{user:segment}", operation_id="add_team_member", status_code=204, responses=CHANGED
)
async def add_member(request: Request, subject: MayModify, team_id: str, user: str) -> Response:
    """Put an account, named by its id or its name, into a team. The caller has to have everything that the team has."""
    await changed(request, subject, lambda connection, caller: teams.add_member(connection, caller, team_id, user))
    return Response(status_code=204)


@router.delete(
    "/{team_id:segment}/members/{user:segment}", operation_id="remove_team_member", status_code=204, responses=CHANGED
)
async def remove_member(request: Request, subject: MayModify, team_id: str, user: str) -> Response:
    """Take an account out of a team. It loses with its next request what the team gave it; open streams end."""
    await changed(request, subject, lambda connection, caller: teams.remove_member(connection, caller, team_id, user))
    return Response(status_code=204)


@router.get(
    "/{team_id:segment}/grants",
    operation_id="list_team_grants",
    response_model=schemas.GivenGrantPage,
    responses=LISTED,
)
async def list_given(
    request: Request, subject: MaySeeGrants, team_id: str, limit: Limit = 50, cursor: Cursor = None
) -> Response:
    """List what a team was given, and on which projects."""
    items = await viewed(request, subject, lambda connection, caller: teams.given_to(connection, caller, team_id))
    by = lambda item: f"{item['projectId']} {item['grant']}"  # noqa: E731 - they have no id
    return listing(*ordered_page(items, "team grants", limit, cursor, by))


@router.post(
    "/{team_id:segment}/grants",
    operation_id="add_team_grants",
    status_code=204,
    responses=CHANGED,
    openapi_extra=body_of(schemas.GiveGrants),
)
async def give_grants(request: Request, subject: MayGive, team_id: str) -> Response:
    """Give grants to a team, on its project or on one below; they hold there and everywhere below.

    The caller has to have each of them there. Bundles are sets of grants: see `GET /grants`.
    """
    given = await body(request, schemas.GiveGrants)
    await changed(request, subject, lambda connection, caller: teams.give(connection, caller, team_id, given))
    return Response(status_code=204)


@router.delete(
    "/{team_id:segment}/grants/{grant:segment}", operation_id="remove_team_grant", status_code=204, responses=CHANGED
)
async def take_grant(
    request: Request,
    subject: MayGive,
    team_id: str,
    grant: str,
    project_id: Annotated[str, Query(alias="projectId", max_length=36, pattern=PROJECT_ID)],
) -> Response:
    """Take a grant on a project from a team."""
    await changed(
        request, subject, lambda connection, caller: teams.take(connection, caller, team_id, project_id, grant)
    )
    return Response(status_code=204)
