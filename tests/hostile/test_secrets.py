"""What is tried to see secrets (hostile.md D5, F1, B1; field.md G33): by printing, by looking around, by asking."""

import base64
import json
import os
import shutil
import stat
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from factories.access import MODULE
from factories.contents import contents
from factories.modules import CONTAINER, ENVIRONMENT, INSTANCE
from plugins.access import AccessServer
from plugins.server import ServerProcess, make_folder, make_library

SECRET = 'cAn4ry/s3cret+"two words"\'&é'
PLACE = {"module": MODULE, "environmentId": ENVIRONMENT}
LEVEL = f"/api/v1/containers/{CONTAINER}/variables"
MASK = "********"
PREPARE = """
import base64, binascii, html, json, os, sys, textwrap, time, urllib.parse
secret = os.environ["SECRET"]
def say(text, stream=sys.stdout):
    stream.write(text)
    stream.flush()
"""
ATTEMPTS = {
    "plain": "say(secret)",
    "base64": "say(base64.b64encode(secret.encode()).decode())",
    "base64 at each place": "[say(base64.b64encode(b'x' * n + secret.encode() + b'y').decode()) for n in range(3)]",
    "base64 of lines": "say(base64.encodebytes((secret * 5).encode()).decode())",
    "URL": "say(urllib.parse.quote(secret)); say(urllib.parse.urlencode({'password': secret}))",
    "JSON": "say(json.dumps({'a': secret})); say(json.dumps(json.dumps(secret)))",
    "hexadecimal": "say(secret.encode().hex()); say(binascii.hexlify(secret.encode()).decode().upper())",
    "HTML": "say(html.escape(secret))",
    "repr and shell": "import shlex; say(repr([secret])); say(shlex.quote(secret))",
    "letter by letter": "[(say(letter), time.sleep(0.002)) for letter in secret]",
    "two writes": "say(secret[:9]); time.sleep(0.2); say(secret[9:])",
    "colours": "say(''.join(chr(27) + '[3%dm' % (n % 8) + letter for n, letter in enumerate(secret)))",
    "a title": "say(chr(27) + ']0;' + secret + chr(7))",
    "stderr": "say(secret, sys.stderr)",
    "an exception": "raise RuntimeError(secret)",
    "the exit message": "sys.exit('failed with ' + secret)",
    "a file name": "open('/tmp/' + urllib.parse.quote(secret, safe=''), 'w'); os.system('ls /tmp')",
    "lines": "say(chr(10).join(secret[n : n + 7] for n in range(0, 29, 7))); say(chr(10).join(secret))",
    "a program's arguments": "import subprocess\n"
    "subprocess.run(['bash', '-xc', ': \"$1\"; printf %q \"$1\"', 'x', secret], check=True)",
    "behind much else": "say('x' * 300_000 + secret + 'y' * 70_000)",
}


@pytest.fixture(scope="module")
def secret_server() -> Iterator[ServerProcess]:
    """A server whose actions get a secret, with its master key in the environment."""
    folder = make_folder()
    key = base64.b64encode(b"canary-master-key-of-32-bytes-!!").decode()
    running = ServerProcess(folder, "--no-examples", environment={"INFRAXYS_SECRETS_KEY": key})
    try:
        running.add_module(make_library(folder).path)
        body = {"value": SECRET, "protect": True, "export": True, "saveToFile": True}
        assert running.client.put(f"{LEVEL}/SECRET", json=body, params=PLACE).status_code == 201
        yield running
    finally:
        running.stop()
        shutil.rmtree(folder, ignore_errors=True)


def texts_of(server: ServerProcess, run: dict[str, Any]) -> list[str]:
    """Give everything that the API says of a run."""
    base = f"/api/v1/runs/{run['id']}"
    logs = (f"{base}/log", f"{base}/log?format=ndjson", f"{base}/log?strip=ansi")
    calls = (base, *logs, f"{base}/events", "/api/v1/runs")
    return [json.dumps(run, ensure_ascii=False), *(server.client.get(path).text for path in calls)]


def tells(text: str) -> bool:
    """Whether a text has what is left of the secret in one of its forms."""
    plain = text.replace("\x1b", "")
    encoded = base64.b64encode(SECRET.encode()).decode()
    needles = ("cAn4ry", "two words", "two%20words", "two+words", "nA\\n4ry", SECRET.encode().hex()[:12], encoded[4:16])
    return any(needle in plain or needle.upper() in plain for needle in needles)


