"""kill -9 of the server (hostile.md E1): nothing is lost, nothing finished is repeated, nothing is left behind."""

import hashlib
import os
import random
import signal
import threading
import time
from pathlib import Path

import httpx
import pytest

from factories.modules import CONTAINER, ENVIRONMENT, INSTANCE
from infraxys.engine.backends.bubblewrap import find_sandboxes
from plugins.server import ServerProcess

FINAL = {"SUCCESS", "FAILED", "LOST", "CANCELLED", "TIMEOUT"}


def submit(server: ServerProcess, filenames: list[str]) -> str | None:
    """Start an ad hoc run; None when the server did not accept it any more."""
    actions = [{"containerGuid": CONTAINER, "instanceGuid": INSTANCE, "filename": name} for name in filenames]
    body = {"environmentGuid": ENVIRONMENT, "actions": actions, "asynchronous": True}
    try:
        with httpx.Client(base_url=server.url, verify=False, timeout=30) as client:
            answer = client.post("/api/v1/environments/main/execute", json=body)
    except httpx.HTTPError:
        return None
    return str(answer.json()["id"]) if answer.status_code == 200 else None


def wait_for_end(server: ServerProcess, run_id: str) -> dict[str, object]:
    run: dict[str, object] = server.client.get(f"/api/v1/runs/{run_id}", params={"wait": 60}).json()
    return run


def test_e1_an_interrupted_step_is_lost_and_not_repeated(own_server: ServerProcess) -> None:
    run_id = submit(own_server, ["ok.sh", "sleep.sh", "ok.sh"])
    assert run_id is not None
    deadline = time.monotonic() + 20
    while own_server.client.get(f"/api/v1/runs/{run_id}").json()["steps"][1]["status"] != "RUNNING":
        assert time.monotonic() < deadline
    own_server.kill()
    own_server.start()
    run = wait_for_end(own_server, run_id)
    assert run["status"] == "LOST"
    steps = run["steps"]
    assert isinstance(steps, list)
    assert [step["status"] for step in steps] == ["SUCCESS", "LOST", "CANCELLED"]
    assert "not repeated" in str(run["message"])
    assert find_sandboxes(own_server.data / "work") == []


def test_a_server_that_is_told_to_stop_ends_what_runs_and_says_so(own_server: ServerProcess) -> None:
    own_server.stop()
    own_server.options += ("--grace", "0")
    own_server.start()
    run_id = submit(own_server, ["ok.sh", "sleep.sh", "ok.sh"])
    waiting = submit(own_server, ["ok.sh"])
    assert run_id is not None
    assert waiting is not None
    deadline = time.monotonic() + 20
    while own_server.client.get(f"/api/v1/runs/{run_id}").json()["steps"][1]["status"] != "RUNNING":
        assert time.monotonic() < deadline
    started = time.monotonic()
    assert own_server.stop() == 0
    assert time.monotonic() - started < 15
    assert find_sandboxes(own_server.data / "work") == []
    own_server.start()
    run = wait_for_end(own_server, run_id)
    assert (run["status"], run["message"]) == ("CANCELLED", "step 'sleep.sh' was ended because the server stopped")
    assert wait_for_end(own_server, waiting)["status"] == "SUCCESS"


def test_an_idle_connection_does_not_keep_a_server_from_stopping(own_server: ServerProcess) -> None:
    assert own_server.client.get("/api/v1/runs").status_code == 200  # kept alive from here on
    own_server.process.send_signal(signal.SIGTERM)
    assert own_server.process.wait(10) == 0


@pytest.mark.slow
@pytest.mark.timeout(280)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # connections to killed servers
def test_e1_runs_survive_kills_at_random_moments(own_server: ServerProcess) -> None:
    """The bar is 1,000 runs and 30 kills (`bench/kill_soak.py`); here a tenth of it in every test run."""
    chance = random.Random(4)
    accepted: list[str] = []
    allowed, stop = 25, threading.Event()

    def feed() -> None:
        while not stop.is_set():
            run_id = submit(own_server, ["count.sh", "true.sh", "count.sh"]) if len(accepted) < allowed else None
            if run_id is not None:
                accepted.append(run_id)
            else:
                stop.wait(0.01)

    threads = [threading.Thread(target=feed) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(4):
        stop.wait(chance.uniform(0.3, 1.2))  # the moment of the kill is what the test varies
        own_server.kill()
        own_server.start()
        allowed += 25
    before = len(accepted)
    deadline = time.monotonic() + 120
    while len(accepted) < max(100, before + 10) and time.monotonic() < deadline:
        allowed = max(100, before + 10)
        stop.wait(0.05)
    stop.set()
    for thread in threads:
        thread.join()
    for number, run_id in enumerate(accepted):
        run = wait_for_end(own_server, run_id)
        # How many were running when the server died is chance; what came after the last time is untouched by it.
        assert run["status"] in ({"SUCCESS", "LOST"} if number < before else {"SUCCESS"}), run["message"]
        assert repeated_steps(own_server, run) == []
        if run["status"] == "SUCCESS":
            assert own_server.client.get(f"/api/v1/runs/{run_id}/log").text.count("once") == 2
    assert len(accepted) >= before + 10
    assert own_server.stop() == 0
    assert left_behind(own_server) == []


def repeated_steps(server: ServerProcess, run: dict[str, object]) -> list[str]:
    """Give the steps of a run whose action began more than once; each of them has to say `once`."""
    steps = run["steps"]
    assert isinstance(steps, list)
    log = f"/api/v1/runs/{run['id']}/log"
    return [step["id"] for step in steps if server.client.get(log, params={"step": step["id"]}).text.count("once") > 1]


def left_behind(server: ServerProcess) -> list[str]:
    """Give what is left of the actions of a server that was stopped: processes, folders and control groups."""
    work = server.data / "work"
    digest = hashlib.sha256(os.fsencode(work)).hexdigest()
    in_memory = Path(f"/dev/shm/infraxys-{os.geteuid()}-{digest[:16]}")
    groups = [
        f"{folder}/{name}" for folder, names, _ in os.walk("/sys/fs/cgroup") for name in names if digest[:12] in name
    ]
    return [
        *map(str, find_sandboxes(work)),
        *(
            str(path)
            for folder in (work / "runs", in_memory)
            if folder.exists()
            for path in (folder, *folder.rglob("*"))
        ),
        *groups,
    ]
