"""The documented calls, as documented, against the real server."""

import hashlib
import json
import threading
import time

import httpx
import pytest

from factories.modules import (
    BROKEN_ENVIRONMENT,
    BROKEN_INSTANCE,
    CONTAINER,
    ENVIRONMENT,
    FAILING_WORKFLOW,
    INSTANCE,
    OTHER_CONTAINER,
    ROLE_INSTANCE,
    WORKFLOW,
)
from plugins.server import ServerProcess

ACTION = f"/api/v1/instance/main/{INSTANCE}/files"
WORKFLOWS = f"/api/v1/environment/main/{ENVIRONMENT}/workflow"


class TestAction:
    def test_answers_the_finished_run_with_its_log(self, server: ServerProcess) -> None:
        run = server.execute(INSTANCE, "ok.sh", argument={"ticketNumber": "1245"})
        assert (run["status"], run["exitCode"]) == ("SUCCESS", 0)
        assert run["log"] == "hello from web in production\n"
        assert run["logTruncated"] is False
        assert run["runGuid"] == run["id"] == run["workflowRunGuid"]

    def test_a_failing_action_is_200_with_status_failed(self, server: ServerProcess) -> None:
        run = server.execute(INSTANCE, "fail.sh")
        assert (run["status"], run["exitCode"], run["log"]) == ("FAILED", 3, "before\n")
        assert "Command failed with exit status 3" in run["message"]

    def test_runs_of_one_action_at_the_same_time_have_numbers(self, server: ServerProcess) -> None:
        pipe = "/cache/instance/$RUN_GUID"
        code = f"mkfifo {pipe}; echo $THREAD_NUMBER $thread_number; read -r _ <{pipe}"
        going = [server.execute(INSTANCE, "shell.sh", asynchronous=True, argument={"code": code}) for _ in range(3)]
        deadline = time.monotonic() + 30
        while not all(server.client.get(f"/api/v1/runs/{run['id']}/log").text for run in going):
            assert time.monotonic() < deadline
        end = "for pipe in /cache/instance/*-*; do echo >$pipe; rm $pipe; done; echo $THREAD_NUMBER"
        last = server.execute(INSTANCE, "shell.sh", argument={"code": end})
        ended = [server.client.get(f"/api/v1/runs/{run['id']}?wait=30").json() for run in going]
        assert [run["status"] for run in ended] == ["SUCCESS"] * 3
        logs = [server.client.get(f"/api/v1/runs/{run['id']}/log").text for run in going]
        assert (sorted(logs), last["log"]) == (["1 1\n", "2 2\n", "3 3\n"], "4\n")
        assert server.execute(INSTANCE, "shell.sh", argument={"code": "echo $THREAD_NUMBER"})["log"] == "1\n"

    def test_steps_of_one_run_are_never_at_the_same_time(self, server: ServerProcess) -> None:
        step = {"containerGuid": CONTAINER, "instanceGuid": INSTANCE, "filename": "shell.sh"}
        body = {"environmentGuid": ENVIRONMENT, "actions": [step] * 3, "argument": {"code": "echo $THREAD_NUMBER"}}
        run = server.client.post("/api/v1/environments/main/execute", json=body).json()
        assert (run["status"], run["log"]) == ("SUCCESS", "1\n1\n1\n")

    @pytest.mark.parametrize(
        "argument",
        [
            "1e400",
            "12345678901234567890123",
            '"\\ud83d"',
            "null",
            "[]",
            '{"a": 1.10, "b": [true, {}]}',
            '"é\\u00e9"',
            "-0.0",
        ],
    )
    def test_the_argument_arrives_byte_for_byte(self, server: ServerProcess, argument: str) -> None:
        body = f'{{"asynchronous": false, "argument": {argument}}}'.encode()
        headers = {"content-type": "application/json"}
        run = server.client.post(f"{ACTION}/argument.sh/execute", content=body, headers=headers).json()
        assert run["log"] == argument
        assert run["argumentDigest"] == f"sha256:{hashlib.sha256(argument.encode()).hexdigest()}"
        assert server.client.get(f"/api/v1/runs/{run['id']}/argument").text == argument

    @pytest.mark.parametrize("content", [b"", b"{}", b"  "])
    def test_no_body_is_an_empty_object(self, server: ServerProcess, content: bytes) -> None:
        headers = {"content-type": "application/json"} if content.strip() else {}
        run = server.client.post(f"{ACTION}/argument.sh/execute", content=content, headers=headers).json()
        assert run["log"] == "{}"

    def test_a_script_in_another_language_is_executed_by_its_shebang(self, server: ServerProcess) -> None:
        seen = json.loads(server.execute(INSTANCE, "run.py")["log"])
        assert seen["greeting"] == "web in production"
        assert seen["cwd"].startswith("/tmp/infraxys/environments/production_env-1/web/")

    def test_variables_of_the_run_are_set_and_dangerous_attributes_are_not_exported(
        self, server: ServerProcess
    ) -> None:
        run = server.execute(INSTANCE, "variables.sh")
        variables = dict(line.split("=", 1) for line in run["log"].splitlines() if "=" in line)
        assert variables["RUN_GUID"] == run["id"]
        assert variables["INTERACTIVE"] == "false"
        assert variables["INSTANCE_GUID"] == INSTANCE
        assert variables["INFRAXYS_ROOT"] == "/tmp/infraxys"
        assert variables["PATH"] != "/evil"
        assert "WORKFLOW" not in variables

    def test_each_run_has_its_own_writable_instance_directory(self, server: ServerProcess) -> None:
        for _ in range(2):
            run = server.execute(INSTANCE, "write.sh")
            assert run["status"] == "SUCCESS"
            assert "data" in run["log"]
            assert run["log"].count("made-here") == 1

    def test_a_time_out_ends_it(self, server: ServerProcess) -> None:
        run = server.execute(INSTANCE, "sleep.sh", timeoutSeconds=0.5)
        assert run["status"] == "TIMEOUT"
        assert "0.5 seconds" in run["message"]
        assert run["log"] == "started\n"

    def test_bytes_that_are_no_text_stay_as_they_are(self, server: ServerProcess) -> None:
        run = server.execute(INSTANCE, "bytes.sh")
        assert server.client.get(f"/api/v1/runs/{run['id']}/log").content == b"\xff\xfe\x00 end\n"

    def test_a_branch_with_slashes_works_encoded_and_pasted(self, server: ServerProcess) -> None:
        for branch in ("feature%2Fa%2Fb", "feature%2fa%2fb", "feature/a/b"):
            run = server.execute(INSTANCE, "ok.sh", branch=branch)
            assert (run["status"], run["branch"]) == ("SUCCESS", "feature/a/b")

    def test_an_instance_of_a_role_is_found_in_its_container(self, server: ServerProcess) -> None:
        path = f"/api/v1/instance/main/{ROLE_INSTANCE}/files/ok.sh/execute"
        refused = server.client.post(path, json={})
        assert refused.status_code == 409
        assert refused.json()["code"] == "ambiguous_id"
        assert len(refused.json()["candidates"]) == 2
        run = server.client.post(path, json={}, params={"container": OTHER_CONTAINER}).json()
        assert (run["status"], run["containerId"], run["log"]) == ("SUCCESS", OTHER_CONTAINER, "hello from nobody\n")

    def test_the_log_can_be_left_out(self, server: ServerProcess) -> None:
        assert "log" not in server.execute(INSTANCE, "ok.sh", returnLog=False)


