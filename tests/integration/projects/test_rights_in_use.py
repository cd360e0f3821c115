"""Rights where they matter: protected containers, runs, open streams, and what actions find."""

import json
import shutil
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from factories.access import MODULE, AccessFactory
from factories.modules import CONTAINER, ENVIRONMENT, INSTANCE, OTHER_CONTAINER, ROLE_INSTANCE, WORKFLOW
from plugins.access import SECURE, AccessServer
from plugins.server import make_folder, make_library

ENDED_WITHIN = 5.0
EXECUTE = f"/instance/{SECURE}/{INSTANCE}/files/true.sh/execute"


@pytest.fixture
def project(access_server: AccessServer) -> str:
    """A project that has the environment on the second branch."""
    project_id = access_server.make.project()
    access_server.make.attach(project_id, ENVIRONMENT, SECURE)
    return project_id


def adhoc(container: str = OTHER_CONTAINER, instance: str = ROLE_INSTANCE) -> dict[str, Any]:
    action = {"containerGuid": container, "instanceGuid": instance, "filename": "true.sh"}
    return {"environmentGuid": ENVIRONMENT, "actions": [action]}


class TestEnvironments:
    def test_a2_where_one_may_do_nothing_there_is_nothing(self, access_server: AccessServer, project: str) -> None:
        token = access_server.holder(project, "action.execute")
        ask = access_server.ask
        assert ask("POST", EXECUTE, token, {}).status_code == 200
        elsewhere = ask("POST", EXECUTE.replace(SECURE, "main"), token, {})
        assert (elsewhere.status_code, elsewhere.json()["code"]) == (404, "unknown_branch")
        missing = ask("POST", EXECUTE.replace(SECURE, "mean"), token, {})
        assert missing.text.replace("mean", "main") == elsewhere.text

    def test_a2_the_closest_match_and_the_candidates_are_ones_own(
        self, access_server: AccessServer, project: str
    ) -> None:
        ask = access_server.ask
        near = EXECUTE.replace(INSTANCE, "ins-brokem")  # of the environment that belongs to the root
        assert "ins-broken" in ask("POST", near, access_server.everything, {}).text
        token = access_server.holder(project, "action.execute")
        answer = ask("POST", near, token, {})
        assert answer.json()["code"] == "unknown_instance"
        assert "ins-broken" not in answer.text
        shared = EXECUTE.replace(INSTANCE, ROLE_INSTANCE)
        assert ask("POST", shared, token, {}).json()["code"] == "ambiguous_id"
        grant = access_server.make.custom(project)
        access_server.make.protect(grant, ENVIRONMENT, OTHER_CONTAINER)
        assert ask("POST", shared, token, {}).status_code == 200  # the other one is not there for the caller

    def test_who_may_only_look_is_told_what_is_missing(self, access_server: AccessServer, project: str) -> None:
        make = access_server.make
        elsewhere = make.team(make.project(), ["action.execute", "workflow.execute"])
        token = make.token(make.user(elsewhere, make.team(project, ["environment.read"])))
        for path, body, grant in (
            (EXECUTE, {}, "action.execute"),
            (f"/environments/{SECURE}/execute", adhoc(), "action.execute"),
            (f"/environment/{SECURE}/{ENVIRONMENT}/workflow/{WORKFLOW}/execute", {}, "workflow.execute"),
        ):
            answer = access_server.ask("POST", path, token, body)
            assert (answer.status_code, answer.json()["grant"]) == (403, grant)


class TestGeneration:
    PATH = f"/modules/{quote(MODULE, safe='')}/branches/{SECURE}/environments/{ENVIRONMENT}/generate"

    def test_does_not_tell_modules_and_branches_apart_for_who_sees_nothing_of_them(
        self, access_server: AccessServer, project: str
    ) -> None:
        token = access_server.holder(project, "environment.read")
        assert access_server.ask("POST", self.PATH, token).status_code == 200
        for old, new in ((SECURE, "main"), (SECURE, "mean"), ("library", "nothing"), (ENVIRONMENT, "env-broken")):
            answer = access_server.ask("POST", self.PATH.replace(old, new), token)
            assert (answer.status_code, answer.json()["code"]) == (404, "unknown_environment")


