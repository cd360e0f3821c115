"""A clock that jumps (hostile.md E5): durations and time limits go on evenly, tokens follow the clock."""

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from factories.modules import INSTANCE
from plugins.server import ServerProcess, make_folder, make_library

LIBRARY = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
pytestmark = pytest.mark.skipif(LIBRARY is None, reason="libfaketime is not installed")
CODE = "echo begun; while [ ! -e /cache/instance/go ]; do sleep 0.02; done; echo done; rm /cache/instance/go"
DAY = 86_400


class Jumping(ServerProcess):
    """A server whose clock the file `clock` moves; with a token that is good for a day."""

    token: str

    def jump(self, seconds: int) -> None:
        """Move the clock away from the machine's."""
        self.folder.joinpath("clock.new").write_text(f"{seconds:+d}\n")
        self.folder.joinpath("clock.new").rename(self.folder / "clock")


@pytest.fixture(scope="module")
def jumping() -> Iterator[Jumping]:
    folder = make_folder()
    (folder / "clock").write_text("+0\n")
    environment = {
        "LD_PRELOAD": str(LIBRARY),
        "FAKETIME_TIMESTAMP_FILE": str(folder / "clock"),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_FORCE_MONOTONIC_FIX": "0",
    }
    options = ("--mode", "server", "--git-schemes", "https,ssh,file", "--no-examples")
    running = Jumping(folder, *options, environment={**os.environ, **environment})
    try:
        assert running.command("user", "create", "root", "--admin").returncode == 0
        made = running.command("token", "create", "--name", "test", "--user", "root", "--expires-days", "1")
        assert made.returncode == 0, made.stderr
        running.client.headers["Authorization"] = f"token {made.stdout.strip()}"
        running.add_module(make_library(folder).path)
        yield running
    finally:
        running.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize("seconds", [-DAY, DAY // 2])
def test_e5_a_run_lasts_as_long_as_it_lasts(jumping: Jumping, seconds: int) -> None:
    jumping.jump(0)
    run = jumping.execute(INSTANCE, "shell.sh", asynchronous=True, argument={"code": CODE})
    path = f"/api/v1/runs/{run['id']}"
    deadline = time.monotonic() + 60
    while "begun" not in jumping.client.get(f"{path}/log").text:
        assert time.monotonic() < deadline
    jumping.jump(seconds)
    folder = jumping.client.get("/api/v1/caches", params={"level": "instance"}).json()["items"][0]["id"]
    assert jumping.client.put(f"/api/v1/caches/instance/{folder}/go", content=b"").status_code == 200
    run = jumping.client.get(f"{path}?wait=30").json()
    assert run["status"] == "SUCCESS", run["message"]  # its time limit of a minute is not over
    assert 0 < run["durationSeconds"] < 60
    assert run["createdAt"] <= run["startedAt"] <= run["finishedAt"]


def test_e5_a_token_ends_when_the_clock_says_so(jumping: Jumping) -> None:
    jumping.jump(0)
    assert jumping.client.get("/api/v1/runs").status_code == 200
    jumping.jump(DAY + 60)
    assert jumping.client.get("/api/v1/runs").status_code == 401
    jumping.jump(0)
    assert jumping.client.get("/api/v1/runs").status_code == httpx.codes.OK