class TestWorkflow:
    def test_executes_its_steps_in_order_with_the_same_argument(self, server: ServerProcess) -> None:
        run = server.client.post(f"{WORKFLOWS}/{WORKFLOW}/execute", json={"argument": {"a": [1]}}).json()
        assert run["status"] == "SUCCESS"
        assert [(step["name"], step["status"]) for step in run["steps"]] == [
            ("first", "SUCCESS"),
            ("second", "SUCCESS"),
        ]
        assert run["log"] == 'hello from web in production\n{"a":[1]}'

    def test_stops_at_the_first_failure(self, server: ServerProcess) -> None:
        run = server.client.post(f"{WORKFLOWS}/{FAILING_WORKFLOW}/execute", json={}).json()
        assert (run["status"], run["exitCode"]) == ("FAILED", 3)
        assert [step["status"] for step in run["steps"]] == ["SUCCESS", "FAILED", "CANCELLED"]
        assert "second" in run["message"]

    def test_an_ad_hoc_sequence_is_executed(self, server: ServerProcess) -> None:
        actions = [
            {"containerGuid": CONTAINER, "instanceGuid": INSTANCE, "filename": name}
            for name in ("ok.sh", "argument.sh")
        ]
        body = {"environmentGuid": ENVIRONMENT, "actions": actions, "argument": 7}
        run = server.client.post("/api/v1/environments/main/execute", json=body).json()
        assert (run["kind"], run["status"]) == ("adhoc", "SUCCESS")
        assert run["log"].endswith("7")


