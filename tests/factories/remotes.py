"""Git servers on loopback, also those that misbehave."""

import base64
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self

from factories.repositories import GitRepository


class HttpRemote(ThreadingHTTPServer):
    """Serves the repositories below a folder over HTTP, as plain files. Notes the paths that were asked for."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), partial(_Handler, directory=str(folder)))
        self.asked: list[str] = []
        self.password = ""  # of the user `ci`
        self.redirects: dict[str, str] = {}  # first part of a path to what it becomes
        self.answer = 200  # anything else is the status of every answer

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class _Handler(SimpleHTTPRequestHandler):
    server: HttpRemote

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        wanted = "Basic " + base64.b64encode(f"ci:{self.server.password}".encode()).decode()
        if self.server.answer != 200:
            self.send_error(self.server.answer)
        elif self.server.password and self.headers.get("Authorization") != wanted:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="git"')
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif target := next((new for old, new in self.server.redirects.items() if self.path.startswith(old)), None):
            old = next(old for old in self.server.redirects if self.path.startswith(old))
            self.send_response(301)
            self.send_header("Location", target + self.path.removeprefix(old))
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            super().do_GET()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def http_remote(folder: Path, *, certificate: tuple[Path, Path] | None = None) -> Iterator[HttpRemote]:
    """Serve a folder; with a certificate and its key over TLS."""
    server = HttpRemote(folder)
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        server.handle_error = lambda *_: None  # type: ignore[method-assign] - clients that do not trust it hang up
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def published(folder: Path, name: str) -> GitRepository:
    """Make a repository that can be served as files; call `publish` after each commit."""
    return GitRepository(folder / name)


def publish(repository: GitRepository) -> None:
    """Write what HTTP without a Git service needs."""
    repository.git("update-server-info")


class SilentRemote:
    """Accepts connections and sends nothing, or only `greeting`. Tells when the other side has gone."""

    def __init__(self, greeting: bytes = b"", *, hang_up: bool = False) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.greeting, self.hang_up = greeting, hang_up
        self.accepted, self.left = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                self.accepted.set()
                connection.settimeout(20)
                try:
                    connection.sendall(self.greeting)
                    while not self.hang_up and connection.recv(65536):
                        pass
                except OSError:
                    pass
            self.left.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
