"""Signing in and out, the caller, and the caller's sessions."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import JSONResponse, Response

from infraxys.server.accounts import schemas
from infraxys.server.accounts.errors import NoAccount, UnknownSession
from infraxys.server.accounts.service import Accounts, account, person
from infraxys.server.auth import sessions
from infraxys.server.auth.access import AccessControl
from infraxys.server.auth.authenticate import address_of
from infraxys.server.auth.openid.accounts import refuse_older_tokens
from infraxys.server.auth.origin import check_origin
from infraxys.server.auth.permissions import SIGNED_IN, Public, Requires
from infraxys.server.auth.subject import Subject
from infraxys.server.body import plain, read_json_object, validate
from infraxys.server.errors import responses
from infraxys.server.paging import Cursor, Limit, listing, sorted_page
from infraxys.server.paths import API

router = APIRouter(prefix=API, tags=["accounts"])
OK: dict[int | str, dict[str, Any]] = {200: {"content": {"application/json": {}}, "description": "OK"}}
SIGNED_OUT: dict[int | str, dict[str, Any]] = {200: {"model": schemas.SignedOut, "description": "OK"}}
REFUSALS = responses(400, 401, 403, 408, 409, 413, 422, 500, 503)
READ_REFUSALS = responses(400, 401, 403, 500, 503)
LIST_REFUSALS = {**READ_REFUSALS, **responses(422)}
Known = Annotated[Subject, Depends(Requires(SIGNED_IN))]
Leaving = Annotated[Subject, Depends(Requires(SIGNED_IN, leaving=True))]
EVERYBODY = [Depends(Public())]


def accounts_of(request: Request) -> Accounts:
    """Give the service."""
    accounts: Accounts = request.app.state.services.accounts
    return accounts


def agent_of(request: Request) -> str:
    """Give what the browser calls itself, to be shown in the list of sessions."""
    return "".join(character for character in request.headers.get("user-agent", "")[:200] if character.isprintable())


@router.post(
    "/session",
    operation_id="create_session",
    status_code=204,
    responses=REFUSALS,
    dependencies=EVERYBODY,
    openapi_extra=schemas.body_of(schemas.SignIn),
)
async def create_session(request: Request) -> Response:
    """Sign in with name and password. The answer sets the cookie of the session."""
    check_origin(request)
    given = validate(schemas.SignIn, plain((await read_json_object(request)).value))
    if request.app.state.services.settings.mode == "developer":
        raise NoAccount
    accounts = accounts_of(request)
    cookie = await accounts.sign_in(given, address_of(request), agent_of(request), request.cookies.get(sessions.COOKIE))
    response = Response(status_code=204)
    sessions.set_cookie(response, cookie, accounts.session_lifetime)
    return response


@router.delete("/session", operation_id="delete_session", status_code=204, responses={**SIGNED_OUT, **REFUSALS})
async def delete_session(request: Request, subject: Leaving) -> Response:
    """Sign out. For a session by the OpenID provider the answer is 200 with the `logoutUrl` of the provider.

    With an access token of the provider: from then on none is accepted that was issued to the person until now.
    """
    openid = request.app.state.services.openid
    if subject.is_by_provider:
        account_id = account(subject)
        await accounts_of(request).database.awrite(lambda connection: refuse_older_tokens(connection, account_id))
        return Response(status_code=204)
    user_id, session_id = person(subject, "signing out"), subject.session_id or ""
    logout_url = await openid.logout_url(session_id) if openid is not None else None
    await accounts_of(request).database.awrite(lambda connection: sessions.end(connection, user_id, session_id))
    response = Response(status_code=204) if logout_url is None else JSONResponse({"logoutUrl": logout_url})
    sessions.clear_cookie(response)
    return response


@router.post(
    "/setup",
    operation_id="create_first_administrator",
    status_code=201,
    response_model=schemas.MadeAdministrator,
    responses=REFUSALS,
    dependencies=EVERYBODY,
    openapi_extra=schemas.body_of(schemas.SetUp),
)
async def create_first_administrator(request: Request) -> Response:
    """Make the first administrator with the secret of the link that the server printed, and sign in."""
    check_origin(request)
    given = validate(schemas.SetUp, plain((await read_json_object(request)).value))
    accounts = accounts_of(request)
    user_id, cookie = await accounts.set_up(given, address_of(request), agent_of(request))
    response = JSONResponse({"id": user_id}, 201)
    sessions.set_cookie(response, cookie, accounts.session_lifetime)
    return response


@router.get("/me", operation_id="get_me", response_model=schemas.Me, responses=READ_REFUSALS)
async def get_me(request: Request, subject: Known) -> Response:
    """Give the caller with its teams and its grants for the whole server; `GET /projects/{id}` has those of one."""
    access: AccessControl = request.app.state.services.access
    return JSONResponse(schemas.me_object(await access.view(subject, lambda _, caller: caller)))


@router.put(
    "/me/password",
    operation_id="replace_my_password",
    status_code=204,
    responses=REFUSALS,
    openapi_extra=schemas.body_of(schemas.ChangePassword),
)
async def replace_my_password(request: Request, subject: Known) -> Response:
    """Change the caller's own password. Ends every other session; the answer sets the cookie of a new one."""
    given = validate(schemas.ChangePassword, plain((await read_json_object(request)).value))
    accounts = accounts_of(request)
    cookie = await accounts.change_password(subject, given, address_of(request), agent_of(request))
    response = Response(status_code=204)
    sessions.set_cookie(response, cookie, accounts.session_lifetime)
    return response