class TestPreferences:
    def test_asynchronous_by_body_is_200_with_the_run_as_it_stands(self, server: ServerProcess) -> None:
        answer = server.client.post(f"{ACTION}/ok.sh/execute", json={"asynchronous": True})
        assert answer.status_code == 200
        run_id = answer.json()["id"]
        assert answer.headers["location"] == f"/api/v1/runs/{run_id}"
        ended = server.client.get(f"/api/v1/runs/{run_id}", params={"wait": 30}).json()
        assert ended["status"] == "SUCCESS"

    def test_respond_async_is_202(self, server: ServerProcess) -> None:
        answer = server.client.post(f"{ACTION}/ok.sh/execute", json={}, headers={"Prefer": "respond-async"})
        assert (answer.status_code, answer.headers["preference-applied"]) == (202, "respond-async")
        assert answer.headers["location"].endswith(answer.json()["id"])

    def test_a_wait_that_runs_out_is_202_with_the_same_run(self, server: ServerProcess) -> None:
        answer = server.client.post(f"{ACTION}/sleep.sh/execute", json={}, headers={"Prefer": "wait=1"})
        assert answer.status_code == 202
        run = answer.json()
        assert run["status"] == "RUNNING"
        assert server.client.post(f"/api/v1/runs/{run['id']}/cancel").status_code == 202
        ended = server.client.get(f"/api/v1/runs/{run['id']}", params={"wait": 30}).json()
        assert ended["status"] == "CANCELLED"


