"""Accounts, for administrators."""

from collections.abc import Callable
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from sqlalchemy.engine import Connection
from starlette.responses import JSONResponse, Response

from infraxys.server.accounts import schemas
from infraxys.server.accounts.endpoints import LIST_REFUSALS, READ_REFUSALS, REFUSALS, accounts_of
from infraxys.server.accounts.errors import PasswordRefused, UnknownToken, UnknownUser, refusal
from infraxys.server.accounts.service import Accounts, require_person
from infraxys.server.accounts.token_endpoints import SECRET_HEADERS, Sort
from infraxys.server.auth import tokens, users
from infraxys.server.auth.access import teams_of
from infraxys.server.auth.permissions import Requires, lacking
from infraxys.server.auth.subject import Subject
from infraxys.server.auth.users import UserProblem
from infraxys.server.body import plain, read_json_object, validate
from infraxys.server.errors import Conflict, Forbidden, responses
from infraxys.server.paging import Cursor, Limit, decode_cursor, encode_cursor, listing, sorted_page
from infraxys.server.paths import API

router = APIRouter(prefix=f"{API}/users", tags=["users"])
ONE = responses(404)
MayList = Annotated[Subject, Depends(Requires("user.list"))]
MayRead = Annotated[Subject, Depends(Requires("user.read"))]
MayCreate = Annotated[Subject, Depends(Requires("user.create"))]
MayModify = Annotated[Subject, Depends(Requires("user.modify"))]
MayDelete = Annotated[Subject, Depends(Requires("user.delete"))]
ADMINISTRATOR = "administrator"


@router.get("", operation_id="list_users", response_model=schemas.UserPage, responses=LIST_REFUSALS)
async def list_users(
    request: Request,
    subject: MayList,
    limit: Limit = 50,
    cursor: Cursor = None,
    text: Annotated[str | None, Query(max_length=200, description="what the name or the display name has")] = None,
    sort: Annotated[Literal["name", "-name", "createdAt", "-createdAt"], Query()] = "name",
) -> Response:
    """List accounts."""
    kind = f"users {sort}"
    column: Literal["name", "id"] = "name" if "name" in sort else "id"  # ids sort by time
    after = None if cursor is None else decode_cursor(kind, cursor)
    rows = await accounts_of(request).database.aread(
        lambda connection: users.list_users(
            connection, limit=limit + 1, after=after, text=text, by=column, is_reversed=sort.startswith("-")
        )
    )
    following = encode_cursor(kind, rows[limit - 1][column]) if len(rows) > limit else None
    return listing([schemas.user_object(row) for row in rows[:limit]], following)


@router.post(
    "",
    operation_id="create_user",
    status_code=201,
    response_model=schemas.User,
    responses=REFUSALS,
    openapi_extra=schemas.body_of(schemas.NewUser),
)
async def create_user(request: Request, subject: MayCreate) -> Response:
    """Make an account. A service account cannot sign in; without a password a local one cannot either."""
    given = validate(schemas.NewUser, plain((await read_json_object(request)).value))
    if given.is_administrator:
        require_administrator(subject)
        require_person(subject, "making an administrator")
    if given.kind == users.SERVICE and given.password is not None:
        raise PasswordRefused("a service account has no password; it uses tokens")
    accounts = accounts_of(request)
    known = (given.name, given.display_name or "")
    password_hash = None if given.password is None else await accounts.hash(given.password, *known)

    def write(connection: Connection) -> dict[str, Any]:
        user_id = users.create_user(
            connection,
            given.name,
            display_name=given.display_name,
            kind=given.kind,
            is_administrator=given.is_administrator,
            password_hash=password_hash,
        )
        return existing(connection, user_id)

    return JSONResponse(schemas.user_object(await written(accounts, write)), 201)


@router.get(
    "/{user_id:segment}", operation_id="get_user", response_model=schemas.User, responses={**READ_REFUSALS, **ONE}
)
async def get_user(request: Request, subject: MayRead, user_id: str) -> Response:
    """Give an account."""
    row = await accounts_of(request).database.aread(lambda connection: existing(connection, user_id))
    return JSONResponse(schemas.user_object(row))


@router.patch(
    "/{user_id:segment}",
    operation_id="update_user",
    response_model=schemas.User,
    responses={**REFUSALS, **ONE},
    openapi_extra=schemas.body_of(schemas.ChangeUser),
)
async def update_user(request: Request, subject: MayModify, user_id: str) -> Response:
    """Change an account. One that is disabled loses its sessions and tokens at once, and for good."""
    given = validate(schemas.ChangeUser, plain((await read_json_object(request)).value))
    accounts = accounts_of(request)
    target = await accounts.database.aread(lambda connection: guarded(connection, subject, user_id))
    check_change(subject, target, given)
    password_hash = None
    if given.password is not None:
        password_hash = await accounts.hash(given.password, target["name"], given.display_name or "")

    def write(connection: Connection) -> dict[str, Any]:
        guarded(connection, subject, user_id)
        if given.display_name is not None:
            users.set_display_name(connection, user_id, given.display_name)
        if password_hash is not None:
            users.set_password(connection, user_id, password_hash)
        if given.is_administrator is not None:
            users.set_administrator(connection, user_id, is_administrator=given.is_administrator)
        if given.is_disabled is not None:
            users.set_disabled(connection, user_id, is_disabled=given.is_disabled)
        return existing(connection, user_id)

    return JSONResponse(schemas.user_object(await written(accounts, write)))


