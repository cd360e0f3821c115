"""All services behind the application: made in one place, started and stopped in order."""

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from fastapi import FastAPI

from infraxys.durable.engine import DurableEngine
from infraxys.durable.reaper import Reaper
from infraxys.engine.attachments import Attachment
from infraxys.engine.backends.base import BackendUnavailable, StartFailed
from infraxys.engine.backends.bubblewrap import BubblewrapBackend
from infraxys.engine.plan import PlannedModule
from infraxys.engine.runtime import StepRuntime
from infraxys.kit.clock import new_id
from infraxys.resources.errors import ResourceError
from infraxys.resources.store import ModuleStore
from infraxys.server.accounts.service import Accounts
from infraxys.server.audit.refusals import Refusals
from infraxys.server.auth import run_tokens, setup
from infraxys.server.auth.access import AccessControl
from infraxys.server.auth.authenticate import Authenticator
from infraxys.server.auth.places import Place
from infraxys.server.auth.rate_limits import RateLimits
from infraxys.server.auth.rights import IncludedContainer
from infraxys.server.auth.tokens import TokenKey
from infraxys.server.backends import make_backend, make_images, start_clearing
from infraxys.server.caches.host_mounts import HostMounts
from infraxys.server.caches.places import CacheFolders
from infraxys.server.caches.store import CacheStore
from infraxys.server.catalog.catalog import Catalog
from infraxys.server.catalog.instances import Instances
from infraxys.server.data_folder import DataFolder
from infraxys.server.db.engine import Database, DatabaseUnavailable
from infraxys.server.db.migrate import migrate
from infraxys.server.live.endpoints import LiveConnections
from infraxys.server.modules.service import EXAMPLE, Modules
from infraxys.server.paths import API
from infraxys.server.runs.artefacts import Artefacts
from infraxys.server.runs.execution import RunExecution
from infraxys.server.runs.instance_requests import InstanceRequests
from infraxys.server.runs.lists import AttributeLists
from infraxys.server.runs.repository import DatabaseHeartbeats
from infraxys.server.runs.rights import Starters
from infraxys.server.runs.submit import Runs
from infraxys.server.runs.transitions import Watchers
from infraxys.server.settings import Settings
from infraxys.server.variables.keys import key_ring
from infraxys.server.variables.repository import are_any_sealed
from infraxys.server.variables.resolver import VariableResolver
from infraxys.server.variables.service import VariableService
from infraxys.server.variables.vault import Vault
from infraxys.spec.identity import BranchPath

if TYPE_CHECKING:  # imported where there is a provider
    from infraxys.server.auth.openid.service import OpenId