@pytest.mark.parametrize("name", ATTEMPTS)
def test_d5_g33_a_secret_is_masked_wherever_the_run_is_seen(secret_server: ServerProcess, name: str) -> None:
    run = secret_server.execute(INSTANCE, "code.py", argument={"code": PREPARE + ATTEMPTS[name]})
    for text in texts_of(secret_server, run):
        assert not tells(text), text[-600:]
    assert MASK in secret_server.client.get(f"/api/v1/runs/{run['id']}/log").text


ARTEFACTS = """
import os
os.chdir(os.environ['INFRAXYS_ARTEFACTS'])
quoted = urllib.parse.quote(secret, safe='')
for name in (quoted, base64.urlsafe_b64encode(secret.encode()).decode()):
    open(name, 'w').close()
os.makedirs('folder/' + quoted); open('folder/' + quoted + '/report.txt', 'w').close()
os.makedirs(os.path.dirname('raw/' + secret)); open('raw/' + secret, 'w').close()
json.dump({'password': secret, 'note': 'é' * 200_000}, open('plan.json', 'w'))
open('lines.txt', 'w').write('x' * 262_140 + secret + ' behind ' + base64.b64encode(secret.encode()).decode())
open('archive', 'wb').write(bytes(9) + secret.encode()); open('harmless', 'wb').write(bytes(range(256)))
for name in ('sparse', 'hole'):
    open(name, 'w').close(); os.truncate(name, 2**40)
os.pwrite(os.open('sparse', os.O_RDWR), secret.encode(), 2**39)
"""


def test_d5_artefacts_have_no_secrets_in_their_names_and_their_text(secret_server: ServerProcess) -> None:
    run = secret_server.execute(INSTANCE, "code.py", argument={"code": PREPARE + ARTEFACTS})
    base = f"/api/v1/runs/{run['id']}/artefacts"
    listed = secret_server.client.get(base)
    assert not tells(listed.text)
    names = {item["path"] for item in listed.json()["items"]}
    assert names == {
        MASK, f"{MASK}-2", f"folder/{MASK}/report.txt", f"raw/{MASK}", "plan.json", "lines.txt", "harmless", "hole",
    }  # fmt: skip
    assert secret_server.client.get(f"{base}/plan.json").json() == {"password": MASK, "note": "é" * 200_000}
    assert secret_server.client.get(f"{base}/lines.txt").text == "x" * 262_140 + f"{MASK} behind {MASK}"
    assert secret_server.client.get(f"{base}/harmless").content == bytes(range(256))
    assert "secrets in 6 of the artefacts were replaced" in run["message"]
    assert "cannot be replaced: archive, sparse" in run["message"]
    folder = secret_server.data / "artefacts"
    assert not [path for path in folder.rglob("*") if "trash" not in path.parts and tells(path.name)]


def test_d5_artefacts_that_are_read_while_the_action_runs_have_none_either(secret_server: ServerProcess) -> None:
    code = (
        f"{PREPARE}import os\nos.chdir(os.environ['INFRAXYS_ARTEFACTS'])\n"
        "open('a-' + urllib.parse.quote(secret, safe=''), 'w').close(); open('bytes', 'w').write(chr(0) + secret)\n"
        "open('text', 'w').write(secret + '!'); open('plain', 'w').write('?'); say('there' + chr(10)); time.sleep(300)"
    )
    run = secret_server.execute(INSTANCE, "code.py", asynchronous=True, argument={"code": code})
    base = f"/api/v1/runs/{run['id']}"
    try:
        end = time.monotonic() + 60
        while "there" not in secret_server.client.get(f"{base}/log").text:
            assert time.monotonic() < end
        listed = secret_server.client.get(f"{base}/artefacts").json()["items"]
        assert [item["path"] for item in listed] == [f"a-{MASK}", "bytes", "plain", "text"]
        assert secret_server.client.get(f"{base}/artefacts/text").text == f"{MASK}!"
        assert secret_server.client.get(f"{base}/artefacts/plain").text == "?"
        assert secret_server.client.get(f"{base}/artefacts/bytes").status_code == 404
    finally:
        secret_server.client.post(f"{base}/cancel")