def check_change(subject: Subject, target: dict[str, Any], given: schemas.ChangeUser) -> None:
    """Refuse what the caller may not change, and what would give the holder of a token more than it allows."""
    if given.is_administrator is not None:
        require_administrator(subject)
        require_person(subject, "changing who is an administrator")
    if given.password is not None:
        require_person(subject, "setting a password")
        if target["id"] == subject.user_id:
            raise Conflict("change your own password with PUT /me/password, which asks for the current one")
        if target["kind"] != users.LOCAL:
            raise PasswordRefused("only a local account has a password here")


@router.delete("/{user_id:segment}", operation_id="delete_user", status_code=204, responses={**REFUSALS, **ONE})
async def delete_user(request: Request, subject: MayDelete, user_id: str) -> Response:
    """Remove an account with its sessions and tokens. What it did stays on record under its name."""

    def write(connection: Connection) -> None:
        guarded(connection, subject, user_id)
        users.delete_user(connection, user_id)

    await written(accounts_of(request), write)
    return Response(status_code=204)


@router.get(
    "/{user_id:segment}/tokens",
    operation_id="list_user_tokens",
    response_model=schemas.TokenPage,
    responses={**LIST_REFUSALS, **ONE},
)
async def list_user_tokens(
    request: Request,
    subject: MayRead,
    user_id: str,
    limit: Limit = 50,
    cursor: Cursor = None,
    sort: Sort = "-createdAt",
) -> Response:
    """List the tokens of an account, without their secrets."""

    def read(connection: Connection) -> list[dict[str, Any]]:
        existing(connection, user_id)
        return tokens.list_tokens(connection, user_id)

    rows = await accounts_of(request).database.aread(read)
    items = [schemas.token_object(row) for row in rows]
    return listing(*sorted_page(items, "tokens", limit, cursor, sort))


@router.post(
    "/{user_id:segment}/tokens",
    operation_id="create_service_token",
    status_code=201,
    response_model=schemas.MadeToken,
    responses={**REFUSALS, **ONE},
    openapi_extra=schemas.body_of(schemas.NewToken),
)
async def create_service_token(request: Request, subject: MayModify, user_id: str) -> Response:
    """Make a token of a service account, which cannot make its own. Its text is in this answer only."""
    given = validate(schemas.NewToken, plain((await read_json_object(request)).value))
    accounts = accounts_of(request)
    require_person(subject, "creating a token")
    target = await accounts.database.aread(lambda connection: guarded(connection, subject, user_id))
    if target["kind"] != users.SERVICE:
        raise Conflict("this account belongs to a person, who makes the tokens of it")
    row, text = await accounts.create_token(subject, None, user_id, given)
    return JSONResponse(schemas.token_object(row, text), 201, SECRET_HEADERS)


@router.delete(
    "/{user_id:segment}/tokens/{token_id:segment}",
    operation_id="delete_user_token",
    status_code=204,
    responses={**REFUSALS, **ONE},
)
async def delete_user_token(request: Request, subject: MayModify, user_id: str, token_id: str) -> Response:
    """Delete a token of an account."""

    def write(connection: Connection) -> bool:
        guarded(connection, subject, user_id)
        return tokens.delete_token(connection, token_id, user_id)

    if not await accounts_of(request).database.awrite(write):
        raise UnknownToken
    return Response(status_code=204)


def existing(connection: Connection, user_id: str) -> dict[str, Any]:
    """Read an account. Raises UnknownUser."""
    row = users.find_by_id(connection, user_id)
    if row is None:
        raise UnknownUser
    return row


def guarded(connection: Connection, subject: Subject, user_id: str) -> dict[str, Any]:
    """Read an account that is to be changed. Raises UnknownUser and Forbidden.

    Only administrators change administrators, and nobody an account that has more than he has: he could use it.
    """
    target = existing(connection, user_id)
    if target["is_administrator"]:
        require_administrator(subject)
    if not subject.has_everything:
        missing = lacking(subject, teams_of(connection, user_id)[1])
        if missing is not None:
            raise Forbidden(missing)
    return target


def require_administrator(subject: Subject) -> None:
    """Refuse everybody else. Raises Forbidden."""
    if not subject.is_administrator:
        raise Forbidden(ADMINISTRATOR)


async def written(accounts: Accounts, work: Callable[[Connection], Any]) -> Any:
    """Write, and answer problems with accounts as refusals."""
    try:
        return await accounts.database.awrite(work)
    except UserProblem as problem:
        raise refusal(problem) from problem
