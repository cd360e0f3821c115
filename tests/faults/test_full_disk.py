"""A disk that is full or read-only (hostile.md E3): new work is refused, the rest goes on, nothing is corrupt."""

import hashlib
import os
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from factories.modules import INSTANCE
from plugins.server import ServerProcess, make_folder, make_library

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small file system, which needs root")
HELD = "echo begun; while [ -e /cache/instance/hold ]; do sleep 0.02; done; for n in $(seq 9000); do echo line $n; done"
BLOCK = bytes(1024 * 1024)


@pytest.fixture
def small() -> Iterator[ServerProcess]:
    """A server whose data folder is a file system of 48 MiB."""
    folder = make_folder()
    data = folder / "data"
    data.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", data], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        folder.joinpath("data").rmdir()
        folder.rmdir()
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    running = None
    try:
        running = ServerProcess(folder, "--no-examples")
        running.add_module(make_library(folder).path)
        running.execute(INSTANCE, "true.sh")
        yield running
    finally:
        if running is not None:
            running.stop()
        subprocess.run(["umount", data], check=True)
        shutil.rmtree(folder)


def fill(server: ServerProcess) -> Path:
    """Take all the room that there is."""
    path = server.data / "fill"
    with path.open("wb", buffering=0) as file:
        size = len(BLOCK)
        while size:
            try:
                file.write(BLOCK[:size])
            except OSError:
                size //= 2
    return path


def attempt(server: ServerProcess) -> tuple[int, dict[str, Any]]:
    path = f"/api/v1/instance/main/{INSTANCE}/files/ok.sh/execute"
    answer = server.client.post(path, json={"argument": {}})
    return answer.status_code, answer.json()


def hold(server: ServerProcess) -> tuple[str, Path]:
    """Start a run that writes much as soon as the file that is given is gone; it has begun."""
    server.execute(INSTANCE, "code.py", argument={"code": "open('/cache/instance/hold', 'w')"})
    body: dict[str, Any] = {"asynchronous": True, "argument": {"code": HELD}}
    run_id = str(server.execute(INSTANCE, "shell.sh", **body)["id"])
    deadline = time.monotonic() + 60
    while "begun" not in server.client.get(f"/api/v1/runs/{run_id}/log").text:
        assert time.monotonic() < deadline
    return run_id, next((server.data / "caches" / "instance").glob("*/hold"))


def test_e3_a_full_disk_refuses_new_work_and_recovers_by_itself(small: ServerProcess) -> None:
    before = small.execute(INSTANCE, "ok.sh")
    filled = fill(small)
    status, problem = attempt(small)
    assert (status, problem["code"]) == (503, "unavailable")
    assert "full" in problem["detail"]
    assert small.client.get(f"/api/v1/runs/{before['id']}").json()["status"] == "SUCCESS"
    assert small.client.get(f"/api/v1/runs/{before['id']}/log").text == before["log"]
    filled.unlink()
    status, run = attempt(small)
    assert (status, run["status"]) == (200, "SUCCESS")


def test_e3_a_run_that_the_disk_has_no_room_for_ends_with_what_it_has_and_says_so(small: ServerProcess) -> None:
    run_id, held = hold(small)
    filled = fill(small)
    held.unlink()
    deadline = time.monotonic() + 60
    while "the host failed" not in (small.folder / "errors").read_text():  # its end cannot be recorded yet
        assert time.monotonic() < deadline
        time.sleep(0.02)
    filled.unlink()
    run = small.client.get(f"/api/v1/runs/{run_id}?wait=60").json()
    assert run["status"] == "SUCCESS"
    assert "the log is not complete" in run["message"]
    log = small.client.get(f"/api/v1/runs/{run_id}/log").content
    assert log.startswith(b"begun\nline 1\n")
    assert (len(log), hashlib.sha256(log).hexdigest()) == (run["logBytes"], run["logSha256"])
    assert attempt(small)[0] == 200


def test_e3_a_disk_that_becomes_read_only_is_endured_and_the_database_is_whole(small: ServerProcess) -> None:
    remount = ["mount", "-o", "remount,{}", str(small.data)]

    def become(mode: str) -> subprocess.CompletedProcess[str]:
        words = [word.format(mode) for word in remount]
        return subprocess.run(words, capture_output=True, text=True, check=False)

    small.stop()  # with files that are open for writing it cannot become read-only
    assert become("ro").returncode == 0
    try:
        with pytest.raises(AssertionError, match="did not start"):
            small.start()
        said = (small.folder / "errors").read_text().strip().splitlines()[-1]
        assert "Traceback" not in said
        assert "ead-only" in said
    finally:
        assert become("rw").returncode == 0
        small.start()
    assert attempt(small)[0] == 200
    with closing(sqlite3.connect(small.data / "db" / "infraxys.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
