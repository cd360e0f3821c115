"""A server that may open few files (hostile.md E6): what has no room is refused and never runs, the rest goes on."""

import resource
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from factories.modules import INSTANCE
from infraxys.engine.backends.bubblewrap import find_sandboxes
from plugins.server import ServerProcess, make_folder, make_library

CALLS, ROOM = 40, 60
CODE = "import os, time; time.sleep(0.5); print('ran as', os.getpid() < 10, os.path.exists('/tmp/infraxys/system'))"


@pytest.fixture
def server_of_few() -> Iterator[ServerProcess]:
    """A server that was started with a low limit that it may raise."""
    folder = make_folder()
    usual, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, most), most))
    try:
        running = ServerProcess(folder, "--no-examples", "--slots", str(CALLS))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (usual, most))
    try:
        running.add_module(make_library(folder).path)
        running.execute(INSTANCE, "true.sh")
        yield running
    finally:
        running.stop()
        shutil.rmtree(folder, ignore_errors=True)


def open_files(server: ServerProcess) -> int:
    return len(list(Path(f"/proc/{server.process.pid}/fd").iterdir()))


def test_e6_where_descriptors_run_out_work_is_refused_and_comes_back(server_of_few: ServerProcess) -> None:
    server = server_of_few
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)[0] == min(65_536, most)
    limit = open_files(server) + ROOM
    resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (limit, most))

    def call(_: int) -> tuple[str, str, str]:
        try:
            with httpx.Client(base_url=server.url, verify=False, timeout=60) as client:
                path = f"/api/v1/instance/main/{INSTANCE}/files/code.py/execute"
                answer = client.post(path, json={"argument": {"code": CODE}})
        except httpx.TransportError:
            return "no connection", "", ""
        body = answer.json()
        return str(body["status"]), str(body["message"]), str(body.get("log", ""))

    with ThreadPoolExecutor(CALLS) as pool:
        ends = list(pool.map(call, range(CALLS)))
    refused = [end for end in ends if end[0] != "SUCCESS"]
    assert refused
    assert {log for status, _, log in ends if status == "SUCCESS"} <= {"ran as True True\n"}
    assert not [end for end in refused if "ran as" in end[2]]
    resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (most, most))
    assert server.execute(INSTANCE, "code.py", argument={"code": CODE})["log"] == "ran as True True\n"
    runs = server.client.get("/api/v1/runs", params={"limit": 100}).json()["items"]
    ended = [server.client.get(f"/api/v1/runs/{run['id']}?wait=30").json() for run in runs]
    assert {run["status"] for run in ended} <= {"SUCCESS", "FAILED", "CANCELLED"}
    assert find_sandboxes(server.data / "work") == []
