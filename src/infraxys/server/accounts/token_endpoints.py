"""The caller's own personal access tokens."""

from datetime import timedelta
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from starlette.responses import JSONResponse, Response

from infraxys.server.accounts import schemas
from infraxys.server.accounts.endpoints import LIST_REFUSALS, READ_REFUSALS, REFUSALS, Known, accounts_of
from infraxys.server.accounts.errors import UnknownToken
from infraxys.server.accounts.service import account, require_scope
from infraxys.server.auth import tokens
from infraxys.server.body import plain, read_json_object, validate
from infraxys.server.errors import responses
from infraxys.server.paging import Cursor, Limit, listing, sorted_page
from infraxys.server.paths import API

router = APIRouter(prefix=f"{API}/tokens", tags=["tokens"])
ONE = responses(404)
# The secret is in this answer and nowhere else.
SECRET_HEADERS = {"Cache-Control": "no-store"}
Sort = Annotated[Literal["createdAt", "-createdAt", "name", "-name"], Query()]


@router.get("", operation_id="list_tokens", response_model=schemas.TokenPage, responses=LIST_REFUSALS)
async def list_tokens(
    request: Request, subject: Known, limit: Limit = 50, cursor: Cursor = None, sort: Sort = "-createdAt"
) -> Response:
    """List the caller's own tokens, without their secrets."""
    require_scope(subject, "token.list")
    items: list[dict[str, Any]] = []
    if subject.user_id is not None:
        user_id = subject.user_id
        rows = await accounts_of(request).database.aread(lambda connection: tokens.list_tokens(connection, user_id))
        items = [schemas.token_object(row) for row in rows]
    return listing(*sorted_page(items, "tokens", limit, cursor, sort))


@router.post(
    "",
    operation_id="create_token",
    status_code=201,
    response_model=schemas.MadeToken,
    responses=REFUSALS,
    openapi_extra=schemas.body_of(schemas.NewToken),
)
async def create_token(request: Request, subject: Known) -> Response:
    """Make a token of the caller's. Its text is in this answer only. A token cannot make tokens."""
    given = validate(schemas.NewToken, plain((await read_json_object(request)).value))
    row, text = await accounts_of(request).create_token(subject, subject, account(subject), given)
    return JSONResponse(schemas.token_object(row, text), 201, SECRET_HEADERS)


@router.get(
    "/{token_id:segment}",
    operation_id="get_token",
    response_model=schemas.Token,
    responses={**READ_REFUSALS, **ONE},
)
async def get_token(request: Request, subject: Known, token_id: str) -> Response:
    """Give one of the caller's own tokens, without its secret."""
    require_scope(subject, "token.list")
    user_id = subject.user_id or ""
    row = await accounts_of(request).database.aread(
        lambda connection: tokens.find_own_token(connection, user_id, token_id)
    )
    if row is None:
        raise UnknownToken
    return JSONResponse(schemas.token_object(row))


@router.delete("/{token_id:segment}", operation_id="delete_token", status_code=204, responses={**REFUSALS, **ONE})
async def delete_token(request: Request, subject: Known, token_id: str) -> Response:
    """Delete one of the caller's own tokens. A token may always delete itself."""
    if token_id != subject.token_id:
        require_scope(subject, "token.delete")
    user_id = subject.user_id or ""
    database = accounts_of(request).database
    if not await database.awrite(lambda connection: tokens.delete_token(connection, token_id, user_id)):
        raise UnknownToken
    return Response(status_code=204)


@router.post(
    "/{token_id:segment}/rotate",
    operation_id="rotate_token",
    response_model=schemas.MadeToken,
    responses={**REFUSALS, **ONE},
    openapi_extra=schemas.body_of(schemas.RotateToken, required=False),
)
async def rotate_token(request: Request, subject: Known, token_id: str) -> Response:
    """Exchange the secret of one of the caller's own tokens. Everything else about it stays."""
    given = validate(schemas.RotateToken, plain((await read_json_object(request)).value))
    rotated = await accounts_of(request).rotate_token(subject, token_id, timedelta(seconds=given.overlap_seconds))
    if rotated is None:
        raise UnknownToken
    return JSONResponse(schemas.token_object(*rotated), 200, SECRET_HEADERS)
