"""Actions as Jobs of a Kubernetes cluster."""

import asyncio
import logging
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from infraxys.engine.backends.base import ActionSpec, BackendUnavailable, Image, Startable, StartFailed, made
from infraxys.engine.backends.kubernetes_access import Access
from infraxys.engine.backends.kubernetes_api import ClusterError, KubernetesApi
from infraxys.engine.backends.kubernetes_execution import JobExecution, JobOrder
from infraxys.engine.backends.kubernetes_manifest import NO_NETWORK_POLICY, WORK, Names, build_job, job_name
from infraxys.engine.backends.remote import RemoteExecution
from infraxys.kit.clock import new_id

logger = logging.getLogger(__name__)
ENVIRONMENT = {"LANG": "C.UTF-8"}


class KubernetesBackend:
    """Runs actions as Jobs. `work` is where what this server has made in the cluster is remembered by a mark.

    `image`: what actions run in that name none. `helper_image`: has a shell, tar and gzip, to unpack the files.
    """

    name = "kubernetes"

    def __init__(self, work: Path, access: Access, *, image: Image, helper_image: str) -> None:
        self._work, self._access, self._image, self._helper_image = work.absolute(), access, image, helper_image
        self._api = KubernetesApi(access)
        self._mark = ""
        self._version = ""
        self._has_policy = False
        self._running: set[RemoteExecution] = set()
        self._is_closed = False

    @property
    def described(self) -> str:
        """What the cluster is, for people."""
        policy = (
            "" if self._has_policy else f"; no NetworkPolicy {NO_NETWORK_POLICY}: actions without network are refused"
        )
        return f"Kubernetes {self._version} at {self._access.server}, namespace {self._access.namespace}{policy}"

    async def probe(self) -> None:
        """Ask whether the cluster would take a Job, and remove what a killed server left. Raises BackendUnavailable."""
        self._mark = await asyncio.to_thread(mark_of, self._work)
        action = ActionSpec("probe", "probe", ("/bin/true",), ENVIRONMENT, "/")
        manifest = build_job(
            action, self._image, Names(job_name(self._mark, new_id()), self._mark, 1), self._helper_image
        )
        try:
            self._version = await self._api.version()
            self._has_policy = await self._api.has_network_policy(NO_NETWORK_POLICY)
            await self._api.create_job(manifest, is_trial=True)
            for job in await self._api.find_jobs(f"{WORK}={self._mark}"):
                await self._api.delete_job(job)
        except ClusterError as error:
            raise BackendUnavailable(f"the cluster at {self._access.server} cannot be used: {error}") from error

    async def start(self, action: Startable, *, is_held: bool = False) -> JobExecution:
        """Start one action; the cluster decides when there is room. Raises StartFailed."""
        action = await made(action)
        if self._is_closed or not self._mark:
            raise StartFailed("the server is stopping")
        if action.is_interactive:
            raise StartFailed("it is interactive, and actions in the cluster have no terminal")
        if action.network and action.is_loopback_refused:
            raise StartFailed("its network is 'loopback-refused', which Jobs cannot have: only 'on' and 'off'")
        if not action.network and not self._has_policy:
            message = (
                "it is to run without a network, and the cluster has no NetworkPolicy of the name "
                f"'{NO_NETWORK_POLICY}', by which that is done; see docs/operate/backends.md"
            )
            raise StartFailed(message)
        names = Names(job_name(self._mark, new_id()), self._mark)
        order = JobOrder(action, action.image or self._image, names, self._helper_image)
        execution = JobExecution(self._api, order, self._running.discard, str(self._work), is_held=is_held)
        self._running.add(execution)
        return execution

    def start_here(self, make: Callable[[], ActionSpec]) -> None:  # noqa: ARG002 - the protocol has it
        """Start nothing here."""
        return

    async def close(self) -> None:
        """End what still runs and remove everything the backend made."""
        self._is_closed = True
        running = list(self._running)
        await asyncio.gather(*(execution.terminate(0) for execution in running))
        await asyncio.gather(*(execution.wait() for execution in running))
        await self._api.close()


def mark_of(work: Path) -> str:
    """Give what marks things of this server in a cluster, where the path of a folder says nothing. Blocks.

    Raises BackendUnavailable.
    """
    file = work / "kubernetes-mark"
    try:
        work.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError), file.open("x") as new:
            new.write(uuid.uuid4().hex[:12])
        return file.read_text().strip()
    except OSError as error:
        raise BackendUnavailable(f"the work folder cannot be written: {error.strerror}") from error