def test_g33_truncation_happens_after_masking(secret_server: ServerProcess) -> None:
    """The end of a log that an answer carries begins anywhere, also where a secret was."""
    code = PREPARE + "[say(secret + chr(10)) for _ in range(60_000)]"
    run = secret_server.execute(INSTANCE, "code.py", argument={"code": code})
    assert run["status"] == "SUCCESS"
    assert run["log"].strip("*\n") == ""
    assert not tells(run["log"])


def test_an_argument_with_the_secret_in_it_is_masked_when_it_is_read(secret_server: ServerProcess) -> None:
    given = {"password": SECRET, "url": urllib.parse.quote(SECRET)}
    run = secret_server.execute(INSTANCE, "argument.sh", argument=given)
    for text in (*texts_of(secret_server, run), secret_server.client.get(f"/api/v1/runs/{run['id']}/argument").text):
        assert not tells(text)
    asked = secret_server.client.get(f"/api/v1/runs/{run['id']}/argument").json()
    assert asked == {"password": MASK, "url": MASK}


def test_f1_nothing_on_the_host_shows_it_while_an_action_has_it(secret_server: ServerProcess) -> None:
    """Command lines, environments of the server's programs, and files that others may read."""
    body = {"argument": {}, "asynchronous": True}
    path = f"/api/v1/instance/main/{INSTANCE}/files/sleep.sh/execute"
    run = secret_server.client.post(path, json=body).json()
    try:
        server = secret_server.process.pid
        end = time.monotonic() + 60
        while not any(b"SECRET=" in read(f"/proc/{pid}/environ") for pid in descendants(server)):
            assert time.monotonic() < end
            time.sleep(0.02)
        below = descendants(server)
        for pid in (server, *below):
            assert b"cAn4ry" not in read(f"/proc/{pid}/cmdline")
        for pid in below:  # the action's own processes have it, and are seen by root and by themselves only
            environment = read(f"/proc/{pid}/environ")
            assert b"canary-master" not in environment
            assert b"Y2FuYXJ5LW1hc3Rlci" not in environment
            if b"SECRET=" not in environment:
                assert b"cAn4ry" not in environment
        limits = Path(f"/proc/{server}/limits").read_text()
        assert next(line for line in limits.splitlines() if "core file" in line).split()[4:6] == ["0", "0"]
    finally:
        secret_server.client.post(f"/api/v1/runs/{run['id']}/cancel")


def test_f1_the_folders_with_keys_and_rows_are_closed(secret_server: ServerProcess) -> None:
    for name in ("keys", "db", "logs"):
        assert stat.S_IMODE((secret_server.data / name).stat().st_mode) == 0o700
    for path in (secret_server.data / "keys").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_an_action_sees_neither_keys_nor_the_servers_environment(secret_server: ServerProcess) -> None:
    code = """
import glob, os
found = []
for path in ["/proc/self/environ", *glob.glob("/proc/[0-9]*/environ"), *glob.glob("/proc/[0-9]*/cmdline")]:
    try:
        found.append(open(path, "rb").read())
    except OSError:
        pass
data = b"".join(found)
print(b"canary-" b"master" in data, b"INFRAXYS_SECRETS_KEY" in data, b"Y2FuYXJ5LW1hc3Rlci" in data)
print(os.path.exists("DATA/keys"), os.path.exists("DATA/db"))
"""
    code = code.replace("DATA", str(secret_server.data))
    run = secret_server.execute(INSTANCE, "code.py", argument={"code": code})
    assert run["log"] == "False False False\nFalse False\n"


def test_b1_no_file_of_the_server_has_it_whatever_was_done(secret_server: ServerProcess) -> None:
    run = secret_server.execute(INSTANCE, "code.py", argument={"code": PREPARE + "say(secret)"})
    assert run["status"] == "SUCCESS"
    secret_server.client.patch(f"{LEVEL}/SECRET", params=PLACE, json={"value": 5})
    secret_server.client.patch(f"{LEVEL}/SECRET", params=PLACE, json={"value": SECRET, "type": "/"})
    needles = (SECRET.encode(), base64.b64encode(SECRET.encode()), b"canary-master")
    # Arguments of runs are what their callers sent, byte for byte: the tests before put the secret into one.
    arguments = urllib.parse.quote(SECRET).encode()
    for path, data in contents(secret_server.folder):
        hits = [needle for needle in needles if needle in data]
        assert not hits or arguments in data, path


