"""Containers that a project shares with its environments, where it counts: in what actions find."""

import json
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from factories.modules import file
from factories.repositories import GitRepository
from plugins.server import ServerProcess, make_folder

SHARED, USER = "localhost\\tests\\shared\\main", "localhost\\tests\\user\\main"


def packet(packet_id: str, files: list[dict[str, Any]], **attributes: str) -> dict[str, Any]:
    known = [
        {"id": f"a-{name}", "name": name, "defaultValue": value, "scope": "Environment"}
        for name, value in attributes.items()
    ]
    return {"id": packet_id, "label": packet_id, "type": "", "attributes": known, "files": files}


def instance(instance_id: str, name: str, path: str, **attributes: str) -> dict[str, Any]:
    values = [{"id": f"a-{name}", "name": name, "value": value} for name, value in attributes.items()]
    more = {"velocityName": "vpc"} if name == "Network" else {}
    found = {"id": instance_id, "packetId": name, "packetName": name, "packetPath": path, **more}
    return {**found, "attributes": values}


def shared_module(region: str) -> dict[str, Any]:
    base = {"id": "con-base", "instances": [instance("vpc-1", "Network", SHARED, region=region)]}
    return {
        "module.json": {"dependencies": []},
        "packets/Network/packet.json": packet("Network", [], region="none"),
        "environments/base/environment.json": {"id": "env-base"},
        "environments/base/net/container.json": base,
    }


def user_module() -> dict[str, Any]:
    show = file("show.sh", velocity=True)
    web = {"id": "con-web", "instances": [instance("app-1", "App", USER)]}
    return {
        "module.json": {"dependencies": []},
        "packets/App/packet.json": packet("App", [show]),
        "packets/App/files/show.sh": "echo network in $vpc.getAttribute('region')\n",
        "environments/prod/environment.json": {"id": "env-prod"},
        "environments/prod/web/container.json": web,
    }


@pytest.fixture
def places() -> Iterator[tuple[ServerProcess, GitRepository]]:
    folder = make_folder()
    running = ServerProcess(folder, "--no-examples")
    try:
        repositories = {}
        for name, content in (("shared", shared_module("eu")), ("user", user_module())):
            repositories[name] = GitRepository(Path(folder) / "tests" / name)
            repositories[name].commit(content, branch="main")
            running.add_module(repositories[name].path)
        yield running, repositories["shared"]
    finally:
        running.stop()
        shutil.rmtree(folder, ignore_errors=True)


def show(server: ServerProcess) -> tuple[str, str]:
    answer = server.client.post("/api/v1/instance/main/app-1/files/show.sh/execute", json={})
    assert answer.status_code in {200, 422}, answer.text
    run = answer.json()
    return (run["status"], run["log"].strip()) if answer.status_code == 200 else ("refused", run["code"])


def test_are_seen_at_once_follow_their_branch_and_are_pinned(places: tuple[ServerProcess, GitRepository]) -> None:
    server, repository = places
    modules = server.client.get("/api/v1/modules").json()["items"]
    shared, user = (
        next(item["name"] for item in modules if item["name"].endswith(name)) for name in ("shared", "user")
    )
    assert show(server) == ("refused", "generation_failed")

    entry = {"module": shared, "branch": "main", "environmentId": "env-base", "containerId": "con-base"}
    added = server.client.post("/api/v1/projects/root/containers", json=entry)
    assert added.status_code == 201, added.text
    assert show(server) == ("SUCCESS", "network in eu")
    path = f"/api/v1/modules/{quote(user, safe='')}/branches/main/environments/env-prod/generate"
    assert server.client.post(path).json()["isComplete"] is True
    run = server.client.get("/api/v1/runs").json()["items"][0]
    [target] = server_rows(server, "SELECT target, commits FROM runs ORDER BY id DESC LIMIT 1")
    assert json.loads(target[0])["included"] == [[shared, "main", "env-base", "con-base", True]]
    assert repository.head("main") in json.loads(target[1]).values()
    assert run["status"] == "SUCCESS"

    repository.commit(shared_module("us"), branch="main")
    assert server.client.post(f"/api/v1/modules/{quote(shared, safe='')}/fetch").status_code == 200
    assert show(server) == ("SUCCESS", "network in us")

    gone = server.client.delete(f"/api/v1/projects/root/containers/{added.json()['id']}")
    assert gone.status_code == 204, gone.text
    assert show(server) == ("refused", "generation_failed")


def server_rows(server: ServerProcess, query: str) -> list[tuple[Any, ...]]:
    """Read the server's database beside it."""
    connection = sqlite3.connect(f"file:{server.data}/db/infraxys.db?mode=ro", uri=True)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()