class TestProtectedContainers:
    def test_are_not_there_for_who_lacks_the_grant(self, access_server: AccessServer, project: str) -> None:
        make, ask = access_server.make, access_server.ask
        team = make.team(project, ["action.execute", "workflow.execute", "run.list", "run.read"])
        user = make.user(team)
        token = make.token(user)
        workflow = f"/environment/{SECURE}/{ENVIRONMENT}/workflow/{WORKFLOW}/execute"
        runs = [ask("POST", path, token, {}).json()["id"] for path in (EXECUTE, workflow)]
        other = ask("POST", f"/environments/{SECURE}/execute", token, adhoc()).json()["id"]
        grant = make.custom(project, name := f"secret {uuid.uuid4().hex}")
        make.protect(grant, ENVIRONMENT, CONTAINER)

        assert ask("POST", EXECUTE, token, {}).json()["code"] == "unknown_instance"
        unknown = ask("POST", f"/environments/{SECURE}/execute", token, adhoc("con-9", INSTANCE))
        hidden = ask("POST", f"/environments/{SECURE}/execute", token, adhoc(CONTAINER, INSTANCE))
        assert hidden.text == unknown.text.replace("con-9", CONTAINER)
        refused = ask("POST", workflow, token, {})
        assert (refused.status_code, refused.json()["grant"]) == (403, name)
        assert ask("POST", f"/environments/{SECURE}/execute", token, adhoc()).status_code == 200
        generate = f"/modules/localhost%2Ftests%2Flibrary/branches/{SECURE}/environments/{ENVIRONMENT}/generate"
        reader = access_server.holder(project, "environment.read")
        assert ask("POST", generate, reader).json()["grant"] == name
        for run in runs:
            for suffix in ("", "/log", "/plan", "/events"):
                assert ask("GET", f"/runs/{run}{suffix}", token).json()["code"] == "unknown_run"
        listed = {item["id"] for item in ask("GET", "/runs?limit=500", token).json()["items"]}
        assert other in listed
        assert listed.isdisjoint(runs)

        holder = make.token(make.user(team, make.team(project, [grant])))
        assert ask("POST", EXECUTE, holder, {}).status_code == 200
        assert ask("POST", workflow, holder, {}).status_code == 200
        assert set(runs) <= {item["id"] for item in ask("GET", "/runs?limit=500", holder).json()["items"]}
        assert ask("POST", EXECUTE, make.token(user, ["action.execute", grant]), {}).status_code == 404
        assert ask("POST", EXECUTE, access_server.administrator_of(project), {}).status_code == 200

    def test_bind_the_administrators_of_projects_below_the_grants(
        self, access_server: AccessServer, project: str
    ) -> None:
        lower = access_server.make.project(project)
        access_server.make.attach(lower, ENVIRONMENT, SECURE)
        grant = access_server.make.custom(project)
        access_server.make.protect(grant, ENVIRONMENT, CONTAINER)
        token = access_server.administrator_of(lower)
        assert access_server.ask("POST", EXECUTE, token, {}).status_code == 404
        team = access_server.make.team(lower)
        body = {"projectId": lower, "grants": [grant]}
        assert access_server.ask("POST", f"/teams/{team}/grants", token, body).status_code == 403
        assert access_server.ask("POST", EXECUTE, access_server.administrator_of(project), {}).status_code == 200


class TestLosingRights:
    def test_g1_holds_for_the_next_request_on_the_same_connection(
        self, access_server: AccessServer, project: str
    ) -> None:
        team = access_server.make.team(project, ["run.list"])
        user = access_server.make.user(team)
        token = access_server.make.token(user)
        with httpx.Client(base_url=access_server.url, verify=False, headers={"Authorization": f"token {token}"}) as one:
            assert one.get("/api/v1/runs").status_code == 200
            access_server.make.leave(user, team)
            assert one.get("/api/v1/runs").status_code == 403

    def test_b3_ends_open_streams_and_calls_that_wait_but_not_the_run(
        self, access_server: AccessServer, project: str
    ) -> None:
        make, ask = access_server.make, access_server.ask
        team = make.team(project, ["action.execute", "run.read"])
        elsewhere = make.team(make.project(), ["action.execute", "run.read"])  # so that it has the grants somewhere
        user = make.user(team, elsewhere)
        token = make.token(user)
        sleep = f"/instance/{SECURE}/{INSTANCE}/files/sleep.sh/execute"
        run = ask("POST", sleep, token, {"asynchronous": True}).json()["id"]
        answers: dict[str, httpx.Response] = {}
        waiting = threading.Thread(target=lambda: answers.update(sync=ask("POST", sleep, token, {})))
        headers = {"Authorization": f"token {token}"}
        events = access_server.client.stream("GET", f"/api/v1/runs/{run}/events", headers=headers)
        try:
            with events as stream:
                lines = stream.iter_lines()
                while "started" not in next(lines):
                    pass
                waiting.start()
                running = "/runs?status=RUNNING&branch=" + SECURE
                while len(ask("GET", running, access_server.everything).json()["items"]) < 2:
                    pass
                make.leave(user, team)
                began, rest = time.monotonic(), list[str]()
                with pytest.raises(httpx.RemoteProtocolError):  # cut off
                    rest += lines
                assert "event: end" not in rest
                assert time.monotonic() - began < ENDED_WITHIN
            waiting.join(ENDED_WITHIN)
            assert answers["sync"].status_code in {403, 404}
            assert ask("GET", f"/runs/{run}", access_server.everything).json()["status"] == "RUNNING"
        finally:
            for item in ask("GET", running, access_server.everything).json()["items"]:
                ask("POST", f"/runs/{item['id']}/cancel", access_server.everything)


@pytest.fixture
def narrow_server() -> Iterator[AccessServer]:
    """A server that executes one action at a time."""
    folder = make_folder()
    options = ("--mode", "server", "--no-examples", "--git-schemes", "file", "--slots", "1")
    running = AccessServer(folder, *options)
    try:
        running.make = AccessFactory.of_server(running.data)
        running.everything = running.make.token(running.make.user(is_administrator=True))
        body = {"url": str(make_library(folder).path)}
        assert running.ask("POST", "/modules", running.everything, body).status_code == 201
        yield running
        running.make.database.close()
    finally:
        if running.process.poll() is None:
            running.stop()
        shutil.rmtree(folder, ignore_errors=True)


