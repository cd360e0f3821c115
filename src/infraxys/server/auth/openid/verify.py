"""Checking tokens that the provider signed."""

import json
import time
from collections.abc import Mapping
from typing import Any

from authlib.oidc.core.claims import CodeIDToken
from joserfc import jws, jwt
from joserfc.errors import JoseError, UnsupportedAlgorithmError
from joserfc.jws import JWSRegistry
from joserfc.jwt import JWTClaimsRegistry

from infraxys.server.auth.openid.options import OpenIdOptions
from infraxys.server.auth.openid.provider import Provider

MAX_TOKEN = 16 * 1024
MAX_SUBJECT = 255
LEEWAY_SECONDS = 30
# How old an access token of `infraxys login` may be, however long it is good for: the command line asks the provider
# for a new one before, and so does nobody who was revoked there.
CLI_TOKEN_SECONDS = 60
# What only ID tokens have; a provider that gives both kinds the same `typ` tells them apart by these.
_OF_ID_TOKENS = frozenset({"nonce", "at_hash", "c_hash"})

Claims = dict[str, Any]


class TokenRefused(Exception):  # noqa: N818 - reads as what happened
    """A token is not good. The text is for the log only: callers learn nothing of the reason."""


class AllowList(JWSRegistry):
    """The algorithms of the settings and no other. Keys come from the key set only, whatever a header offers."""

    def __init__(self, algorithms: tuple[str, ...]) -> None:
        super().__init__(algorithms=algorithms, strict_check_header=False)
        self._names = frozenset(algorithms)

    def get_alg(self, name: str) -> Any:
        """Give an algorithm. Raises UnsupportedAlgorithmError."""
        if name not in self._names:
            raise UnsupportedAlgorithmError("the algorithm is not allowed")
        return self.algorithms[name]


class Verifier:
    """Checks ID tokens and access tokens of one provider."""

    def __init__(self, provider: Provider, options: OpenIdOptions) -> None:
        self._provider, self._options = provider, options
        self._registry = AllowList(options.oidc_algorithms)
        self._types = {_type_of(name) for name in options.oidc_token_types}

    async def access_token(self, text: str) -> Claims:
        """Give the claims of an access token (RFC 9068). Raises TokenRefused and ProviderUnavailable."""
        header, claims = await self._signed(text)
        if _type_of(header.get("typ")) not in self._types:
            raise TokenRefused("it is not an access token: wrong 'typ'")
        if _OF_ID_TOKENS.intersection(claims):
            raise TokenRefused("it is an ID token")
        registry = JWTClaimsRegistry(
            leeway=LEEWAY_SECONDS,
            iss={"essential": True, "value": self._provider.issuer},
            aud={"essential": True, "values": list(self._options.oidc_audiences)},
            sub={"essential": True},
            exp={"essential": True},
            iat={"essential": True},
        )
        if not self._options.oidc_audiences:
            raise TokenRefused("no audience is allowed by the settings")
        claims = _checked(registry, claims)
        client = claims.get("client_id", claims.get("azp"))  # RFC 9068, and what was usual before it
        is_of_cli = client is not None and client == self._options.oidc_cli_client_id
        if is_of_cli and claims["iat"] + CLI_TOKEN_SECONDS < time.time():
            raise TokenRefused("the command line has to ask the provider for a new one")
        return claims

    async def id_token(self, text: str, *, nonce: str | None, access_token: str | None) -> Claims:
        """Give the claims of an ID token for our client. Raises TokenRefused and ProviderUnavailable.

        `nonce` None: of a refresh, where there is none.
        """
        header, claims = await self._signed(text)
        options = {
            "iss": {"essential": True, "value": self._provider.issuer},
            "aud": {"essential": True, "value": self._options.oidc_client_id},
        }
        params = {"client_id": self._options.oidc_client_id, "nonce": nonce, "access_token": access_token}
        token = CodeIDToken(claims, header, options, params)
        try:
            token.validate(leeway=LEEWAY_SECONDS)
        except (JoseError, ValueError, TypeError, OverflowError) as error:
            raise TokenRefused(str(error)) from error
        _check_subject(claims)
        return claims

    async def _signed(self, text: str) -> tuple[Mapping[str, Any], Claims]:
        """Give header and claims when the signature is the provider's."""
        if len(text) > MAX_TOKEN or not text.isascii():
            raise TokenRefused("it is too long, or not ASCII")
        try:
            header = jws.extract_compact(text.encode(), registry=self._registry).headers()
            self._registry.get_alg(header.get("alg", ""))
            key_id = header.get("kid")
            if not isinstance(key_id, str | None):
                raise TokenRefused("its 'kid' is no text")
            keys = await self._provider.keys()
            key = keys.find(key_id, header["alg"])
            if key is None:
                keys = await self._provider.renew_keys(self._options.oidc_keys_seconds)
                key = keys.find(key_id, header["alg"])
            if key is None:
                raise TokenRefused("no key of the provider signed it")
            token = jwt.decode(text, key, registry=self._registry)
        except (JoseError, ValueError, TypeError, KeyError, RecursionError, json.JSONDecodeError) as error:
            raise TokenRefused(str(error) or type(error).__name__) from error
        return token.header, token.claims


def _checked(registry: JWTClaimsRegistry, claims: Claims) -> Claims:
    try:
        registry.validate(claims)
    except (JoseError, ValueError, TypeError, OverflowError) as error:
        raise TokenRefused(str(error)) from error
    _check_subject(claims)
    return claims


def _check_subject(claims: Claims) -> None:
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= MAX_SUBJECT or not subject.isprintable():
        raise TokenRefused("its 'sub' is no name")


def _type_of(value: object) -> str:
    """Give a media type as it is compared (RFC 7515, 4.1.9)."""
    return str(value).lower().removeprefix("application/") if isinstance(value, str) else ""
