"""`./infraxys bench`: what the product adds to the sandbox, as ratios to a bare application in the same run."""

import http.client
import json
import os
import shutil
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CONTEXT = ssl._create_unverified_context()
SAMPLES, WARM_UP, CLIENTS, EACH, ROUNDS = 100, 15, 8, 20, 5
ENVIRONMENT, WORKFLOW, CONTAINER, INSTANCE, PACKET = "env-1", "wf-1", "con-1", "ins-1", "pac-1"
BRANCH_PATH = "localhost\\bench\\bench\\main"


def make_module(folder: Path) -> Path:
    """Write a module with one action, `true.sh`, and a workflow of ten steps."""
    repository = folder / "bench" / "bench"
    files = {
        "packets/True/packet.json": {
            "id": PACKET,
            "label": "true",
            "attributes": [],
            "files": [{"id": "f-1", "filename": "true.sh", "menuCaption": "True", "executable": True}],
        },
        "environments/env/environment.json": {
            "id": ENVIRONMENT,
            "workflows": [
                {
                    "id": WORKFLOW,
                    "name": "ten",
                    "steps": [
                        {"name": f"{n}", "containerId": CONTAINER, "instanceId": INSTANCE, "packetFileId": "f-1"}
                        for n in range(10)
                    ],
                }
            ],
        },
        "environments/env/container/container.json": {
            "id": CONTAINER,
            "roles": [],
            "instances": [{"id": INSTANCE, "packetId": PACKET, "packetName": "True", "packetPath": BRANCH_PATH}],
        },
    }
    for name, content in files.items():
        (repository / name).parent.mkdir(parents=True, exist_ok=True)
        (repository / name).write_text(json.dumps(content))
    script = repository / "packets" / "True" / "files" / "true.sh"
    script.parent.mkdir()
    script.write_text(":\n")
    for command in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "bench"]):
        identity = ["-c", "user.name=bench", "-c", "user.email=bench@localhost"]
        subprocess.run(["git", "-C", str(repository), *identity, *command], check=True)
    return repository


def free_port() -> int:
    """Find a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for_port(port: int, process: subprocess.Popen) -> None:
    """Wait until somebody listens."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.01)
    raise SystemExit("a server did not start")


def connect(port: int) -> http.client.HTTPSConnection:
    """Open a connection that is kept alive."""
    return http.client.HTTPSConnection("127.0.0.1", port, context=CONTEXT)


def post(connection: http.client.HTTPSConnection, path: str) -> bytes:
    """Send one request."""
    connection.request(
        "POST", path, b'{"argument": {"n": 1}}', {"Content-Type": "application/json", "Host": "localhost"}
    )
    response = connection.getresponse()
    body = response.read()
    if response.status != 200:
        raise SystemExit(f"status {response.status}: {body[:500]!r}")
    return body


def product_post(connection: http.client.HTTPSConnection, path: str) -> None:
    """Send one request to the product and insist on success."""
    run = json.loads(post(connection, path))
    if run["status"] != "SUCCESS":
        raise SystemExit(f"the run failed: {run['message']}")


