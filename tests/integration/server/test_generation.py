"""Checking an environment over the API."""

import hashlib

import pytest

from factories.modules import BROKEN_ENVIRONMENT, BROKEN_INSTANCE, CONTAINER, ENVIRONMENT, INSTANCE
from plugins.server import ServerProcess

MODULE = "/api/v1/modules/localhost%2Ftests%2Flibrary/branches"


def generate(server: ServerProcess, environment_id: str, **query: int) -> dict[str, object]:
    answer = server.client.post(f"{MODULE}/main/environments/{environment_id}/generate", params=query)
    assert answer.status_code == 200, answer.text
    checked: dict[str, object] = answer.json()
    return checked


def test_answers_files_actions_and_findings_and_executes_nothing(server: ServerProcess) -> None:
    before = server.client.get("/api/v1/runs").json()["items"]
    checked = generate(server, ENVIRONMENT)
    assert (checked["isComplete"], checked["environmentName"], checked["branch"]) == (True, "production", "main")
    files = checked["files"]
    assert isinstance(files, list)
    assert checked["fileCount"] == len(files)
    [settings] = [
        file for file in files if file["path"].endswith("/settings.conf") and "web" in file["path"]
        and file["bytes"] == len(b"name = web in production\n")
    ]  # fmt: skip
    assert settings["sha256"] == hashlib.sha256(b"name = web in production\n").hexdigest()
    actions = checked["actions"]
    assert isinstance(actions, list)
    [ok] = [
        item
        for item in actions
        if (item["containerId"], item["instanceId"], item["filename"]) == (CONTAINER, INSTANCE, "ok.sh")
    ]
    assert ok["instanceLabel"].startswith("Tool for")
    assert server.client.get("/api/v1/runs").json()["items"][:1] == before[:1]


def test_says_every_problem_with_its_place(server: ServerProcess) -> None:
    checked = generate(server, BROKEN_ENVIRONMENT)
    assert checked["isComplete"] is False
    problems = checked["problems"]
    assert isinstance(problems, list)
    [error] = [problem for problem in problems if problem["severity"] == "error"]
    assert (error["file"], error["line"], error["code"]) == ("packets/Broken/files/bad.sh", 2, "template_failed")
    assert "missing_reference" in error["message"]
    assert "container 'only'" in error["where"]
    actions = checked["actions"]
    assert isinstance(actions, list)
    assert [(item["instanceId"], item["filename"]) for item in actions] == [(BROKEN_INSTANCE, "good.sh")]


def test_lists_as_many_files_as_wanted_and_counts_all(server: ServerProcess) -> None:
    checked = generate(server, ENVIRONMENT, limit=1)
    files, count = checked["files"], checked["fileCount"]
    assert isinstance(files, list)
    assert isinstance(count, int)
    assert len(files) == 1 < count


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/api/v1/modules/no%2Fsuch%2Fmodule/branches/main/environments/e/generate", "unknown_module"),
        (f"{MODULE}/nowhere/environments/{ENVIRONMENT}/generate", "unknown_branch"),
        (f"{MODULE}/main/environments/nothing/generate", "unknown_environment"),
    ],
)
def test_what_does_not_exist_is_named(server: ServerProcess, path: str, code: str) -> None:
    answer = server.client.post(path)
    assert (answer.status_code, answer.json()["code"]) == (404, code)


def test_a_module_is_found_by_its_short_id_too(server: ServerProcess) -> None:
    modules = server.client.get("/api/v1/modules").json()["items"]
    module_id = next(item["id"] for item in modules if item["name"] == "localhost/tests/library")
    path = f"/api/v1/modules/{module_id}/branches/main/environments/{ENVIRONMENT}/generate"
    assert server.client.post(path).json()["module"] == "localhost/tests/library"
