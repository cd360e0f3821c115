"""What an action tries against its sandbox: S1 to S30 of the list of attacks. Every test runs a real sandbox.

S17 (the server's own port) needs a server and is tested with it.
"""

import asyncio
import ctypes
import fcntl
import os
import pty
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import termios
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from factories.sandbox import MIB, SMALL, Sandbox, collect, is_gone, prepared_sandbox, processes_with
from infraxys.engine.backends.base import BackendUnavailable, Limits, Mount
from infraxys.engine.backends.bubblewrap import BubblewrapBackend
from infraxys.engine.backends.cgroups import Cgroups
from infraxys.engine.backends.host import hand_over, install_packaged_bwrap, remove_tree

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
needs_python = pytest.mark.skipif(not Path("/usr/bin/python3").exists(), reason="the sandbox has no Python")
pytestmark = [pytest.mark.skipif(sys.platform != "linux", reason="bubblewrap needs Linux"), needs_python]

# In the sandbox: call(number, ...) gives the name of the error, or "ok".
SYSCALLS = """
import ctypes, errno, os
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
    ctypes.set_errno(0)
    result = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(a) if isinstance(a, int) else a for a in arguments])
    return "ok" if result >= 0 else errno.errorcode[ctypes.get_errno()]
def attempt(action, *arguments):
    try:
        action(*arguments)
        return "ok"
    except OSError as error:
        return errno.errorcode[error.errno]
"""
MARK = f"98760.{os.getpid()}"  # seconds that nobody else sleeps
only_x86_64 = pytest.mark.skipif(os.uname().machine != "x86_64", reason="system call numbers are those of x86_64")


@pytest.fixture(scope="module", params=["host", "packaged"])
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    folder = Path(tempfile.mkdtemp(prefix="infraxys-bwrap-", dir="/var/tmp"))
    folder.chmod(0o755)
    bwrap = shutil.which("bwrap") if request.param == "host" else install_packaged_bwrap(folder / "bin")
    if bwrap is None:
        pytest.skip(f"no {request.param} bubblewrap")
    try:
        with prepared_sandbox(str(bwrap)) as prepared:
            yield prepared
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def system(sandbox: Sandbox) -> Path:
    """The folder shown read-only at the fixed path; as open on the host as it could be by mistake."""
    folder = sandbox.folder("system")
    (folder / "arguments.json").write_text('{"a": 1}')
    (folder / "arguments.json").chmod(0o666)
    uid, gid = sandbox.backend.accounts.uid(0), sandbox.backend.accounts.gid
    if uid is not None and gid is not None:
        hand_over(folder, uid, gid)
    return folder


