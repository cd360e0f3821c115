"""What an action tries against its limits and its end: S18 to S30 of the list of attacks, in real sandboxes.

S18 to S23 are field.md G30 as well, S28 is G31, and S30 is hostile.md E6.
"""

import asyncio
import json
import os
import random
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from factories.sandbox import MIB, SMALL, Sandbox, collect, is_gone, processes_with
from infraxys.engine.backends.base import BackendUnavailable, Limits, Mount
from infraxys.engine.backends.bubblewrap import BubblewrapBackend
from infraxys.engine.backends.host import hand_over, remove_tree

needs_python = pytest.mark.skipif(not Path("/usr/bin/python3").exists(), reason="the sandbox has no Python")
pytestmark = [pytest.mark.skipif(sys.platform != "linux", reason="bubblewrap needs Linux"), needs_python]
MARK = f"98760.{os.getpid()}"  # seconds that nobody else sleeps


def test_s18_a_fork_bomb_stays_in_its_limit_and_hurts_nobody(limited: Sandbox) -> None:
    sandbox = limited
    if sandbox.backend.limits_by == "rlimits" and os.geteuid() != 0:
        pytest.skip("without control groups and accounts of their own, actions share the limit of this account")

    async def main() -> None:
        count = "import os\nn = 0\ntry:\n  while os.fork(): n += 1\n  os.read(0, 1)\nexcept OSError: print(n)"
        counted = await sandbox.ended("", command=("/usr/bin/python3", "-c", count), limits=SMALL)
        assert 20 < int(counted.stdout) < 64
        bomb = await sandbox.start("echo; f() { f | f & }; f; sleep 60", limits=SMALL)
        await asyncio.wait_for(anext(bomb.output()), 10)
        other = await asyncio.wait_for(sandbox.ended("echo fine"), 10)
        assert other.stdout == "fine\n"
        started = time.monotonic()
        await bomb.terminate(0)
        await bomb.wait()
        assert time.monotonic() - started < 5

    asyncio.run(main())
    assert sandbox.left() == []


BALLOON = "import os\nfor _ in range({forks}): os.fork()\nblocks = []\nwhile True: blocks.append(b'x' * (1 << 20))"


def test_s19_a_memory_bomb_is_killed_and_reported(sandbox: Sandbox) -> None:
    if sandbox.backend.limits_by == "rlimits":
        pytest.skip("no control groups here")
    for forks in (0, 2):
        ended = sandbox.run("", command=("/usr/bin/python3", "-c", BALLOON.format(forks=forks)), limits=SMALL)
        assert ended.exit.out_of_memory, forks
        assert ended.exit.start_error is None
        if forks == 0:
            assert ended.exit.code == 137
    assert not sandbox.run("exit 137").exit.out_of_memory


@pytest.mark.parametrize(
    ("folder", "limit"), [("/tmp", 4), ("/root", 4), ("/dev/shm", 64), ("/var/tmp", 16), ("/run", 1)]
)
def test_s20_writable_memory_folders_fill_up_at_their_limit(sandbox: Sandbox, folder: str, limit: int) -> None:
    ended = sandbox.run(f"head -c 100000000 /dev/zero > {folder}/fill; stat -c %s {folder}/fill", limits=SMALL)
    assert "No space left on device" in ended.stderr
    assert int(ended.stdout) <= limit * MIB


def test_s21_the_system_is_read_only(sandbox: Sandbox) -> None:
    for path in (
        "/new",
        "/usr/new",
        "/usr/bin/bash",
        "/etc/passwd",
        "/etc/hosts",
        "/etc/ssl/certs/x",
        "/dev/new",
        "/bin/new",
    ):
        ended = sandbox.run(f"echo x >> {path}")
        assert ended.exit.code != 0, path
        assert "Read-only file system" in ended.stderr or "Permission denied" in ended.stderr, path


def test_s22_daemons_do_not_outlive_their_action(sandbox: Sandbox) -> None:
    daemon = f"setsid bash -c 'trap \"\" TERM HUP; (sleep {MARK}; sleep {MARK}) & sleep {MARK}' & sleep 0.2; exit 0"
    ended = sandbox.run(daemon)
    assert ended.exit.code == 0
    assert ended.seconds < 5  # the daemon held standard output open
    assert is_gone(f"sleep\0{MARK}")
    assert sandbox.left() == []


