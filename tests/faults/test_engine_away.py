"""The database of the durable engine cannot be written (hostile.md E4): who was accepted is executed all the same."""

import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import httpx

from factories.modules import INSTANCE
from plugins.server import ServerProcess

PATH = f"/api/v1/instance/main/{INSTANCE}/files/ok.sh/execute"


def test_e4_an_accepted_run_is_handed_over_when_the_engine_is_back(own_server: ServerProcess) -> None:
    own_server.execute(INSTANCE, "true.sh")

    def ask() -> httpx.Response:
        with httpx.Client(base_url=own_server.url, verify=False, timeout=120) as client:
            return client.post(PATH, json={"argument": {}})

    with (
        ThreadPoolExecutor(1) as pool,
        closing(sqlite3.connect(own_server.data / "db" / "engine.db", isolation_level=None, timeout=60)) as engine,
    ):
        engine.execute("CREATE TRIGGER away BEFORE INSERT ON workflow_status BEGIN SELECT RAISE(ABORT, 'away'); END")
        waiting = pool.submit(ask)
        deadline = time.monotonic() + 60
        while "run_not_taken " not in (own_server.folder / "errors").read_text():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        refused = own_server.client.post(PATH, json={"argument": {}})
        assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
        assert refused.headers["Retry-After"]
        listed = own_server.client.get("/api/v1/runs").json()["items"]
        assert [run["status"] for run in listed] == ["QUEUED", "SUCCESS"]
        engine.execute("DROP TRIGGER away")
        answer = waiting.result(90)
    assert (answer.status_code, answer.json()["status"]) == (200, "SUCCESS")
    assert answer.json()["id"] == listed[0]["id"]
    assert own_server.execute(INSTANCE, "ok.sh")["status"] == "SUCCESS"
