"""Requests to the provider: certificates checked, answers bounded in size and time, redirects never followed."""

import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2

MAX_ANSWER = 512 * 1024
TOTAL_SECONDS = 15.0
_TIMEOUT = httpx2.Timeout(10.0, connect=5.0)


class AnswerRefused(httpx2.TransportError):
    """The answer is too large, or compressed, so that nobody knows how large it is."""


class _Bounded(httpx2.AsyncByteStream):
    def __init__(self, stream: httpx2.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for chunk in self._stream:
            size += len(chunk)
            if size > MAX_ANSWER:
                raise AnswerRefused(f"the answer is larger than {MAX_ANSWER} bytes")
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()


async def _bound(response: httpx2.Response) -> None:
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        raise AnswerRefused("the answer is compressed, which was not asked for")
    if isinstance(response.stream, httpx2.AsyncByteStream):
        response.stream = _Bounded(response.stream)


def tls_context(ca: Path | None) -> ssl.SSLContext:
    """Trust what the machine trusts, or only the authorities in a PEM file. Raises OSError when it cannot be read."""
    try:
        return ssl.create_default_context(cafile=str(ca) if ca else None)
    except OSError as error:
        raise OSError(
            f"the file '{ca}' of the setting oidc_ca cannot be read, or holds no certificate (PEM)"
        ) from error


def client_options(context: ssl.SSLContext) -> dict[str, Any]:
    """Give what every client of the provider is made with."""
    return {
        "verify": context,
        "timeout": _TIMEOUT,
        "follow_redirects": False,
        "headers": {"Accept-Encoding": "identity"},
        "event_hooks": {"response": [_bound]},
    }