def interleaved(calls: dict[str, Callable[[], object]], samples: int) -> dict[str, list[float]]:
    """Time several calls in turn, so that what else the machine does hits all of them."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(samples + WARM_UP):
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            if number >= WARM_UP:
                times[name].append((time.perf_counter() - started) * 1000)
    return times


def throughput(port: int, path: str, call: Callable[[http.client.HTTPSConnection, str], object]) -> float:
    """Give answers per second with several clients."""

    def client() -> None:
        connection = connect(port)
        for _ in range(EACH):
            call(connection, path)

    threads = [threading.Thread(target=client) for _ in range(CLIENTS)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return CLIENTS * EACH / (time.perf_counter() - started)


def shares(limit_port: int, port: int, path: str) -> list[tuple[float, float]]:
    """Give the answers per second of both, in turn, so that what else the machine does hits both."""
    return [(throughput(limit_port, "/", post), throughput(port, path, product_post)) for _ in range(ROUNDS)]


def memory_mb(process: int) -> float:
    """Give the resident memory of a process, with what it shares with others, in MB."""
    text = Path(f"/proc/{process}/status").read_text()
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("VmRSS:")) / 1000


def start_product(folder: Path) -> tuple[subprocess.Popen, int, float]:
    """Start the server; gives the process, its port and the seconds until it was ready."""
    port = free_port()
    started = time.perf_counter()
    command = [sys.executable, "-m", "infraxys", "serve", "--no-examples", "--port", str(port)]
    command += ["--data-dir", str(folder / "data"), "--slots", "16"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    line = process.stdout.readline()
    if "ready" not in line:
        raise SystemExit("the server did not start")
    return process, port, time.perf_counter() - started


def second_start() -> float:
    """Give the seconds that a small command takes from a checkout in which everything is installed."""
    times = []
    for _ in range(5):
        started = time.perf_counter()
        subprocess.run([str(ROOT / "infraxys"), "version"], check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def row(name: str, value: str, bar: str, *, holds: bool) -> bool:
    """Print one result."""
    print(f"{'ok  ' if holds else 'MISS'}  {name:<52} {value:>16}   bar {bar}")
    return holds


def main() -> int:
    """Measure everything; the exit code tells whether every bar holds."""
    folder = Path(tempfile.mkdtemp(prefix="infraxys-bench-", dir="/var/tmp"))
    folder.chmod(0o755)
    processes: list[subprocess.Popen] = []
    try:
        return measure(folder, processes)
    finally:
        for process in processes:
            process.terminate()
            process.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


def measure(folder: Path, processes: list[subprocess.Popen]) -> int:
    """Start both, measure both."""
    first, _, _ = start_product(folder)
    first.terminate()
    first.wait(30)
    product, port, ready = start_product(folder)
    processes.append(product)
    idle = memory_mb(product.pid)
    repository = make_module(folder)
    api = connect(port)
    api.request(
        "POST",
        "/api/v1/modules",
        json.dumps({"url": str(repository)}),
        {"Content-Type": "application/json", "Host": "localhost"},
    )
    answer = api.getresponse()
    if answer.status != 201:
        raise SystemExit(answer.read().decode())
    answer.read()
    limit_port = free_port()
    tls = folder / "data" / "tls"
    command = [sys.executable, str(ROOT / "bench" / "limit.py"), str(folder / "limit"), str(limit_port)]
    (folder / "limit").mkdir()
    limit = subprocess.Popen([*command, str(tls / "server.crt"), str(tls / "server.key")], env={**os.environ})
    processes.append(limit)
    wait_for_port(limit_port, limit)
    limit_connection, product_connection = connect(limit_port), connect(port)
    action = f"/api/v1/instance/main/{INSTANCE}/files/true.sh/execute"
    workflow = f"/api/v1/environment/main/{ENVIRONMENT}/workflow/{WORKFLOW}/execute"
    times = interleaved(
        {
            "limit": lambda: post(limit_connection, "/"),
            "action": lambda: product_post(product_connection, action),
        },
        SAMPLES,
    )
    ten = interleaved(
        {
            "limit": lambda: [post(limit_connection, "/") for _ in range(10)],
            "workflow": lambda: product_post(product_connection, workflow),
        },
        20,
    )
    base, own = statistics.median(times["limit"]), statistics.median(times["action"])
    print(f"      limit: p50 {base:.1f} ms, action: p50 {own:.1f} ms")
    rates = shares(limit_port, port, action)
    limit_rate, rate = (statistics.median(side) for side in zip(*rates, strict=True))
    print(f"      limit: {limit_rate:.0f}/s, action: {rate:.0f}/s with {CLIENTS} clients")
    again = second_start()
    ratio, share = own / base, statistics.median(ours / limit for limit, ours in rates)
    ten_ratio = statistics.median(ten["workflow"]) / statistics.median(ten["limit"])
    results = [
        row("synchronous action, sequential (times the limit, p50)", f"{ratio:.2f}", "≤ 2.0", holds=ratio <= 2.0),
        row("synchronous action, 8 clients (share of limit)", f"{share:.2f}", "≥ 0.50", holds=share >= 0.5),
        row("ten-step workflow (times ten limits, p50)", f"{ten_ratio:.2f}", "≤ 1.5", holds=ten_ratio <= 1.5),
        row("a command in a checkout", f"{again:.2f} s", "< 0.5 s", holds=again < 0.5),
        row("ready after start", f"{ready:.2f} s", "≤ 2 s", holds=ready <= 2.0),
        row("idle memory", f"{idle:.0f} MB", "≤ 150 MB", holds=idle <= 150),
    ]
    return 0 if all(results) else 1


if __name__ == "__main__":
    raise SystemExit(main())
