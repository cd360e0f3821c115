import asyncio
import errno
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from factories.sandbox import MIB, Sandbox, collect, prepared_sandbox
from infraxys.engine.backends.base import ActionSpec, Backend, BackendUnavailable, Exit, Limits, Mount, StartFailed
from infraxys.engine.backends.bubblewrap import ENVIRONMENT, BubblewrapBackend
from infraxys.engine.backends.host import remove_tree

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def test_it_works_here(sandbox: Sandbox) -> None:
    backend: Backend = sandbox.backend
    asyncio.run(backend.probe())
    assert sandbox.backend.limits_by in {"cgroup v1", "cgroup v2", "rlimits"}


@pytest.mark.parametrize("code", [0, 1, 2, 125, 126, 127, 137, 255])
def test_the_exit_code_is_the_actions(sandbox: Sandbox, code: int) -> None:
    assert sandbox.run(f"exit {code}").exit == Exit(code)


@pytest.mark.parametrize("name", ["TERM", "KILL", "SEGV"])
def test_a_signal_is_reported_as_a_shell_does(sandbox: Sandbox, name: str) -> None:
    ended = sandbox.run(f"kill -{name} $$")
    assert ended.exit == Exit(128 + signal.Signals[f"SIG{name}"])


def test_a_command_that_is_not_there_is_the_actions_failure(sandbox: Sandbox) -> None:
    ended = sandbox.run("", command=("no-such-command",))
    assert ended.exit == Exit(127)
    assert "no-such-command: not found" in ended.stderr


def test_a_sandbox_that_cannot_be_set_up_is_no_exit_code_and_shows_no_path(sandbox: Sandbox) -> None:
    mounts = (Mount(sandbox.work / "runs" / "missing", "/tmp/infraxys/system"),)
    ended = sandbox.run("exit 1", mounts=mounts)
    assert ended.exit.code is None
    assert ended.exit.start_error is not None
    assert ended.exit.start_error.startswith("bwrap: Can't find source path <work>/runs/missing")
    assert str(sandbox.work) not in ended.exit.start_error


def test_an_action_that_fails_with_words_of_bubblewrap_is_no_set_up_failure(sandbox: Sandbox) -> None:
    assert sandbox.run("echo 'bwrap: execvp x: No such file' >&2; exit 1").exit == Exit(1)


def test_streams_are_apart_and_in_order(sandbox: Sandbox) -> None:
    ended = sandbox.run("echo one; echo two >&2; echo three; echo four >&2")
    assert (ended.stdout, ended.stderr) == ("one\nthree\n", "two\nfour\n")


def test_only_the_given_environment_is_there(sandbox: Sandbox) -> None:
    ended = sandbox.run("env", environment={"GIVEN": "a b\nc"})
    names = {line.split("=")[0] for line in ended.stdout.splitlines() if "=" in line}
    assert names - {"_", "PWD", "OLDPWD", "SHLVL"} == {*ENVIRONMENT, "GIVEN"}
    assert "GIVEN=a b\nc" in ended.stdout


def test_the_action_is_root_inside_in_its_directory_with_a_private_home(sandbox: Sandbox) -> None:
    ended = sandbox.run("id -u; pwd; hostname; cat /etc/hostname; touch ~/x && ls ~; echo $HOME")
    assert ended.stdout.split() == ["0", "/root", "infraxys", "x", "/root"]


def test_the_servers_habits_are_not_the_actions(sandbox: Sandbox) -> None:
    before = os.umask(0o077)
    try:
        assert sandbox.run("umask; cat /proc/self/oom_score_adj").stdout.split() == ["0022", "500"]
    finally:
        os.umask(before)


