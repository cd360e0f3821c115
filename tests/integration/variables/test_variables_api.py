"""Variables of a running server: set by people, found by actions, and secrets nowhere else."""

import base64
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from factories.access import MODULE
from factories.contents import contents
from factories.modules import CONTAINER, ENVIRONMENT, INSTANCE, OTHER_CONTAINER, ROLE_INSTANCE, WORKFLOW
from plugins.server import ServerProcess, make_folder, make_library

ENVIRONMENT_LEVEL = f"/api/v1/environments/{ENVIRONMENT}/variables"
CONTAINER_LEVEL = f"/api/v1/containers/{CONTAINER}/variables"
ROOT_LEVEL = "/api/v1/projects/root/variables"
PLACE = {"module": MODULE}
CONTAINER_PLACE = {**PLACE, "environmentId": ENVIRONMENT}
SEE = """
import json, os, stat
found = {}
root = "/tmp/infraxys/variables"
for folder, _, names in os.walk(root):
    for name in names:
        path = os.path.join(folder, name)
        found[os.path.relpath(path, root)] = open(path).read()
print(json.dumps({"files": found, "env": {k: v for k, v in os.environ.items() if k.startswith("V_")}}))
"""


class Levels:
    """Sets variables and removes them at the end."""

    def __init__(self, server: ServerProcess) -> None:
        self.server = server
        self._made: list[tuple[str, dict[str, str]]] = []

    def put(self, path: str, name: str, body: dict[str, Any], **query: str) -> dict[str, Any]:
        answer = self.server.client.put(f"{path}/{name}", json=body, params=query)
        assert answer.status_code in {200, 201}, answer.text
        self._made.append((f"{path}/{name}", query))
        item: dict[str, Any] = answer.json()
        return item

    def root(self, name: str, value: str, **body: Any) -> dict[str, Any]:
        return self.put(ROOT_LEVEL, name, {"value": value, **body})

    def environment(self, name: str, value: str, branch: str = "*", **body: Any) -> dict[str, Any]:
        return self.put(ENVIRONMENT_LEVEL, name, {"value": value, **body}, **PLACE, branch=branch)

    def container(self, name: str, value: str, **body: Any) -> dict[str, Any]:
        return self.put(CONTAINER_LEVEL, name, {"value": value, **body}, **CONTAINER_PLACE)

    def clear(self) -> None:
        for path, query in self._made:
            self.server.client.delete(path, params=query)

    def seen(self, branch: str = "main") -> dict[str, Any]:
        """Execute an action that says what it finds."""
        run = self.server.execute(INSTANCE, "code.py", branch, argument={"code": SEE})
        assert run["status"] == "SUCCESS", run
        found: dict[str, Any] = json.loads(run["log"])
        return found

    def run(self, code: str) -> dict[str, Any]:
        return self.server.execute(INSTANCE, "code.py", argument={"code": code})


@pytest.fixture
def levels(server: ServerProcess) -> Iterator[Levels]:
    made = Levels(server)
    yield made
    made.clear()


def name() -> str:
    return f"V_{uuid.uuid4().hex[:8]}"


