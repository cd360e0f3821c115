"""What one run does to the next one: nothing (field.md G29); and what it writes without end (field.md G30, G31)."""

import hashlib
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from factories.modules import INSTANCE, library
from infraxys.server.settings import Settings
from plugins.server import ServerProcess, make_folder, make_library

LIMIT = 1_000_000
# Everything that an action sees, but for what is its run's own.
FINGERPRINT = """
import hashlib, os, stat
seen = hashlib.sha256()
own = ('/tmp/infraxys/system', '/tmp/infraxys/variables', '/tmp/infraxys/artefacts')
for top in ('/bin', '/dev/shm', '/etc', '/opt', '/root', '/run', '/tmp', '/usr/bin', '/usr/lib/python3', '/var'):
    for folder, folders, files in os.walk(top):
        folders[:] = sorted(name for name in folders if not os.path.join(folder, name).startswith(own))
        for name in sorted(folders + files):
            path = os.path.join(folder, name)
            status = os.lstat(path)
            size = None if stat.S_ISDIR(status.st_mode) else status.st_size
            seen.update(repr((path, status.st_mode, status.st_uid, size)).encode())
            if stat.S_ISREG(status.st_mode) and status.st_size < 65536 and top in ('/etc', '/root', '/tmp', '/run'):
                seen.update(open(path, 'rb').read())
print(seen.hexdigest())
"""
HARM = """
import glob, os, subprocess, sys
places = ['/etc/hosts', '/etc/ssl/certs/ca-certificates.crt', '/etc/ld.so.preload', '/etc/profile', '/usr/bin/env',
    '/usr/lib/python3/dist-packages/sitecustomize.py', '/root/.bashrc', '/root/.ssh/config', '/root/.gitconfig',
    '/root/.local/lib/python3.11/site-packages/usercustomize.py', '/tmp/infraxys/core/bootstrap.sh', '/tmp/x', '/run/x',
    '/tmp/infraxys/core/python/infraxys/__init__.py', '/var/tmp/x', '/dev/shm/x', os.environ['INSTANCE_DIR'] + '/x.sh',
    os.environ['INSTANCE_DIR'] + '/true.sh', os.environ['ENVIRONMENT_DIR'] + '/environment.auto/a.sh',
    os.environ['ENVIRONMENT_DIR'] + '/a.auto_properties', *glob.glob('/tmp/infraxys/modules/*/*/*/*/module.json')]
written = 0
for place in places:
    try:
        os.makedirs(os.path.dirname(place), exist_ok=True)
        with open(place, 'w') as file:
            written += file.write('echo harm; exit 1\\n') > 0
        os.chmod(place, 0o755)
    except OSError:
        pass
print('written', written > 5)
"""
TOOLS = """
import os
for tool in ('ls', 'bash', 'python3', 'env', 'cat'):
    with open('/cache/project/bin/' + tool, 'w') as file:
        file.write('#!/bin/sh\\necho harm\\n')
    os.chmod('/cache/project/bin/' + tool, 0o755)
"""


@pytest.fixture(scope="module")
def short_server() -> Iterator[ServerProcess]:
    """A server that keeps a million bytes of a log, with branches main and other."""
    folder = make_folder()
    running = ServerProcess(folder, "--no-examples", environment={"INFRAXYS_LOG_LIMIT": str(LIMIT)})
    try:
        repository = make_library(folder)
        repository.commit(library(), branch="other")
        running.add_module(repository.path)
        running.execute(INSTANCE, "true.sh")
        yield running
    finally:
        running.stop()
        shutil.rmtree(folder, ignore_errors=True)


def test_g29_nothing_that_an_action_changes_is_there_for_the_next_one(short_server: ServerProcess) -> None:
    def execute(code: str, branch: str = "main") -> str:
        run = short_server.execute(INSTANCE, "code.py", branch, argument={"code": code})
        assert run["status"] == "SUCCESS", run["log"]
        return str(run["log"])

    before = execute(FINGERPRINT)
    assert execute(HARM) == "written True\n"
    assert execute(TOOLS, "other") == ""  # what is in the cache of a project is there for its own runs only
    assert execute(FINGERPRINT) == before
    assert execute("import shutil; print(shutil.which('ls'))").startswith("/usr/bin/")


def memory_of(server: ServerProcess) -> int:
    text = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(next(line for line in text.splitlines() if line.startswith("VmRSS")).split()[1]) * 1024


@pytest.mark.parametrize(
    "code",
    [
        "import sys\nfor _ in range(3000): sys.stdout.write('x' * 65536)",
        "import os, sys\nblock = os.urandom(65536)\nfor _ in range(1500): sys.stdout.buffer.write(block)",
        "import sys\nfor _ in range(500): sys.stdout.write(chr(0) * 65536 + chr(27) + ']0;')",
        "import sys\nfor n in range(200_000): print(n, file=sys.stdout if n % 2 else sys.stderr)",
    ],
    ids=["one line", "no text", "half sequences", "lines on two streams"],
)
def test_g31_output_without_end_is_cut_and_the_server_goes_on(short_server: ServerProcess, code: str) -> None:
    before = memory_of(short_server)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(short_server.execute, INSTANCE, "code.py", argument={"code": code}, returnLog=False)
        slowest = 0.0
        while not running.done():
            began = time.monotonic()
            assert short_server.client.get("/health").status_code == 200
            slowest = max(slowest, time.monotonic() - began)
        run = running.result()
    assert run["status"] == "SUCCESS", run["message"]
    assert slowest < 5
    assert memory_of(short_server) - before < 64 * 1024 * 1024
    log = short_server.client.get(f"/api/v1/runs/{run['id']}/log").content
    assert LIMIT < len(log) < LIMIT + 200
    assert log.splitlines()[-1].startswith(b"[infraxys] the log is longer than allowed: ")
    assert (run["logBytes"], run["logSha256"]) == (len(log), hashlib.sha256(log).hexdigest())


def test_g31_no_output_is_a_log_of_no_bytes(short_server: ServerProcess) -> None:
    run = short_server.execute(INSTANCE, "true.sh")
    assert (run["logBytes"], run["logSha256"], run["log"]) == (0, hashlib.sha256(b"").hexdigest(), "")


STUBBORN = """
import os, signal, subprocess, time
for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
    signal.signal(number, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(3600)
    os._exit(0)
files = []
try:
    while True:
        files.append(open('/dev/null'))
except OSError:
    files.clear()
subprocess.Popen(['yes'], stdout=subprocess.DEVNULL)
print('ready', flush=True)
while True:
    time.sleep(3600)
"""


def test_g30_what_does_not_want_to_end_has_ended_ten_seconds_after_it_was_cancelled(own_server: ServerProcess) -> None:
    run = own_server.execute(INSTANCE, "code.py", asynchronous=True, argument={"code": STUBBORN})
    path = f"/api/v1/runs/{run['id']}"
    deadline = time.monotonic() + 60
    while "ready" not in own_server.client.get(f"{path}/log").text:
        assert time.monotonic() < deadline
    began = time.monotonic()
    assert own_server.client.post(f"{path}/cancel").status_code == 202
    assert own_server.client.get(f"{path}?wait=30").json()["status"] == "CANCELLED"
    assert Settings().kill_grace <= 8  # and two seconds for the rest of it, more on a machine with much else to do
    assert time.monotonic() - began < 15
    groups = [folder for folder in Path("/sys/fs/cgroup").glob("**/infraxys*") if run["id"] in folder.name]
    assert not [folder for folder in groups if (folder / "cgroup.procs").read_text().strip()]