def test_a_script_can_be_sourced_by_the_first_shell(sandbox: Sandbox) -> None:
    folder = sandbox.folder("core")
    (folder / "start.sh").write_text('echo "$BASHPID" "$$" "$@" "$-"; exit 4\n')
    (folder / "start.sh").chmod(0o644)
    mounts = (Mount(folder, "/tmp/infraxys/core"),)
    ended = sandbox.run("", command=("source", "/tmp/infraxys/core/start.sh", "a b", "c"), mounts=mounts)
    one, two, *rest = ended.stdout.split()
    assert one == two == "2"  # nothing between the sandbox's first process and the script
    assert rest[:3] == ["a", "b", "c"]
    assert "p" not in rest[3]
    assert ended.exit == Exit(4)


def test_a_writable_folder_may_lie_in_a_read_only_one(sandbox: Sandbox) -> None:
    environment, instance = sandbox.folder("environment"), sandbox.folder("instance")
    (environment / "container" / "instance").mkdir(parents=True)
    (environment / "container" / "other").write_text("x")
    for path in environment.rglob("*"):
        path.chmod(0o755)
    (instance / "script").write_text("generated")
    root = "/tmp/infraxys/environments/env"
    mounts = (Mount(environment, root), Mount(instance, f"{root}/container/instance", writable=True))
    ended = sandbox.run(
        f"cd {root}/container/instance; cat script; echo new > made; echo more >> script; touch ../denied",
        mounts=mounts,
    )
    assert ended.stdout == "generated"
    assert "Read-only file system" in ended.stderr
    assert (instance / "made").read_text() == "new\n"
    assert (instance / "script").read_text() == "generatedmore\n"
    assert not (environment / "container" / "denied").exists()


@needs_root
def test_what_an_action_writes_belongs_to_its_slot_and_can_be_used_by_another(sandbox: Sandbox) -> None:
    cache = sandbox.folder("cache")
    mounts = (Mount(cache, "/cache/x", writable=True),)

    async def main() -> None:
        async with sandbox.running("echo; sleep 60"):  # takes the warmest slot
            await sandbox.ended("mkdir -m 700 /cache/x/a; echo first > /cache/x/a/file", mounts=mounts)
        first = (cache / "a").stat().st_uid
        async with sandbox.running("echo; sleep 60"), sandbox.running("echo; sleep 60"):
            second = await sandbox.ended("cat /cache/x/a/file; echo second >> /cache/x/a/file", mounts=mounts)
        assert second.stdout == "first\n"
        assert (cache / "a").stat().st_uid != first
        assert min(first, (cache / "a").stat().st_uid) >= sandbox.backend.accounts.uid(0)

    asyncio.run(main())


def test_the_network_is_the_hosts_or_nothing(sandbox: Sandbox) -> None:
    count = "ls /sys/class/net 2>/dev/null; tail -n +3 /proc/net/dev | wc -l"
    assert sandbox.run(count, network=False).stdout.split()[-1] == "1"
    host = len(Path("/proc/net/dev").read_text().splitlines()) - 2
    assert sandbox.run(count, network=True).stdout.split()[-1] == str(host)


def test_input_is_given_while_the_action_runs(sandbox: Sandbox) -> None:
    async def main() -> None:
        execution = await sandbox.start("while read -r line; do echo got $line; [ $line = end ] && exit 5; done")
        output = execution.output()
        for word in (b"one", b"end"):
            await execution.write(word + b"\n")
            assert (await asyncio.wait_for(anext(output), 10)).data == b"got " + word + b"\n"
        assert await execution.wait() == Exit(5)
        await execution.write(b"late\n")

    asyncio.run(main())


def test_waiting_and_ending_work_in_any_order_and_number(sandbox: Sandbox) -> None:
    async def main() -> None:
        execution = await sandbox.start("echo said; sleep 60")
        waits = [asyncio.create_task(execution.wait()) for _ in range(3)]
        waits[0].cancel()
        await asyncio.gather(execution.terminate(5), execution.terminate(0), execution.terminate(5))
        ends = await asyncio.gather(*waits[1:])
        assert ends[0] == ends[1] == await execution.wait()
        assert ends[0].signal in {signal.SIGTERM, signal.SIGKILL}
        await execution.terminate(0)
        out, _ = await collect(execution)  # what was said is still there after the end
        assert out in {b"said\n", b""}

    asyncio.run(main())


