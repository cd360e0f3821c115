"""Sign-in with an OpenID provider, put together."""

from datetime import timedelta
from pathlib import Path

from sqlalchemy.engine import Connection

from infraxys.kit.clock import utc_now
from infraxys.server.auth import sessions
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

    async def sign_in(
        self, upstream: Upstream, address: str, user_agent: str, earlier: str | None, lifetime: timedelta
    ) -> str:
        """Give the cookie of a new session for a person of the provider; `earlier` is the browser's cookie until now.

        Raises SignInRefused.
        """
        try:
            account = await record(
                self._database, read_signed_in(self.issuer, upstream.claims, self._options), self._options
            )
        except AccountRefused as error:
            raise SignInRefused(str(error)) from error
        if upstream.refresh_token is None:
            lifetime = min(lifetime, timedelta(seconds=upstream.expires_seconds))

        def start(connection: Connection) -> str:
            cookie = sessions.create(connection, account["user_id"], address, user_agent, lifetime)
            refresh_at = utc_now() + (
                timedelta(seconds=self._options.oidc_refresh_seconds) if upstream.refresh_token else lifetime
            )
            keep(connection, self._sealer, cookie.partition(".")[0], upstream, refresh_at)
            return cookie

        return await self._database.awrite(start)

    async def logout_url(self, session_id: str) -> str | None:
        """Give where a browser signs out of the provider as well; None for sessions that are not by it."""
        is_ours, id_token = await self._database.aread(
            lambda connection: find_id_token(connection, self._sealer, session_id)
        )
        return await self.browser.logout_url(id_token) if is_ours else None
