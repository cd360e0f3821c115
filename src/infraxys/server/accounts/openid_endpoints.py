"""Signing in with the OpenID provider, in the browser; and how a client of the API can sign in at all."""

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from sqlalchemy.engine import Connection
from starlette.responses import JSONResponse, RedirectResponse, Response

from infraxys.server.accounts import schemas
from infraxys.server.accounts.endpoints import accounts_of, agent_of
from infraxys.server.auth import sessions
from infraxys.server.auth.authenticate import address_of
from infraxys.server.auth.openid.cookies import SIGN_IN_SECONDS, cookie_name
from infraxys.server.auth.permissions import Public
from infraxys.server.errors import NotFound, responses
from infraxys.server.paths import API

if TYPE_CHECKING:  # what signs in takes a tenth of a second to import, and most servers never need it
    from infraxys.server.auth.openid.service import OpenId

router = APIRouter(prefix=API, tags=["accounts"])
EVERYBODY = [Depends(Public())]
SEE_OTHER: dict[int | str, dict[str, Any]] = {303: {"description": "See Other"}}
BEGIN = f"{API}/login/openid"


class NoProvider(NotFound):
    """Sign-in by OpenID is not set up."""

    code = "no_openid_provider"

    def __init__(self) -> None:
        super().__init__("this server has no OpenID provider; an administrator sets one with INFRAXYS_OIDC_ISSUER")


def openid_of(request: Request) -> "OpenId":
    """Give the service. Raises NoProvider."""
    openid: OpenId | None = request.app.state.services.openid
    if openid is None:
        raise NoProvider
    return openid


@router.get(
    "/login",
    operation_id="get_login",
    response_model=schemas.Login,
    responses=responses(429, 500),
    dependencies=EVERYBODY,
)
async def get_login(request: Request) -> Response:
    """Tell how one can sign in: for the page that asks for it, and for `infraxys login`."""
    services = request.app.state.services
    openid: OpenId | None = services.openid
    provider = None if openid is None else {"issuer": openid.issuer, "url": BEGIN, "device": openid.device}
    return JSONResponse({"password": services.settings.mode == "server", "openid": provider})


@router.get(
    "/login/openid",
    operation_id="get_openid_login",
    status_code=303,
    response_class=RedirectResponse,
    responses={**SEE_OTHER, **responses(404, 422, 429, 500, 503)},
    dependencies=EVERYBODY,
)
async def get_openid_login(
    request: Request, path: Annotated[str, Query(alias="next", description="a path on this server")] = "/"
) -> Response:
    """Send the browser to the OpenID provider; it comes back and goes on to `next`."""
    begun = await openid_of(request).browser.begin(path)
    response = RedirectResponse(begun.url, 303)
    response.set_cookie(
        begun.cookie, begun.value, max_age=SIGN_IN_SECONDS, path="/", secure=True, httponly=True, samesite="lax"
    )
    return response


@router.get(
    "/login/openid/callback",
    operation_id="get_openid_callback",
    status_code=303,
    response_class=RedirectResponse,
    responses={**SEE_OTHER, **responses(400, 403, 404, 429, 500, 503)},
    dependencies=EVERYBODY,
)
async def get_openid_callback(request: Request) -> Response:
    """Take the browser back from the OpenID provider. The answer sets the cookie of the session."""
    openid, accounts = openid_of(request), accounts_of(request)
    upstream, path = await openid.browser.finish(request.query_params, request.cookies)
    earlier = request.cookies.get(sessions.COOKIE)

    def start(connection: Connection, user_id: str, lifetime: timedelta) -> str:
        return accounts.start_session(connection, user_id, address_of(request), agent_of(request), earlier, lifetime)

    cookie, lifetime = await openid.sign_in(upstream, accounts.session_lifetime, start)
    response = RedirectResponse(path, 303)
    sessions.set_cookie(response, cookie, lifetime)
    name = cookie_name(request.query_params["state"])
    response.delete_cookie(name, path="/", secure=True, httponly=True, samesite="lax")
    return response