def test_output_can_be_read_after_the_end(sandbox: Sandbox) -> None:
    async def main() -> None:
        execution = await sandbox.start("echo said; echo wrong >&2")
        assert await execution.wait() == Exit(0)
        assert await collect(execution) == (b"said\n", b"wrong\n")

    asyncio.run(main())


def test_a_second_call_shortens_the_grace(sandbox: Sandbox) -> None:
    async def main() -> None:
        async with sandbox.running("trap '' TERM; echo; while :; do sleep 1; done") as (execution, _):
            patient = asyncio.create_task(execution.terminate(60))
            await asyncio.sleep(0.05)
            started = time.monotonic()
            await execution.terminate(0.1)
            await patient
            assert time.monotonic() - started < 5
            assert await execution.wait() == Exit(137, signal=9)

    asyncio.run(main())


def test_starts_beyond_the_slots_wait_their_turn_and_a_cancelled_one_takes_nothing() -> None:
    async def main(sandbox: Sandbox) -> None:
        async with sandbox.running("echo; sleep 60") as (first, _), sandbox.running("echo; sleep 60"):
            given_up = asyncio.create_task(sandbox.start("true"))
            patient = asyncio.create_task(sandbox.ended("echo at last"))
            await asyncio.sleep(0.05)
            assert not patient.done()
            given_up.cancel()
            await first.terminate(0)
            assert (await asyncio.wait_for(patient, 10)).stdout == "at last\n"
        both = await asyncio.wait_for(asyncio.gather(sandbox.ended("true"), sandbox.ended("true")), 10)
        assert [ended.exit for ended in both] == [Exit(0), Exit(0)]

    with prepared_sandbox(slots=2) as sandbox:
        asyncio.run(main(sandbox))


def test_a_start_that_is_cancelled_just_when_its_turn_comes_gives_the_slot_back() -> None:
    async def main(sandbox: Sandbox) -> None:
        first = await sandbox.start("true")
        late = asyncio.create_task(sandbox.start("true"))
        await first.wait()  # the slot is given to the waiting one, which has not run since
        late.cancel()
        outcome = (await asyncio.gather(late, return_exceptions=True))[0]
        if not isinstance(outcome, BaseException):
            await outcome.wait()
        assert (await asyncio.wait_for(sandbox.ended("true"), 10)).exit == Exit(0)

    with prepared_sandbox(slots=1) as sandbox:
        asyncio.run(main(sandbox))


def test_closing_ends_what_runs_and_refuses_what_waits() -> None:
    async def main(sandbox: Sandbox) -> None:
        running = await sandbox.start("sleep 60")
        waiting = asyncio.create_task(sandbox.start("sleep 60"))
        await asyncio.sleep(0)
        await sandbox.backend.close()
        assert (await running.wait()).code == 137
        with pytest.raises(StartFailed, match="stopping"):
            await waiting
        with pytest.raises(StartFailed, match="was closed"):
            await sandbox.start("true")

    with prepared_sandbox(slots=1) as sandbox:
        asyncio.run(main(sandbox))
        assert sandbox.left() == []
        assert sandbox.backend._cgroups.leftovers() == []


