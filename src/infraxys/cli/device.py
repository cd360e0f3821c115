"""Signing in at the OpenID provider from a terminal (RFC 8628), refreshing that sign-in, and taking it back."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx2
from authlib.integrations.base_client import OAuthError

from infraxys.cli.output import Failed
from infraxys.server.auth.openid.provider import Provider, ProviderUnavailable

T = TypeVar("T")
GRANT = "urn:ietf:params:oauth:grant-type:device_code"
MAX_SECONDS = 1800
SLOW_DOWN_SECONDS = 5
# The server wants tokens no older than a minute, so that who is revoked at the provider is out by then.
USED_SECONDS = 60
MAX_CODE, MAX_URL = 40, 2000


def sign_in(issuer: str, device: Mapping[str, Any], say: Callable[[str], None]) -> dict[str, Any]:
    """Let the person sign in on another page; gives what is to be stored. Raises Failed."""
    return _run(_sign_in(issuer, device, say))


def refresh(entry: Mapping[str, Any], server: str) -> dict[str, Any]:
    """Give a stored sign-in with a new access token. Raises Failed."""
    if not entry.get("refreshToken"):
        raise Failed(f"the sign-in at {server} has ended: sign in again with 'infraxys login --server {server}'")
    return _run(_refresh(entry, server))


def revoke(entry: Mapping[str, Any]) -> None:
    """Take a stored sign-in back at the provider, where it offers that. Raises Failed."""
    _run(_revoke(entry))


def _run(work: Awaitable[T]) -> T:
    async def bounded() -> T:
        return await work

    try:
        return asyncio.run(bounded())
    except (ProviderUnavailable, httpx2.HTTPError, ValueError, OSError) as error:
        raise Failed(f"the OpenID provider cannot be used: {error}") from error


async def _sign_in(issuer: str, device: Mapping[str, Any], say: Callable[[str], None]) -> dict[str, Any]:
    provider = Provider(issuer)
    metadata = await provider.metadata()
    if metadata.device_authorization_endpoint is None:
        raise Failed("the OpenID provider has no sign-in for terminals; use a personal access token")
    form = {"client_id": device["clientId"], "scope": " ".join(device["scopes"]), **_resource(device)}
    begun = await provider.post_form(metadata.device_authorization_endpoint, form)
    if "error" in begun:
        raise Failed(f"the OpenID provider refused: {_plain(begun['error'], MAX_CODE)}")
    uri, code = _plain(begun.get("verification_uri"), MAX_URL), _plain(begun.get("user_code"), MAX_CODE)
    if urlsplit(uri).scheme != "https" or not code or not isinstance(begun.get("device_code"), str):
        raise Failed("the answer of the OpenID provider cannot be used")
    say(f"To sign in, open {uri} and enter the code {code}")
    interval = max(0.1, float(begun.get("interval", 5)))
    end = time.monotonic() + min(float(begun.get("expires_in", 600)), MAX_SECONDS)
    while time.monotonic() < end:
        await asyncio.sleep(interval)
        try:
            return await _token(
                provider, device, {"grant_type": GRANT, "device_code": begun["device_code"], **_resource(device)}
            )
        except OAuthError as error:
            if error.error == "slow_down":
                interval += SLOW_DOWN_SECONDS
            elif error.error != "authorization_pending":
                raise Failed(f"nobody was signed in: {_plain(error.error, MAX_CODE)}") from error
    raise Failed("nobody signed in in time")


async def _refresh(entry: Mapping[str, Any], server: str) -> dict[str, Any]:
    parameters = {"grant_type": "refresh_token", "refresh_token": entry["refreshToken"], **_resource(entry)}
    try:
        fresh = await _token(Provider(entry["issuer"]), entry, parameters)
    except OAuthError as error:
        raise Failed(
            f"the sign-in at {server} has ended ({_plain(error.error, MAX_CODE)}): sign in again with "
            f"'infraxys login --server {server}'"
        ) from error
    return {**fresh, "refreshToken": fresh["refreshToken"] or entry["refreshToken"]}


async def _revoke(entry: Mapping[str, Any]) -> None:
    provider = Provider(entry["issuer"])
    metadata = await provider.metadata()
    if metadata.revocation_endpoint is None or not entry.get("refreshToken"):
        return
    async with provider.client(entry["clientId"], None, metadata) as client:
        await client.revoke_token(metadata.revocation_endpoint, token=entry["refreshToken"])


async def _token(provider: Provider, client_of: Mapping[str, Any], parameters: Mapping[str, str]) -> dict[str, Any]:
    metadata = await provider.metadata()
    async with provider.client(client_of["clientId"], None, metadata) as client:
        token = await client.fetch_token(metadata.token_endpoint, **parameters)
    access_token = token.get("access_token")
    if not isinstance(access_token, str) or not access_token.isascii() or not access_token.isprintable():
        raise Failed("the OpenID provider gave no access token")
    return {
        "issuer": provider.issuer,
        "clientId": client_of["clientId"],
        "resource": client_of.get("resource"),
        "accessToken": access_token,
        "refreshToken": token.get("refresh_token"),
        "expiresAt": time.time() + min(float(token.get("expires_in", 300)), USED_SECONDS),
    }


def _resource(device: Mapping[str, Any]) -> dict[str, str]:
    return {"resource": device["resource"]} if device.get("resource") else {}


def _plain(text: object, length: int) -> str:
    """Give text of the provider as a terminal may show it."""
    shown = str(text) if isinstance(text, str) else ""
    return "".join(character for character in shown[:length] if character.isascii() and character.isprintable())