class TestRights:
    @pytest.fixture
    def places(self, access_server: AccessServer) -> Iterator[tuple[str, str]]:
        """Make a project with the environment on its secure branch, and another with the rest; give it back after."""
        closed, other = access_server.make.project(), access_server.make.project()
        entries = {
            closed: access_server.make.attach(closed, ENVIRONMENT, "secure"),
            other: access_server.make.attach(other, ENVIRONMENT, "*"),
        }
        yield closed, other
        for project, entry in entries.items():
            path = f"/projects/{project}/environments/{entry}"
            assert access_server.ask("DELETE", path, access_server.everything).status_code == 204

    def put(self, server: AccessServer, token: str, path: str, body: dict[str, Any]) -> tuple[int, str]:
        answer = server.ask("PUT", path, token, body)
        return answer.status_code, answer.json().get("code", "")

    def test_who_sets_for_all_branches_sets_nothing_for_those_of_another_project(
        self, access_server: AccessServer, places: tuple[str, str]
    ) -> None:
        closed, other = places
        editor = access_server.holder(other, "variable.modify", "variable.list")
        path = f"/environments/{ENVIRONMENT}/variables/V_evil?module={MODULE}"
        body = {"value": "evil", "export": True}
        assert self.put(access_server, editor, f"{path}&branch=*", body)[0] in {200, 201}
        assert self.put(access_server, editor, f"{path}&branch=secure", body) == (404, "unknown_environment")
        operator = access_server.holder(closed, "action.execute", "run.read")
        code = {"argument": {"code": "import os\nprint(os.environ.get('V_evil'))"}}
        run = access_server.ask("POST", f"/instance/secure/{INSTANCE}/files/code.py/execute", operator, code)
        assert run.json()["log"] == "None\n"
        elsewhere = access_server.holder(other, "action.execute", "run.read")
        run = access_server.ask("POST", f"/instance/main/{INSTANCE}/files/code.py/execute", elsewhere, code)
        assert run.json()["log"] == "evil\n"

    def test_a_protected_container_hides_its_variables(
        self, access_server: AccessServer, places: tuple[str, str]
    ) -> None:
        _, other = places
        grant = access_server.make.custom(other)
        editor = access_server.holder(other, "variable.modify", "variable.list")
        path = f"/containers/{CONTAINER}/variables?module={MODULE}&environmentId={ENVIRONMENT}"
        assert access_server.ask("GET", path, editor).status_code == 200
        entry = access_server.make.protect(grant, ENVIRONMENT, CONTAINER)
        try:
            assert access_server.ask("GET", path, editor).status_code == 404
            allowed = access_server.holder(other, "variable.list", grant)
            assert access_server.ask("GET", path, allowed).status_code == 200
        finally:
            access_server.ask("DELETE", f"/grants/{grant}/containers/{entry}", access_server.everything)

    def test_who_may_only_see_changes_nothing(self, access_server: AccessServer, places: tuple[str, str]) -> None:
        reader = access_server.holder(places[1], "variable.list")
        path = f"/projects/{places[1]}/variables/V_1"
        assert self.put(access_server, reader, path, {"value": "x"}) == (403, "forbidden")
        assert access_server.ask("DELETE", path, reader).status_code == 403

    def test_a_path_of_the_store_that_belongs_to_another_project_cannot_be_named(
        self, access_server: AccessServer, places: tuple[str, str]
    ) -> None:
        closed, other = places
        editor = access_server.holder(other, "variable.modify")
        path = f"/projects/{other}/variables/V_1"
        for wanted in (f"projects/{closed}/db", "apps/db", f"projects/{other}/../{closed}/db", f"projects/{other}"):
            status, code = self.put(access_server, editor, path, {"reference": {"path": wanted, "field": "x"}})
            assert (status, code) in {(422, "reference_not_allowed"), (422, "validation_failed")}
        good = {"reference": {"path": f"projects/{other}/db", "field": "x"}}
        assert self.put(access_server, editor, path, good)[0] == 201


def descendants(pid: int) -> list[int]:
    """Give the processes below one."""
    parents = {}
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                text = (process / "stat").read_text()
            except OSError:
                continue
            parents[int(process.name)] = int(text.rpartition(")")[2].split()[1])
    found, waiting = [], [pid]
    while waiting:
        current = waiting.pop()
        below = [child for child, parent in parents.items() if parent == current]
        found += below
        waiting += below
    return [child for child in found if child != os.getpid()]


def read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError:
        return b""
