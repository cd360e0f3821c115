"""Runs that are executed again."""

import json
import time
from typing import Any

import pytest

from factories.modules import CONTAINER, ENVIRONMENT, FAILING_WORKFLOW, INSTANCE, library
from factories.repositories import GitRepository
from plugins.server import ServerProcess


def rerun(server: ServerProcess, run_id: str, status: int = 200, key: str = "", **body: Any) -> dict[str, Any]:
    headers = {"Idempotency-Key": key} if key else {}
    answer = server.client.post(f"/api/v1/runs/{run_id}/rerun", json=body, headers=headers)
    assert answer.status_code == status, answer.text
    run: dict[str, Any] = answer.json()
    return run


def adhoc(server: ServerProcess, *filenames: str, **more: Any) -> dict[str, Any]:
    actions = [{"containerGuid": CONTAINER, "instanceGuid": INSTANCE, "filename": name} for name in filenames]
    body = {"environmentGuid": ENVIRONMENT, "actions": actions, **more}
    run: dict[str, Any] = server.client.post("/api/v1/environments/main/execute", json=body).json()
    return run


class TestTheSame:
    def test_is_a_new_run_with_the_same_commit_and_argument(self, server: ServerProcess) -> None:
        first = server.execute(INSTANCE, "argument.sh", argument={"n": 1.10}, timeoutSeconds=30)
        second = rerun(server, first["id"])
        assert second["id"] != first["id"]
        assert (second["status"], second["rerunOf"], second["log"]) == ("SUCCESS", first["id"], first["log"])
        same = ("commit", "argumentDigest", "environmentId", "instanceId", "filename", "kind", "branch")
        assert {name: second[name] for name in same} == {name: first[name] for name in same}
        assert first["links"]["rerun"] == f"/api/v1/runs/{first['id']}/rerun"
        plans = [server.client.get(f"/api/v1/runs/{run['id']}/plan").json() for run in (first, second)]
        assert plans[0] == plans[1]

    def test_the_same_key_is_the_same_run(self, server: ServerProcess) -> None:
        first = server.execute(INSTANCE, "ok.sh")
        runs = {rerun(server, first["id"], key=f"again-{first['id']}")["id"] for _ in range(3)}
        assert len(runs) == 1
        refused = rerun(server, first["id"], 422, key=f"again-{first['id']}", branch=True)
        assert refused["code"] == "idempotency_key_reused"

    def test_can_be_waited_for_later(self, server: ServerProcess) -> None:
        first = server.execute(INSTANCE, "ok.sh")
        second = rerun(server, first["id"], asynchronous=True)
        ended = server.client.get(f"/api/v1/runs/{second['id']}", params={"wait": 30}).json()
        assert ended["status"] == "SUCCESS"

    @pytest.mark.parametrize("body", [{"fromStep": "0"}, {"fromStep": 1}, {"fromStep": "x"}, {"branch": "main"},
                                      {"argument": {}}, {"fromStep": "2"}])  # fmt: skip
    def test_a_body_that_does_not_fit_is_422(self, server: ServerProcess, body: dict[str, Any]) -> None:
        rerun(server, server.execute(INSTANCE, "true.sh")["id"], 422, **body)

    def test_it_is_on_record(self, server: ServerProcess) -> None:
        first = server.execute(INSTANCE, "true.sh")
        second = rerun(server, first["id"])
        records = server.client.get("/api/v1/audit", params={"target": f"run/{second['id']}"}).json()["items"]
        accepted = next(record for record in records if record["action"] == "run.accept")
        assert accepted["details"]["rerunOf"] == first["id"]


class TestFromAStep:
    def test_keeps_what_succeeded_before_it(self, server: ServerProcess) -> None:
        first = server.client.post(
            f"/api/v1/environment/main/{ENVIRONMENT}/workflow/{FAILING_WORKFLOW}/execute", json={}
        ).json()
        second = rerun(server, first["id"], fromStep="2")
        assert [step["status"] for step in second["steps"]] == ["SUCCESS", "FAILED", "CANCELLED"]
        assert second["steps"][0] == first["steps"][0]
        assert second["steps"][1]["startedAt"] > first["steps"][1]["startedAt"]
        assert second["log"] == "before\n"
        assert second["exitCode"] == 3

    def test_what_did_not_succeed_cannot_be_kept(self, server: ServerProcess) -> None:
        first = adhoc(server, "ok.sh", "fail.sh", "ok.sh")
        refused = rerun(server, first["id"], 409, fromStep="3")
        assert refused["code"] == "steps_not_finished"
        assert "fail.sh" in refused["detail"]

    def test_the_last_one_alone_is_executed(self, server: ServerProcess) -> None:
        first = adhoc(server, "ok.sh", "lines.sh", "argument.sh", argument=[1])
        second = rerun(server, first["id"], fromStep="3")
        assert (second["status"], second["log"]) == ("SUCCESS", "[1]")
        assert [step["status"] for step in second["steps"]] == ["SUCCESS"] * 3


class TestOtherCommits:
    def test_the_own_commit_or_the_head_of_the_branch(self, own_server: ServerProcess) -> None:
        repository = GitRepository(own_server.folder / "tests" / "library.git")
        first = adhoc(own_server, "ok.sh", "fail.sh")
        repository.commit({**library(), "packets/Tool/files/fail.sh": "echo mended\n"}, branch="main")
        module = own_server.client.get("/api/v1/modules").json()["items"][0]
        fetched = own_server.client.post(f"/api/v1/modules/{module['name'].replace('/', '%2F')}/fetch")
        assert fetched.status_code == 200, fetched.text
        same = rerun(own_server, first["id"])
        assert (same["status"], same["commit"]) == ("FAILED", first["commit"])
        newer = rerun(own_server, first["id"], branch=True)
        assert (newer["status"], newer["commit"] != first["commit"]) == ("SUCCESS", True)
        mended = rerun(own_server, first["id"], branch=True, fromStep="2")
        assert (mended["status"], mended["log"]) == ("SUCCESS", "mended\n")


def test_a_follower_of_a_run_that_waits_gets_its_first_output_at_once(own_server: ServerProcess) -> None:
    own_server.stop()
    own_server.options += ("--slots", "1")
    own_server.start()
    blocking = own_server.execute(INSTANCE, "sleep.sh", asynchronous=True)["id"]
    waiting = own_server.execute(INSTANCE, "sleep.sh", asynchronous=True)["id"]
    with own_server.client.stream("GET", f"/api/v1/runs/{waiting}/events") as stream:
        lines = stream.iter_lines()
        assert next(lines) == "event: status"
        time.sleep(1.1)  # nothing happens, and nothing looks whether something did
        own_server.client.post(f"/api/v1/runs/{blocking}/cancel", json={})
        seen = []
        for line in lines:
            seen.append(line)
            if line.startswith("data: ") and json.loads(line[6:]).get("text") == "started\n":
                break
    assert not [line for line in seen if line.startswith(":")]
    own_server.client.post(f"/api/v1/runs/{waiting}/cancel", json={})
