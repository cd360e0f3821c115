"""A server in server mode for tests of permissions."""

import shutil
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from factories.access import AccessFactory
from factories.modules import library
from plugins.server import ServerProcess, make_folder, make_library

SECURE = "secure"  # a branch beside main


class AccessServer(ServerProcess):
    """A running server. `make` makes people, teams and grants; `everything` is an administrator's token."""

    make: AccessFactory
    everything: str

    def ask(self, method: str, path: str, token: str | None, json: Any = None) -> httpx.Response:
        """Send a request with a token, or without."""
        headers = {} if token is None else {"Authorization": f"token {token}"}
        if not path.startswith(("/api/", "/health")):
            path = f"/api/v1{path}"
        return self.client.request(method, path, json=json, headers=headers)

    def holder(self, project_id: str, *grants: str) -> str:
        """Give the token of somebody new with grants on a project."""
        return self.make.token(self.make.user(self.make.team(project_id, grants)))

    def administrator_of(self, project_id: str) -> str:
        """Give the token of a new administrator of a project."""
        return self.make.token(self.make.user(self.make.administrators_of(project_id)))


@pytest.fixture(scope="session")
def access_server() -> Iterator[AccessServer]:
    """A server with the test module on two branches, and no limits of rates."""
    folder = make_folder()
    options = ("--mode", "server", "--no-examples", "--git-schemes", "file")
    running = AccessServer(folder, *options, environment={"INFRAXYS_RATE_LIMITS": "false"})
    try:
        running.make = AccessFactory.of_server(running.data)
        running.everything = running.make.token(running.make.user(is_administrator=True))
        repository = make_library(folder)
        repository.commit(library(), branch=SECURE)
        added = running.ask("POST", "/modules", running.everything, {"url": str(repository.path)})
        assert added.status_code == 201, added.text
        yield running
        running.make.database.close()
    finally:
        running.stop()
        shutil.rmtree(folder, ignore_errors=True)
