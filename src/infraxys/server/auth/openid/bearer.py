"""`Authorization: Bearer` with an access token of the provider."""

import logging
import re

from infraxys.server.auth.openid.accounts import (
    AccountRefused,
    Identity,
    find_account,
    needs_update,
    read_identity,
    record,
)
from infraxys.server.auth.openid.options import OpenIdOptions
from infraxys.server.auth.openid.provider import Provider, ProviderUnavailable
from infraxys.server.auth.openid.verify import TokenRefused, Verifier
from infraxys.server.auth.subject import Subject
from infraxys.server.db.engine import Database
from infraxys.server.errors import Unauthorized, Unavailable

log = logging.getLogger(__name__)
_JWT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*\.[A-Za-z0-9_-]*\Z")


class AccessTokens:
    """Gives the caller of a provider's access token. Asks the provider only about keys that are not known yet."""

    def __init__(self, provider: Provider, verifier: Verifier, database: Database, options: OpenIdOptions) -> None:
        self._provider, self._verifier, self._database, self._options = provider, verifier, database, options

    async def verify(self, credentials: str) -> Subject | None:
        """Give the caller; None for credentials of another kind. Raises Unauthorized and Unavailable."""
        if not _JWT.match(credentials):
            return None
        try:
            claims = await self._verifier.access_token(credentials)
            return await self._subject(read_identity(self._provider.issuer, claims, self._options))
        except (TokenRefused, AccountRefused) as error:
            log.info("access_token_refused", extra={"reason": str(error)})
            raise Unauthorized from error
        except ProviderUnavailable as error:
            log.warning("openid_provider_unavailable", extra={"reason": str(error)})
            raise Unavailable("the OpenID provider does not answer, so its tokens cannot be checked") from error

    async def _subject(self, identity: Identity) -> Subject:
        account = await self._database.aread(
            lambda connection: find_account(connection, identity.issuer, identity.subject)
        )
        if needs_update(account, identity):
            account = await record(self._database, identity, self._options)
        if account is None or account["disabled_at"] is not None:
            raise AccountRefused("the account is disabled")
        if identity.issued_at <= (account["refused_until"] or 0):
            raise TokenRefused("the provider took back the sign-in after it had issued the token")
        return Subject(
            user_id=account["user_id"],
            name=account["name"],
            display_name=account["display_name"],
            is_administrator=bool(account["is_administrator"]),
        )
