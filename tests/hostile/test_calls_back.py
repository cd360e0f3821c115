"""What an action tries with the token of its run, and with what says who started it.

hostile.md B5, field.md G7, sandbox.md S17.
"""

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from factories.contents import contents
from factories.modules import INSTANCE
from infraxys.server.auth import run_tokens
from infraxys.server.auth.tokens import TokenKey
from plugins.access import AccessServer
from plugins.server import ServerProcess

ACTION = f"/api/v1/instance/main/{INSTANCE}/files"
# In the sandbox: call(method, path, body, token) gives status and JSON of an answer, the certificate checked.
CALL = """
import json, os, ssl, urllib.error, urllib.request
SYSTEM = "/tmp/infraxys/system"
TOKEN = open(SYSTEM + "/token").read()
CONTEXT = ssl.create_default_context(cafile="/tmp/infraxys/core/server_ca.pem")
def call(method, path, body=None, token=TOKEN):
    headers = {"Content-Type": "application/json"}
    if token:
        headers["Authorization"] = "token " + token
    data = None if body is None else json.dumps(body).encode()
    url = os.environ["INFRAXYS_REST_ENDPOINT"] + "/" + path
    request = urllib.request.Request(url, data, headers, method=method)
    try:
        with urllib.request.urlopen(request, context=CONTEXT, timeout=50) as answer:
            text = answer.read()
            return answer.status, json.loads(text) if text else None
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())
"""


def start(server: ServerProcess, code: str, token: str | None = None, **body: Any) -> dict[str, Any]:
    """Execute Python in an action."""
    headers = {} if token is None else {"Authorization": f"token {token}"}
    body = {"argument": {"code": CALL + code}, **body}
    answer = server.client.post(f"{ACTION}/code.py/execute", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    run: dict[str, Any] = answer.json()
    return run


def said(server: ServerProcess, code: str, token: str | None = None) -> Any:
    """Give the JSON that an action printed."""
    run = start(server, code, token)
    assert run["status"] == "SUCCESS", run["message"] + run["log"]
    return json.loads(run["log"])


def with_token(server: ServerProcess, token: str, path: str) -> httpx.Response:
    return server.client.get(f"/api/v1/{path}", headers={"Authorization": f"token {token}"})


def wait_for_end(server: ServerProcess, run_id: str, token: str | None = None) -> None:
    headers = {} if token is None else {"Authorization": f"token {token}"}
    for _ in range(10):
        run = server.client.get(f"/api/v1/runs/{run_id}?wait=30", headers=headers).json()
        if run["finishedAt"]:
            return
    raise AssertionError("the run does not end")


def wait_for_log(server: ServerProcess, run_id: str, token: str | None = None) -> str:
    headers = {} if token is None else {"Authorization": f"token {token}"}
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        text = server.client.get(f"/api/v1/runs/{run_id}/log", headers=headers).text
        if text.endswith("\n"):
            return text.strip()
        time.sleep(0.05)
    raise AssertionError("the action says nothing")


# Backwards: a token that is printed as it is never comes into the log.
WAITS = "print(TOKEN[::-1], flush=True)\nimport time\ntime.sleep(300)"


@pytest.fixture
def running(access_server: AccessServer) -> Iterator[tuple[str, str, str]]:
    """A run of somebody with the grants on the root project: its id, its token, its starter's."""
    token = access_server.holder("root", "action.execute", "run.list", "run.read", "run.cancel")
    run_id = start(access_server, WAITS, token, asynchronous=True)["id"]
    yield run_id, wait_for_log(access_server, run_id, token)[::-1], token
    access_server.ask("POST", f"/runs/{run_id}/cancel", access_server.everything)
    wait_for_end(access_server, run_id, access_server.everything)


def test_s17_without_credentials_the_servers_port_gives_an_action_nothing(access_server: AccessServer) -> None:
    paths = ["runs", "me", "audit", "modules", "tokens", "openapi.json"]
    code = f"print(json.dumps([call('GET', path, None, None)[0] for path in {paths!r}]))"
    assert said(access_server, code, access_server.everything) == [401] * len(paths)


def test_an_action_is_who_started_it_and_checks_the_certificate(access_server: AccessServer) -> None:
    status, me = said(access_server, "print(json.dumps(call('GET', 'me')))", access_server.everything)
    mine = access_server.ask("GET", "/me", access_server.everything).json()
    assert status == 200
    assert (me["id"], me["name"]) == (mine["id"], mine["name"])


def test_in_developer_mode_an_action_is_the_local_user(server: ServerProcess) -> None:
    status, me = said(server, "print(json.dumps(call('GET', 'me')))")
    assert (status, me["name"]) == (200, server.client.get("/api/v1/me").json()["name"])


def test_a_run_that_an_action_starts_says_so(access_server: AccessServer) -> None:
    code = f"print(json.dumps([os.environ['RUN_GUID'], call('POST', 'instance/main/{INSTANCE}/files/ok.sh/execute')]))"
    parent, (status, child) = said(access_server, code, access_server.everything)
    assert (status, child["status"]) == (200, "SUCCESS")
    assert (child["trigger"], child["parentRunId"], child["tokenId"]) == ("run", parent, None)
    assert (
        child["requestedBy"]
        == access_server.ask("GET", f"/runs/{parent}", access_server.everything).json()["requestedBy"]
    )


def test_b05_g7_a_token_is_of_no_use_once_its_run_has_ended(
    access_server: AccessServer, running: tuple[str, str, str]
) -> None:
    run_id, token, owner = running
    assert with_token(access_server, token, "me").status_code == 200
    access_server.ask("POST", f"/runs/{run_id}/cancel", owner)
    wait_for_end(access_server, run_id, owner)
    assert with_token(access_server, token, "me").status_code == 401


def test_b05_a_stream_of_an_ended_run_ends(access_server: AccessServer, running: tuple[str, str, str]) -> None:
    run_id, token, owner = running
    other = start(access_server, WAITS, access_server.everything, asynchronous=True)["id"]
    try:
        headers = {"Authorization": f"token {token}"}
        with access_server.client.stream("GET", f"/api/v1/runs/{other}/events", headers=headers) as answer:
            assert answer.status_code == 200
            began = time.monotonic()
            access_server.ask("POST", f"/runs/{run_id}/cancel", owner)
            with pytest.raises(httpx.HTTPError):
                for _ in answer.iter_bytes():
                    pass
            assert time.monotonic() - began < 30
    finally:
        access_server.ask("POST", f"/runs/{other}/cancel", access_server.everything)


def test_b05_forged_tokens_are_refused(access_server: AccessServer, running: tuple[str, str, str]) -> None:
    run_id, token, owner = running
    other_run = start(access_server, "print(1)", owner)["id"]
    _, _, proof, _ = token.split("_")
    swapped = f"ifr_{other_run.replace('-', '')}_{proof}"
    changed = f"ifr_{run_id.replace('-', '')}_{proof[::-1]}"
    as_personal = f"ifx_{run_id.replace('-', '')[:16]}_{proof}"
    bad = [f"{body}_{run_tokens.checksum(body)}" for body in (swapped, changed, as_personal)]
    bad += [token[:-1], token + "0", token.upper(), token.replace("ifr_", "ifr_0"), f"{token}\n{token}"[:150]]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(access_server.client, "headers", {})
        answers = [
            access_server.client.get("/api/v1/me", headers={"Authorization": f"token {text}"})
            for text in bad
            if "\n" not in text
        ]
    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.json()["detail"] for answer in answers}) == 1


