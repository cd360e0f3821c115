"""The provider: what it says about itself, its keys, and clients for its token endpoint."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar
from urllib.parse import urlsplit

import httpx2
from authlib.integrations.httpx_client import AsyncOAuth2Client
from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from infraxys.server.auth.openid.http import TOTAL_SECONDS, client_options, tls_context
from infraxys.server.auth.openid.keys import Keys

T = TypeVar("T")
METADATA_SECONDS = 3600.0
KEYS_SECONDS = 300.0
RETRY_SECONDS = 5.0
# Older than this nothing is used, should the provider be away for so long.
MAX_SECONDS = 24 * 3600.0


class ProviderUnavailable(Exception):  # noqa: N818 - reads as a state
    """The provider does not answer, or not as it should. The text is for operators and names no secret."""


def _https(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme != "https" or not parts.hostname or parts.fragment or parts.username:
        raise ValueError("is no https URL")
    return value


Endpoint = Annotated[str, AfterValidator(_https)]


class Metadata(BaseModel):
    """The part of the provider's metadata (OpenID Connect Discovery, RFC 8414) that is used."""

    model_config = ConfigDict(frozen=True)

    issuer: str
    authorization_endpoint: Endpoint
    token_endpoint: Endpoint
    jwks_uri: Endpoint
    userinfo_endpoint: Endpoint | None = None
    end_session_endpoint: Endpoint | None = None
    device_authorization_endpoint: Endpoint | None = None
    revocation_endpoint: Endpoint | None = None
    authorization_response_iss_parameter_supported: bool = False
    code_challenge_methods_supported: tuple[str, ...] | None = None
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)


