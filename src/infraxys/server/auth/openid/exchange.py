"""The provider's token endpoint: a code, or a refresh token, for what the provider says about a person now."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx2
from authlib.integrations.base_client import OAuthError

from infraxys.server.auth.openid.http import TOTAL_SECONDS
from infraxys.server.auth.openid.options import OpenIdOptions
from infraxys.server.auth.openid.provider import Metadata, Provider, ProviderUnavailable
from infraxys.server.auth.openid.verify import Claims, TokenRefused, Verifier

MAX_TOKEN_TEXT = 16 * 1024
# How long a session lasts when the provider gives no refresh token, and does not say how long its own token does.
DEFAULT_SECONDS = 3600.0


class GrantRefused(Exception):  # noqa: N818 - reads as what happened
    """The provider does not accept a code or refresh token. `code` is its OAuth error code."""

    def __init__(self, code: str) -> None:
        super().__init__(f"the OpenID provider answered '{code}'")
        self.code = code


@dataclass(frozen=True, slots=True)
class Upstream:
    """What the provider gave. `claims` are checked; `id_token` and `refresh_token` are kept, sealed, with the session.

    `is_full`: it said who the person is, and not only that they may stay. `expires_seconds` is how long it vouches for
    them without being asked again.
    """

    claims: Claims
    id_token: str | None
    refresh_token: str | None
    expires_seconds: float
    is_full: bool = True


class Exchange:
    """Our client at the provider."""

    def __init__(self, provider: Provider, verifier: Verifier, options: OpenIdOptions) -> None:
        self._provider, self._verifier, self._options = provider, verifier, options
        self._secret = options.read_client_secret()

    async def authorization_url(self, state: str, nonce: str, code_verifier: str, redirect_uri: str) -> str:
        """Give where a browser goes to sign in. Raises ProviderUnavailable."""
        metadata = await self._provider.metadata()
        async with self._provider.client(self._options.oidc_client_id, self._secret, metadata) as client:
            url, _ = client.create_authorization_url(
                metadata.authorization_endpoint,
                state=state,
                nonce=nonce,
                code_verifier=code_verifier,
                redirect_uri=redirect_uri,
                scope=" ".join(self._options.oidc_scopes),
                **({"prompt": self._options.oidc_prompt} if self._options.oidc_prompt else {}),
            )
        return str(url)

    async def by_code(self, code: str, code_verifier: str, redirect_uri: str, nonce: str) -> Upstream:
        """Redeem a code. Raises GrantRefused, TokenRefused and ProviderUnavailable."""
        metadata = await self._provider.metadata()
        token = await self._token(
            metadata,
            {
                "grant_type": "authorization_code",
                "code": code,
                "code_verifier": code_verifier,
                "redirect_uri": redirect_uri,
            },
        )
        id_token, access_token = _text(token, "id_token"), _text(token, "access_token")
        if id_token is None or access_token is None:
            raise TokenRefused("there is no ID token or no access token in it")
        claims = await self._verifier.id_token(id_token, nonce=nonce, access_token=access_token)
        told = await self._told(metadata, access_token, claims["sub"])
        return Upstream(
            {**told, **claims, "iat": int(time.time())}, id_token, _text(token, "refresh_token"), _lifetime(token)
        )

    async def by_refresh(self, refresh_token: str, subject: str) -> Upstream:
        """Ask again about a person. Raises GrantRefused, TokenRefused and ProviderUnavailable."""
        metadata = await self._provider.metadata()
        token = await self._token(metadata, {"grant_type": "refresh_token", "refresh_token": refresh_token})
        id_token, access_token = _text(token, "id_token"), _text(token, "access_token")
        claims: Claims = {"sub": subject}
        if id_token is not None:
            claims = await self._verifier.id_token(id_token, nonce=None, access_token=access_token)
            if claims["sub"] != subject:
                raise TokenRefused("the new ID token is about somebody else")
        told = await self._told(metadata, access_token, subject) if access_token is not None else {}
        claims = {**told, **claims, "iat": int(time.time())}
        kept = _text(token, "refresh_token") or refresh_token
        return Upstream(claims, id_token, kept, _lifetime(token), is_full=bool(told) or id_token is not None)

    async def _told(self, metadata: Metadata, access_token: str, subject: str) -> Claims:
        """Give what the provider tells about a person on request; the subject has to be the same."""
        if metadata.userinfo_endpoint is None:
            return {}
        told = await self._provider.get_json(metadata.userinfo_endpoint, access_token)
        if told.get("sub") != subject:
            raise TokenRefused("the user info is about somebody else")
        return told

    async def _token(self, metadata: Metadata, parameters: dict[str, str]) -> Mapping[str, Any]:
        client = self._provider.client(self._options.oidc_client_id, self._secret, metadata)
        try:
            async with asyncio.timeout(TOTAL_SECONDS), client:
                token: Mapping[str, Any] = await client.fetch_token(metadata.token_endpoint, **parameters)
        except OAuthError as error:
            raise GrantRefused(_word(error.error)) from error
        except (httpx2.HTTPError, ValueError, TimeoutError, RecursionError) as error:
            raise ProviderUnavailable(
                "the token endpoint of the OpenID provider does not answer as it should"
            ) from error
        return token


def _text(token: Mapping[str, Any], name: str) -> str | None:
    value = token.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not 0 < len(value) <= MAX_TOKEN_TEXT:
        raise TokenRefused(f"its '{name}' is no token")
    return value


def _lifetime(token: Mapping[str, Any]) -> float:
    value = token.get("expires_in")
    if not isinstance(value, int | float) or isinstance(value, bool):
        return DEFAULT_SECONDS
    return float(min(max(value, 60), DEFAULT_SECONDS))


def _word(text: object) -> str:
    """Give an error code as it may be repeated: codes are letters and underscores."""
    word = str(text)[:60]
    return word if word.replace("_", "").isalnum() and word.isascii() else "error"
