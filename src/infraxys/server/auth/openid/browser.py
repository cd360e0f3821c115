"""Sign-in in the browser: authorization code with PKCE, one try at a time, bound to the browser that began it."""

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from infraxys.kit.clock import utc_now
from infraxys.server.auth.openid.cookies import SIGN_IN_SECONDS, cookie_name
from infraxys.server.auth.openid.exchange import Exchange, GrantRefused, Upstream
from infraxys.server.auth.openid.options import OpenIdOptions
from infraxys.server.auth.openid.provider import Provider, ProviderUnavailable
from infraxys.server.auth.openid.sealing import Sealer
from infraxys.server.auth.openid.verify import TokenRefused
from infraxys.server.db.engine import Database
from infraxys.server.db.tables import openid_used_states
from infraxys.server.errors import BadRequest, Problem, Unavailable, Unprocessable

CALLBACK = "/api/v1/login/openid/callback"
MAX_NEXT, MAX_CODE = 1000, 4096
_PURPOSE = "sign-in"
_OWN_PATH = re.compile(r"/(?![/\\])[!-\[\]-~]*\Z")  # printable ASCII without space and backslash
_STATE = re.compile(r"[A-Za-z0-9_-]{43}\Z")


class SignInFailed(BadRequest):
    """The answer of the provider is not one to a sign-in that this browser began, or was used already."""

    code = "sign_in_failed"


class SignInRefused(Problem):
    """The provider, or this server, does not let the person in."""

    status = 403
    code = "sign_in_refused"


class UnsafeRedirect(Unprocessable):
    """`next` leads elsewhere."""

    code = "unsafe_redirect"


@dataclass(frozen=True, slots=True)
class Begun:
    """A sign-in that begins: where the browser goes, and the cookie that it takes along."""

    url: str
    cookie: str
    value: str


def check_next(path: str) -> str:
    """Give a path of our own. Raises UnsafeRedirect for everything else."""
    if len(path) > MAX_NEXT or not _OWN_PATH.match(path):
        raise UnsafeRedirect("next: only a path on this server, as /runs, is possible")
    return path


class BrowserSignIn:
    """Sends browsers to the provider and reads what they come back with."""

    def __init__(
        self, provider: Provider, exchange: Exchange, database: Database, sealer: Sealer, options: OpenIdOptions,
        public_url: str,
    ) -> None:  # fmt: skip
        self._provider, self._exchange, self._database, self._sealer = provider, exchange, database, sealer
        self._client_id, self._public_url = options.oidc_client_id, public_url

    async def begin(self, next_path: str) -> Begun:
        """Begin a sign-in. Raises UnsafeRedirect and Unavailable."""
        check_next(next_path)
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        try:
            url = await self._exchange.authorization_url(state, nonce, verifier, self._public_url + CALLBACK)
        except ProviderUnavailable as error:
            raise Unavailable(f"sign-in does not work right now: {error}") from error
        sealed = self._sealer.seal(_PURPOSE, {"state": state, "nonce": nonce, "verifier": verifier, "next": next_path})
        return Begun(url, cookie_name(state), sealed.decode())

    async def finish(self, query: Mapping[str, str], cookies: Mapping[str, str]) -> tuple[Upstream, str]:
        """Give what the provider says about the person, and the path to go on with.

        Raises SignInFailed, SignInRefused and Unavailable.
        """
        begun = self._begun(query, cookies)
        try:
            await self._check_issuer(query)
            await self._use_up(begun["state"])
            if "error" in query:
                raise SignInRefused("the OpenID provider did not sign you in")
            code = query.get("code", "")
            if not 0 < len(code) <= MAX_CODE:
                raise SignInFailed("the OpenID provider sent no code; sign in again")
            uri = self._public_url + CALLBACK
            upstream = await self._exchange.by_code(code, begun["verifier"], uri, begun["nonce"])
        except GrantRefused as error:
            raise SignInFailed(f"the code was not accepted: {error}; sign in again") from error
        except TokenRefused as error:
            raise SignInFailed(f"the answer of the OpenID provider cannot be trusted: {error}") from error
        except ProviderUnavailable as error:
            raise Unavailable(f"sign-in does not work right now: {error}") from error
        return upstream, check_next(begun["next"])

    async def logout_url(self, id_token: str | None) -> str | None:
        """Give where a browser signs out of the provider as well; None where that is not offered."""
        try:
            metadata = await self._provider.metadata()
        except ProviderUnavailable:
            return None
        if metadata.end_session_endpoint is None:
            return None
        query = {"client_id": self._client_id, "post_logout_redirect_uri": f"{self._public_url}/"}
        if id_token:
            query["id_token_hint"] = id_token
        separator = "&" if "?" in metadata.end_session_endpoint else "?"
        return f"{metadata.end_session_endpoint}{separator}{urlencode(query)}"

    def _begun(self, query: Mapping[str, str], cookies: Mapping[str, str]) -> dict[str, Any]:
        state = query.get("state", "")
        sealed = cookies.get(cookie_name(state), "") if _STATE.match(state) else ""
        begun = self._sealer.open(_PURPOSE, sealed.encode(), SIGN_IN_SECONDS)
        if begun is None or not hmac.compare_digest(begun["state"], state):
            raise SignInFailed("this sign-in was not begun in this browser, or too long ago; sign in again")
        return begun

    async def _check_issuer(self, query: Mapping[str, str]) -> None:
        """Refuse the answer of another provider (RFC 9207)."""
        metadata = await self._provider.metadata()
        issuer = query.get("iss")
        if issuer is None and not metadata.authorization_response_iss_parameter_supported:
            return
        if issuer != metadata.issuer:
            raise SignInFailed("the answer is not from the configured OpenID provider; sign in again")

    async def _use_up(self, state: str) -> None:
        """Let each sign-in be answered once. Raises SignInFailed for the second time."""
        digest = hashlib.sha256(state.encode()).digest()
        now = utc_now()
        until = now + timedelta(seconds=SIGN_IN_SECONDS)

        def use(connection: sa.Connection) -> None:
            connection.execute(openid_used_states.delete().where(openid_used_states.c.expires_at <= now))
            connection.execute(openid_used_states.insert().values(digest=digest, expires_at=until))

        try:
            await self._database.awrite(use)
        except IntegrityError as error:
            raise SignInFailed("this sign-in was finished already; sign in again") from error