def test_b05_a_token_of_another_installations_key_is_refused(
    access_server: AccessServer, running: tuple[str, str, str], tmp_path: Any
) -> None:
    foreign = run_tokens.make(TokenKey(tmp_path / "other.key"), running[0])
    assert with_token(access_server, foreign, "me").status_code == 401


def test_b03_the_token_of_a_disabled_users_run_is_refused_at_once(
    access_server: AccessServer, running: tuple[str, str, str]
) -> None:
    _, token, _ = running
    user = with_token(access_server, token, "me").json()["id"]
    answer = access_server.ask("PATCH", f"/users/{user}", access_server.everything, {"isDisabled": True})
    assert answer.status_code == 200, answer.text
    assert with_token(access_server, token, "me").status_code == 401


def test_b05_an_action_makes_no_credentials(access_server: AccessServer) -> None:
    attempts = [
        ("POST", "tokens", {"name": "mine"}),
        ("GET", "tokens", None),
        ("DELETE", "tokens/0000000000000000", None),
        ("POST", "tokens/0000000000000000/rotate", {}),
        ("PUT", "me/password", {"currentPassword": "x", "newPassword": "three-Horses-swim-2-Oslo"}),
        ("GET", "sessions", None),
        ("DELETE", "sessions", None),
        ("POST", "users", {"name": "eve", "isAdministrator": True}),
    ]
    code = f"print(json.dumps([call(*attempt) for attempt in {attempts!r}]))"
    answers = said(access_server, code, access_server.everything)
    assert [status for status, _ in answers] == [403] * len(attempts)
    assert {body["code"] for _, body in answers} == {"session_required", "forbidden"}


def test_b05_neither_does_one_in_developer_mode(server: ServerProcess) -> None:
    code = "print(json.dumps([call('POST', 'tokens', {'name': 'x'}), call('GET', 'sessions')]))"
    (made, problem), (_, listed) = said(server, code)
    assert (made, problem["code"], listed["items"]) == (409, "no_account", [])


def test_b05_an_action_has_no_more_rights_than_its_starter(access_server: AccessServer) -> None:
    token = access_server.holder("root", "action.execute", "run.read")
    code = "print(json.dumps([call('GET', 'audit'), call('GET', 'users'), call('DELETE', 'modules/x')]))"
    assert [status for status, _ in said(access_server, code, token)] == [403, 403, 403]