class Services:
    """What the endpoints use. `start` on the event loop before the first request, `stop` after the last."""

    authenticator: Authenticator
    access: AccessControl
    accounts: Accounts
    openid: "OpenId | None"
    catalog: Catalog
    modules: Modules
    instances: Instances
    variables: VariableService
    variable_resolver: VariableResolver
    runs: Runs
    caches: CacheStore
    artefacts: Artefacts
    lists: AttributeLists

    def __init__(self, settings: Settings, folder: DataFolder, on_ready: Callable[["Services"], None]) -> None:
        self.settings, self.folder = settings, folder
        self._is_drained = self.has_example = False
        self._on_ready = on_ready
        self.database = Database(settings.database)
        self.rate_limits = RateLimits(settings)
        self.refusals = Refusals(self.database)
        self.live = LiveConnections()
        # The secret of a link for the first administrator, with its end; None where there is one, or no need.
        self.setup_link: tuple[str, datetime] | None = None
        self.executor_id = f"{socket.gethostname()[:40]}-{os.getpid()}-{new_id()[-12:]}"

    @asynccontextmanager
    async def lifespan(self, app: FastAPI) -> AsyncIterator[None]:
        """Start before the first request, stop after the last one."""
        del app
        await self.start()
        try:
            yield
        finally:
            await self.stop()

    async def start(self) -> None:
        """Bring everything up. Raises BackendUnavailable, DatabaseUnavailable and NewerSchema."""
        settings, folder = self.settings, self.folder
        backend = asyncio.create_task(asyncio.to_thread(make_backend, settings, folder))  # takes longest
        await asyncio.to_thread(migrate, self.database)
        key = self._key = TokenKey(folder.keys / "tokens.key")
        idle = timedelta(seconds=settings.session_idle)
        self.authenticator = Authenticator(
            self.database,
            key,
            is_developer=settings.mode == "developer",
            rate_limits=self.rate_limits,
            session_idle=idle,
        )
        self.access = AccessControl(self.database, requires_team=settings.requires_team)
        await self.access.refresh()
        self._access_watch = asyncio.create_task(self.access.watch())
        self.accounts = Accounts(
            self.database, key, session_idle=idle, session_lifetime=timedelta(seconds=settings.session_lifetime)
        )
        self.openid = await asyncio.to_thread(self._make_openid)
        if self.openid is not None:
            self.authenticator.bearers.append(self.openid.bearer)
            self.openid.watch.start()
        self.store = ModuleStore(
            folder.modules,
            folder.work / "modules",
            settings.schemes,
            allow_private=settings.allows_private_hosts,
            timeout=settings.git_timeout,
        )
        self.catalog = Catalog(self.store.snapshot, self.store.branch_of, self._included_in, settings.template_rules)
        self.modules = Modules(self.database, self.store, self.catalog.set_heads, edits=settings.edits)
        self.instances = Instances(self.catalog, self.modules)
        await asyncio.to_thread(self._make_variables)
        if settings.mode == "server":
            self.setup_link = await self.database.awrite(setup.create_link)
        self.backend = await backend
        await self._start_execution()
        await self._register_example(await self.modules.load())
        # From here on runs of an earlier process may start: they need the modules, and others must know who has them.
        await asyncio.to_thread(self._reaper.announce)
        await asyncio.to_thread(self.engine.start)
        await asyncio.to_thread(self.runs.reconcile)
        await asyncio.to_thread(self._reaper.start)
        self._on_ready(self)

    def _make_openid(self) -> "OpenId | None":
        """Make sign-in by the OpenID provider, where one is set. Raises OSError when a file of it cannot be read."""
        settings = self.settings
        if settings.oidc_issuer is None or settings.mode == "developer":
            return None
        from infraxys.server.auth.openid.service import OpenId  # noqa: PLC0415 - most servers never need it

        public_url = settings.public_url or f"https://localhost:{settings.port}"
        key = self.folder.keys / "openid.key"
        return OpenId(settings, settings.oidc_issuer, self.database, key, public_url.rstrip("/"))

    def _make_variables(self) -> None:
        """Make the services of variables. Raises KeyProblem."""
        settings = self.settings
        keys = key_ring(settings, settings.data_dir)
        keys.open(is_needed=self.database.read_now(are_any_sealed))
        make_vault = None if settings.vault_url is None else partial(Vault, settings)
        self.variables = VariableService(keys)
        self.variable_resolver = VariableResolver(self.database, self.access, keys, make_vault)

    async def _start_execution(self) -> None:
        settings, folder = self.settings, self.folder
        backend = self.backend
        self.caches = CacheStore(folder.caches, folder.accounts.gid, settings.cache_quota)
        self.artefacts = Artefacts(folder.artefacts, folder.accounts.gid, settings.artefact_limit)
        await asyncio.to_thread(self.caches.prepare)
        await asyncio.to_thread(self.artefacts.prepare)
        self.images = make_images(settings, folder, backend)
        runtime = StepRuntime(
            backend,
            folder.work,
            self._export,
            runs=backend.runs_folder() if isinstance(backend, BubblewrapBackend) else None,
            usual=settings.usual_allowance,
            most=settings.most_allowed,
            grace_seconds=settings.kill_grace,
            certificates=await asyncio.to_thread(certificates, settings, folder),
            attachments=self._attachments(),
            images=self.images,
        )
        await asyncio.to_thread(runtime.prepare)
        await self.backend.probe()
        self._clearing = start_clearing(self.images, settings)
        self.runtime = runtime
        watchers = Watchers(asyncio.get_running_loop())
        execution = RunExecution(
            self.database,
            self.catalog,
            runtime,
            watchers,
            logs=folder.logs,
            executor_id=self.executor_id,
            log_limit=settings.log_limit,
            rest_endpoint=rest_endpoint(settings),
            run_token=partial(run_tokens.make, self._key),
            starters=Starters(self.database, self.access),
            variables=self.variable_resolver,
            requests=InstanceRequests(self.database, self.access, self.instances),
        )
        self.variables.tell = execution.hide
        self.engine = DurableEngine(execution, settings.engine, executor_id=self.executor_id, slots=settings.slots)
        loop = asyncio.get_running_loop()
        alone = self.database.is_sqlite and settings.engine.startswith("sqlite")
        heartbeats = None if alone else DatabaseHeartbeats(self.database, socket.gethostname(), os.getpid())
        self._reaper = Reaper(
            self.engine,
            heartbeats,
            lost_ownership=lambda: asyncio.run_coroutine_threadsafe(self._end_all(), loop).result(),
        )
        self.runs = Runs(self.database, self.catalog, self.engine, execution, watchers, slots=settings.slots)
        self.lists = AttributeLists(runtime, execution)
        self.caches.start(lambda project_id: project_id not in self.access.policy.parents)

    def _attachments(self) -> tuple[Attachment, ...]:
        """Give what makes folders that stay; a cluster cannot write to those of this machine."""
        settings, folder = self.settings, self.folder
        if settings.backend == "kubernetes":
            return ()
        host_mounts = HostMounts.configured(
            settings.host_mounts, settings.mode, (folder.path, folder.work, folder.kept)
        )
        return (CacheFolders(self.caches, lambda: self.access.policy), self.artefacts, *host_mounts)

    async def _register_example(self, registered: Collection[BranchPath]) -> None:
        """Register the example module where there is no module yet; once, so that it can be removed."""
        directory, given = examples_directory(), self.folder.path / "example-given"
        self.has_example = EXAMPLE in registered
        if registered or self.settings.no_examples or directory is None or given.exists():
            return
        await self.modules.add_hosted(EXAMPLE.module, directory / EXAMPLE.module.repo, EXAMPLE.branch)
        given.touch()
        self.has_example = True

    async def _end_all(self) -> None:
        """End every action of this process: its runs may belong to others by now."""
        self.runs.execution.stop_all()

    def _included_in(self, place: Place) -> tuple[IncludedContainer, ...]:
        return self.access.policy.included_in(place.module, place.branch, place.environment_id)

    def _export(self, module: PlannedModule) -> Path:
        try:
            return self.store.export(module.path.module, module.commit)
        except ResourceError as error:
            raise StartFailed(str(error)) from error

    async def readiness(self) -> tuple[bool, str]:
        """Tell whether runs can be taken, and if not, why."""
        try:
            await self.database.aread(lambda connection: connection.exec_driver_sql("SELECT 1").scalar())
        except DatabaseUnavailable as error:
            return False, str(error)
        return True, ""

    async def drain(self) -> None:
        """Start nothing more, let running actions finish within the grace, then end them. Once."""
        if self._is_drained:
            return
        self._is_drained = True
        loop = asyncio.get_running_loop()

        def end_steps() -> None:
            loop.call_soon_threadsafe(self.runs.execution.stop_all)

        await asyncio.to_thread(self.engine.stop, self.settings.grace, end_steps)
        self.runs.execution.stop_all()  # what was started ahead

    async def stop(self) -> None:
        """Close everything."""
        await self.drain()
        await self._clearing
        await self.backend.close()
        await self.images.close()
        await self.runtime.close()
        self.runs.close()
        self.variable_resolver.close()
        await asyncio.to_thread(self.caches.stop)
        await asyncio.to_thread(self._reaper.stop)
        self._access_watch.cancel()
        if self.openid is not None:
            await self.openid.watch.stop()
        await self.refusals.flush()
        await asyncio.to_thread(self.accounts.close)
        await asyncio.to_thread(self.database.close)


def rest_endpoint(settings: Settings) -> str:
    """Give where actions reach the API: on this host, or by the name that a given certificate is for."""
    if settings.tls_cert is not None and settings.public_url is not None:
        return f"{settings.public_url.rstrip('/')}{API}"
    scheme = "http" if settings.no_tls else "https"
    everywhere = {"127.0.0.1", "::1", "0.0.0.0", "::"}  # noqa: S104 - compared
    host = "localhost" if settings.host in everywhere else settings.host
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{settings.port}{API}"


def certificates(settings: Settings, folder: DataFolder) -> bytes | None:
    """Give what clients on this host check the server's certificate by: our own, else what the host trusts."""
    if settings.no_tls:
        return None
    trusted = ssl.get_default_verify_paths().cafile
    path = folder.tls / "server.crt" if settings.tls_cert is None else Path(trusted or "")
    return path.read_bytes() if path.is_file() else None


def examples_directory() -> Path | None:
    """Find the example modules: in the installed package, else in the checkout."""
    package = Path(__file__).parents[1]
    for candidate in (package / "examples" / "modules", package.parents[1] / "examples" / "modules"):
        if candidate.is_dir():
            return candidate
    return None


__all__ = ["BackendUnavailable", "Services"]