class TestRuns:
    def test_the_nearest_level_reaches_the_action_exported_and_as_file(self, levels: Levels) -> None:
        one, two, three = name(), name(), name()
        for each in (one, two, three):
            levels.root(each, "of the root", export=True, saveToFile=True)
        for each in (two, three):
            levels.environment(each, "of the environment", export=True, saveToFile=True)
        levels.container(three, "of the container", export=True, saveToFile=True)
        seen = levels.seen()
        expected = {one: "of the root", two: "of the environment", three: "of the container"}
        assert {key: seen["env"][key] for key in expected} == expected
        assert {key: seen["files"][key] for key in expected} == expected
        path = f"/api/v1/instance/main/{ROLE_INSTANCE}/files/code.py/execute"
        body = {"argument": {"code": SEE}}
        other = levels.server.client.post(path, json=body, params={"container": OTHER_CONTAINER}).json()
        assert json.loads(other["log"])["env"][three] == "of the environment"

    def test_what_a_level_has_closed_stays(self, levels: Levels) -> None:
        one = name()
        levels.root(one, "closed", export=True, allowOverrides=False)
        levels.container(one, "other", export=True)
        assert levels.seen()["env"][one] == "closed"

    def test_any_text_arrives_unchanged(self, levels: Levels) -> None:
        one, value = name(), "a 'quoted' \"$HOME\" `x` \\ é\r\nsecond\tline\n\n"
        levels.container(one, value, export=True, saveToFile=True)
        seen = levels.seen()
        assert seen["env"][one] == value

    def test_a_type_is_a_folder_and_the_place_of_the_rest_client_is_still_there(self, levels: Levels) -> None:
        levels.container("id_ed25519", "key", type="SSH-PRIVATE-KEY", saveToFile=True)
        seen = levels.seen()["files"]
        assert seen["SSH-PRIVATE-KEY/id_ed25519"] == "key"
        assert json.loads(seen["INFRAXYS-CONFIG/INFRAXYS-REST-CLIENT"])["endpoint"].startswith("https://")
        assert "export" not in levels.run("import os; print('id_ed25519' in os.environ)")["log"]

    def test_files_are_read_only_for_the_action(self, levels: Levels) -> None:
        levels.container("kept", "as it was", saveToFile=True)
        tries = """
import os
path = "/tmp/infraxys/variables/kept"
for attempt in (lambda: open(path, "w"), lambda: os.unlink(path), lambda: os.chmod(path, 0o777),
                lambda: open("/tmp/infraxys/variables/more", "w")):
    try:
        attempt()
        print("possible")
    except OSError as error:
        print(error.errno)
print(open(path).read())
"""
        assert levels.run(tries)["log"] == "30\n30\n30\n30\nas it was\n"

    def test_a_branch_gets_what_is_set_for_it(self, levels: Levels) -> None:
        one = name()
        levels.environment(one, "many", export=True)
        levels.environment(one, "features", branch="feature/*", export=True)
        assert levels.seen()["env"][one] == "many"
        assert levels.seen("feature%2Fa%2Fb")["env"][one] == "features"

    def test_a_step_gets_what_is_set_when_it_starts(self, levels: Levels) -> None:
        one = name()
        assert one not in levels.seen()["env"]
        levels.container(one, "first", export=True)
        assert levels.seen()["env"][one] == "first"
        levels.container(one, "second", export=True)
        assert levels.seen()["env"][one] == "second"
        assert levels.server.client.delete(f"{CONTAINER_LEVEL}/{one}", params=CONTAINER_PLACE).status_code == 204
        assert one not in levels.seen()["env"]

    def test_a_step_gets_what_the_step_before_has_set(self, levels: Levels) -> None:
        one = name()
        code = f"""
import os
from infraxys.infraxys_rest_client import InfraxysRestClient
if {one!r} not in os.environ:
    client = InfraxysRestClient.get_instance()
    url = client.url("containers/{CONTAINER}/variables/{one}?module={MODULE}&environmentId={ENVIRONMENT}")
    answer = client.execute_request("PUT", url, json_body={{"value": "by the first", "export": True}})
    assert answer.ok, answer.problem()
print(os.environ.get({one!r}))
"""
        step = {"containerGuid": CONTAINER, "instanceGuid": INSTANCE, "filename": "code.py"}
        body = {"environmentGuid": ENVIRONMENT, "actions": [step] * 2, "argument": {"code": code}}
        run = levels.server.client.post("/api/v1/environments/main/execute", json=body).json()
        assert (run["status"], run["log"]) == ("SUCCESS", "None\nby the first\n"), run["log"]

    def test_every_step_of_a_workflow_has_them_masked(self, levels: Levels) -> None:
        levels.environment("greeting_secret", "canary-in-a-workflow", export=True, protect=True)
        body = {"argument": {"said": "canary-in-a-workflow"}}
        answer = levels.server.client.post(
            f"/api/v1/environment/main/{ENVIRONMENT}/workflow/{WORKFLOW}/execute", json=body
        )
        assert answer.json()["status"] == "SUCCESS"
        assert '"********"' in answer.json()["log"]
        assert "canary" not in answer.json()["log"]

    def test_a_name_that_is_a_type_as_well_ends_the_run_with_a_reason(self, levels: Levels) -> None:
        levels.container("NETRC", "x", saveToFile=True)
        levels.container("mine", "x", type="NETRC", saveToFile=True)
        run = levels.server.execute(INSTANCE, "ok.sh")
        assert run["status"] == "FAILED"
        assert "variable_not_possible" in run["message"]
        assert "'NETRC'" in run["message"]


