"""The bar on logs: one action writes 1 GB; the server's memory stays flat and takes at least 100 MB a second.

Usage: .venv/bin/python bench/log_bench.py [megabytes]. Logs lie in memory where there is enough of it.
"""

import json
import shutil
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from factories.live import live  # noqa: E402 - behind the path
from factories.modules import INSTANCE  # noqa: E402 - see above
from plugins.server import ServerProcess, make_folder, make_library  # noqa: E402 - see above

MOST_MIB, LEAST_MB = 32.0, 100.0
WRITE = "import sys\nblock = b'x' * 99 + b'\\n'\nblock *= 655\nfor _ in range({}):\n    sys.stdout.buffer.write(block)"


def pss_mib(process: int) -> float:
    """Give the memory of a process that is its own share."""
    text = Path(f"/proc/{process}/smaps_rollup").read_text()
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")) / 1024


def measure(server: ServerProcess, megabytes: int, label: str, *, followed: bool) -> bool:
    """Write so much; print and judge speed and memory."""
    blocks = megabytes * 1_000_000 // 65_500
    before, highest = pss_mib(server.process.pid), 0.0
    is_done = threading.Event()

    def watch() -> None:
        nonlocal highest
        while not is_done.wait(0.1):
            highest = max(highest, pss_mib(server.process.pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    started = time.perf_counter()
    body = {"argument": {"code": WRITE.format(blocks)}, "returnLog": False, "asynchronous": followed}
    answer = server.client.post(f"/api/v1/instance/main/{INSTANCE}/files/code.py/execute", json=body)
    run = answer.json()
    if followed:
        with live(server.url) as connection:
            connection.send("follow", runId=run["id"])
            run = server.client.get(f"/api/v1/runs/{run['id']}?wait=600", timeout=600).json()
            connection.next("end", run["id"])
    seconds = time.perf_counter() - started
    is_done.set()
    watcher.join()
    assert run["status"] == "SUCCESS", run
    head = server.client.get(f"/api/v1/runs/{run['id']}/log", headers={"Range": "bytes=0-0"})
    length = int(head.headers["X-Log-Length"])
    assert length == blocks * 65_500, (length, blocks * 65_500)
    speed, grown = length / 1e6 / seconds, highest - before
    print(
        json.dumps(
            {"what": label, "mb": round(length / 1e6), "mb_per_second": round(speed), "grown_mib": round(grown, 1)}
        )
    )
    return speed >= LEAST_MB and grown <= MOST_MIB


def main(megabytes: int) -> int:
    """Measure alone and with somebody who follows."""
    folder = make_folder()
    logs = Path("/dev/shm") / folder.name
    logs.mkdir()
    (folder / "data").mkdir()
    (folder / "data" / "logs").symlink_to(logs)
    server = ServerProcess(folder, "--no-examples", environment={"INFRAXYS_LOG_LIMIT": str(8 * 10**9)})
    try:
        server.add_module(make_library(folder).path)
        server.execute(INSTANCE, "true.sh")
        server.client.timeout = 600
        good = [
            measure(server, megabytes, "alone", followed=False),
            measure(server, megabytes, "followed", followed=True),
        ]
        return 0 if all(good) else 1
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(logs, ignore_errors=True)


if __name__ == "__main__":
    raise SystemExit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000))
