"""Caches on a real server: who sees which, who may write, what stays, and files in and out over the API."""

import asyncio
import base64
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from factories.modules import CONTAINER, ENVIRONMENT, INSTANCE, OTHER_CONTAINER, ROLE_INSTANCE
from plugins.access import AccessServer
from plugins.server import ServerProcess, make_folder, make_library

API = "/api/v1"
MODULE = "localhost/tests/library"


def shell(server: ServerProcess, script: str, instance: str = INSTANCE, **more: Any) -> str:
    """Execute a shell script as an action and give its output."""
    code = f"import subprocess, sys; sys.exit(subprocess.run(['bash', '-c', {script!r}]).returncode)"
    run = server.execute(instance, "code.py", argument={"code": code}, **more)
    assert run["status"] == "SUCCESS", run["log"]
    log: str = run["log"]
    return log


def caches(server: ServerProcess, **filters: str) -> list[dict[str, Any]]:
    answer = server.client.get(f"{API}/caches", params={"limit": "500", **filters})
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


def own_cache(server: ServerProcess, level: str, branch: str = "main") -> dict[str, Any]:
    """The cache of a level that the actions of the first instance have."""
    wanted = {"containerId": CONTAINER} if level in {"instance", "container"} else {}
    wanted |= {"instanceId": INSTANCE} if level == "instance" else {}
    (found,) = caches(server, level=level, branch=branch, environmentId=ENVIRONMENT, **wanted)
    return found


