"""Looking at the machine: is everything there that the server needs, and how is it mended."""

import asyncio
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from infraxys.engine.backends.base import BackendUnavailable, StartFailed
from infraxys.engine.backends.bubblewrap import BubblewrapBackend
from infraxys.engine.backends.container import ContainerBackend
from infraxys.engine.backends.container_api import find_socket
from infraxys.server.backends import default_image, describe_rules, make_kubernetes
from infraxys.server.data_folder import DataFolder
from infraxys.server.db.engine import Database, DatabaseUnavailable
from infraxys.server.db.migrate import HEAD, current_revision
from infraxys.server.settings import Settings

MIN_FREE = 1024**3


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    name: str
    is_ok: bool
    detail: str


class Broken(Exception):  # noqa: N818 - reads as a state
    """Something does not work; the message says what to do."""


def examine(settings: Settings) -> list[Finding]:
    """Look at everything; one failure does not keep the others from being looked at."""
    folder = DataFolder(settings.data_dir, settings.work_dir, settings.slots)
    checks: dict[str, Callable[[], str]] = {
        "data": lambda: check_folder(folder),
        "sandbox": lambda: check_sandbox(folder),
        "containers": lambda: check_containers(settings, folder),
        "kubernetes": lambda: check_kubernetes(settings, folder),
        "git": check_git,
        "database": lambda: check_database(settings.database),
        "engine": lambda: check_database_url(settings.engine),
        "clock": check_clock,
        "disk": lambda: check_disk(folder),
    }
    findings = []
    for name, look in checks.items():
        try:
            findings.append(Finding(name, is_ok=True, detail=look()))
        except (Broken, BackendUnavailable, DatabaseUnavailable, OSError) as error:
            findings.append(Finding(name, is_ok=False, detail=str(error)))
    return findings


def check_folder(folder: DataFolder) -> str:
    """Make the data folder."""
    folder.prepare()
    return f"{folder.path} (parts that actions see: {folder.work})"


def check_sandbox(folder: DataFolder) -> str:
    """Execute `true` with the real command line, in a work folder of its own."""
    work = folder.work.with_name(f"{folder.work.name}-doctor")
    backend = BubblewrapBackend(work, slots=1, accounts=folder.accounts)

    async def probe() -> tuple[float, str]:
        backend.prepare()
        started = time.monotonic()
        try:
            await backend.probe()
            seconds, own_network = time.monotonic() - started, "works"
            try:
                await backend.probe_own_network()
            except StartFailed as error:
                own_network = f"not here ({error})"
        finally:
            await backend.close()
        return seconds, own_network

    try:
        seconds, own_network = asyncio.run(probe())
    finally:
        shutil.rmtree(work, ignore_errors=True)
    works = f"bubblewrap works ({seconds * 1000:.0f} ms); limits by {backend.limits_by}"
    return f"{works}; network 'loopback-refused': {own_network}"


def check_containers(settings: Settings, folder: DataFolder) -> str:
    """Ask the container engine; no engine is no failure where nothing asks for one."""
    work = folder.work.with_name(f"{folder.work.name}-doctor")
    socket = settings.container_socket
    if settings.backend != "container" and socket is None and find_socket() is None:
        return "no container engine here: actions that name an image fail; install podman or Docker if there are any"
    backend = ContainerBackend(work, socket=socket, accounts=folder.accounts, image=default_image(settings))

    async def probe() -> str:
        try:
            await backend.probe()
        except BackendUnavailable as error:
            raise BackendUnavailable(f"{error} (socket {socket or find_socket()})") from error
        finally:
            await backend.close()
        return backend.described

    return f"{asyncio.run(probe())}; images that modules choose are {describe_rules(settings)}"


def check_kubernetes(settings: Settings, folder: DataFolder) -> str:
    """Ask the cluster whether it would take a Job, where the settings name it."""
    if settings.backend != "kubernetes":
        return "not used"
    backend = make_kubernetes(settings, folder)

    async def probe() -> str:
        try:
            await backend.probe()
        finally:
            await backend.close()
        return backend.described

    return asyncio.run(probe())


def check_git() -> str:
    """Ask for Git's version."""
    git = shutil.which("git")
    if git is None:
        raise Broken("git is not installed: apt-get install git")
    return subprocess.run([git, "--version"], capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603 - fixed arguments


def check_database(url: str) -> str:
    """Open the server's database and compare its schema."""
    database = Database(url)
    try:
        revision = current_revision(database)
    finally:
        database.close()
    if revision is not None and revision > HEAD:
        raise Broken(f"the database is of a newer Infraxys (schema {revision}, this one knows {HEAD})")
    return f"{database.url.get_backend_name()}, schema {revision or 'not made yet'}"


def check_database_url(url: str) -> str:
    """Open the engine's database."""
    database = Database(url)
    try:
        database.read_now(lambda connection: connection.exec_driver_sql("SELECT 1").scalar())
    finally:
        database.close()
    return database.url.get_backend_name()


def check_clock() -> str:
    """Refuse a clock that stands before this program was written."""
    year = time.gmtime().tm_year
    if year < 2026:
        raise Broken(f"the clock says {year}: certificates and tokens will not work; set it (timedatectl set-ntp true)")
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def check_disk(folder: DataFolder) -> str:
    """Look at the free space where data and work lie."""
    for path in (folder.path, folder.work):
        free = shutil.disk_usage(_existing(path)).free
        if free < MIN_FREE:
            raise Broken(f"only {free // 2**20} MiB are free in {path}; make room for at least {MIN_FREE // 2**20} MiB")
    return f"{shutil.disk_usage(_existing(folder.path)).free // 2**30} GiB free"


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path
