"""The Kubernetes HTTP API: what of it executing an action needs."""

import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote, urlencode

import httpx2
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException
from websockets.typing import Subprotocol

from infraxys.engine.backends.kubernetes_access import Access, TokenAuth
from infraxys.engine.backends.remote import RemoteError

SECONDS = 30.0
STDIN = b"\0"  # the channel of standard input
PROTOCOLS = [Subprotocol("v5.channel.k8s.io"), Subprotocol("v4.channel.k8s.io")]
NOT_FOUND, CONFLICT = 404, 409

Json = dict[str, Any]


class ClusterError(RemoteError):
    """What the cluster says."""


class KubernetesApi:
    """Speaks to the API server, in one namespace. Methods raise ClusterError."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._client = httpx2.AsyncClient(
            base_url=access.server,
            verify=access.tls if access.tls is not None else True,
            auth=TokenAuth(access),
            timeout=SECONDS,
            trust_env=False,
            limits=httpx2.Limits(max_connections=None),
        )
        space = quote(access.namespace, safe="")
        self._core, self._batch = f"/api/v1/namespaces/{space}", f"/apis/batch/v1/namespaces/{space}"
        self._networking = f"/apis/networking.k8s.io/v1/namespaces/{space}"

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def version(self) -> str:
        """Ask for the version of the cluster."""
        return str((await self._call("GET", "/version")).get("gitVersion", "unknown"))

    async def create_job(self, manifest: Json, *, is_trial: bool = False) -> Json:
        """Make a Job; with `is_trial` only find out whether the cluster would."""
        return await self._call(
            "POST", f"{self._batch}/jobs", params={"dryRun": "All"} if is_trial else None, body=manifest
        )

    async def begin_job(self, name: str) -> None:
        """Let a suspended Job begin."""
        change = {"spec": {"suspend": False}}
        await self._call("PATCH", f"{self._batch}/jobs/{name}", body=change, kind="application/merge-patch+json")

    async def delete_job(self, name: str) -> None:
        """Remove a Job with its pod and its Secrets; nothing happens for one that is not there."""
        body = {"propagationPolicy": "Background", "gracePeriodSeconds": 0}
        await self._call("DELETE", f"{self._batch}/jobs/{name}", body=body, accepted=(NOT_FOUND,))

    async def find_jobs(self, selector: str) -> list[str]:
        """Give the names of the Jobs with labels."""
        answer = await self._call("GET", f"{self._batch}/jobs", params={"labelSelector": selector})
        return [str(item["metadata"]["name"]) for item in answer["items"]]

    async def create_secret(self, manifest: Json) -> None:
        """Make a Secret."""
        await self._call("POST", f"{self._core}/secrets", body=manifest)

    async def find_pod(self, selector: str) -> Json | None:
        """Give the newest pod with labels."""
        answer = await self._call("GET", f"{self._core}/pods", params={"labelSelector": selector})
        pods = sorted(answer["items"], key=lambda pod: str(pod["metadata"].get("creationTimestamp")))
        return pods[-1] if pods else None

    async def delete_pod(self, name: str, grace_seconds: int) -> None:
        """End a pod: SIGTERM, after the grace SIGKILL."""
        body = {"gracePeriodSeconds": grace_seconds}
        await self._call("DELETE", f"{self._core}/pods/{name}", body=body, accepted=(NOT_FOUND, CONFLICT))

    async def has_network_policy(self, name: str) -> bool:
        """Whether there is a NetworkPolicy of a name."""
        answer = await self._call("GET", f"{self._networking}/networkpolicies/{name}", accepted=(NOT_FOUND,))
        return answer.get("kind") == "NetworkPolicy"

    @asynccontextmanager
    async def log(self, pod: str, container: str, since: str | None) -> AsyncIterator[AsyncIterator[bytes]]:
        """Follow the log of a container: lines with the time before each, from a second on (RFC 3339)."""
        parameters = {"container": container, "follow": "true", "timestamps": "true"}
        if since is not None:
            parameters["sinceTime"] = since
        timeout = httpx2.Timeout(SECONDS, read=None)
        url = f"{self._core}/pods/{pod}/log"
        try:
            async with self._client.stream("GET", url, params=parameters, timeout=timeout) as answer:
                if answer.is_error:
                    raise refusal(answer.status_code, await answer.aread())
                yield answer.aiter_raw()
        except httpx2.HTTPError as error:
            raise unanswered(error) from error

    async def attach(self, pod: str, container: str) -> ClientConnection:
        """Take over the standard input of a container."""
        query = urlencode({"container": container, "stdin": "true", "stdout": "false", "stderr": "false"})
        address = re.sub("^http", "ws", self._access.server)
        headers = {"Authorization": f"Bearer {token}"} if (token := self._access.current_token()) else {}
        try:
            return await connect(
                f"{address}{self._core}/pods/{pod}/attach?{query}",
                subprotocols=PROTOCOLS,
                additional_headers=headers,
                ssl=self._access.tls,
                open_timeout=SECONDS,
                proxy=None,
            )
        except (OSError, WebSocketException, TimeoutError) as error:
            raise unanswered(error) from error

    async def _call(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Json | None = None,
        kind: str = "application/json",
        accepted: tuple[int, ...] = (),
    ) -> Json:
        content = None if body is None else json.dumps(body).encode()
        headers = {} if body is None else {"Content-Type": kind}
        try:
            answer = await self._client.request(method, path, params=params, content=content, headers=headers)
        except (httpx2.HTTPError, OSError) as error:
            raise unanswered(error) from error
        if answer.is_error and answer.status_code not in accepted:
            raise refusal(answer.status_code, answer.content)
        try:
            found = answer.json()
        except ValueError:
            found = {}
        return found if isinstance(found, dict) else {}


def unanswered(error: Exception) -> ClusterError:
    """Say that the cluster cannot be reached."""
    return ClusterError(f"the cluster does not answer: {str(error) or type(error).__name__}")


def refusal(status: int, said: bytes) -> ClusterError:
    """Give what the cluster said when it refused."""
    try:
        message = str(json.loads(said)["message"])
    except (ValueError, TypeError, KeyError):
        message = said[:1000].decode(errors="replace") or f"status {status}"
    return ClusterError(message, status)
