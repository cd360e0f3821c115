"""A server in server mode for tests of accounts, and browsers that sign in to it."""

import re
import shutil
import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from plugins.server import ServerProcess, make_folder, make_library

PASSWORD = "three-Horses-swim-2-Oslo"
OTHER_PASSWORD = "seven-Lamps-sing-4-Rome"
COOKIE = "__Host-infraxys"
# A connection for each request: tests make many clients, and none is left to be closed.
NO_KEEPING = httpx.Limits(max_keepalive_connections=0)


class AccountServer(ServerProcess):
    """A server in server mode. `admin` is a browser with the administrator's session."""

    admin: "Browser"
    setup_line: str

    def start(self) -> None:
        """Start, and read the line with the link when there is one."""
        super().start()
        assert self.process.stdout is not None
        self.setup_line = self.process.stdout.readline() if self.expects_link else ""

    expects_link = True

    @property
    def setup_secret(self) -> str:
        """The secret of the link that was printed."""
        found = re.search(r"#token=(\S+)", self.setup_line)
        assert found, self.setup_line
        return found[1]

    def new_user(self, **more: Any) -> dict[str, Any]:
        """Make an account with PASSWORD and a name of its own."""
        body = {"name": f"user-{uuid.uuid4().hex[:12]}", "password": PASSWORD, **more}
        answer = self.admin.post("/users", json={key: value for key, value in body.items() if value is not None})
        assert answer.status_code == 201, answer.text
        user: dict[str, Any] = answer.json()
        return user

    def browser(self, name: str | None = None, password: str = PASSWORD) -> "Browser":
        """Open a browser and sign in, where a name is given."""
        browser = Browser(self.url)
        if name is not None:
            answer = browser.sign_in(name, password)
            assert answer.status_code == 204, answer.text
        return browser


class Browser(httpx.Client):
    """A browser on a page of the server: keeps cookies, says where its requests come from."""

    def __init__(self, url: str) -> None:
        headers = {"Sec-Fetch-Site": "same-origin", "Origin": url, "User-Agent": "test browser"}
        super().__init__(base_url=f"{url}/api/v1", verify=False, timeout=60, headers=headers, limits=NO_KEEPING)

    def sign_in(self, name: str, password: str) -> httpx.Response:
        """Send name and password."""
        return self.post("/session", json={"name": name, "password": password})

    @property
    def cookie(self) -> str:
        """The value of the session's cookie."""
        return self.cookies[COOKIE]

    def token(self, **body: Any) -> dict[str, Any]:
        """Make a token."""
        answer = self.post("/tokens", json={"name": "test", **body})
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()
        return made


def set_up(server: AccountServer) -> httpx.Response:
    """Make the administrator with the link that the server printed."""
    browser = server.browser()
    answer = browser.post("/setup", json={"token": server.setup_secret, "name": "root", "password": PASSWORD})
    server.admin, server.expects_link = browser, answer.status_code != 201
    return answer


def with_token(server: ServerProcess, text: str, limits: httpx.Limits = NO_KEEPING) -> httpx.Client:
    """Make a client that is no browser."""
    headers = {"Authorization": f"token {text}"}
    return httpx.Client(base_url=f"{server.url}/api/v1", verify=False, timeout=60, headers=headers, limits=limits)


@pytest.fixture(scope="session")
def accounts() -> Iterator[AccountServer]:
    """A server in server mode with the administrator `root` and the test module; sign-ins are not counted."""
    yield from account_server({"INFRAXYS_RATE_LIMIT_SIGN_IN": "1000000"})


@pytest.fixture
def own_accounts() -> Iterator[AccountServer]:
    """The same for one test alone, with the default limits and without the administrator."""
    yield from account_server({}, is_set_up=False)


def account_server(environment: dict[str, str], *, is_set_up: bool = True) -> Iterator[AccountServer]:
    """Run a server in server mode."""
    folder = make_folder()
    options = ("--mode", "server", "--git-schemes", "https,ssh,file", "--no-examples")
    running = AccountServer(folder, *options, environment=environment)
    try:
        if is_set_up:
            assert set_up(running).status_code == 201
            answer = running.admin.post("/modules", json={"url": str(make_library(folder).path)})
            assert answer.status_code == 201, answer.text
        yield running
    finally:
        if running.process.poll() is None:
            running.stop()
        shutil.rmtree(folder, ignore_errors=True)
