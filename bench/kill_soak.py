"""The bar on durability: 1,000 runs, the server killed with `kill -9` at 30 random moments. Prints what was counted.

Usage: .venv/bin/python bench/kill_soak.py [runs] [kills]
"""

import random
import shutil
import sys
import threading
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from faults.test_killed_server import left_behind, repeated_steps, submit, wait_for_end  # noqa: E402 - behind the path
from plugins.server import ServerProcess, make_folder, make_library  # noqa: E402 - see above


def main(runs: int, kills: int) -> int:
    """Feed, kill, count."""
    folder = make_folder()
    server = ServerProcess(folder, "--no-examples")
    try:
        server.add_module(make_library(folder).path)
        accepted: list[str] = []
        stop = threading.Event()

        def feed() -> None:
            while not stop.is_set() and len(accepted) < runs:
                run_id = submit(server, ["count.sh", "count.sh"])
                if run_id is not None:
                    accepted.append(run_id)

        threads = [threading.Thread(target=feed) for _ in range(6)]
        for thread in threads:
            thread.start()
        for _ in range(kills):
            stop.wait(random.uniform(0.1, 2.0))
            server.kill()
            server.start()
        for thread in threads:
            thread.join()
        states: dict[str, int] = {}
        repeated = 0
        for run_id in accepted:
            run = wait_for_end(server, run_id)
            states[str(run["status"])] = states.get(str(run["status"]), 0) + 1
            repeated += bool(repeated_steps(server, run))
        unfinished = server.client.get("/api/v1/runs?status=QUEUED&status=RUNNING&status=WAITING").json()["items"]
        server.stop()
        left = left_behind(server)
        print(f"runs {len(accepted)}, kills {kills}, ended {states}, with a repeated step {repeated}")
        print(f"without an end: {len(unfinished)}; left behind (processes, folders, control groups): {left}")
        good = set(states) <= {"SUCCESS", "LOST"} and not repeated and not unfinished and not left
        return 0 if good else 1
    finally:
        if server.process.poll() is None:
            server.kill()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    count, times = (int(text) for text in (sys.argv[1:] + ["1000", "30"][len(sys.argv) - 1 :]))
    raise SystemExit(main(count, times))