class Cached(Generic[T]):
    """A value from the provider: fetched once at a time, kept, and fetched again when it is old or found wanting."""

    def __init__(
        self, fetch: Callable[[], Awaitable[T]], fresh_seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._fetch, self._fresh, self._clock = fetch, fresh_seconds, clock
        self._lock = asyncio.Lock()
        self._value: T | None = None
        self._fetched_at = self._tried_at = float("-inf")
        self._failure: ProviderUnavailable | None = None

    async def get(self) -> T:
        """Give the value, without waiting when there is one. Raises ProviderUnavailable."""
        if self._value is None or self._clock() - self._fetched_at > MAX_SECONDS:
            await self._renew(RETRY_SECONDS)
            if self._failure is not None:
                raise self._failure
        if self._value is None:
            raise ProviderUnavailable("the provider was not asked yet")
        return self._value

    async def renew(self, pause_seconds: float) -> None:
        """Fetch again, unless that was tried within the pause. A failure leaves what there is."""
        await self._renew(pause_seconds)

    async def keep_fresh(self) -> None:
        """Fetch again what was in use and is old, so that no request has to."""
        if self._value is not None and self._clock() - self._fetched_at > self._fresh:
            await self._renew(RETRY_SECONDS)

    async def _renew(self, pause_seconds: float) -> None:
        async with self._lock:
            if self._clock() - self._tried_at < pause_seconds:
                return
            try:
                self._value = await self._fetch()
                self._failure = None
                self._fetched_at = self._clock()
            except ProviderUnavailable as error:
                self._failure = error
            finally:
                self._tried_at = self._clock()


class Provider:
    """One OpenID provider. Nothing is asked of it before it is needed."""

    def __init__(self, issuer: str, ca: Path | None = None) -> None:
        self.issuer = issuer
        self._context = tls_context(ca)
        self._metadata = Cached(self._fetch_metadata, METADATA_SECONDS)
        self._keys = Cached(self._fetch_keys, KEYS_SECONDS)

    async def metadata(self) -> Metadata:
        """Give what the provider says about itself. Raises ProviderUnavailable."""
        return await self._metadata.get()

    async def keys(self) -> Keys:
        """Give the keys that it signs with. Raises ProviderUnavailable."""
        return await self._keys.get()

    async def renew_keys(self, pause_seconds: float) -> Keys:
        """Fetch the keys again, unless they were fetched within the pause. Raises ProviderUnavailable."""
        await self._keys.renew(pause_seconds)
        return await self._keys.get()

    async def keep_fresh(self) -> None:
        """Fetch again what is old."""
        await self._metadata.keep_fresh()
        await self._keys.keep_fresh()

    def client(self, client_id: str, client_secret: str | None, metadata: Metadata) -> AsyncOAuth2Client:
        """Make an OAuth client, to be used as a context manager."""
        methods = metadata.token_endpoint_auth_methods_supported
        method = "none" if client_secret is None else "client_secret_basic"
        if client_secret is not None and method not in methods and "client_secret_post" in methods:
            method = "client_secret_post"
        return AsyncOAuth2Client(
            client_id=client_id,
            client_secret=client_secret,
            token_endpoint_auth_method=method,
            code_challenge_method="S256",
            **client_options(self._context),
        )

    async def get_json(self, url: str, access_token: str | None = None) -> dict[str, Any]:
        """Fetch a JSON object. Raises ProviderUnavailable and, for 401 and 403, ProviderRefused."""
        return await self._json("GET", url, access_token=access_token)

    async def post_form(self, url: str, form: dict[str, str]) -> dict[str, Any]:
        """Send a form and give the JSON object of the answer. Raises ProviderUnavailable and ProviderRefused."""
        return await self._json("POST", url, form=form)

    async def _json(
        self, method: str, url: str, *, access_token: str | None = None, form: dict[str, str] | None = None
    ) -> dict[str, Any]:
        headers = {"Accept": "application/json"}
        if access_token is not None:
            headers["Authorization"] = f"Bearer {access_token}"
        host = urlsplit(url).netloc
        try:
            async with asyncio.timeout(TOTAL_SECONDS), httpx2.AsyncClient(**client_options(self._context)) as client:
                answer = await client.request(method, url, headers=headers, data=form)
                value = answer.json() if answer.is_success or form is not None else None
        except (httpx2.HTTPError, ValueError, TimeoutError, RecursionError) as error:
            raise ProviderUnavailable(f"the OpenID provider at {host}: {_reason(error)}") from error
        if answer.status_code in {401, 403}:
            raise ProviderRefused(f"the OpenID provider at {host} answered with status {answer.status_code}")
        if not isinstance(value, dict):
            raise ProviderUnavailable(f"the OpenID provider at {host} answered with status {answer.status_code}")
        return value

    async def _fetch_metadata(self) -> Metadata:
        found = await self.get_json(f"{self.issuer.rstrip('/')}/.well-known/openid-configuration")
        try:
            metadata = Metadata.model_validate(found)
        except ValidationError as error:
            fields = ", ".join(".".join(str(part) for part in item["loc"]) for item in error.errors())
            raise ProviderUnavailable(f"the metadata of the OpenID provider is wrong: {fields}") from error
        if metadata.issuer != self.issuer:
            raise ProviderUnavailable(
                f"the OpenID provider names another issuer ('{metadata.issuer[:200]}') than the setting oidc_issuer"
            )
        methods = metadata.code_challenge_methods_supported
        if methods is not None and "S256" not in methods:
            raise ProviderUnavailable("the OpenID provider does not know PKCE with S256")
        return metadata

    async def _fetch_keys(self) -> Keys:
        metadata = await self.metadata()
        keys = Keys.read(await self.get_json(metadata.jwks_uri))
        if not keys:
            raise ProviderUnavailable("the OpenID provider publishes no key that can be used")
        return keys


class ProviderRefused(ProviderUnavailable):
    """The provider answered that it does not want to: 401 or 403."""


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError | httpx2.TimeoutException):
        return "it did not answer in time"
    if isinstance(error, ValueError | RecursionError) and not isinstance(error, httpx2.HTTPError):
        return "its answer is not JSON"
    return str(error) or type(error).__name__