def start(server: AccessServer, token: str, filename: str, **body: Any) -> str:
    """Start an action and do not wait for it."""
    path = f"/instance/main/{INSTANCE}/files/{filename}/execute"
    answer = server.ask("POST", path, token, {"asynchronous": True, **body})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


def ended(server: AccessServer, run: str) -> dict[str, Any]:
    """Wait for the end of a run."""
    found: dict[str, Any] = server.ask("GET", f"/runs/{run}?wait=60", server.everything).json()
    return found


def log_of(server: AccessServer, run: str) -> dict[str, Any]:
    """Read what an action printed as JSON."""
    found: dict[str, Any] = json.loads(server.ask("GET", f"/runs/{run}/log", server.everything).text)
    return found


class TestStarters:
    def test_actions_find_the_grants_of_who_started_them_there(self, access_server: AccessServer, project: str) -> None:
        make = access_server.make
        custom, name = make.custom(project, "Deploy to production"), "Deploy to production"
        other = make.custom(make.project())
        team = make.team(project, ["action.execute", custom])
        seen = make.project()
        user = make.user(team, make.team(make.project(), ["run.cancel", other]), make.team(seen, ["project.list"]))
        asked = ["action.execute", custom, name, "run.cancel", other, "run.list", "*", ".*", "", "a\nb"]
        path = f"/instance/{SECURE}/{INSTANCE}/files/grants.py/execute"
        body = {"argument": {"grants": asked}}
        found = json.loads(access_server.ask("POST", path, make.token(user), body).json()["log"])
        assert {grant for grant, answer in found["has"].items() if answer == "true"} == {"action.execute", custom, name}
        assert set(found["grants"]) == {"action.execute", custom, name}
        assert found["teams"] == [team]
        own = access_server.ask("GET", f"/projects/{project}", access_server.everything).json()
        assert found["project_name"] == own["name"]
        assert found["projects"] == [
            access_server.ask("GET", f"/projects/{seen}", access_server.everything).json()["name"]
        ]
        narrow = json.loads(access_server.ask("POST", path, make.token(user, ["action.execute"]), body).json()["log"])
        assert narrow["grants"] == ["action.execute"]
        everything = json.loads(access_server.ask("POST", path, access_server.everything, body).json()["log"])
        assert set(found["projects"]) < set(everything["projects"])
        assert everything["has"]["run.cancel"] == everything["has"][other] == "true"
        assert {"*", "run.cancel", custom, name, other} <= set(everything["grants"])

    def test_g2_a_run_that_waited_starts_only_with_the_rights_of_now(self, narrow_server: AccessServer) -> None:
        make = narrow_server.make
        teams = [make.team("root", ["action.execute", "run.list"]) for _ in range(3)]
        users = [make.user(team) for team in teams]
        blocking = start(narrow_server, narrow_server.everything, "sleep.sh")
        waiting = [
            start(narrow_server, make.token(user), "grants.py", argument={"grants": ["run.list"]}) for user in users
        ]
        make.leave(users[0], teams[0])
        answer = narrow_server.ask("PATCH", f"/users/{users[1]}", narrow_server.everything, {"isDisabled": True})
        assert answer.status_code == 200
        narrow_server.ask("GET", f"/runs/{blocking}?wait=2.5", narrow_server.everything)
        narrow_server.ask("POST", f"/runs/{blocking}/cancel", narrow_server.everything)
        found = [ended(narrow_server, run) for run in waiting]
        assert [run["status"] for run in found] == ["FAILED", "FAILED", "SUCCESS"]
        assert "has lost the grant 'action.execute'" in found[0]["message"]
        assert "was disabled" in found[1]["message"]
        assert log_of(narrow_server, waiting[2])["has"] == {"run.list": "true"}

    def test_g2_also_after_the_server_was_killed(self, narrow_server: AccessServer) -> None:
        make = narrow_server.make
        teams = [make.team("root", ["action.execute", "run.list"]) for _ in range(2)]
        users = [make.user(team) for team in teams]
        start(narrow_server, narrow_server.everything, "sleep.sh")
        argument = {"grants": ["run.list", "action.execute"]}
        waiting = [start(narrow_server, make.token(user), "grants.py", argument=argument) for user in users]
        narrow = start(narrow_server, make.token(users[1], ["action.execute"]), "grants.py", argument=argument)
        narrow_server.kill()
        make.leave(users[0], teams[0])
        narrow_server.start()
        assert "has lost the grant 'action.execute'" in ended(narrow_server, waiting[0])["message"]
        assert ended(narrow_server, waiting[1])["status"] == "SUCCESS"
        assert log_of(narrow_server, waiting[1])["grants"] == ["action.execute", "run.list"]
        assert ended(narrow_server, narrow)["status"] == "SUCCESS"
        assert log_of(narrow_server, narrow)["grants"] == ["action.execute"]
