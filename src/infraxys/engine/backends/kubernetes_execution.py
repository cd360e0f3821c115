"""One action as a Job: its Secrets, its pod, its log, its end."""

import asyncio
import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import WebSocketException

from infraxys.engine.backends.base import ActionSpec, Exit, Image, StartFailed
from infraxys.engine.backends.kubernetes_api import CONFLICT, NOT_FOUND, STDIN, ClusterError, KubernetesApi
from infraxys.engine.backends.kubernetes_log import LogLines
from infraxys.engine.backends.kubernetes_manifest import (
    ACTION,
    HELPER,
    PART_BYTES,
    Names,
    build_job,
    build_registry_secret,
    build_secrets,
    pack,
)
from infraxys.engine.backends.remote import RemoteExecution

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 1.0  # between two looks at a pod
PATIENCE_SECONDS = 10.0  # before it is said what a pod waits for
SILENCE_SECONDS = 60.0  # of a cluster that answered before
REMOVE_SECONDS = 30.0
# What a container waits for in vain. An image that could not be pulled once may come the next time.
FATAL = frozenset(
    {"ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "CreateContainerConfigError", "CreateContainerError",
     "RunContainerError", "ImageInspectError"}
)  # fmt: skip
OUT_OF_MEMORY = "OOMKilled"
KILLED = 137

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class JobOrder:
    """An action to execute as a Job."""

    action: ActionSpec
    image: Image
    names: Names
    helper_image: str


class JobExecution(RemoteExecution):
    """An action in a pod of a cluster. Made by the Kubernetes backend."""

    def __init__(
        self,
        api: KubernetesApi,
        order: JobOrder,
        release: Callable[[RemoteExecution], None],
        hidden: str,
        *,
        is_held: bool,
    ) -> None:
        self._api, self._order, self._name = api, order, order.names.job
        self._creating: asyncio.Task[Json] | None = None
        self._pod = ""
        self._stdin: ClientConnection | None = None
        self._writing = asyncio.Lock()
        super().__init__(release, hidden, is_held=is_held)

    async def write(self, data: bytes, *, is_hidden: bool = False) -> None:
        """Give bytes to the action's standard input; does nothing once it has ended."""
        del is_hidden
        await asyncio.wait([self._begin])
        async with self._writing:
            if self._finished.done() or not self._pod:
                return
            with suppress(ClusterError, WebSocketException, OSError):
                if self._stdin is None:
                    self._stdin = await self._api.attach(self._pod, ACTION)
                await self._stdin.send(STDIN + data)

    async def _bring_up(self) -> None:
        order = self._order
        try:
            archive = await asyncio.to_thread(pack, order.action.mounts)
            names = replace(order.names, parts=max(1, math.ceil(len(archive) / PART_BYTES)))
            manifest = build_job(order.action, order.image, names, order.helper_image)
        except ValueError as error:
            raise StartFailed(str(error)) from error
        except OSError as error:
            raise StartFailed(f"the server cannot read its files: {error.strerror}") from error
        self._creating = self._loop.create_task(self._api.create_job(manifest))
        job = await asyncio.shield(self._creating)
        for secret in build_secrets(archive, names, job):
            await self._api.create_secret(secret)
        if order.image.credentials is not None:
            await self._api.create_secret(build_registry_secret(order.image.credentials, names, job))
        await self._pass_gate()
        await self._api.begin_job(self._name)

    async def _end(self) -> Exit:
        status = await self._started_container()
        if not status:
            return self._describe(KILLED, is_out_of_memory=False)
        if image := status.get("imageID"):
            await self._tell(f"image {self._order.image.reference} is {image}")
        end = await self._follow_log()
        return self._describe(int(end.get("exitCode") or 0), is_out_of_memory=end.get("reason") == OUT_OF_MEMORY)

    async def _started_container(self) -> Json:
        """Wait until the action's container runs, or has run; {} when it was ended before.

        Raises ClusterError when it never will.
        """
        pause = FIRST_PAUSE
        told_at: float | None = self._loop.time() + PATIENCE_SECONDS
        while True:
            pod = await self._look()
            if pod is not None:
                self._pod = str(pod["metadata"]["name"])
                status = container_status(pod, ACTION)
                if any(kind in status.get("state", {}) for kind in ("running", "terminated")):
                    return status
                if (problem := problem_of(pod)) is not None:
                    raise ClusterError(problem)
            elif self._terminating is not None:
                return {}
            if told_at is not None and self._loop.time() > told_at:
                told_at = None
                await self._tell(f"waiting for the cluster: {waiting_for(pod)}")
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _look(self) -> Json | None:
        """Give the pod; a cluster that does not answer for a while is waited for. Raises ClusterError."""
        give_up_at = self._loop.time() + SILENCE_SECONDS
        while True:
            try:
                return await self._api.find_pod(f"infraxys/job={self._name}")
            except ClusterError as error:
                if 0 < error.status < 500 or self._loop.time() > give_up_at:
                    raise ClusterError(f"the pod was lost while the action ran: {error}") from error
            await asyncio.sleep(LONGEST_PAUSE)

    async def _follow_log(self) -> Json:
        """Read the log to its end and give how the container ended. Raises ClusterError.

        The log is complete when it was read to its end after the container had ended.
        """
        lines, pause, end = LogLines(), FIRST_PAUSE, None
        give_up_at = self._loop.time() + SILENCE_SECONDS
        while True:
            is_last, before = end is not None, lines.since
            is_whole = await self._read_log(lines)
            if end is not None and is_last and is_whole:
                return end
            if is_whole or lines.since != before:
                pause, give_up_at = FIRST_PAUSE, self._loop.time() + SILENCE_SECONDS
            if end is None:
                end = await self._terminated()
            elif self._loop.time() > give_up_at:
                await self._tell("the rest of the log could not be read from the cluster")
                return end
            if end is None or not is_whole:
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)

    async def _read_log(self, lines: LogLines) -> bool:
        """Read what is new of the log, to its end. False when it broke off before."""
        lines.restart()
        try:
            async with self._api.log(self._pod, ACTION, lines.since) as stream:
                async for data in stream:
                    if chunks := lines.feed(data):
                        await self._ahead.put(chunks)
        except ClusterError as error:
            return error.status == NOT_FOUND
        return True

    async def _terminated(self) -> Json | None:
        """Say how the container ended; None while it runs. Raises ClusterError when its pod is gone."""
        pod = await self._look()
        if pod is None:
            if self._terminating is not None:
                return {"exitCode": KILLED}
            raise ClusterError("the pod is gone: somebody or something else has deleted it")
        terminated: Json | None = container_status(pod, ACTION).get("state", {}).get("terminated")
        if terminated is None and pod.get("status", {}).get("phase") == "Failed":
            raise ClusterError(f"the cluster has ended the pod: {reason_of(pod['status'])}")
        return terminated

    async def _ask_to_end(self, grace_seconds: float) -> None:
        with suppress(ClusterError):
            if self._pod:
                await self._api.delete_pod(self._pod, max(1, math.ceil(grace_seconds)))
            else:
                await self._api.delete_job(self._name)

    async def _kill(self) -> None:
        with suppress(ClusterError):
            if self._pod:
                await self._api.delete_pod(self._pod, 0)
            await self._api.delete_job(self._name)

    async def _dismantle(self) -> None:
        """Remove the Job, and with it all that it owns; what the cluster does not remove now, it does after a time."""
        if self._creating is None:
            return
        await asyncio.gather(self._creating, return_exceptions=True)
        if self._stdin is not None:
            with suppress(WebSocketException, OSError):
                await self._stdin.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(REMOVE_SECONDS):
                while True:
                    try:
                        await self._api.delete_job(self._name)
                    except ClusterError as error:
                        if 0 < error.status < 500 and error.status != CONFLICT:
                            return
                        await asyncio.sleep(LONGEST_PAUSE)
                    else:
                        return


