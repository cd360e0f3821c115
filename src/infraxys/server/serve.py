"""Starting the server: lock, certificate, socket, application; and stopping it in order."""

import asyncio
import gc
import ipaddress
import logging
import os
import resource
import signal
import socket
import ssl
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
import uvloop

from infraxys.engine.backends.base import BackendUnavailable
from infraxys.server.app import build_app
from infraxys.server.connections import Connection
from infraxys.server.data_folder import DataFolder, DataFolderInUse
from infraxys.server.db.engine import DatabaseUnavailable
from infraxys.server.db.migrate import NewerSchema
from infraxys.server.live.messages import MAX_MESSAGE
from infraxys.server.services import Services
from infraxys.server.settings import Settings
from infraxys.server.tls import self_signed
from infraxys.server.variables.keys import VARIABLE, KeyProblem

log = logging.getLogger(__name__)


CLOSE_SECONDS = 1.0  # for the other side to say goodbye
MOST_OPEN_FILES = 65_536
STREAM_SECONDS = 5  # for answers that are still being sent, once no run executes


class CannotServe(Exception):  # noqa: N818 - reads as what is wrong
    """The server does not start; the message is one line for the person who started it."""


class Server(uvicorn.Server):
    """Says that it is ready when it accepts requests; `drain` is awaited before it closes connections."""

    def __init__(
        self, config: uvicorn.Config, on_ready: Callable[[], None], drain: Callable[[], Awaitable[None]]
    ) -> None:
        super().__init__(config)
        self._on_ready, self._drain = on_ready, drain

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop in order on SIGTERM and SIGINT, and then end well: being told to stop is no failure."""
        earlier = {name: signal.signal(name, self.handle_exit) for name in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for name, handler in earlier.items():
                signal.signal(name, handler)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then say so."""
        try:
            await super().startup(sockets)
        except SystemExit:  # uvicorn's way to end; ours says why, see `run`
            self.should_exit = True
        if self.started:
            self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no new connections, let runs end while who waits for them is still connected, then close."""
        for server in self.servers:
            server.close()
        await self._drain()
        asyncio.get_running_loop().call_later(CLOSE_SECONDS, self._abort_idle)
        await super().shutdown(sockets)

    def _abort_idle(self) -> None:
        """Drop connections whose other side does not answer our goodbye; TLS would wait half a minute for it."""
        for connection in list(self.server_state.connections):
            transport = getattr(connection, "transport", None)
            cycle = getattr(connection, "cycle", None)
            if transport is not None and (cycle is None or cycle.response_complete):
                transport.abort()


def raise_open_files() -> None:
    """Let this process have as many files open as it may: each action and each connection needs some."""
    usual, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_OPEN_FILES if most == resource.RLIM_INFINITY else min(MOST_OPEN_FILES, most)
    if usual != resource.RLIM_INFINITY and usual < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def serve(settings: Settings, say: Callable[[str], None]) -> None:
    """Run the server until it is told to stop. `say` prints a line for people. Raises CannotServe."""
    check_bind(settings)
    # No core dump of this process or of an action holds a secret, and no program that is started gets the master key.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    raise_open_files()
    os.environ.pop(VARIABLE, None)
    folder = DataFolder(settings.data_dir, settings.work_dir, settings.slots)
    try:
        folder.prepare()
        folder.lock()
    except DataFolderInUse as error:
        raise CannotServe(str(error)) from error
    except OSError as error:
        said = f"{error.strerror}: '{error.filename}'" if error.filename else str(error)
        raise CannotServe(f"the data folder '{folder.path}' cannot be used: {said}") from error
    listener = listen(settings)
    port = listener.getsockname()[1]
    settings = settings.model_copy(update={"port": port})
    scheme = "http" if settings.no_tls else "https"
    host = "localhost" if settings.host in {"127.0.0.1", "::1", "0.0.0.0", "::"} else settings.host  # noqa: S104 - compared
    url = f"{scheme}://{host}:{port}"
    services = Services(settings, folder, lambda _services: None)

    def ready() -> None:
        # What was made at start stays for ever: the collector need not look through it again and again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(20_000, 20, 20)
        gc.enable()
        say(f"Infraxys is ready at {url}")
        if services.setup_link is not None:
            secret, end = services.setup_link
            link = f"{(settings.public_url or url).rstrip('/')}/setup#token={secret}"
            say(f"Create the administrator (once, until {end:%Y-%m-%d %H:%M} UTC): {link}")
        if services.has_example and not settings.no_examples:
            for line in example_calls(url, needs_token=settings.mode == "server"):
                say(line)

    certificate = choose_certificate(settings, folder)
    config = uvicorn.Config(
        build_app(services),
        loop="asyncio",
        http=Connection,
        ws="websockets-sansio",
        ws_max_size=MAX_MESSAGE,
        ws_per_message_deflate=False,  # a small message could be a large one inside
        log_config=None,
        access_log=False,
        # From anybody else X-Forwarded-For and X-Forwarded-Proto mean nothing.
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=settings.trusted_proxies,
        server_header=False,
        date_header=True,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=STREAM_SECONDS,
        ssl_certfile=certificate[0],
        ssl_keyfile=certificate[1],
    )
    server = Server(config, ready, services.drain)
    failure = run(server, listener)
    if failure is not None:
        raise CannotServe(str(failure)) from failure


def run(server: Server, listener: socket.socket) -> BaseException | None:
    """Run to the end; gives what kept the server from starting, if anything did."""
    failure: list[BaseException] = []
    inner = server.config.app.state.services.start  # type: ignore[union-attr]

    async def start() -> None:
        try:
            await inner()
        except (BackendUnavailable, DatabaseUnavailable, NewerSchema, KeyProblem, OSError) as error:
            failure.append(error)
            raise
        except Exception as error:
            log.exception("start_failed")
            failure.append(RuntimeError(f"the server did not start ({type(error).__name__}); see the log above"))
            raise

    server.config.app.state.services.start = start  # type: ignore[union-attr]
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL if not sys.flags.dev_mode else logging.INFO)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(server.serve(sockets=[listener]))
    if failure:
        return failure[0]
    return None if server.started else RuntimeError("the server did not start; see the log above")


def check_bind(settings: Settings) -> None:
    """Developer mode is for this machine only. Raises CannotServe."""
    if settings.mode != "developer":
        return
    try:
        loopback = ipaddress.ip_address(settings.host).is_loopback
    except ValueError:
        loopback = settings.host == "localhost"
    if not loopback:
        raise CannotServe(
            f"developer mode asks nobody for credentials and so listens on this machine only, not on {settings.host}; "
            "start with --mode server, or without --host"
        )


def listen(settings: Settings) -> socket.socket:
    """Open the listening socket. Raises CannotServe."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        listener.bind((settings.host, settings.port))
    except OSError as error:
        listener.close()
        reason = error.strerror or str(error)
        raise CannotServe(f"cannot listen on {settings.host} port {settings.port}: {reason}") from error
    return listener


