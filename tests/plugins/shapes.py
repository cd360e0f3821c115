"""A module to be changed, on a branch of its own for each test."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from factories.asking import PYTHON, end, log_of
from factories.instances import CONTAINER, ENVIRONMENT, ORG, REPOSITORY, ROOT, shapes
from factories.repositories import GitRepository
from infraxys.spec.identity import ModuleId
from plugins.server import ServerProcess

MODULE = f"localhost/tests/{REPOSITORY}"
_numbers = itertools.count(1)


@dataclass
class Shapes:
    """The module on one branch of a running server."""

    server: ServerProcess
    repository: GitRepository
    branch: str

    @property
    def path(self) -> str:
        """The module branch path."""
        return f"{ORG}\\{REPOSITORY}\\{self.branch}"

    def reference(self, instance_id: str = ROOT, **more: Any) -> dict[str, Any]:
        """Refer to an instance as existing clients do."""
        place = {"moduleBranchPath": self.path, "environmentId": ENVIRONMENT, "containerId": CONTAINER}
        return {**place, "instanceId": instance_id, **more}

    def get(self, path: str, body: dict[str, Any] | None = None, status: int = 200) -> Any:
        """Send a body with GET, as existing clients do."""
        return self.ask("GET", path, body, status)

    def post(self, path: str, body: dict[str, Any] | None = None, status: int = 200) -> Any:
        """Send a body with POST."""
        return self.ask("POST", path, body, status)

    def ask(self, method: str, path: str, body: dict[str, Any] | None, status: int = 200) -> Any:
        """Ask the server, and insist on a status."""
        answer: httpx.Response = self.server.client.request(method, f"/api/v1/{path}", json=body)
        assert answer.status_code == status, answer.text
        return answer.json()

    def instance(self, instance_id: str = ROOT, **more: Any) -> dict[str, Any]:
        """Give an instance as it is served."""
        found: dict[str, Any] = self.get("instances", self.reference(instance_id, **more))["instance"]
        return found

    def values(self, instance_id: str) -> dict[str, str]:
        """Give the values of an instance of the container."""
        return {item["name"]: item["value"] for item in self.instance(instance_id)["attributes"]}

    def children(self, **wanted: Any) -> list[dict[str, Any]]:
        """Give the children of the root."""
        found: list[dict[str, Any]] = self.get(f"instance/{self.branch}/{ROOT}/children", wanted)["instances"]
        return found

    def mirror(self) -> GitRepository:
        """Give the server's own repository of the module."""
        module = ModuleId.parse(MODULE)
        return GitRepository(self.server.data / "modules" / module.host / module.org / f"{module.repo}.git")

    def log(self, count: int = 1) -> list[str]:
        """Give subjects, authors and bodies of the newest commits here."""
        text = self.mirror().git("log", f"-{count}", "--format=%an|%s|%b%x00", self.branch)
        return [item.strip() for item in text.split("\0") if item.strip()]

    def file(self, path: str) -> str:
        """Give a file as it is at the branch's head here."""
        return self.mirror().git("show", f"{self.branch}:{path}")

    def run(self, code: str, *, status: str = "SUCCESS") -> str:
        """Execute Python that can `ask`; gives what it printed itself."""
        run = self.server.execute(ROOT, "code.py", self.branch, argument={"code": PYTHON + code}, asynchronous=True)
        ended = end(self.server, run["id"])
        log = log_of(self.server, run["id"])
        assert ended["status"] == status, log
        return "".join(line for line in log.splitlines(keepends=True) if not line.startswith("[infraxys]"))


@pytest.fixture(scope="module")
def shapes_repository(server: ServerProcess) -> Iterator[GitRepository]:
    """The repository, registered at the server as long as a file of tests runs."""
    repository = GitRepository(server.folder / "tests" / f"{REPOSITORY}.git")
    repository.commit(shapes(), branch="main")
    server.add_module(repository.path)
    yield repository
    assert server.client.delete(f"/api/v1/modules/{MODULE.replace('/', '%2F')}").status_code == 204


@pytest.fixture
def module(server: ServerProcess, shapes_repository: GitRepository) -> Shapes:
    """The module on a new branch."""
    branch = f"try/{next(_numbers)}-{shapes_repository.path.stat().st_ino}"
    shapes_repository.commit(shapes(), branch=branch)
    found = Shapes(server, shapes_repository, branch)
    found.post(f"modules/{MODULE.replace('/', '%2F')}/fetch")
    return found