def test_s23_a_tree_that_ignores_signals_is_killed_after_the_grace(sandbox: Sandbox) -> None:
    async def main() -> None:
        forever = f"while :; do sleep {MARK}; done"
        script = f"trap '' TERM INT HUP; (trap '' TERM; echo; {forever}) & {forever}"
        async with sandbox.running(script) as (execution, _):
            started = time.monotonic()
            await execution.terminate(0.5)
            end = await execution.wait()
            assert 0.4 < time.monotonic() - started < 1.5
            assert (end.code, end.signal) == (137, 9)

    asyncio.run(main())
    assert is_gone(f"sleep\0{MARK}")


@pytest.mark.slow
def test_s24_cancelling_while_it_starts_leaves_nothing_behind(limited: Sandbox) -> None:
    sandbox = limited

    async def cancel_soon(chance: random.Random) -> None:
        execution = await sandbox.start(f"sleep {MARK}")
        await asyncio.sleep(chance.uniform(0, 0.02))
        await execution.terminate(chance.choice((0, 1)))
        await execution.wait()
        async for _ in execution.output():
            pass

    async def main() -> None:
        chance = random.Random(24)
        for _ in range(50):
            await asyncio.gather(*(cancel_soon(chance) for _ in range(4)))

    asyncio.run(main())
    assert is_gone(f"sleep\0{MARK}")
    assert sandbox.left() == []
    assert all(group is None or group.processes() == [] for group in sandbox.backend._groups)


# Forks a server for each line that it reads, and says its id when it begins to start actions.
KILLED_SERVER = """
import asyncio, os, sys
from pathlib import Path
sys.path[:0] = {path!r}
from infraxys.engine.backends import host
from infraxys.engine.backends.base import ActionSpec, Mount
from infraxys.engine.backends.bubblewrap import ENVIRONMENT, BubblewrapBackend
host.ETC_PATTERNS = {etc!r}
SCRIPT = "while :; do date >> /mark/ran; sleep 0.02; done; true " + {mark!r}
async def one(backend, number):
    folder = backend.work / "runs" / str(number)
    folder.mkdir(parents=True)
    folder.parent.chmod(0o755)
    mounts = (Mount(folder, "/mark", writable=True),)
    await (await backend.start(ActionSpec("r", "s", ("bash", "-c", SCRIPT), ENVIRONMENT, "/", mounts))).wait()
async def main():
    backend = BubblewrapBackend(Path({work!r}), slots=4)
    backend.prepare()
    print(os.getpid(), flush=True)
    await asyncio.gather(*(one(backend, number) for number in range(4)))
for _ in sys.stdin:
    server = os.fork()
    if server == 0:
        asyncio.run(main())
        os._exit(0)
    os.waitpid(server, 0)
"""