def choose_certificate(settings: Settings, folder: DataFolder) -> tuple[Path | None, Path | None]:
    """Give certificate and key, or nothing for plain HTTP. Raises CannotServe."""
    if settings.no_tls:
        return None, None
    if (settings.tls_cert is None) != (settings.tls_key is None):
        raise CannotServe("--tls-cert and --tls-key belong together")
    if settings.tls_cert is not None and settings.tls_key is not None:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(settings.tls_cert, settings.tls_key, lambda: "")
        except OSError as error:
            raise CannotServe(
                f"certificate '{settings.tls_cert}' and key '{settings.tls_key}' cannot be used: "
                f"{error.strerror or error}; both are PEM files, the key without a password"
            ) from error
        return settings.tls_cert, settings.tls_key
    return self_signed(folder.tls, settings.host)


def example_calls(url: str, *, needs_token: bool) -> list[str]:
    """Give the two documented calls for the example module, ready to paste."""
    header = ' -H "Authorization: token $pat_token"' if needs_token else ""
    prefix = "7d0f3c1a-2b51-4c43-9a55-0c1c5a6f"
    body = '-H \'content-type: application/json\' -d \'{"asynchronous": false, "argument": {"ticketNumber": "1245"}}\''
    return [
        "",
        "An action of the example module:",
        f"  curl -k -X POST{header} {body} {url}/api/v1/instance/main/{prefix}5001/files/report.sh/execute",
        "Its workflow:",
        f"  curl -k -X POST{header} {body} {url}/api/v1/environment/main/{prefix}3001/workflow/{prefix}3101/execute",
    ]
