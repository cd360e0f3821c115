"""What actions and callers try with caches and artefacts (hostile.md D6, A4; field.md G28, G35; sandbox.md S27)."""

from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from factories.modules import CONTAINER, ENVIRONMENT, INSTANCE
from plugins.server import ServerProcess

API = "/api/v1"
# Everything that a careless reader, counter or remover stumbles over, made from inside.
HARM = """
import os, socket
os.chdir(FOLDER)
outside = '../../../../../../../../../../etc/passwd'
for name, target in {'file': '/etc/passwd', 'up': outside, 'folder': '/', 'self': 'self', 'keys': KEYS}.items():
    os.symlink(target, name)
os.mkfifo('pipe')
socket.socket(socket.AF_UNIX).bind('socket')
open('page.html', 'w').write('<script>alert(1)</script>')
open('image.svg', 'w').write('<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>')
open('script.js', 'w').write('alert(1)')
open('style.css', 'w').write('*{}')
open('-rf', 'w').write('x')
open('a\\nb\\x1b[31m\\u202e', 'w').write('x')
open(b'\\xff\\xfe', 'w').write('x')
open("quote'; filename=x.exe", 'w').write('x')
os.truncate(os.open('sparse', os.O_CREAT | os.O_RDWR), 2**40)
open('setuid', 'w').write('x'); os.chmod('setuid', 0o6755)
open('shut', 'w').write('x'); os.chmod('shut', 0)
os.mkdir('closed'); open('closed/x', 'w').write('x'); os.chmod('closed', 0)
for _ in range(DEPTH):
    os.mkdir('d'); os.chdir('d')
"""
SPECIAL = ("file", "up", "folder", "self", "keys", "pipe", "socket")
ARTEFACTS = "__import__('os').environ['INFRAXYS_ARTEFACTS']"
BEHIND = ("folder/etc/passwd", "up/x", "keys/tokens.key")


def harm(server: ServerProcess, folder: str, depth: int = 3) -> dict[str, Any]:
    code = f"FOLDER = {folder}; KEYS = {str(server.data / 'keys')!r}; DEPTH = {depth}\n{HARM}"
    run = server.execute(INSTANCE, "code.py", argument={"code": code})
    assert run["status"] == "SUCCESS", run["log"]
    return run


def instance_cache(server: ServerProcess) -> str:
    params = {"level": "instance", "branch": "main", "environmentId": ENVIRONMENT, "containerId": CONTAINER}
    (found,) = server.client.get(f"{API}/caches", params={**params, "instanceId": INSTANCE}).json()["items"]
    return f"{API}/caches/instance/{found['id']}"


@pytest.fixture
def cache(server: ServerProcess) -> str:
    """A cache with all of that in it."""
    server.execute(INSTANCE, "true.sh")
    server.client.delete(instance_cache(server))
    harm(server, "'/cache/instance'")
    return instance_cache(server)