def test_an_action_can_be_started_in_the_thread_that_makes_it(sandbox: Sandbox) -> None:
    made_by: list[threading.Thread] = []

    def make() -> ActionSpec:
        made_by.append(threading.current_thread())
        return sandbox.spec("echo begun")

    async def main() -> None:
        with ThreadPoolExecutor(1) as pool:
            starting = await asyncio.get_running_loop().run_in_executor(pool, sandbox.backend.start_here, make)
            assert starting is not None
            assert made_by != [threading.current_thread()]
            execution = await starting
            assert await asyncio.wait_for(execution.first_process(), 10) is not None  # set up, and held
            reading = asyncio.create_task(collect(execution))
            execution.let_begin()
            assert await reading == (b"begun\n", b"")
            assert await execution.wait() == Exit(0)

    asyncio.run(main())
    assert len(made_by) == 1
    assert sandbox.left() == []


def test_one_that_is_started_in_a_thread_dies_with_it(sandbox: Sandbox) -> None:
    async def main() -> None:
        pool = ThreadPoolExecutor(1)
        make = partial(sandbox.spec, "sleep 60")
        starting = await asyncio.get_running_loop().run_in_executor(pool, sandbox.backend.start_here, make)
        assert starting is not None
        execution = await starting
        execution.let_begin()
        assert await execution.first_process() is not None
        await asyncio.to_thread(pool.shutdown)
        assert (await asyncio.wait_for(execution.wait(), 10)).code == 137

    asyncio.run(main())


def test_nothing_is_made_in_a_thread_when_all_slots_are_taken() -> None:
    async def main(sandbox: Sandbox) -> None:
        async with sandbox.running("echo; sleep 60"):
            assert sandbox.backend.start_here(never) is None
        assert (await sandbox.ended("true")).exit == Exit(0)

    with prepared_sandbox(slots=1) as sandbox:
        asyncio.run(main(sandbox))


@pytest.mark.parametrize(
    ("problem", "said"),
    [
        (StartFailed("no module"), "no module"),
        (OSError(28, "No space left on device"), "No space left"),
        (ValueError("NUL"), "NUL"),
    ],
)
def test_what_cannot_be_made_in_a_thread_is_told_and_gives_its_slot_back(problem: Exception, said: str) -> None:
    def make() -> ActionSpec:
        raise problem

    async def main(sandbox: Sandbox) -> None:
        starting = sandbox.backend.start_here(make)
        assert starting is not None
        with pytest.raises(StartFailed, match=said):
            await starting
        with pytest.raises(StartFailed, match=said):
            await sandbox.backend.start(make)
        assert (await sandbox.ended("true")).exit == Exit(0)

    with prepared_sandbox(slots=1) as sandbox:
        asyncio.run(main(sandbox))


def never() -> ActionSpec:
    raise AssertionError("it was made although there is no room for it")


@pytest.mark.parametrize("refused", [1, 2], ids=["the launcher", "the first process"])
def test_e6_what_cannot_be_watched_for_want_of_descriptors_does_not_begin(
    monkeypatch: pytest.MonkeyPatch, refused: int
) -> None:
    opened: list[int] = []
    ordinary = os.pidfd_open

    def open_handle(process: int, flags: int = 0) -> int:
        opened.append(process)
        if len(opened) == refused:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return ordinary(process, flags)

    async def main(sandbox: Sandbox) -> None:
        before = open_descriptors()
        monkeypatch.setattr(os, "pidfd_open", open_handle)
        if refused == 1:
            with pytest.raises(StartFailed, match="Too many open files"):
                await sandbox.start("echo began")
        else:
            ended = await sandbox.ended("echo began")
            assert ended.exit == Exit(None, start_error="Too many open files")
            assert ended.stdout == ""
        monkeypatch.undo()
        assert sandbox.left() == []
        assert open_descriptors() == before
        assert (await sandbox.ended("echo began")).stdout == "began\n"

    with prepared_sandbox(slots=1) as sandbox:
        asyncio.run(main(sandbox))