@router.get("/sessions", operation_id="list_sessions", response_model=schemas.SessionPage, responses=LIST_REFUSALS)
async def list_sessions(
    request: Request,
    subject: Known,
    limit: Limit = 50,
    cursor: Cursor = None,
    sort: Annotated[Literal["seenAt", "-seenAt", "createdAt", "-createdAt"], Query()] = "-seenAt",
) -> Response:
    """List the caller's own sessions, the last used first."""
    return listing(*sorted_page(await own_sessions(request, subject), "sessions", limit, cursor, sort))


@router.get(
    "/sessions/{session_id:segment}",
    operation_id="get_session",
    response_model=schemas.Session,
    responses={**READ_REFUSALS, **responses(404)},
)
async def get_session(request: Request, subject: Known, session_id: str) -> Response:
    """Give one of the caller's own sessions."""
    for item in await own_sessions(request, subject):
        if item["id"] == session_id:
            return JSONResponse(item)
    raise UnknownSession


async def own_sessions(request: Request, subject: Subject) -> list[dict[str, Any]]:
    """Give the caller's own sessions; none in developer mode."""
    if subject.user_id is None:
        return []
    accounts, user_id = accounts_of(request), person(subject, "looking at sessions")
    rows = await accounts.database.aread(
        lambda connection: sessions.list_sessions(connection, user_id, accounts.session_idle)
    )
    return [schemas.session_object(row, subject.session_id) for row in rows]


@router.delete("/sessions", operation_id="delete_other_sessions", status_code=204, responses=REFUSALS)
async def delete_other_sessions(request: Request, subject: Known) -> Response:
    """End every session of the caller but this one."""
    user_id, keep = person(subject, "ending sessions"), subject.session_id
    await accounts_of(request).database.awrite(lambda connection: sessions.end_all(connection, user_id, keep))
    return Response(status_code=204)


@router.delete(
    "/sessions/{session_id:segment}",
    operation_id="delete_one_session",
    status_code=204,
    responses={**REFUSALS, **responses(404)},
)
async def delete_one_session(request: Request, subject: Known, session_id: str) -> Response:
    """End one of the caller's own sessions."""
    user_id = person(subject, "ending a session")
    database = accounts_of(request).database
    if not await database.awrite(lambda connection: sessions.end(connection, user_id, session_id)):
        raise UnknownSession
    return Response(status_code=204)