class TestReading:
    def test_d6_only_plain_files_are_given_out(self, server: ServerProcess, cache: str) -> None:
        run = harm(server, ARTEFACTS)
        for base in (f"{cache}/", f"{API}/runs/{run['id']}/artefacts/"):
            for name in (*SPECIAL, *BEHIND, "closed", "nothing"):
                answer = server.client.get(base + name)
                assert answer.status_code == 404, (base, name)
                assert "root:" not in answer.text
            assert server.client.get(f"{base}-rf").text == "x"

    def test_d6_g35_nothing_that_a_browser_gets_can_run_as_ours(self, server: ServerProcess, cache: str) -> None:
        types = {
            "page.html": "text/html",
            "image.svg": "image/svg+xml",
            "script.js": "text/plain",
            "style.css": "text/plain",
        }
        run = harm(server, ARTEFACTS)
        for base in (f"{cache}/", f"{API}/runs/{run['id']}/artefacts/"):
            for name, content_type in types.items():
                answer = server.client.get(base + name)
                assert answer.headers["content-type"].partition(";")[0] == content_type
                assert answer.headers["content-disposition"].startswith("attachment;")
                assert answer.headers["x-content-type-options"] == "nosniff"
                assert answer.headers["content-security-policy"].startswith("sandbox;")
            odd = server.client.get(base + quote("quote'; filename=x.exe"))
            assert odd.headers["content-disposition"] == "attachment; filename*=UTF-8''quote%27%3B%20filename%3Dx.exe"

    def test_d6_lists_show_no_name_that_does_something_to_its_reader(self, server: ServerProcess, cache: str) -> None:
        entries = server.client.get(f"{cache}/?limit=500").json()["items"]
        kinds = {entry["name"]: entry["kind"] for entry in entries}
        assert all(name.isprintable() for name in kinds)
        assert {kinds[name] for name in SPECIAL} == {"link", "other"}
        assert next(entry["bytes"] for entry in entries if entry["name"] == "sparse") == 2**40
        run = harm(server, ARTEFACTS)
        paths = {item["path"] for item in server.client.get(f"{API}/runs/{run['id']}/artefacts").json()["items"]}
        assert not paths & {*SPECIAL, *BEHIND}
        assert all(path.isprintable() for path in paths)

    @pytest.mark.parametrize(
        "path",
        [
            "../../keys/tokens.key", "%2e%2e/%2e%2e/keys/tokens.key", "..%2f..%2fkeys%2ftokens.key", "%2Fetc%2Fpasswd",
            "a/%2e%2e/%2e%2e/x", "%00", "a%00b", "%c0%ae%c0%ae/x", "a%0d%0ab", "//etc/passwd", "a//b", "x" * 300,
            "/".join("x" * 100), "%5c..%5c..%5cx",
        ],
    )  # fmt: skip
    @pytest.mark.parametrize("method", ["GET", "PUT", "POST", "DELETE"])
    def test_a4_a_path_names_a_file_in_the_cache_or_nothing(
        self, server: ServerProcess, method: str, path: str
    ) -> None:
        for base in ("/caches/project/root/", "/cache/projects/root/"):  # a project that is always there
            request = httpx.Request(method, f"{server.url}{API}{base}")
            request.url = request.url.copy_with(raw_path=f"{API}{base}{path}".encode())
            answer = server.client.send(request)
            if path.startswith("%5c") and answer.status_code in {200, 201, 204, 409}:
                continue  # a plain name on this system: it has no slash
            assert answer.status_code in {400, 404, 405}, (base, answer.text)
            assert answer.headers["content-type"] == "application/problem+json"

    @pytest.mark.parametrize("level", ["", ".", "..", "trash", "staging", "instance", "x", "projects"])
    def test_a4_there_are_no_other_levels(self, server: ServerProcess, level: str) -> None:
        for suffix in ("", "/", "/x"):
            answer = server.client.get(f"{API}/caches/{level}/root{suffix}")
            assert answer.status_code == 404