def test_the_client_libraries_find_endpoint_and_token_where_they_look(server: ServerProcess) -> None:
    code = """
config = json.load(open("/tmp/infraxys/variables/INFRAXYS-CONFIG/INFRAXYS-REST-CLIENT"))
endpoint = config["endpoint"] + "/api/v1"
print(json.dumps([endpoint == os.environ["INFRAXYS_REST_ENDPOINT"], config["token"] == TOKEN]))
"""
    assert said(server, code) == [True, True]


def test_b01_the_token_is_nowhere_but_in_the_folder_of_its_run(server: ServerProcess) -> None:
    run_id = start(server, "print(len(TOKEN), flush=True)\nimport time; time.sleep(300)", asynchronous=True)["id"]
    wait_for_log(server, run_id)
    token = run_tokens.make(TokenKey(server.data / "keys" / "tokens.key"), run_id)
    proof = token.split("_")[2].encode()
    try:
        assert with_token(server, token, "me").status_code == 200
        found = [str(path) for path, data in contents(server.data) if proof in data]
        assert all(f"/runs/{run_id}/" in path for path in found), found
        assert proof not in (server.folder / "errors").read_bytes()
    finally:
        server.client.post(f"/api/v1/runs/{run_id}/cancel")
        wait_for_end(server, run_id)


# Each tries to make has_grant say "true" and current_user.json name somebody else.
LIES = """
import os, subprocess
os.chdir("/tmp/infraxys/system")
attacks = [
    "echo '*' >> grants", "echo '*' > grants", "rm -f grants", "mv grants other", "ln -sf /tmp/mine grants",
    "echo '{}' > current_user.json", "rm -f current_user.json", "chmod 666 current_user.json grants",
    "echo 'echo true' > has_grant", "rm -f has_grant", "ln -sf /tmp/mine has_grant",
    "echo 'echo true' > /tmp/infraxys/core/has_grant", "mv /tmp/infraxys/core /tmp/infraxys/elsewhere",
    "mv /tmp/infraxys/system /tmp/infraxys/elsewhere", "mount --bind /tmp /tmp/infraxys/system",
    "mount -o remount,rw /tmp/infraxys/system", "umount /tmp/infraxys/system",
    "unshare -Urm sh -c 'mount -t tmpfs none /tmp/infraxys/system'",
]
def works(attack):
    return subprocess.run(["bash", "-c", attack], capture_output=True).returncode == 0
succeeded = [attack for attack in attacks if works(attack)]
os.makedirs("/tmp/bin", exist_ok=True)
for name in ("grep", "bash", "sh", "echo", "read", "[", "cat", "true", "builtin"):
    with open("/tmp/bin/" + name, "w") as file:
        file.write("#!/bin/sh\\nexec /bin/echo true\\n")
    os.chmod("/tmp/bin/" + name, 0o755)
with open("/tmp/env", "w") as file:
    file.write("echo true; exit\\n")
function = "() {  /bin/echo true; exit; }"
lies = {f"BASH_FUNC_{name}%%": function for name in ("echo", "read", "builtin", "unset", "[", "grep", "while")}
lies |= {"PATH": "/tmp/bin", "BASH_ENV": "/tmp/env", "ENV": "/tmp/env", "IFS": "abc", "SHELLOPTS": "noexec:xtrace",
         "BASHOPTS": "extglob", "POSIXLY_CORRECT": "1", "CDPATH": "/tmp", "grant": "*", "answer": "true"}
def has(*arguments, **environment):
    done = subprocess.run(["/tmp/infraxys/system/has_grant", *arguments], capture_output=True, text=True,
                          env={**os.environ, **environment})
    return done.stdout.strip()
asked = ["run.read", "audit.read", "", "*", "a*", "run.*", "run.read\\naudit.read", "audit.read\\nrun.read", "-e", ".*"]
answers = [has(name) for name in asked] + [has()]
lied = [has("run.read", **lies), has("audit.read", **lies)]
print(json.dumps([succeeded, answers, lied, json.load(open("/tmp/infraxys/system/current_user.json"))]))
"""


def test_s04_who_started_it_and_with_which_grants_cannot_be_changed(access_server: AccessServer) -> None:
    token = access_server.holder("root", "action.execute", "run.read")
    me = access_server.ask("GET", "/me", token).json()
    succeeded, answers, lied, user = said(access_server, LIES, token)
    assert succeeded == []
    assert answers == ["true"] + ["false"] * 10
    assert lied == ["true", "false"]
    assert (user["username"], user["full_name"]) == (me["name"], me["displayName"])
    assert sorted(user["grants"]) == ["action.execute", "run.read"]


def test_whoever_has_everything_has_each_grant(server: ServerProcess) -> None:
    code = """
import subprocess
print(json.dumps([subprocess.run([SYSTEM + "/has_grant", name], capture_output=True, text=True).stdout
                  for name in ("run.read", "anything", "")]))
"""
    assert said(server, code) == ["true\n", "true\n", "false\n"]