class TestIdempotency:
    def test_the_same_key_and_body_is_the_same_run(self, server: ServerProcess) -> None:
        headers = {"Idempotency-Key": "same-1"}
        first = server.client.post(f"{ACTION}/ok.sh/execute", json={"argument": 1}, headers=headers)
        again = server.client.post(f"{ACTION}/ok.sh/execute", json={"argument": 1}, headers=headers)
        assert first.json()["id"] == again.json()["id"]
        assert again.headers["idempotency-replayed"] == "true"

    def test_the_same_key_with_another_body_is_refused(self, server: ServerProcess) -> None:
        headers = {"Idempotency-Key": "same-2"}
        server.client.post(f"{ACTION}/ok.sh/execute", json={"argument": 1}, headers=headers)
        refused = server.client.post(f"{ACTION}/ok.sh/execute", json={"argument": 2}, headers=headers)
        assert (refused.status_code, refused.json()["code"]) == (422, "idempotency_key_reused")

    def test_parallel_equal_requests_start_one_run(self, server: ServerProcess) -> None:
        found: list[str] = []

        def post() -> None:
            with httpx.Client(base_url=server.url, verify=False, timeout=60) as client:
                headers = {"Idempotency-Key": "parallel-1"}
                found.append(client.post(f"{ACTION}/ok.sh/execute", json={}, headers=headers).json()["id"])

        threads = [threading.Thread(target=post) for _ in range(25)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 25
        assert len(set(found)) == 1


class TestRefusals:
    @pytest.mark.parametrize(
        ("path", "status", "code", "named"),
        [
            ("/api/v1/instance/main/ins-x/files/ok.sh/execute", 404, "unknown_instance", "did you mean 'ins-1'"),
            (f"/api/v1/instance/maim/{INSTANCE}/files/ok.sh/execute", 404, "unknown_branch", "did you mean 'main'"),
            (f"{ACTION}/nothing.sh/execute", 404, "unknown_file", "nothing.sh"),
            (f"{ACTION}/notes.txt/execute", 409, "not_executable", "notes.txt"),
            (f"/api/v1/environment/main/env-2/workflow/{WORKFLOW}/execute", 404, "unknown_environment", "env-2"),
            (
                f"/api/v1/environment/main/{BROKEN_ENVIRONMENT}/workflow/wf-3/execute",
                409,
                "empty_workflow",
                "'Nothing yet'",
            ),
            (f"{WORKFLOWS}/wf-9/execute", 404, "unknown_workflow", "wf-9"),
            (f"/api/v1/instance/main/{BROKEN_INSTANCE}/files/good.sh/execute", 422, "generation_failed", "bad.sh:2:6"),
        ],
    )
    def test_names_what_was_looked_for(
        self, server: ServerProcess, path: str, status: int, code: str, named: str
    ) -> None:
        answer = server.client.post(path, json={})
        problem = answer.json()
        assert (answer.status_code, problem["code"]) == (status, code), problem
        assert answer.headers["content-type"] == "application/problem+json"
        assert named in problem["detail"]
        assert problem["message"] == problem["detail"]

    @pytest.mark.parametrize(
        ("content", "content_type", "status", "code"),
        [
            (b"{", "application/json", 400, "not_json"),
            (b"[]", "application/json", 400, "not_json"),
            (b"\xff\xfe{}", "application/json", 400, "not_json"),
            (b"\xef\xbb\xbf{}", "application/json", 400, "not_json"),
            (b"{} x", "application/json", 400, "not_json"),
            (b"{}", "text/plain", 400, "unsupported_content_type"),
            (b'{"argument": NaN}', "application/json", 422, "validation_failed"),
            (b'{"a": 1}', "application/json", 422, "validation_failed"),
            (b'{"asynchronous": "yes"}', "application/json", 422, "validation_failed"),
            (b'{"timeoutSeconds": 0}', "application/json", 422, "validation_failed"),
            (b'{"timeoutSeconds": 1e999}', "application/json", 422, "validation_failed"),
            (b'{"argument": 1, "argument": 2}', "application/json", 422, "validation_failed"),
            (b'{"argument": {"a": 1, "a": 2}}', "application/json", 422, "validation_failed"),
            (b'{"argument": ' + b"[" * 10_000 + b"]" * 10_000 + b"}", "application/json", 422, "validation_failed"),
            (b'{"argument": "' + b"x" * 1_100_000 + b'"}', "application/json", 413, "too_large"),
        ],
    )
    def test_a_body_that_does_not_fit(
        self, server: ServerProcess, content: bytes, content_type: str, status: int, code: str
    ) -> None:
        headers = {"content-type": content_type}
        answer = server.client.post(f"{ACTION}/ok.sh/execute", content=content, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text


class TestCancel:
    def test_ends_a_running_action_and_is_idempotent(self, server: ServerProcess) -> None:
        run = server.client.post(f"{ACTION}/sleep.sh/execute", json={"asynchronous": True}).json()
        path = f"/api/v1/runs/{run['id']}"
        assert server.client.post(f"{path}/cancel").status_code == 202
        assert server.client.get(path, params={"wait": 30}).json()["status"] == "CANCELLED"
        assert server.client.post(f"{path}/cancel").status_code == 202

    def test_a_finished_run_is_409(self, server: ServerProcess) -> None:
        run = server.execute(INSTANCE, "ok.sh")
        refused = server.client.post(f"/api/v1/runs/{run['id']}/cancel")
        assert (refused.status_code, refused.json()["code"]) == (409, "already_finished")

    def test_a_client_that_goes_away_cancels_nothing(self, server: ServerProcess) -> None:
        with pytest.raises(httpx.ReadTimeout):
            server.client.post(f"{ACTION}/sleep.sh/execute", json={"timeoutSeconds": 3}, timeout=1)
        page = server.client.get("/api/v1/runs", params={"instanceId": INSTANCE, "limit": 1}).json()
        run = page["items"][0]
        assert run["filename"] == "sleep.sh"
        ended = server.client.get(f"/api/v1/runs/{run['id']}", params={"wait": 30}).json()
        assert ended["status"] == "TIMEOUT"


class TestReading:
    def test_the_log_is_addressed_by_byte_offset(self, server: ServerProcess) -> None:
        run = server.execute(INSTANCE, "lines.sh")
        path = f"/api/v1/runs/{run['id']}/log"
        whole = server.client.get(path)
        assert whole.headers["x-log-sha256"] == hashlib.sha256(whole.content).hexdigest() == run["logSha256"]
        assert int(whole.headers["x-log-length"]) == len(whole.content) == run["logBytes"]
        assert whole.text.splitlines() == [f"line {n}" for n in range(1, 2001)]
        assert server.client.get(path, params={"offset": 100}).content == whole.content[100:]
        part = server.client.get(path, headers={"Range": "bytes=5-9"})
        assert (part.status_code, part.content) == (206, whole.content[5:10])
        assert server.client.get(path, headers={"Range": "bytes=-3"}).content == whole.content[-3:]
        assert server.client.get(path, params={"offset": len(whole.content)}).content == b""
        assert server.client.get(path, params={"offset": len(whole.content) + 1}).status_code == 416

    def test_ndjson_tells_streams_and_steps_apart(self, server: ServerProcess) -> None:
        run = server.execute(INSTANCE, "both.sh")
        text = server.client.get(f"/api/v1/runs/{run['id']}/log", params={"format": "ndjson"}).text
        records = [json.loads(line) for line in text.splitlines()]
        assert {(record["stream"], record["text"]) for record in records} == {("stdout", "out\n"), ("stderr", "err\n")}
        assert {record["step"] for record in records} == {"1"}

    def test_escapes_can_be_stripped(self, server: ServerProcess) -> None:
        run = server.execute(INSTANCE, "colour.sh")
        path = f"/api/v1/runs/{run['id']}/log"
        assert server.client.get(path).content == b"\x1b[31mred\x1b[0m\n"
        assert server.client.get(path, params={"strip": "ansi"}).content == b"red\n"

    def test_events_end_with_the_proof_of_completeness_and_can_be_resumed(self, server: ServerProcess) -> None:
        run = server.execute(INSTANCE, "lines.sh")
        path = f"/api/v1/runs/{run['id']}/events"
        log = server.client.get(f"/api/v1/runs/{run['id']}/log").text
        events = parse_events(server.client.get(path).text)
        assert "".join(event["data"]["text"] for event in events if event["event"] == "log") == log
        assert events[-1]["event"] == "end"
        assert events[-1]["data"]["logSha256"] == run["logSha256"]
        resumed = parse_events(server.client.get(path, headers={"Last-Event-ID": "50"}).text)
        assert "".join(event["data"]["text"] for event in resumed if event["event"] == "log") == log[50:]

    def test_lists_page_by_cursor_without_gaps(self, server: ServerProcess) -> None:
        made = [server.execute(INSTANCE, "true.sh")["id"] for _ in range(5)]
        seen: list[str] = []
        cursor = None
        while len(seen) < 5:
            query = {"limit": 2, **({"cursor": cursor} if cursor else {})}
            page = server.client.get("/api/v1/runs", params=query).json()
            seen += [item["id"] for item in page["items"]]
            cursor = page["nextCursor"]
        assert seen[:5] == made[::-1]

    @pytest.mark.parametrize("cursor", ["x", "WzEsIDJd", "....", "A" * 150])
    def test_a_forged_cursor_is_400(self, server: ServerProcess, cursor: str) -> None:
        assert server.client.get("/api/v1/runs", params={"cursor": cursor}).status_code == 400

    def test_an_unknown_run_is_404(self, server: ServerProcess) -> None:
        answer = server.client.get("/api/v1/runs/nothing")
        assert (answer.status_code, answer.json()["code"]) == (404, "unknown_run")


def parse_events(text: str) -> list[dict[str, object]]:
    """Read a stream of server-sent events."""
    events = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line and not line.startswith(":"))
        if "event" in fields:
            events.append({"event": fields["event"], "id": fields["id"], "data": json.loads(fields["data"])})
    return events