class TestWriting:
    @pytest.mark.parametrize("name", [*SPECIAL, *BEHIND, "folder/new", "self/new", "pipe/new"])
    def test_d6_nothing_is_written_through_a_link_or_into_something_special(
        self, server: ServerProcess, cache: str, name: str
    ) -> None:
        before = sorted((server.data / "keys").iterdir()), Path("/etc/passwd").stat().st_mtime_ns
        answer = server.client.put(f"{cache}/{name}", content=b"harm")
        assert (answer.status_code, answer.json()["code"]) == (409, "not_a_file")
        assert before == (sorted((server.data / "keys").iterdir()), Path("/etc/passwd").stat().st_mtime_ns)

    def test_what_is_written_for_actions_is_theirs_and_not_the_servers(self, server: ServerProcess, cache: str) -> None:
        assert server.client.put(f"{cache}/made/by/api", content=b"x").status_code == 200
        code = (
            "import os; os.chdir('/cache/instance/made/by'); os.rename('api', 'x'); os.remove('x'); os.rmdir('../by')"
        )
        assert server.execute(INSTANCE, "code.py", argument={"code": code})["status"] == "SUCCESS"

    def test_bodies_over_the_limit_are_refused_and_leave_nothing(self, server: ServerProcess, cache: str) -> None:
        size = 100 * 1024 * 1024 + 1

        def endless() -> Any:
            for _ in range(size // (1024 * 1024) + 1):
                yield b"x" * 1024 * 1024

        assert server.client.put(f"{cache}/large", content=endless()).status_code == 413
        assert server.client.get(f"{cache}/large").status_code == 404
        assert list((server.data / "caches" / "staging").iterdir()) == []

    def test_other_bodies_are_bounded_as_ever(self, server: ServerProcess) -> None:
        for path in ("/cachesx/project/root/x", "/modules", "/caches"):
            answer = server.client.post(f"{API}{path}", content=b"x" * 2_000_000)
            assert answer.status_code in {404, 405, 413}
        assert server.client.post(f"{API}/modules", content=b"x" * 2_000_000).status_code == 413


class TestCleaning:
    def test_s27_removes_all_of_it_and_nothing_else(self, server: ServerProcess, cache: str) -> None:
        harm_deep = "import os\nos.chdir('/cache/instance')\nfor _ in range(2000):\n    os.mkdir('e'); os.chdir('e')"
        assert server.execute(INSTANCE, "code.py", argument={"code": harm_deep})["status"] == "SUCCESS"
        keys = sorted((server.data / "keys").iterdir())
        assert server.client.delete(cache).status_code == 204
        answer = server.execute(
            INSTANCE, "code.py", argument={"code": "import os; print(os.listdir('/cache/instance'))"}
        )
        assert answer["log"] == "[]\n"
        assert sorted((server.data / "keys").iterdir()) == keys
        assert Path("/etc/passwd").exists()

    @pytest.mark.parametrize("name", [*SPECIAL, "closed", "d", "setuid", "shut", "sparse"])
    def test_d6_removes_a_link_and_not_what_it_points_to(self, server: ServerProcess, cache: str, name: str) -> None:
        assert server.client.delete(f"{cache}/{name}").status_code == 204
        assert name not in {entry["name"] for entry in server.client.get(f"{cache}/?limit=500").json()["items"]}
        assert Path("/etc/passwd").exists()
        assert (server.data / "keys").is_dir()

    @pytest.mark.parametrize("name", BEHIND)
    def test_d6_removes_nothing_behind_a_link(self, server: ServerProcess, cache: str, name: str) -> None:
        assert server.client.delete(f"{cache}/{name}").status_code == 404
        assert Path("/etc/passwd").exists()
        assert (server.data / "keys" / "tokens.key").exists()


def test_d6_a_million_files_are_not_kept_as_artefacts(server: ServerProcess) -> None:
    code = (
        "import os\nos.chdir(os.environ['INFRAXYS_ARTEFACTS'])\nfor n in range(10_500):\n    open(str(n), 'w').close()"
    )
    run = server.execute(INSTANCE, "code.py", argument={"code": code})
    assert "artefacts were not kept" in run["message"]
    assert server.client.get(f"{API}/runs/{run['id']}/artefacts").json()["items"] == []


def test_g28_actions_of_one_instance_see_nothing_of_another_ones_cache(server: ServerProcess) -> None:
    server.execute(INSTANCE, "code.py", argument={"code": "open('/cache/instance/secret', 'w').write('canary')"})
    code = (
        "import os, subprocess\n"
        "print(subprocess.run(['grep', '-rs', 'can' + 'ary', '/cache', '/tmp', '/root'], capture_output=True).stdout)\n"
        "print(sorted(os.listdir('/cache')))\n"
    )
    body = {
        "environmentGuid": ENVIRONMENT,
        "argument": {"code": code},
        "actions": [{"containerGuid": "con-2", "instanceGuid": "role-ins-1", "filename": "code.py"}],
    }
    log = server.client.post(f"{API}/environments/main/execute", json=body).json()["log"]
    assert log == "b''\n['container', 'environment', 'instance', 'project']\n"
