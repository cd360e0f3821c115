"""Sign-in with an OpenID provider, put together."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy.engine import Connection

from infraxys.kit.clock import utc_now
from infraxys.server.auth.openid.accounts import AccountRefused, read_signed_in, record
from infraxys.server.auth.openid.bearer import AccessTokens
from infraxys.server.auth.openid.browser import BrowserSignIn, SignInRefused
from infraxys.server.auth.openid.exchange import Exchange, Upstream
from infraxys.server.auth.openid.options import OpenIdOptions
from infraxys.server.auth.openid.provider import Provider
from infraxys.server.auth.openid.sealing import Sealer
from infraxys.server.auth.openid.upstream import UpstreamWatch, find_id_token, keep
from infraxys.server.auth.openid.verify import Verifier
from infraxys.server.db.engine import Database

# Starts a session of a user that lasts so long at most; gives its cookie.
StartSession = Callable[[Connection, str, timedelta], str]


class OpenId:
    """Everything about one provider. Raises OSError when a file that the settings name cannot be read."""

    def __init__(self, options: OpenIdOptions, issuer: str, database: Database, key: Path, public_url: str) -> None:
        self._options, self._database = options, database
        self._sealer = Sealer(key)
        self.issuer = issuer
        provider = Provider(issuer, options.oidc_ca)
        verifier = Verifier(provider, options)
        exchange = Exchange(provider, verifier, options)
        self.browser = BrowserSignIn(provider, exchange, database, self._sealer, options, public_url)
        self.bearer = AccessTokens(provider, verifier, database, options)
        self.watch = UpstreamWatch(provider, exchange, database, self._sealer, options)

    @property
    def device(self) -> dict[str, Any] | None:
        """What `infraxys login` needs; None where the settings name no client for it or allow no access tokens."""
        options = self._options
        if options.oidc_cli_client_id is None or not options.oidc_audiences:
            return None
        return {
            "clientId": options.oidc_cli_client_id,
            "scopes": list(options.oidc_scopes),
            "resource": options.oidc_resource,
        }

    async def sign_in(self, upstream: Upstream, lifetime: timedelta, start: StartSession) -> tuple[str, timedelta]:
        """Start a session for a person of the provider; gives its cookie and how long it lasts at most.

        Raises SignInRefused.
        """
        try:
            identity = read_signed_in(self.issuer, upstream.claims, self._options)
            account = await record(self._database, identity, self._options)
        except AccountRefused as error:
            raise SignInRefused(str(error)) from error
        if upstream.refresh_token is None:
            lifetime = min(lifetime, timedelta(seconds=upstream.expires_seconds))
        first = timedelta(seconds=self._options.oidc_refresh_seconds) if upstream.refresh_token else lifetime

        def write(connection: Connection) -> str:
            cookie = start(connection, account["user_id"], lifetime)
            keep(connection, self._sealer, cookie.partition(".")[0], upstream, utc_now() + first)
            return cookie

        return await self._database.awrite(write), lifetime

    async def logout_url(self, session_id: str) -> str | None:
        """Give where a browser signs out of the provider as well; None for sessions that are not by it."""
        is_ours, id_token = await self._database.aread(
            lambda connection: find_id_token(connection, self._sealer, session_id)
        )
        return await self.browser.logout_url(id_token) if is_ours else None