def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    """Wait for what happens in the background."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


class TestLevels:
    def test_each_level_keeps_what_is_written_for_those_who_share_it(self, server: ServerProcess) -> None:
        shell(server, "for level in instance container environment project; do echo $level > /cache/$level/kept; done")
        assert shell(server, "cat /cache/*/kept") == "container\nenvironment\ninstance\nproject\n"
        # An instance of a role, in this container and in another one.
        in_both = f"{ROLE_INSTANCE}/files/code.py/execute"
        argument = {"code": "import os; os.system('cat /cache/*/kept 2>/dev/null')"}
        expected = {CONTAINER: "container\nenvironment\nproject\n", OTHER_CONTAINER: "environment\nproject\n"}
        for container, kept in expected.items():
            body = {
                "environmentGuid": ENVIRONMENT,
                "argument": argument,
                "actions": [{"containerGuid": container, "instanceGuid": ROLE_INSTANCE, "filename": "code.py"}],
            }
            answer = server.client.post(f"{API}/environments/main/execute", json=body)
            assert answer.json()["log"] == kept, in_both

    def test_a_branch_has_caches_of_its_own(self, server: ServerProcess) -> None:
        shell(server, "echo main > /cache/project/branch; echo main > /cache/environment/branch")
        script = "cat /cache/project/branch /cache/environment/branch 2>/dev/null || echo none"
        assert shell(server, script, branch="feature%2Fa%2Fb") == "none\n"

    def test_the_project_has_a_bin_folder_whatever_actions_do_to_it(self, server: ServerProcess) -> None:
        assert shell(server, "test -d /cache/project/bin; rm -rf /cache/project/bin; echo gone") == "gone\n"
        shell(server, "test -d /cache/project/bin && touch /cache/project/bin/tool")
        shell(server, "rm -rf /cache/project/bin; ln -s / /cache/project/bin")
        shell(server, "test -L /cache/project/bin && rm /cache/project/bin")
        shell(server, "test -w /cache/project/bin")

    def test_an_action_that_closes_its_cache_closes_it_for_nobody_else(self, server: ServerProcess) -> None:
        shell(server, "echo data > /cache/instance/kept && chmod 0 /cache/instance")
        assert shell(server, "cat /cache/instance/kept") == "data\n"

    def test_actions_at_the_same_time_write_to_the_same_folders(self, server: ServerProcess) -> None:
        """Whatever modes tools give to what they make: all of them run as one account."""

        async def scenario() -> list[httpx.Response]:
            code = (
                "import os, time\nfor turn in range(30):\n"
                "    os.makedirs('/cache/environment/shared/inner', mode=0o700, exist_ok=True)\n"
                "    os.close(os.open(f'/cache/environment/shared/inner/{os.environ[\"RUN_GUID\"]}-{turn}',"
                " os.O_CREAT | os.O_WRONLY, 0o600))\n"
                "    open('/cache/environment/shared/all', 'a').write('line\\n')\n"
                "    time.sleep(0.005)\n"
            )
            url = f"{server.url}{API}/instance/main/{INSTANCE}/files/code.py/execute"
            async with httpx.AsyncClient(verify=False, timeout=60) as client:
                return await asyncio.gather(*(client.post(url, json={"argument": {"code": code}}) for _ in range(6)))

        shell(server, "rm -rf /cache/environment/shared")
        answers = asyncio.run(scenario())
        assert {answer.json()["status"] for answer in answers} == {"SUCCESS"}, [one.json()["log"] for one in answers]
        assert (
            shell(server, "ls /cache/environment/shared/inner | wc -l; wc -l < /cache/environment/shared/all")
            == "180\n180\n"
        )

    def test_size_and_last_use_are_seen(self, server: ServerProcess) -> None:
        shell(server, "rm -rf /cache/container/*; head -c 200000 /dev/zero > /cache/container/data")
        until(lambda: own_cache(server, "container")["bytes"] >= 200_000)
        found = own_cache(server, "container")
        assert found["entries"] == 1
        assert found["lastUsedAt"] >= found["createdAt"]
        assert not found["isOverQuota"]
        assert (found["module"], found["projectId"]) == (MODULE, None)


class TestFiles:
    @pytest.fixture
    def url(self, server: ServerProcess) -> str:
        shell(server, ":")
        return f"{API}/caches/environment/{own_cache(server, 'environment')['id']}"

    def test_what_is_written_over_the_api_actions_find_and_the_other_way_round(
        self, server: ServerProcess, url: str
    ) -> None:
        written = server.client.put(f"{url}/api/a%20b/tool?executable=true", content=b"#!/bin/sh\necho tool\n")
        assert written.status_code == 200, written.text
        assert written.json()["path"] == "api/a b/tool"
        script = (
            "cd /cache/environment/api; './a b/tool'; mv 'a b' moved; echo more >> moved/tool; chmod 600 moved/tool"
        )
        assert shell(server, script) == "tool\n"
        got = server.client.get(f"{url}/api/moved/tool")
        assert got.content == b"#!/bin/sh\necho tool\nmore\n"
        assert server.client.put(f"{url}/api/moved/tool", content=b"new").status_code == 200
        assert shell(server, "cat /cache/environment/api/moved/tool; rm -r /cache/environment/api") == "new"

    def test_ranges_and_lengths(self, server: ServerProcess, url: str) -> None:
        data = os.urandom(3_000_000)
        assert server.client.put(f"{url}/random.bin", content=data).json()["bytes"] == len(data)
        assert server.client.get(f"{url}/random.bin").content == data
        part = server.client.get(f"{url}/random.bin", headers={"Range": "bytes=1000-1999"})
        assert (part.status_code, part.content) == (206, data[1000:2000])
        assert part.headers["content-range"] == f"bytes 1000-1999/{len(data)}"
        assert server.client.get(f"{url}/random.bin", headers={"Range": "bytes=-5"}).content == data[-5:]
        assert server.client.get(f"{url}/random.bin", headers={"Range": "bytes=9999999-"}).status_code == 416

    def test_posting_replaces_nothing(self, server: ServerProcess, url: str) -> None:
        server.client.delete(f"{url}/posted")
        assert server.client.post(f"{url}/posted", content=b"first").status_code == 201
        again = server.client.post(f"{url}/posted", content=b"second")
        assert (again.status_code, again.json()["code"]) == (409, "file_exists")
        assert server.client.get(f"{url}/posted").content == b"first"

    def test_folders_are_listed_by_page(self, server: ServerProcess, url: str) -> None:
        shell(
            server, "mkdir -p /cache/environment/many; cd /cache/environment/many; touch $(seq -w 1 25); mkdir folder"
        )
        names, cursor = [], None
        while True:
            params: dict[str, Any] = {"limit": 10} | ({"cursor": cursor} if cursor else {})
            page = server.client.get(f"{url}/many/", params=params).json()
            names += [item["name"] for item in page["items"]]
            cursor = page["nextCursor"]
            if cursor is None:
                break
        assert names == [*(f"{number:02}" for number in range(1, 26)), "folder"]
        assert "many" in {item["name"] for item in server.client.get(f"{url}/").json()["items"]}

    def test_a_file_can_be_removed_and_a_folder_with_all_in_it(self, server: ServerProcess, url: str) -> None:
        shell(server, "cd /cache/environment; mkdir -p away/below; touch away/below/x one")
        assert server.client.delete(f"{url}/one").status_code == 204
        assert server.client.delete(f"{url}/away").status_code == 204
        assert server.client.delete(f"{url}/away").json()["code"] == "unknown_file"
        assert shell(server, "ls /cache/environment/one /cache/environment/away 2>/dev/null || echo none") == "none\n"

    def test_a_cache_is_cleaned_while_an_action_has_it(self, server: ServerProcess, url: str) -> None:
        code = (
            "import os, time\nopen('/cache/environment/old', 'w').close()\nprint('ready', flush=True)\n"
            "while os.path.exists('/cache/environment/old'): time.sleep(0.01)\n"
            "open('/cache/environment/new', 'w').close()\n"
        )
        body = {"asynchronous": True, "argument": {"code": code}}
        run = server.client.post(f"{API}/instance/main/{INSTANCE}/files/code.py/execute", json=body).json()
        until(lambda: "ready" in server.client.get(f"{API}/runs/{run['id']}/log").text)
        assert server.client.get(url).json()["isInUse"]
        assert server.client.delete(url).status_code == 204
        assert server.client.get(f"{API}/runs/{run['id']}?wait=30").json()["status"] == "SUCCESS"
        assert shell(server, "ls /cache/environment") == "new\n"

    def test_a_cache_that_nobody_has_goes_with_what_is_in_it(self, server: ServerProcess, url: str) -> None:
        until(lambda: not server.client.get(url).json()["isInUse"])
        assert server.client.delete(url).status_code == 204
        assert server.client.get(url).json()["code"] == "unknown_cache"
        assert shell(server, "ls /cache/environment") == ""

    def test_changes_are_on_record(self, server: ServerProcess, url: str) -> None:
        server.client.put(f"{url}/recorded", content=b"x")
        server.client.delete(f"{url}/recorded")
        server.client.delete(url)
        found = server.client.get(f"{API}/audit", params={"limit": "3"}).json()["items"]
        assert [item["action"] for item in found] == ["cache.delete", "cache_file.delete", "cache_file.replace"]
        assert found[2]["target"] == url.removeprefix(f"{API}/").replace("caches/", "cache/")
        assert found[2]["details"]["path"] == "recorded"

    def test_lists_go_on_where_they_stopped(self, server: ServerProcess) -> None:
        shell(server, ":")
        everything = [item["id"] for item in caches(server)]
        first = server.client.get(f"{API}/caches?limit=2").json()
        second = server.client.get(f"{API}/caches", params={"limit": 500, "cursor": first["nextCursor"]}).json()
        assert [item["id"] for item in (*first["items"], *second["items"])] == everything


class TestProjects:
    def test_the_calls_of_existing_clients(self, server: ServerProcess) -> None:
        url = f"{API}/cache/projects/root/app/data.json"
        data = json.dumps({"text": "é" * 5000}).encode()
        headers = {"Content-Type": "application/json"}
        for body in (base64.b64encode(data), base64.encodebytes(data), b'"' + base64.b64encode(data) + b'"'):
            assert server.client.post(url, content=body, headers=headers).status_code == 200
            got = server.client.get(url)
            assert (got.content, got.headers["content-type"]) == (data, "application/json")
        assert server.client.post(url, content=b"!!!", headers=headers).status_code == 400
        assert server.client.get(f"{API}/cache/projects/root/nothing").status_code == 404
        assert server.client.get(f"{API}/cache/projects/nothing/app/data.json").status_code == 404
        assert server.client.get(url).content == data

    def test_environments_of_a_project_share_its_cache_and_see_those_above_that_are_shared(
        self, own_server: ServerProcess
    ) -> None:
        server = own_server
        top = self.project(server, "root", "Top")
        below = self.project(server, top, "Below")
        shell(server, "echo own > /cache/project/whose")
        self.attach(server, top)
        assert shell(server, "ls /cache/project; echo top > /cache/project/whose; ls /cache") == (
            "bin\ncontainer\nenvironment\ninstance\nproject\n"
        )
        tool = b"#!/bin/sh\necho the tool\n"
        server.client.put(f"{API}/caches/project/{top}/bin/tool?executable=true", content=tool)
        self.attach(server, below)
        shell(
            server,
            "test ! -e /cache/projects; ls /cache/project/whose 2>/dev/null || echo below > /cache/project/whose",
        )
        for body, name in (({"sharesCache": True}, top), ({"cacheAlias": "tools"}, "tools")):
            assert server.client.patch(f"{API}/projects/{top}", json=body).status_code == 200
            script = f"cat /cache/project/whose /cache/projects/{name}/whose; /cache/projects/{name}/bin/tool"
            assert shell(server, script) == "below\ntop\nthe tool\n"
            assert "Read-only" in shell(server, f"touch /cache/projects/{name}/x 2>&1 || true")
        self.attach(server, top)
        assert (
            shell(server, "cat /cache/project/whose; ls /cache") == "top\ncontainer\nenvironment\ninstance\nproject\n"
        )
        # What is an environment's own went with it, from one account to the other, and can still be written.
        shell(server, "echo x > /cache/instance/x")

    def project(self, server: ServerProcess, parent: str, name: str) -> str:
        made = server.client.post(f"{API}/projects", json={"parentId": parent, "name": name})
        project_id: str = made.json()["id"]
        return project_id

    def attach(self, server: ServerProcess, project: str) -> None:
        body = {"module": MODULE, "environmentId": ENVIRONMENT, "branch": "main"}
        assert server.client.post(f"{API}/projects/{project}/environments", json=body).status_code == 201

    def test_aliases_are_folder_names_and_unique(self, server: ServerProcess) -> None:
        first, second = (self.project(server, "root", f"alias {number}-{time.time_ns()}") for number in range(2))
        for wrong in ("..", "a/b", "a b", "-x", first, "root", "x" * 101):
            answer = server.client.patch(f"{API}/projects/{first}", json={"cacheAlias": wrong})
            assert answer.status_code == 422, wrong
        assert server.client.patch(f"{API}/projects/{first}", json={"cacheAlias": "Tools-1"}).status_code == 200
        taken = server.client.patch(f"{API}/projects/{second}", json={"cacheAlias": "tools-1"})
        assert (taken.status_code, taken.json()["code"]) == (409, "name_taken")
        assert server.client.get(f"{API}/projects/{first}").json()["cacheAlias"] == "Tools-1"
        assert server.client.patch(f"{API}/projects/{first}", json={"cacheAlias": ""}).json()["cacheAlias"] == ""


@pytest.fixture(scope="module")
def small() -> Iterator[ServerProcess]:
    """A server whose caches and artefacts may have little in them."""
    folder = make_folder()
    limits = {"INFRAXYS_CACHE_QUOTA": "200000", "INFRAXYS_ARTEFACT_LIMIT": "100000"}
    running = ServerProcess(folder, "--no-examples", environment=limits)
    try:
        running.add_module(make_library(folder).path)
        yield running
    finally:
        running.stop()
        shutil.rmtree(folder, ignore_errors=True)


class TestQuota:
    def test_a_cache_over_its_quota_is_read_only_until_it_is_cleaned(self, small: ServerProcess) -> None:
        shell(small, "head -c 400000 /dev/zero > /cache/instance/data")
        until(lambda: bool(own_cache(small, "instance")["isOverQuota"]))
        code = (
            "import os; os.system('cat /cache/instance/data | wc -c; touch /cache/instance/x; touch /cache/project/x')"
        )
        run = small.execute(INSTANCE, "code.py", argument={"code": code})
        assert run["status"] == "SUCCESS"
        assert "instance cache is over its quota" in run["message"]
        assert run["message"] in run["log"]
        assert "400000" in run["log"]
        assert "touch: cannot touch '/cache/instance/x': Read-only file system" in run["log"]
        assert "/cache/project/x" not in run["log"]
        url = f"{API}/caches/instance/{own_cache(small, 'instance')['id']}"
        assert url in run["message"]
        full = small.client.put(f"{url}/more", content=b"x")
        assert (full.status_code, full.json()["code"]) == (409, "cache_over_quota")
        assert small.client.delete(f"{url}/data").status_code == 204
        shell(small, "touch /cache/instance/x")

    def test_a_folder_with_more_than_can_be_counted_is_over_it(self, small: ServerProcess) -> None:
        code = "import os\nos.chdir('/cache/container')\nfor _ in range(400):\n    os.mkdir('d'); os.chdir('d')\n"
        assert small.execute(INSTANCE, "code.py", argument={"code": code})["status"] == "SUCCESS"
        until(lambda: bool(own_cache(small, "container")["isOverQuota"]))
        url = f"{API}/caches/container/{own_cache(small, 'container')['id']}"
        assert small.client.delete(url).status_code == 204
        shell(small, "touch /cache/container/x")

    def test_files_that_do_not_fit_are_not_written(self, small: ServerProcess) -> None:
        shell(small, ":")
        url = f"{API}/caches/environment/{own_cache(small, 'environment')['id']}"
        answer = small.client.put(f"{url}/large", content=b"x" * 300_000)
        assert (answer.status_code, answer.json()["code"]) == (409, "cache_over_quota")
        assert small.client.get(f"{url}/large").status_code == 404
        assert list((small.data / "caches" / "staging").iterdir()) == []

    def test_artefacts_over_their_limit_are_not_kept_and_the_run_says_so(self, small: ServerProcess) -> None:
        code = "import os; open(os.environ['INFRAXYS_ARTEFACTS'] + '/large', 'wb').write(b'x' * 200_000)"
        run = small.execute(INSTANCE, "code.py", argument={"code": code})
        assert run["status"] == "SUCCESS"
        assert "artefacts were not kept" in run["message"]
        assert small.client.get(f"{API}/runs/{run['id']}/artefacts").json()["items"] == []


class TestRights:
    def test_caches_of_protected_containers_are_not_there_for_who_may_not_see_them(
        self, access_server: AccessServer
    ) -> None:
        server = access_server
        project = server.make.project()
        entry = server.make.attach(project, ENVIRONMENT)
        server.ask("POST", f"/instance/main/{INSTANCE}/files/true.sh/execute", server.everything, {})
        grant = server.make.custom(project)
        server.make.protect(grant, ENVIRONMENT, CONTAINER)
        grants = ("cache.list", "cache.read", "cache.modify", "cache.delete")
        outsider, insider = server.holder(project, *grants), server.holder(project, *grants, grant)
        seen = {}
        for token in (outsider, insider):
            items = server.ask("GET", "/caches?limit=500", token).json()["items"]
            seen[token] = {item["level"]: item["id"] for item in items}
        assert seen[outsider].keys() == {"environment", "project"}
        assert seen[insider].keys() == {"instance", "container", "environment", "project"}
        for level in ("instance", "container"):
            path = f"/caches/{level}/{seen[insider][level]}"
            assert server.ask("GET", path, insider).status_code == 200
            for method, suffix in (("GET", ""), ("GET", "/"), ("DELETE", ""), ("PUT", "/x"), ("DELETE", "/x")):
                answer = server.ask(method, path + suffix, outsider)
                assert (answer.status_code, answer.json()["code"]) == (404, "unknown_cache")
        path = f"/projects/{project}/environments/{entry}"  # other tests see the container
        assert server.ask("DELETE", path, server.everything).status_code == 204


def test_what_a_cache_belongs_to_is_known_after_a_restart(own_server: ServerProcess) -> None:
    server = own_server
    shell(server, "echo kept > /cache/project/kept; head -c 100000 /dev/zero > /cache/project/data")
    before = {item["id"]: (item["level"], item["createdAt"]) for item in caches(server)}
    server.stop()
    server.start()
    assert {item["id"]: (item["level"], item["createdAt"]) for item in caches(server)} == before
    until(lambda: own_cache(server, "project")["bytes"] >= 100_000)
    assert shell(server, "cat /cache/project/kept") == "kept\n"