class TestSecrets:
    def test_a_protected_value_is_never_given_back(self, levels: Levels) -> None:
        one = name()
        made = levels.container(one, "canary-7c1e", protect=True)
        listed = levels.server.client.get(CONTAINER_LEVEL, params=CONTAINER_PLACE)
        found = levels.server.client.get(f"{CONTAINER_LEVEL}/{one}", params=CONTAINER_PLACE)
        changed = levels.server.client.patch(f"{CONTAINER_LEVEL}/{one}", params=CONTAINER_PLACE, json={"export": True})
        assert made["value"] is None
        assert changed.json()["export"] is True
        for answer in (listed, found, changed):
            assert answer.status_code == 200
            assert "canary" not in answer.text

    def test_protection_goes_only_with_the_value(self, levels: Levels) -> None:
        one = name()
        levels.container(one, "canary-1", protect=True, export=True)
        path = f"{CONTAINER_LEVEL}/{one}"
        refused = levels.server.client.patch(path, params=CONTAINER_PLACE, json={"protect": False})
        assert (refused.status_code, refused.json()["code"]) == (422, "variable_not_possible")
        changed = levels.server.client.patch(path, params=CONTAINER_PLACE, json={"protect": False, "value": "open"})
        assert changed.json()["value"] == "open"
        again = levels.server.client.patch(path, params=CONTAINER_PLACE, json={"protect": True})
        assert again.json()["value"] is None
        assert levels.seen()["env"][one] == "********"

    def test_masked_in_log_message_argument_events_and_download(self, levels: Levels) -> None:
        levels.container("V_password", "canary s3cr3t/1", protect=True, export=True)
        code = """
import base64, os, sys, urllib.parse
secret = os.environ["V_password"]
print("plain", secret, "b64", base64.b64encode(secret.encode()).decode(), "url", urllib.parse.quote_plus(secret))
for letter in secret:
    sys.stdout.write(letter); sys.stdout.flush()
print("", file=sys.stderr); print(secret, file=sys.stderr)
"""
        run = levels.run(code + f"# {'canary s3cr3t/1'}")
        assert run["status"] == "SUCCESS"
        base = f"/api/v1/runs/{run['id']}"
        texts = [
            json.dumps(run),
            levels.server.client.get(f"{base}/log").text,
            levels.server.client.get(f"{base}/log", params={"format": "ndjson"}).text,
            levels.server.client.get(f"{base}/argument").text,
            levels.server.client.get(f"{base}/events").text,
            levels.server.client.get(base).text,
            levels.server.client.get("/api/v1/runs").text,
        ]
        for text in texts:
            assert "canary" not in text
            assert base64.b64encode(b"canary s3cr3t/1").decode()[:12] not in text
        assert texts[1].startswith("plain ******** b64 ******** url ********")
        assert "********" in texts[3]

    def test_the_token_of_the_run_is_masked_as_well(self, levels: Levels) -> None:
        run = levels.run('print("t=" + open("/tmp/infraxys/system/token").read())')
        assert run["log"] == "t=********\n"

    def test_a_secret_that_is_set_while_an_action_runs_is_masked_in_it(
        self, levels: Levels, server: ServerProcess
    ) -> None:
        # It asks the API, with the token of its run, until the variable has another version.
        code = """
import json, os, ssl, time, urllib.request
print("waiting", flush=True)
client = json.load(open("/tmp/infraxys/variables/INFRAXYS-CONFIG/INFRAXYS-REST-CLIENT"))
trusted = ssl.create_default_context(cafile="/tmp/infraxys/core/server_ca.pem")
url = client["endpoint"] + "/api/v1VARIABLE"
asked = urllib.request.Request(url, headers={"Authorization": "token " + client["token"]})
while json.load(urllib.request.urlopen(asked, context=trusted))["version"] < 2:
    time.sleep(0.05)
print("new: canary-rot" + "ated-2"); print("old: " + os.environ["V_rotated"])
"""
        levels.container("V_rotated", "canary-rotated-1", protect=True, export=True)
        query = f"/V_rotated?module={MODULE}&environmentId={ENVIRONMENT}"
        code = code.replace("VARIABLE", CONTAINER_LEVEL.removeprefix("/api/v1") + query)
        body = {"argument": {"code": code}, "asynchronous": True}
        started = server.client.post(f"/api/v1/instance/main/{INSTANCE}/files/code.py/execute", json=body)
        path = f"/api/v1/runs/{started.json()['id']}"
        with server.client.stream("GET", f"{path}/events") as events:
            for line in events.iter_lines():
                if "waiting" in line:
                    break
        levels.container("V_rotated", "canary-rotated-2", protect=True, export=True)
        log = wait_for_log(server, path)
        assert log == "waiting\nnew: ********\nold: ********\n"