def test_no_descriptor_is_left_open_by_any_kind_of_end(sandbox: Sandbox) -> None:
    async def main() -> None:
        await sandbox.ended("true")
        before = open_descriptors()
        for _ in range(3):
            await sandbox.ended("echo; sleep 0.01")
            killed = await sandbox.start("sleep 60")
            await killed.terminate(0)
            await killed.wait()
            await sandbox.ended("true", mounts=(Mount(sandbox.work / "missing", "/x"),))
            unread = await sandbox.start("head -c 3000000 /dev/zero")
            await asyncio.sleep(0.01)
            await unread.terminate(0)
            await unread.wait()
            with pytest.raises(StartFailed):
                await sandbox.start("true", environment={"LD_PRELOAD": "x"})
        assert open_descriptors() == before

    asyncio.run(main())


def test_a_changed_resolver_is_seen_by_the_next_action(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolver = tmp_path / "resolv.conf"
    monkeypatch.setattr("infraxys.engine.backends.host.RESOLVER", resolver)
    for text in ("nameserver 192.0.2.1\n", "nameserver 192.0.2.22\n"):
        resolver.write_text(text)
        assert sandbox.run("cat /etc/resolv.conf").stdout == text
    resolver.unlink()
    assert sandbox.run("cat /etc/resolv.conf").stdout == ""


def test_extra_tools_are_seen_read_only() -> None:
    tools = Path(tempfile.mkdtemp(prefix="infraxys-tools-", dir="/var/tmp"))
    tools.chmod(0o755)
    (tools / "tool").write_text("#!/bin/sh\necho a tool\n")
    (tools / "tool").chmod(0o755)
    try:
        with prepared_sandbox(extra_read_only=(tools, Path("/not/there"))) as sandbox:
            ended = sandbox.run(f"{tools}/tool; touch {tools}/x")
            assert ended.stdout == "a tool\n"
            assert "Read-only file system" in ended.stderr
    finally:
        shutil.rmtree(tools)


def test_a_slots_limits_follow_each_action(sandbox: Sandbox) -> None:
    if sandbox.backend.limits_by == "rlimits":
        pytest.skip("no control groups here")
    program = ("/usr/bin/python3", "-c", "block = b'x' * (100 << 20); print(len(block))")
    assert sandbox.run("", command=program, limits=Limits(memory_bytes=50 * MIB)).exit.out_of_memory
    assert sandbox.run("", command=program, limits=Limits(memory_bytes=300 * MIB)).stdout == f"{100 * MIB}\n"


def test_a_limit_on_the_processor_slows_the_action_down(sandbox: Sandbox) -> None:
    if sandbox.backend.limits_by == "rlimits":
        pytest.skip("no control groups here")
    burn = ("/usr/bin/python3", "-c", "import time\nwhile time.process_time() < 0.3: pass")
    assert sandbox.run("", command=burn, limits=Limits(cpus=0.25)).seconds > 0.7


def test_two_servers_with_work_folders_of_their_own_leave_each_other_alone() -> None:
    async def main(one: Sandbox, other: Sandbox) -> None:
        async with one.running("echo; sleep 60") as (execution, _):
            assert other.backend.sweep_leftovers() == 0
            other.backend.prepare()
            assert one.left() != []
            await execution.terminate(1)
            assert (await execution.wait()).code == 143

    with prepared_sandbox(slots=1) as one, prepared_sandbox(slots=1) as other:
        asyncio.run(main(one, other))


def test_a_sandbox_whose_monitor_is_killed_ends_and_says_so(sandbox: Sandbox) -> None:
    async def main() -> None:
        async with sandbox.running("echo; sleep 60") as (execution, _):
            os.kill(execution._process.pid, signal.SIGKILL)
            assert await asyncio.wait_for(execution.wait(), 10) == Exit(137)

    asyncio.run(main())
    assert sandbox.left() == []


def test_a_monitor_killed_before_it_has_said_anything_is_a_failed_start(sandbox: Sandbox) -> None:
    async def main() -> None:
        execution = await sandbox.start("sleep 60")
        os.kill(execution._process.pid, signal.SIGKILL)
        end = await asyncio.wait_for(execution.wait(), 10)
        assert end.code is None or end.code == 137

    for _ in range(10):
        asyncio.run(main())
    assert sandbox.left() == []


def test_a_work_folder_that_the_accounts_cannot_reach_is_refused(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("without root the account is the server's own")
    tmp_path.chmod(0o700)
    with pytest.raises(BackendUnavailable, match="cannot reach the work folder"):
        BubblewrapBackend(tmp_path / "work", slots=1).prepare()


def test_a_bubblewrap_that_is_too_old_gives_way_to_the_packaged_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tmp_path / "bwrap"
    old.write_text("#!/bin/sh\necho bubblewrap 0.4.1\n")
    old.chmod(0o755)
    monkeypatch.setattr("infraxys.engine.backends.host.SYSTEM_PATH", f"{tmp_path}:/usr/bin:/bin")
    with prepared_sandbox() as sandbox:
        assert sandbox.backend._facts is not None
        assert sandbox.backend._facts.bwrap.startswith(str(sandbox.work))
        asyncio.run(sandbox.backend.probe())


@needs_root
def test_the_probe_says_what_is_wrong_with_the_accounts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "setpriv"
    broken.write_text("#!/bin/sh\necho 'setpriv: setresuid failed: Operation not permitted' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr("infraxys.engine.backends.host.SYSTEM_PATH", f"{tmp_path}:/usr/bin:/bin")
    with (
        prepared_sandbox() as sandbox,
        pytest.raises(BackendUnavailable, match=r"setpriv: setresuid failed.*give it CAP_SETUID"),
    ):
        asyncio.run(sandbox.backend.probe())


def open_descriptors() -> list[str]:
    return [path.name for path in sorted(Path("/proc/self/fd").iterdir())]


ORPHAN = "import sys, time; time.sleep(600)"


def test_the_sweep_kills_what_looks_like_a_sandbox_of_this_folder_and_nothing_else(sandbox: Sandbox) -> None:
    work = Path(tempfile.mkdtemp(prefix="infraxys-test-", dir="/var/tmp"))
    (work / "runs" / "left" / "deep").mkdir(parents=True)
    backend = BubblewrapBackend(work, slots=1)
    ours = subprocess.Popen([sys.executable, "-c", ORPHAN, "--json-status-fd", "5", f"{work}/runs/1"])
    neighbour = subprocess.Popen([sys.executable, "-c", ORPHAN, "--json-status-fd", "5", f"{work}-other/runs/1"])
    editor = subprocess.Popen([sys.executable, "-c", ORPHAN, f"{work}/runs/1"])
    try:
        assert asyncio.run(sweep_while_reaping(backend, ours)) == 1
        assert ours.returncode == -signal.SIGKILL
        assert neighbour.poll() is None
        assert editor.poll() is None
        assert not (work / "runs").exists()
    finally:
        for process in (ours, neighbour, editor):
            process.kill()
            process.wait()
        remove_tree(work)


async def sweep_while_reaping(backend: BubblewrapBackend, child: "subprocess.Popen[bytes]") -> int:
    """Sweep in a thread while the orphan is waited for, as init would."""
    reaping = asyncio.create_task(asyncio.to_thread(child.wait))
    killed = await asyncio.to_thread(backend.sweep_leftovers)
    await reaping
    return killed


def test_our_own_part_of_a_start_is_short(sandbox: Sandbox) -> None:
    """Most of a start is the kernel's and bubblewrap's; ours is measured by what the event loop's thread computes."""

    async def main() -> float:
        action = ActionSpec("r", "s", ("/bin/true",), ENVIRONMENT, "/", network=True)
        for _ in range(3):
            await (await sandbox.backend.start(action)).wait()
        before = time.thread_time()
        for _ in range(20):
            await (await sandbox.backend.start(action)).wait()
        return (time.thread_time() - before) / 20

    assert asyncio.run(main()) < 0.02