def container_status(pod: Json, name: str) -> Json:
    """Give what the cluster says of a container of a pod; {} before it says anything."""
    status = pod.get("status") or {}
    for one in [*(status.get("containerStatuses") or []), *(status.get("initContainerStatuses") or [])]:
        if one.get("name") == name:
            found: Json = one
            return found
    return {}


def problem_of(pod: Json) -> str | None:
    """Say why the action of a pod will never begin; None while it may."""
    for name in (ACTION, HELPER):
        state = container_status(pod, name).get("state") or {}
        waiting, terminated = state.get("waiting") or {}, state.get("terminated") or {}
        if waiting.get("reason") in FATAL:
            return reason_of(waiting)
        if name == HELPER and terminated.get("exitCode"):
            return f"its files could not be unpacked in the cluster: {reason_of(terminated)}"
    status = pod.get("status") or {}
    return f"the cluster has ended the pod: {reason_of(status)}" if status.get("phase") == "Failed" else None


def reason_of(status: Json) -> str:
    """Put reason and message together."""
    return ": ".join(str(status[key])[:1000] for key in ("reason", "message") if status.get(key)) or "no reason given"


def waiting_for(pod: Json | None) -> str:
    """Say what a pod waits for."""
    if pod is None:
        return "it has made no pod yet; see the events of the Job"
    for condition in pod.get("status", {}).get("conditions") or []:
        if condition.get("type") == "PodScheduled" and condition.get("status") != "True":
            return reason_of(condition)
    waiting = container_status(pod, ACTION).get("state", {}).get("waiting") or {}
    return reason_of(waiting)
