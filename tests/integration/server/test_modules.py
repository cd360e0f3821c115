"""Modules whose remotes change: what is served, and what is said about it."""

from typing import Any

import pytest

from factories.modules import INSTANCE, library
from factories.repositories import GitRepository
from plugins.server import ServerProcess

NAME = "localhost/tests/library"
FETCH = "/api/v1/modules/localhost%2Ftests%2Flibrary/fetch"


@pytest.fixture
def repository(own_server: ServerProcess) -> GitRepository:
    repository = GitRepository(own_server.folder / "tests" / "library.git")
    repository.commit(library(), branch="other")
    assert own_server.client.post(FETCH).status_code == 200
    return repository


def commit_unreadable(repository: GitRepository, branch: str) -> None:
    """Commit a packet of a million files, which are one file in directories that name the same directory twice."""
    tree = repository.raw_tree([("100644", b"file", repository.blob("x"))])
    for _ in range(20):
        tree = repository.raw_tree([("40000", b"a", tree), ("40000", b"b", tree)])
    packet = repository.raw_tree([("40000", b"files", tree)])
    packets = repository.raw_tree([("40000", b"packet", packet)])
    repository.commit_tree(repository.raw_tree([("40000", b"packets", packets)]), branch)


def listed(server: ServerProcess) -> dict[str, Any]:
    (module,) = server.client.get("/api/v1/modules").json()["items"]
    assert module["name"] == NAME
    module["branches"] = {branch["name"]: branch for branch in module["branches"]}
    return module


def test_c6_a_branch_that_cannot_be_read_any_more_serves_its_last_good_commit_and_says_so(
    own_server: ServerProcess, repository: GitRepository
) -> None:
    good = repository.head("main")
    commit_unreadable(repository, "main")
    moved = repository.commit({**library(), "new.txt": "x"}, branch="other")

    answer = own_server.client.post(FETCH)
    assert answer.status_code == 200, answer.text
    (fetched,) = answer.json()["modules"]
    assert [(one["branch"], one["code"]) for one in fetched["problems"] if one["branch"] == "main"] == [
        ("main", "too_large")
    ]
    module = listed(own_server)
    assert {name: branch["commit"] for name, branch in module["branches"].items()} == {"main": good, "other": moved}
    assert "branch main: " in module["problem"]
    assert "more than 200000 files" in module["problem"]
    assert own_server.execute(INSTANCE, "ok.sh")["commit"] == good
    shown = own_server.command("module", "list").stdout
    assert module["problem"] in shown

    own_server.kill()
    own_server.start()
    assert listed(own_server)["problem"] == module["problem"]
    assert own_server.execute(INSTANCE, "ok.sh")["commit"] == good

    mended = repository.commit(library(), branch="main")
    assert own_server.client.post(FETCH).status_code == 200
    module = listed(own_server)
    assert module["branches"]["main"]["commit"] == mended
    assert module["problem"] is None


def test_a_branch_that_the_remote_has_no_longer_is_not_served(
    own_server: ServerProcess, repository: GitRepository
) -> None:
    repository.delete_branch("other")
    assert own_server.client.post(FETCH).status_code == 200
    assert set(listed(own_server)["branches"]) == {"main"}


def test_a_new_branch_that_cannot_be_read_is_named_and_does_not_hide_the_others(
    own_server: ServerProcess, repository: GitRepository
) -> None:
    commit_unreadable(repository, "strange")
    assert own_server.client.post(FETCH).status_code == 200
    module = listed(own_server)
    assert set(module["branches"]) == {"main", "other"}
    assert "branch strange: " in module["problem"]


def test_a_dependency_that_cannot_be_had_any_more_is_served_as_it_was_and_says_so(
    own_server: ServerProcess, repository: GitRepository
) -> None:
    other = GitRepository(own_server.folder / "tests" / "needed.git")
    kept = other.commit({"module.json": {"dependencies": []}}, branch="main")
    needs = {**library(), "module.json": {"dependencies": [{"git_url": str(other.path), "branch": "main"}]}}
    repository.commit(needs, branch="main")
    assert own_server.client.post(FETCH).json()["failures"] == []
    other.path.rename(other.path.with_name("gone.git"))
    assert own_server.client.post(FETCH).status_code == 200
    modules = {module["name"]: module for module in own_server.client.get("/api/v1/modules").json()["items"]}
    needed = modules["localhost/tests/needed"]
    assert [branch["commit"] for branch in needed["branches"]] == [kept]
    assert needed["problem"]
    assert modules[NAME]["problem"] is None


def test_a10_a_server_for_teams_does_not_fetch_from_private_addresses(team_server: ServerProcess) -> None:
    headers = {"Authorization": f"token {team_server.admin_token}"}  # type: ignore[attr-defined]
    for url in ("https://127.0.0.1:9/a/b", "https://[::1]:9/a/b", "https://10.0.0.1/a/b", "ssh://git@192.168.1.1/a/b"):
        answer = team_server.client.post("/api/v1/modules", json={"url": url}, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_url"), answer.text
        assert "git_private_hosts" in answer.json()["detail"]
