"""Checking an environment over the API."""

import hashlib
from typing import Any

import pytest

from factories.modules import BROKEN_ENVIRONMENT, BROKEN_INSTANCE, CONTAINER, ENVIRONMENT, INSTANCE
from infraxys.server.paging import encode_cursor
from plugins.server import ServerProcess

MODULE = "/api/v1/modules/localhost%2Ftests%2Flibrary/branches"


def generate(server: ServerProcess, environment_id: str, **query: int | str) -> dict[str, Any]:
    answer = server.client.post(f"{MODULE}/main/environments/{environment_id}/generate", params=query)
    assert answer.status_code == 200, answer.text
    checked: dict[str, Any] = answer.json()
    return checked


def test_answers_files_actions_and_findings_and_executes_nothing(server: ServerProcess) -> None:
    before = server.client.get("/api/v1/runs").json()["items"]
    checked = generate(server, ENVIRONMENT)
    assert (checked["isComplete"], checked["environmentName"], checked["branch"]) == (True, "production", "main")
    files = checked["files"]
    assert checked["fileCount"] == len(files)
    [settings] = [
        file for file in files if file["path"].endswith("/settings.conf") and "web" in file["path"]
        and file["size"] == len(b"name = web in production\n")
    ]  # fmt: skip
    assert (settings["scope"], settings["executable"]) == ("CURRENT INSTANCE", False)
    assert settings["sha256"] == hashlib.sha256(b"name = web in production\n").hexdigest()
    actions = checked["actions"]
    [ok] = [
        item
        for item in actions
        if (item["containerId"], item["instanceId"], item["filename"]) == (CONTAINER, INSTANCE, "ok.sh")
    ]
    assert ok["instanceLabel"].startswith("Tool for")
    assert ok["menuCaption"] == "ok.sh"
    assert ok["path"] in {file["path"] for file in files if file["executable"]}
    assert checked["leftOut"] == {"files": 0, "actions": 0, "problems": 0}
    assert server.client.get("/api/v1/runs").json()["items"][:1] == before[:1]


def test_says_every_problem_with_its_place(server: ServerProcess) -> None:
    checked = generate(server, BROKEN_ENVIRONMENT)
    assert checked["isComplete"] is False
    problems = checked["problems"]
    [error] = [problem for problem in problems if problem["severity"] == "error"]
    assert (error["file"], error["line"], error["code"]) == ("packets/Broken/files/bad.sh", 2, "template_failed")
    assert "missing_reference" in error["message"]
    assert "container 'only'" in error["where"]
    assert (error["containerId"], error["instanceId"], error["attribute"]) == ("con-broken", BROKEN_INSTANCE, None)
    assert problems.index(error) == 0
    actions = checked["actions"]
    assert [(item["instanceId"], item["filename"]) for item in actions] == [(BROKEN_INSTANCE, "good.sh")]


def test_gives_the_files_in_pages_and_counts_all(server: ServerProcess) -> None:
    whole = generate(server, ENVIRONMENT)
    assert (whole["nextCursor"], whole["fileCount"]) == (None, len(whole["files"]))
    paged: list[object] = []
    page = generate(server, ENVIRONMENT, limit=7)
    while True:
        paged += page["files"]
        assert page["leftOut"]["files"] == whole["fileCount"] - len(paged)
        if page["nextCursor"] is None:
            break
        page = generate(server, ENVIRONMENT, limit=7, cursor=page["nextCursor"])
    assert paged == whole["files"]
    assert generate(server, ENVIRONMENT, limit=0)["files"] == []


def test_a_cursor_of_something_else_is_refused(server: ServerProcess) -> None:
    other = generate(server, BROKEN_ENVIRONMENT, limit=1)["nextCursor"]
    for cursor in ("x", other or encode_cursor("generated files", "0:1"), encode_cursor("generated files", "0:-1")):
        answer = server.client.post(f"{MODULE}/main/environments/{ENVIRONMENT}/generate", params={"cursor": cursor})
        assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")


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
