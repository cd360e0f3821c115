"""The bar on many actions at once: 100 that sleep cost at most 6 MB each, lose no output and are ended in 3 s.

Usage: .venv/bin/python bench/concurrency_bench.py [actions]. Memory is what the server, the sandboxes and what runs in
them have as their own share (PSS), less what the server had before.
"""

import json
import shutil
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from factories.modules import INSTANCE  # noqa: E402 - behind the path
from plugins.server import ServerProcess, make_folder, make_library  # noqa: E402 - see above

MOST_MB, MOST_SECONDS = 6.0, 3.0
LINES = 50
CLIENTS = 16
SLEEP = """trap 'echo caught; exit 3' TERM
for n in $(seq 1 50); do echo line $n; echo error $n >&2; done
echo asleep
sleep 300 & wait"""


def share(process: int) -> int:
    """Give a process's own share of memory in bytes; 0 when it is gone."""
    try:
        text = Path(f"/proc/{process}/smaps_rollup").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("Pss:")), 0)


def descendants(process: int) -> list[int]:
    """Give all processes below one."""
    below: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_bytes().rpartition(b")")[2].split()[1])
            except OSError:
                continue
            below.setdefault(parent, []).append(int(entry.name))
    found, waiting = [], [process]
    while waiting:
        children = below.get(waiting.pop(), [])
        found += children
        waiting += children
    return found


def main(actions: int) -> int:
    """Start, wait until all sleep, measure, cancel, look at every log."""
    folder = make_folder()
    environment = {"INFRAXYS_SLOTS": str(actions + 4)}
    server = ServerProcess(folder, "--no-examples", environment=environment)
    pool = ThreadPoolExecutor(CLIENTS)
    try:
        server.add_module(make_library(folder).path)
        server.execute(INSTANCE, "true.sh")
        pid = server.process.pid
        before = share(pid)
        body = {"asynchronous": True, "argument": {"code": SLEEP}}
        started = time.perf_counter()
        runs = list(pool.map(lambda _: server.execute(INSTANCE, "shell.sh", **body)["id"], range(actions)))
        log = lambda run_id: server.client.get(f"/api/v1/runs/{run_id}/log").text  # noqa: E731 - short
        while not all("asleep" in text for text in pool.map(log, runs)):
            assert time.perf_counter() - started < 120, "they do not all run"
        all_run = time.perf_counter() - started
        alone = share(pid) - before
        everything = alone + sum(share(process) for process in descendants(pid))
        began = time.perf_counter()
        list(pool.map(lambda run_id: server.client.post(f"/api/v1/runs/{run_id}/cancel"), runs))
        get = lambda run_id: server.client.get(f"/api/v1/runs/{run_id}?wait=60").json()["status"]  # noqa: E731 - short
        states = set(pool.map(get, runs))
        cancelled = time.perf_counter() - began
        complete = sum(is_complete(text) for text in pool.map(log, runs))
        result = {
            "actions": actions,
            "all_run_after_seconds": round(all_run, 2),
            "server_mb_each": round(alone / 1e6 / actions, 2),
            "all_mb_each": round(everything / 1e6 / actions, 2),
            "cancelled_after_seconds": round(cancelled, 2),
            "states": sorted(states),
            "complete_logs": complete,
        }
        print(json.dumps(result))
        good = everything / 1e6 / actions <= MOST_MB and cancelled <= MOST_SECONDS
        return 0 if good and states == {"CANCELLED"} and complete == actions else 1
    finally:
        pool.shutdown()
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def is_complete(text: str) -> bool:
    """Whether a log has everything that its action wrote, from its first line to what it said at its end."""
    lines = text.splitlines()
    expected = [f"{word} {n}" for n in range(1, LINES + 1) for word in ("line", "error")]
    return sorted(lines) == sorted([*expected, "asleep", "caught"])


if __name__ == "__main__":
    raise SystemExit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 100))
