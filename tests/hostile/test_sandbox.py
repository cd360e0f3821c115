"""What an action tries against the walls of its sandbox: S1 to S16 of the list of attacks.

Every test runs a real sandbox; together they are field.md G28. S17 (the server's own port) is tested with a server.
"""

import asyncio
import ctypes
import fcntl
import os
import pty
import socket
import subprocess
import sys
import tempfile
import termios
import textwrap
from pathlib import Path

import pytest

from factories.sandbox import Sandbox, processes_with
from infraxys.engine.backends.base import Mount
from infraxys.engine.backends.host import remove_tree

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
DAC_OVERRIDE = 1 << 1  # counts for files of the action's own account alone, which it could `chmod` as well
only_x86_64 = pytest.mark.skipif(os.uname().machine != "x86_64", reason="system call numbers are those of x86_64")


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


def test_an_action_may_take_away_its_own_permissions_but_writes_nothing_of_ours(sandbox: Sandbox, system: Path) -> None:
    """Scripts of modules say `chmod -R 600 FOLDER` and go on; what is read-only or not theirs stays so."""
    script = """
        mkdir -p ~/keys/more; echo key >~/keys/more/k; chmod -R 600 ~/keys; cat ~/keys/more/k
        for place in /usr/bin/x /etc/passwd /tmp/infraxys/system/arguments.json /proc/sys/kernel/hostname /dev/mem; do
            (echo x >>$place) 2>/dev/null && echo "wrote $place"
        done
    """
    assert sandbox.run(script, mounts=shown(system)).stdout == "key\n"


@needs_root
def test_files_of_other_accounts_are_closed_as_they_say(sandbox: Sandbox) -> None:
    folder = sandbox.work / "shared"
    folder.mkdir(mode=0o755)
    for mode in (0o600, 0o000):
        (folder / "other").write_text("of the server")
        (folder / "other").chmod(mode)
        mounts = (Mount(folder, "/cache", writable=True, keeps_owner=True),)
        ended = sandbox.run("cat /cache/other || echo x >/cache/other", mounts=mounts)
        assert (ended.stdout, ended.stderr.count("Permission denied")) == ("", 2)


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
    assert {int(value, 16) for value in values.values()} == {DAC_OVERRIDE}
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