def wait_for_log(server: ServerProcess, path: str) -> str:
    with server.client.stream("GET", f"{path}/events") as events:
        for _ in events.iter_lines():
            pass
    return server.client.get(f"{path}/log").text


class TestRefusals:
    @pytest.mark.parametrize(
        ("variable", "body"),
        [
            ("V-1", {"value": "x", "export": True}),
            ("PATH", {"value": "x", "export": True}),
            ("LD_PRELOAD", {"value": "x", "export": True}),
            ("BASH_ENV", {"value": "x", "export": True}),
            ("V_1", {}),
            ("V_1", {"value": "x", "reference": {"path": "a", "field": "b"}}),
            ("V_1", {"reference": {"path": "a", "field": "b"}, "protect": False}),
            ("V_1", {"reference": {"path": "../a", "field": "b"}}),
            ("V_1", {"reference": {"path": "a//b", "field": "b"}}),
            ("V_1", {"reference": {"store": "other", "path": "a", "field": "b"}}),
            ("V_1", {"value": "nul \0"}),
            ("V_1", {"value": "x" * 65537}),
            ("V_1", {"value": 1}),
            ("V_1", {"value": "x", "more": 1}),
            ("V_1", {"value": "x", "type": "../../etc"}),
            ("V_1", {"value": "x", "type": ".."}),
            ("..", {"value": "x"}),
            ("%2e%2e%2fx", {"value": "x"}),
            ("-rf", {"value": "x"}),
            ("a%0ab", {"value": "x"}),
        ],
    )
    def test_what_cannot_be_is_refused_without_repeating_the_value(
        self, server: ServerProcess, variable: str, body: dict[str, Any]
    ) -> None:
        answer = server.client.put(f"{ROOT_LEVEL}/{variable}", json=body)
        assert answer.status_code in {400, 404, 405, 422}, answer.text
        assert "xxxx" not in answer.text

    def test_the_level_has_to_be_named_whole(self, server: ServerProcess) -> None:
        for path, query in (
            (ENVIRONMENT_LEVEL, {}),
            (ENVIRONMENT_LEVEL, {"module": "no-module"}),
            (ENVIRONMENT_LEVEL, {**PLACE, "branch": "a*b"}),
            (CONTAINER_LEVEL, PLACE),
        ):
            assert server.client.get(path, params=query).status_code in {400, 422}

    def test_what_is_not_there_is_404(self, server: ServerProcess) -> None:
        for method in ("GET", "PATCH", "DELETE"):
            answer = server.client.request(method, f"{ROOT_LEVEL}/nothing", json={} if method == "PATCH" else None)
            assert (answer.status_code, answer.json()["code"]) == (404, "unknown_variable")
        unknown = server.client.get("/api/v1/projects/nothing/variables")
        assert (unknown.status_code, unknown.json()["code"]) == (404, "unknown_project")


class TestCommands:
    def test_set_get_list_and_delete(self, server: ServerProcess) -> None:
        where = ("--environment", ENVIRONMENT, "--module", MODULE, "--container", CONTAINER)
        done = server.command("variable", "set", "V_cli", *where, "--protect", "--export", stdin="canary-cli\n")
        assert done.returncode == 0, done.stderr
        assert server.command("variable", "set", "V_open", "seen", *where).returncode == 0
        assert server.command("variable", "get", "V_open", *where).stdout == "seen\n"
        hidden = server.command("variable", "get", "V_cli", *where)
        assert (hidden.returncode, hidden.stdout) == (1, "")
        listed = server.command("variable", "list", *where).stdout
        assert "(protected)" in listed
        assert "canary" not in listed
        for each in ("V_cli", "V_open"):
            assert server.command("variable", "delete", each, *where).returncode == 0

    def test_a_secret_on_the_command_line_is_refused(self, server: ServerProcess) -> None:
        refused = server.command("variable", "set", "V_cli", "canary", "--project", "root", "--protect")
        assert refused.returncode == 2
        assert "standard input" in refused.stderr