@pytest.fixture(params=["groups", "no groups"])
def limited(request: pytest.FixtureRequest, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    """The sandbox, with the control groups of the host and without any."""
    if request.param == "no groups":
        monkeypatch.setattr(sandbox.backend, "_groups", [None] * 8)
        monkeypatch.setattr(sandbox.backend, "_cgroups", Cgroups(0))
    elif sandbox.backend.limits_by == "rlimits":
        pytest.skip("no control groups here")
    return sandbox


def shown(system: Path) -> tuple[Mount, ...]:
    return (Mount(system, "/tmp/infraxys/system"),)


def test_s01_arguments_cannot_be_changed_removed_or_opened_up(sandbox: Sandbox, system: Path) -> None:
    attacks = (
        "echo x >> {0}",
        "rm -f {0}",
        "chmod 777 {0}",
        "mv {0} {0}.2",
        "ln -sf /etc/passwd {0}",
        "truncate -s 0 {0}",
    )
    for attack in attacks:
        ended = sandbox.run(attack.format("/tmp/infraxys/system/arguments.json"), mounts=shown(system))
        assert ended.exit.code != 0
        assert "Read-only file system" in ended.stderr, attack
    assert (system / "arguments.json").read_text() == '{"a": 1}'


@only_x86_64
def test_s02_read_only_mounts_cannot_be_remounted_unmounted_or_covered(sandbox: Sandbox, system: Path) -> None:
    program = SYSCALLS + textwrap.dedent("""
        target = b"/tmp/infraxys/system"
        REMOUNT_BIND, BIND = 0x20 | 0x1000, 0x1000
        print(call(165, b"none", target, None, REMOUNT_BIND, None), call(166, target, 0),
              call(165, b"/tmp", target, None, BIND, None), call(165, b"none", b"/tmp", b"tmpfs", 0, None),
              call(430, b"tmpfs", 0), call(428, -100, target, 1), call(155, b"/tmp", b"/tmp"))
    """)
    assert sandbox.python(program, mounts=shown(system)).stdout.split() == ["EPERM"] * 7


def test_s03_the_fixed_path_cannot_be_moved_away_or_written(sandbox: Sandbox, system: Path) -> None:
    ended = sandbox.run(
        "mv /tmp/infraxys /tmp/other; touch /tmp/infraxys/new; rm -rf /tmp/infraxys; ls /tmp/infraxys",
        mounts=shown(system),
    )
    assert "Device or resource busy" in ended.stderr
    assert "cannot touch '/tmp/infraxys/new': Read-only file system" in ended.stderr
    assert ended.stdout.split() == ["system"]


@only_x86_64
def test_s04_no_new_user_namespace_by_any_call(sandbox: Sandbox) -> None:
    program = SYSCALLS + textwrap.dedent("""
        NEWUSER, NEWNS, SIGCHLD = 0x10000000, 0x20000, 17
        print(call(272, NEWUSER), call(272, NEWNS), call(56, NEWUSER | SIGCHLD, 0, 0, 0, 0), call(435, 0, 0))
    """)
    assert sandbox.python(program).stdout.split() == ["EPERM", "EPERM", "EPERM", "ENOSYS"]
    assert sandbox.run("unshare -U true").exit.code != 0


def test_s05_files_of_the_server_are_out_of_sight(sandbox: Sandbox) -> None:
    secret = sandbox.work / "secret"
    secret.write_text("the server's key")
    secret.chmod(0o644)
    with secret.open() as held:
        assert held.read()
        ended = sandbox.run(
            f"cat {secret} /proc/1/root{secret} /proc/self/root{secret}; cat /proc/*/fd/* < /dev/null 2>/dev/null & "
            f"ls /root /home /srv /opt; cat /etc/shadow; ls -A /tmp /var; sleep 0.2; kill %1"
        )
    assert "the server's key" not in ended.stdout
    assert ended.stderr.count("No such file or directory") >= 3


def test_s06_the_servers_environment_is_nowhere(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANARY_OF_THE_SERVER", "canary-7b1f")
    os.environ["CANARY_OF_THE_SERVER"] = "canary-7b1f"
    ended = sandbox.run("cat /proc/*/environ | tr '\\0' '\\n'; env", environment={"GIVEN": "given-to-it"})
    assert "given-to-it" in ended.stdout
    assert "canary-7b1f" not in ended.stdout


def test_s07_secrets_of_an_action_are_on_no_command_line(sandbox: Sandbox) -> None:
    async def main() -> None:
        script = "cat /proc/*/cmdline | tr '\\0' ' '; sleep 50"
        async with sandbox.running(script, environment={"PASSWORD": "canary-90ac"}) as (_, inside):
            assert "bwrap" in inside
            assert "canary-90ac" not in inside
            assert processes_with("canary-90ac") == []

    asyncio.run(main())


def test_s08_an_action_inherits_only_its_three_streams(sandbox: Sandbox) -> None:
    script = "for fd in /proc/$$/fd/*; do printf '%s ' \"${fd##*/}\"; done; ls -1 /proc/self/fd | wc -l"
    folder = sandbox.folder("script")
    (folder / "script.sh").write_text(script)
    (folder / "script.sh").chmod(0o644)
    # The shell's own folder descriptor shows while it lists: 3 for ls.
    for command in (("bash", "-c", script), ("source", "/tmp/infraxys/script/script.sh")):
        ended = sandbox.run("", command=command, mounts=(Mount(folder, "/tmp/infraxys/script"),))
        *open_files, count = ended.stdout.split()
        assert set(open_files) - {"3"} == {"0", "1", "2"}, ended
        assert count == "4"


@only_x86_64
def test_s09_the_server_can_be_neither_signalled_traced_nor_read(sandbox: Sandbox) -> None:
    program = SYSCALLS + textwrap.dedent(f"""
        server = {os.getpid()}
        print(attempt(os.kill, server, 0), call(101, 16, server, 0, 0), call(101, 16, 1, 0, 0),
              call(310, server, None, 0, None, 0, 0), call(310, 1, None, 0, None, 0, 0), call(434, server, 0))
    """)
    answers = sandbox.python(program).stdout.split()
    assert answers == ["ESRCH", "EPERM", "EPERM", "EPERM", "EPERM", "ESRCH"]


def test_s10_an_action_sees_only_its_own_processes(sandbox: Sandbox) -> None:
    ended = sandbox.run("cd /proc; echo [0-9]*")
    assert 1 <= len(ended.stdout.split()) < 10


def test_s11_kernel_settings_cannot_be_written(sandbox: Sandbox) -> None:
    settings = ("kernel/core_pattern", "vm/swappiness", "kernel/panic", "net/ipv4/ip_forward")
    before = Path("/proc/sys/kernel/core_pattern").read_text()
    for setting in settings:
        ended = sandbox.run(f"cat /proc/sys/{setting} > /proc/sys/{setting}", network=True)
        assert ended.exit.code != 0, setting
        assert "Permission denied" in ended.stderr or "Read-only" in ended.stderr, setting
    for trigger in ("/proc/sysrq-trigger", "/proc/kcore", "/sys/kernel/uevent_helper"):
        assert sandbox.run(f"echo > {trigger} || head -c 1 {trigger}").exit.code != 0, trigger
    assert Path("/proc/sys/kernel/core_pattern").read_text() == before


def test_s12_setuid_programs_gain_nothing(sandbox: Sandbox) -> None:
    ended = sandbox.run("grep -E '^(NoNewPrivs|Cap(Inh|Prm|Eff|Bnd|Amb))' /proc/self/status; su -c true nobody")
    values = dict(line.split(":\t") for line in ended.stdout.splitlines())
    assert values.pop("NoNewPrivs") == "1"
    assert {int(value, 16) for value in values.values()} == {0}
    assert ended.exit.code != 0


@only_x86_64
def test_s13_no_devices_no_handles_no_new_root(sandbox: Sandbox) -> None:
    program = SYSCALLS + textwrap.dedent("""
        handle = ctypes.create_string_buffer(b"\\x08\\0\\0\\0\\x01\\0\\0\\0\\x02\\0\\0\\0\\0\\0\\0\\0")
        print(attempt(os.mknod, "/tmp/disk", 0o60666, os.makedev(8, 0)), attempt(os.mknod, "/tmp/mem", 0o20666, 0x101),
              call(304, os.open("/tmp", 0), handle, 0), call(161, b"/tmp"), call(303, -100, b"/tmp", handle, handle, 0))
    """)
    assert sandbox.python(program).stdout.split() == ["EPERM"] * 5


@only_x86_64
def test_s14_keys_of_the_server_cannot_be_searched(sandbox: Sandbox) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    key = libc.syscall(
        248, b"user", b"infraxys-test", b"secret", 6, -4
    )  # into the user keyring, if that is allowed here
    try:
        program = (
            SYSCALLS + "print(call(250, 10, -4, b'user', b'infraxys-test', 0), call(248, b'user', b'x', b'y', 1, -4))"
        )
        assert sandbox.python(program).stdout.split() == ["EPERM", "EPERM"]
    finally:
        if key > 0:
            libc.syscall(250, 21, key)


TERMINAL_SERVER = """
import asyncio, fcntl, sys, termios
from pathlib import Path
sys.path[:0] = {path!r}
from infraxys.engine.backends.base import ActionSpec
from infraxys.engine.backends.bubblewrap import ENVIRONMENT, BubblewrapBackend
ATTACK = '''
import errno, fcntl, os, termios
def attempt(action):
    try:
        action()
        return "ok"
    except OSError as error:
        return errno.errorcode[error.errno]
print(attempt(lambda: os.open("/dev/tty", os.O_RDWR)))
for number in (0, 1, 2):
    print(attempt(lambda: fcntl.ioctl(number, termios.TIOCSTI, b"X")))
'''
async def main():
    backend = BubblewrapBackend(Path({work!r}), slots=1)
    backend.prepare()
    execution = await backend.start(ActionSpec("r", "s", ("/usr/bin/python3", "-c", ATTACK), ENVIRONMENT, "/"))
    answer = b"".join([chunk.data async for chunk in execution.output()])
    await execution.wait()
    await backend.close()
    Path({answer!r}).write_bytes(answer)
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
asyncio.run(main())
"""


def test_s15_nothing_can_be_typed_into_the_servers_terminal(tmp_path: Path) -> None:
    work = Path(tempfile.mkdtemp(prefix="infraxys-test-", dir="/var/tmp"))
    answer = tmp_path / "answer"
    source = TERMINAL_SERVER.format(path=sys.path, work=str(work), answer=str(answer))
    master, slave = pty.openpty()
    try:
        server = subprocess.Popen(
            [sys.executable, "-c", source], stdin=slave, stdout=slave, stderr=slave, start_new_session=True
        )
        assert server.wait(60) == 0
        os.set_blocking(slave, False)
        assert answer.read_text().split() == ["ENXIO", "EPERM", "EPERM", "EPERM"]
        waiting = fcntl.ioctl(slave, termios.FIONREAD, b"\0\0\0\0")
        assert int.from_bytes(waiting, sys.byteorder) == 0
    finally:
        os.close(master)
        os.close(slave)
        remove_tree(work)


def test_s16_without_network_nothing_of_the_host_can_be_reached(sandbox: Sandbox) -> None:
    program = SYSCALLS + textwrap.dedent("""
        import socket, sys
        def connect(family, address):
            with socket.socket(family) as client:
                client.settimeout(5)
                client.connect(address)
        print(attempt(connect, socket.AF_INET, ("127.0.0.1", {port})), attempt(connect, socket.AF_UNIX, {abstract!r}),
              *(name for _, name in socket.if_nameindex()))
        for family in (17, 38, 40, 29, 21):
            print(call(41, family, 3, 0), call(41, family | 1 << 32, 3, 0))
    """)
    abstract = f"\0infraxys-test-{os.getpid()}"
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as unix:
        unix.bind(abstract)
        unix.listen()
        attack = program.format(port=tcp.getsockname()[1], abstract=abstract)
        off, on = sandbox.python(attack, network=False), sandbox.python(attack, network=True)
    first, *families = off.stdout.splitlines()
    assert first.split() == ["ECONNREFUSED", "ECONNREFUSED", "lo"]
    assert set(" ".join(families).split()) == {"EPERM"}
    assert on.stdout.split()[:2] == [
        "ok",
        "ok",
    ]  # the attack itself works: what is refused above is refused by the sandbox


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


@needs_root
def test_f1_another_local_user_cannot_see_the_work_folder(sandbox: Sandbox, system: Path) -> None:
    look = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"]
    for path in (sandbox.work, system / "arguments.json"):
        seen = subprocess.run([*look, "cat" if path.is_file() else "ls", str(path)], capture_output=True, check=False)
        assert seen.returncode != 0
        assert b"Permission denied" in seen.stderr


def test_c4_variables_that_would_act_on_the_host_are_refused(sandbox: Sandbox, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    for name, value in (("LD_PRELOAD", "/x.so"), ("BASH_ENV", f"touch {mark}"), ("BASH_FUNC_read%%", "() { :; }")):
        with pytest.raises(Exception, match=f"environment variable {name.split('%')[0]}"):
            sandbox.run("true", environment={name: value})
    assert not mark.exists()


def test_c5_mounts_cannot_cover_the_system(sandbox: Sandbox, system: Path) -> None:
    for target in (
        "/usr",
        "/usr/bin",
        "/etc/ssl",
        "/",
        "/proc/self",
        "/dev/null",
        "/tmp/infraxys",
        "/x/../etc",
        "etc",
        "//etc",
    ):
        with pytest.raises(Exception, match="mount"):
            sandbox.run("true", mounts=(Mount(system, target),))


def test_limits_of_one_action_do_not_stay_for_the_next(sandbox: Sandbox) -> None:
    small = Limits(memory_bytes=64 * MIB, open_files=50, file_bytes=1 * MIB)
    first = sandbox.run("ulimit -n; head -c 2000000 /dev/zero > /tmp/file; ulimit -c", limits=small)
    assert first.stdout.split() == ["50", "0"]
    second = sandbox.run("ulimit -n; head -c 2000000 /dev/zero > /tmp/file && stat -c %s /tmp/file")
    assert second.stdout.split() == ["4096", "2000000"]
    assert second.exit.code == 0