@pytest.mark.slow
def test_s25_a_killed_server_leaves_nothing_that_its_successor_does_not_clear(monkeypatch: pytest.MonkeyPatch) -> None:
    etc = ("ld.so.cache", "nsswitch.conf")  # the rest takes time and plays no part here
    monkeypatch.setattr("infraxys.engine.backends.host.ETC_PATTERNS", etc)
    work = Path(tempfile.mkdtemp(prefix="infraxys-test-", dir="/var/tmp"))
    chance = random.Random(25)
    source = KILLED_SERVER.format(path=sys.path, work=str(work), mark=MARK, etc=etc)
    ran = server = 0
    try:
        with subprocess.Popen([sys.executable, "-c", source], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as servers:
            assert servers.stdin is not None
            assert servers.stdout is not None
            for number in range(40):
                servers.stdin.write(b"\n")
                servers.stdin.flush()
                server = int(servers.stdout.readline())
                time.sleep(chance.uniform(0, 0.05))
                deadline = time.monotonic() + 20
                while number % 4 == 0 and not list(work.glob("runs/*/ran")) and time.monotonic() < deadline:
                    time.sleep(0.01)
                os.kill(server, signal.SIGKILL)
                server = 0
                successor = BubblewrapBackend(work, slots=4)
                ran += len(list(work.glob("runs/*/ran")))
                successor.prepare()
                assert processes_with(f"true {MARK}") == []
                assert not (work / "runs").exists()
                asyncio.run(successor.close())
            servers.stdin.close()
    finally:
        if server:
            os.kill(server, signal.SIGKILL)
        remove_tree(work)
    assert ran >= 10  # these had begun


def test_s26_an_action_can_clean_up_when_it_is_asked_to_end(sandbox: Sandbox) -> None:
    async def main() -> None:
        execution = await sandbox.start("trap 'echo cleaned; exit 3' TERM; echo ready; sleep 60 & wait")
        output = execution.output()
        assert (await anext(output)).data == b"ready\n"
        await execution.terminate(5)
        assert b"".join([chunk.data async for chunk in output]) == b"cleaned\n"
        assert (await execution.wait()).code == 3

    asyncio.run(main())


def test_s27_traps_left_in_a_cache_do_not_catch_the_server(sandbox: Sandbox, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    (target / "file").write_text("untouched")
    cache = sandbox.folder("cache")
    ended = sandbox.run(
        f"ln -s {target} /cache/x/link; ln -s {target}/file /cache/x/file; cp /bin/bash /cache/x/shell; "
        "chmod 6755 /cache/x/shell; mkdir -m 0 /cache/x/closed; ln /etc/passwd /cache/x/hard",
        mounts=(Mount(cache, "/cache/x", writable=True),),
    )
    assert "Invalid cross-device link" in ended.stderr
    assert (cache / "shell").stat().st_uid != 0
    if os.geteuid() == 0:
        hand_over(cache, 1_900_000_099, 1_900_000_099)
        assert (cache / "shell").stat().st_uid == 1_900_000_099
        assert (cache / "shell").stat().st_mode & 0o6000 == 0
    remove_tree(cache)
    assert not cache.exists()
    assert (target / "file").read_text() == "untouched"
    assert target.stat().st_uid == os.geteuid() == (target / "file").stat().st_uid


def test_s28_output_of_any_kind_arrives_whole_in_bounded_memory(sandbox: Sandbox) -> None:
    async def main() -> None:
        line = await sandbox.ended("head -c 1000000 /dev/zero | tr '\\0' x")
        assert line.stdout == "x" * 1_000_000
        binary = await sandbox.start(
            "", command=("/usr/bin/python3", "-c", "import sys; sys.stdout.buffer.write(bytes(range(256)) * 4000)")
        )
        assert (await collect(binary))[0] == bytes(range(256)) * 4000
        await binary.wait()
        flood = await sandbox.start("head -c 100000000 /dev/zero; head -c 100000000 /dev/zero >&2")
        sizes = {"stdout": 0, "stderr": 0}
        largest = 0
        async for chunk in flood.output():
            sizes[chunk.stream] += len(chunk.data)
            largest = max(largest, flood._output._ahead)
            assert len(chunk.data) <= 65536
        assert sizes == {"stdout": 100_000_000, "stderr": 100_000_000}
        assert largest < 2 * MIB
        assert (await flood.wait()).code == 0

    asyncio.run(main())


def test_s28_a_slow_reader_pauses_the_action_and_single_bytes_do_not_pile_up(sandbox: Sandbox) -> None:
    async def main() -> None:
        script = "import os\nwhile True: os.write(1, b'x'); os.write(2, b'y')"
        execution = await sandbox.start("", command=("/usr/bin/python3", "-c", script))
        await asyncio.wait_for(anext(execution.output()), 10)
        deadline = time.monotonic() + 20
        while not execution._output._is_paused and time.monotonic() < deadline:  # noqa: ASYNC110 - reads no faster
            await asyncio.sleep(0.01)
        assert execution._output._is_paused
        assert len(execution._output._chunks) < 2000
        await execution.terminate(0)
        assert (await execution.wait()).code == 137  # ends although nobody reads

    asyncio.run(main())


def test_s28_an_outsider_who_was_handed_the_output_cannot_hold_the_run(sandbox: Sandbox) -> None:
    async def main() -> None:
        name = f"\0infraxys-outsider-{os.getpid()}"
        with socket.socket(socket.AF_UNIX) as outsider:
            outsider.bind(name)
            outsider.listen()
            give = "import socket\ns = socket.socket(socket.AF_UNIX)\n"
            give += f"s.connect({name!r})\nsocket.send_fds(s, [b'x'], [1, 2])"
            execution = await sandbox.start("", command=("/usr/bin/python3", "-c", give), network=True)
            outsider.settimeout(10)
            connection, _ = await asyncio.to_thread(outsider.accept)
            with connection:
                _, held, _, _ = socket.recv_fds(connection, 1, 2)
                await asyncio.wait_for(collect(execution), 5)
                assert (await execution.wait()).code == 0
                for descriptor in held:
                    os.close(descriptor)

    asyncio.run(main())


def test_s29_long_lines_reach_the_action_whole(sandbox: Sandbox) -> None:
    async def main() -> None:
        execution = await sandbox.start("read -r line; echo ${#line}; head -c 1000000 | wc -c")
        await execution.write(b"a" * 8000 + b"\n")
        await execution.write(b"b" * 1_000_000)
        out, _ = await collect(execution)
        assert out.split() == [b"8000", b"1000000"]
        await execution.wait()
        await execution.write(b"too late")

    asyncio.run(main())


def test_s29_a_writer_is_not_held_by_an_action_that_never_reads(sandbox: Sandbox) -> None:
    async def main() -> None:
        execution = await sandbox.start("sleep 60")
        writer = asyncio.create_task(execution.write(b"x" * 10_000_000))
        await asyncio.sleep(0.05)
        await execution.terminate(0)
        await asyncio.wait_for(writer, 5)
        await execution.wait()

    asyncio.run(main())


DENIED_SERVER = """
import asyncio, errno, sys
from pathlib import Path
sys.path[:0] = {path!r}
import pyseccomp
from infraxys.engine.backends.base import BackendUnavailable
from infraxys.engine.backends.bubblewrap import BubblewrapBackend
rules = pyseccomp.SyscallFilter(defaction=pyseccomp.ALLOW)
new_user = pyseccomp.Arg(0, pyseccomp.MASKED_EQ, 0x10000000, 0x10000000)
for name in {calls!r}:
    rules.add_rule(pyseccomp.ERRNO(errno.EPERM), name, *([new_user] if name == "clone" else []))
async def main():
    backend = BubblewrapBackend(Path({work!r}), slots=1)
    backend.prepare()
    rules.load()
    try:
        await backend.probe()
    except BackendUnavailable as error:
        print(error)
    else:
        print("RAN")
    await backend.close()
asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("calls", "said"),
    [(["clone", "unshare"], "user namespaces are not allowed here"), (["mount"], "mounting is not allowed here")],
)
def test_s30_a_host_that_denies_the_sandbox_gets_a_reason_and_no_run(calls: list[str], said: str) -> None:
    pytest.importorskip("pyseccomp")
    work = Path(tempfile.mkdtemp(prefix="infraxys-test-", dir="/var/tmp"))
    source = DENIED_SERVER.format(path=sys.path, work=str(work), calls=calls)
    try:
        server = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=60, check=False)
        assert server.returncode == 0, server.stderr
        assert "the sandbox does not work here: bwrap: " in server.stdout
        assert said in server.stdout
        assert "RAN" not in server.stdout
    finally:
        remove_tree(work)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can hide a part of /proc")
def test_s30_a_host_that_hides_a_part_of_proc_gets_a_reason_and_no_run(tmp_path: Path) -> None:
    """Containers do, and the kernel then mounts no whole /proc for anybody inside."""
    doctor = shlex.join([sys.executable, "-m", "infraxys", "doctor", "--json", "--data-dir", str(tmp_path / "data")])
    script = f"mount -t tmpfs none /proc/tty || exit 99; exec {doctor}"
    hidden = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script]
    looked = subprocess.run(hidden, capture_output=True, text=True, timeout=60, check=False)
    if looked.returncode == 99:
        pytest.skip("nothing can be mounted here")
    (sandbox,) = [item for item in json.loads(looked.stdout) if item["name"] == "sandbox"]
    assert not sandbox["ok"]
    assert "Can't mount proc" in sandbox["detail"]
    assert "--security-opt systempaths=unconfined" in sandbox["detail"]


def test_s30_a_host_without_bubblewrap_gets_a_reason_and_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = Path(tempfile.mkdtemp(prefix="infraxys-test-", dir="/var/tmp"))
    monkeypatch.setattr("infraxys.engine.backends.host.install_packaged_bwrap", lambda _: None)
    monkeypatch.setattr("infraxys.engine.backends.host.SYSTEM_PATH", f"{tmp_path}:/usr/sbin")
    if os.geteuid() == 0:
        (tmp_path / "setpriv").write_text("#!/bin/sh\n")
        (tmp_path / "setpriv").chmod(0o755)
    try:
        backend = BubblewrapBackend(work, slots=1)
        with pytest.raises(BackendUnavailable, match="bubblewrap is not installed: apt-get install bubblewrap"):
            backend.prepare()
        with pytest.raises(BackendUnavailable, match="not prepared"):
            asyncio.run(backend.probe())
    finally:
        remove_tree(work)


def test_limits_of_one_action_do_not_stay_for_the_next(sandbox: Sandbox) -> None:
    small = Limits(memory_bytes=64 * MIB, open_files=50, file_bytes=1 * MIB)
    first = sandbox.run("ulimit -n; head -c 2000000 /dev/zero > /tmp/file; ulimit -c", limits=small)
    assert first.stdout.split() == ["50", "0"]
    second = sandbox.run("ulimit -n; head -c 2000000 /dev/zero > /tmp/file && stat -c %s /tmp/file")
    assert second.stdout.split() == ["4096", "2000000"]
    assert second.exit.code == 0