@pytest.fixture(scope="class")
def keeping_server() -> Iterator[ServerProcess]:
    """A server whose files are looked at."""
    folder = make_folder()
    running = ServerProcess(folder, "--no-examples")
    try:
        running.add_module(make_library(folder).path)
        yield running
    finally:
        running.stop()
        shutil.rmtree(folder, ignore_errors=True)


class TestAtRest:
    def test_no_secret_is_in_any_file_of_the_server_or_in_a_process(self, keeping_server: ServerProcess) -> None:
        levels = Levels(keeping_server)
        levels.container("V_kept", "canary-at-rest", protect=True, export=True, saveToFile=True)
        levels.container("V_open", "open-at-rest", export=True)
        run = keeping_server.execute(
            INSTANCE,
            "code.py",
            argument={
                "code": "import os\nassert os.environ['V_kept']\nprint(open('/tmp/infraxys/variables/V_kept').read())"
            },
        )
        assert run["status"] == "SUCCESS", run
        found = leaks(keeping_server, b"canary-at-rest", b"open-at-rest")
        assert found == []
        keeping_server.stop()
        assert leaks(keeping_server, b"canary-at-rest", b"open-at-rest") == []
        keeping_server.start()
        assert Levels(keeping_server).seen()["env"]["V_open"] == "open-at-rest"

    def test_another_key_is_taken_beside_the_running_server(self, keeping_server: ServerProcess) -> None:
        levels = Levels(keeping_server)
        levels.container("V_before", "before", export=True, protect=False)
        keys = keeping_server.data / "keys" / "secrets.key"
        old = keys.read_bytes()
        done = keeping_server.command("secrets", "rotate", "--forget")
        assert done.returncode == 0, done.stderr
        assert " variables are kept under the key" in done.stdout
        assert old not in keys.read_bytes()
        levels.container("V_behind", "behind", export=True)
        seen = levels.seen()["env"]
        assert (seen["V_before"], seen["V_behind"]) == ("before", "behind")
        audited = keeping_server.client.get("/api/v1/audit", params={"what": "secrets_key.rotate"}).json()["items"]
        assert [item["result"] for item in audited] == ["ok"]

    def test_without_its_key_file_the_server_says_what_is_missing(self, keeping_server: ServerProcess) -> None:
        Levels(keeping_server).container("V_kept", "canary", protect=True)
        keeping_server.stop()
        (keeping_server.data / "keys" / "secrets.key").rename(keeping_server.folder / "away")
        with pytest.raises(AssertionError, match=r"secrets.key' is missing"):
            keeping_server.start()
        (keeping_server.folder / "away").rename(keeping_server.data / "keys" / "secrets.key")
        keeping_server.start()

    def test_the_audit_trail_has_the_change_and_not_the_value(self, server: ServerProcess, levels: Levels) -> None:
        one = name()
        made = levels.container(one, "canary-audit", protect=True)
        items = server.client.get("/api/v1/audit", params={"target": f"variable/{made['id']}"}).json()["items"]
        assert [item["action"] for item in items] == ["variable.replace"]
        assert items[0]["details"]["name"] == one
        assert "canary" not in json.dumps(items)


def leaks(server: ServerProcess, *canaries: bytes) -> list[str]:
    """Search every file of the server's folder, what it wrote to its output, and all command lines."""
    found = []
    for path, data in contents(server.folder):
        if "library.git" not in str(path):
            found += [f"{path}: {canary!r}" for canary in canaries if canary in data]
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            for file in ("cmdline", "environ"):
                try:
                    data = (process / file).read_bytes()
                except OSError:
                    continue
                if int(process.name) != os.getpid():
                    found += [f"{process}/{file}" for canary in canaries if canary in data]
    return found
