"""Many actions at once (hostile.md A7, field.md G30): nothing of their output is missed, and all end at once."""

import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from factories.modules import INSTANCE
from plugins.server import ServerProcess, make_folder, make_library

ACTIONS = 32
CODE = """trap 'echo caught; exit 3' TERM
for n in $(seq 1 50); do echo line $n; echo error $n >&2; done
echo asleep
sleep 300 & wait"""
EXPECTED = sorted([f"{word} {n}" for n in range(1, 51) for word in ("line", "error")] + ["asleep", "caught"])


@pytest.fixture
def roomy_server() -> Iterator[ServerProcess]:
    """A server on which so many run at once."""
    folder = make_folder()
    running = ServerProcess(folder, "--no-examples", "--slots", str(ACTIONS))
    try:
        running.add_module(make_library(folder).path)
        yield running
    finally:
        running.stop()
        shutil.rmtree(folder, ignore_errors=True)


def pss(server: ServerProcess) -> int:
    """Give the server's own memory in KiB."""
    text = Path(f"/proc/{server.process.pid}/smaps_rollup").read_text()
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))


def test_actions_that_sleep_cost_little_and_all_end_with_every_byte_of_their_output(
    roomy_server: ServerProcess,
) -> None:
    server = roomy_server
    server.execute(INSTANCE, "true.sh")
    before = pss(server)
    body = {"asynchronous": True, "argument": {"code": CODE}}
    with ThreadPoolExecutor(8) as pool:
        runs = list(pool.map(lambda _: str(server.execute(INSTANCE, "shell.sh", **body)["id"]), range(ACTIONS)))

        def log(run_id: str) -> str:
            return server.client.get(f"/api/v1/runs/{run_id}/log").text

        deadline = time.monotonic() + 60
        while not all("asleep" in text for text in pool.map(log, runs)):
            assert time.monotonic() < deadline
        assert (pss(server) - before) / ACTIONS < 6 * 1000
        list(pool.map(lambda run_id: server.client.post(f"/api/v1/runs/{run_id}/cancel"), runs))
        ends = pool.map(lambda run_id: server.client.get(f"/api/v1/runs/{run_id}?wait=30").json()["status"], runs)
        assert set(ends) == {"CANCELLED"}
        assert all(sorted(text.splitlines()) == EXPECTED for text in pool.map(log, runs))
