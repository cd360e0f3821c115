"""Starting programs: exactly the descriptors that are passed, fresh signals, a session of their own."""

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from infraxys.engine.backends.spawn import FastSpawner, PortableSpawner, Spawner, choose_spawner


@pytest.fixture(params=[FastSpawner, PortableSpawner])
def spawner(request: pytest.FixtureRequest) -> Spawner:
    made: Spawner = request.param()
    return made


@pytest.fixture
def null() -> Iterator[int]:
    descriptor = os.open(os.devnull, os.O_RDWR)
    yield descriptor
    os.close(descriptor)


def said(spawner: Spawner, null: int, script: str, passed: tuple[int, ...] = (), **environment: str) -> tuple[str, int]:
    read, write = os.pipe()
    process = spawner.spawn(["/bin/sh", "-c", script], environment, (null, write, write), passed)
    os.close(write)
    with os.fdopen(read) as output:
        return output.read(), process.wait()


def test_this_machine_has_the_fast_way() -> None:
    assert isinstance(choose_spawner(), FastSpawner)


def test_a_program_gets_what_is_passed_and_nothing_else(spawner: Spawner, null: int, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("passed")
    passed, secret = os.open(tmp_path / "a", os.O_RDONLY), os.open(tmp_path / "a", os.O_RDONLY)
    os.set_inheritable(secret, True)  # noqa: FBT003 - the function takes it in no other way
    try:
        [number] = spawner.numbers((passed,))
        text, code = said(spawner, null, f"cat /dev/fd/{number}; echo; echo /proc/self/fd/*", (passed,))
    finally:
        os.close(passed)
        os.close(secret)
    content, descriptors = text.splitlines()
    open_ones = {int(path.rpartition("/")[2]) for path in descriptors.split()}
    assert (content, code) == ("passed", 0)
    # The shell has one of its own while it looks.
    assert {0, 1, 2, number} <= open_ones
    assert len(open_ones) <= 5
    assert secret == number or secret not in open_ones


def test_descriptors_whose_numbers_are_wanted_by_others_arrive_in_order(null: int, tmp_path: Path) -> None:
    files = []
    for name in "abcdef":
        (tmp_path / name).write_text(name)
        files.append(os.open(tmp_path / name, os.O_RDONLY))
    os.dup2(files[0], 900)
    try:
        passed = (*reversed(files), 900)
        text, _ = said(FastSpawner(), null, "for n in 3 4 5 6 7 8 9; do cat /dev/fd/$n; done", passed)
    finally:
        for descriptor in (*files, 900):
            os.close(descriptor)
    assert text == "fedcbaa"


def test_environment_folder_and_session_are_its_own(spawner: Spawner, null: int) -> None:
    text, _ = said(spawner, null, "pwd; echo $A; cut -d' ' -f6 /proc/$$/stat; echo $$", A="ü b")
    folder, variable, session, process = text.splitlines()
    assert (folder, variable, session) == ("/", "ü b", process)


def test_ignored_and_blocked_signals_are_not_inherited(spawner: Spawner, null: int) -> None:
    found = []

    def in_a_thread_that_blocks() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
        found.append(said(spawner, null, "kill -PIPE $$; echo survived"))
        found.append(said(FastSpawner(), null, "kill -USR1 $$; echo survived"))

    thread = threading.Thread(target=in_a_thread_that_blocks)
    thread.start()
    thread.join()
    assert found == [("", -signal.SIGPIPE), ("", -signal.SIGUSR1)]


@pytest.mark.parametrize("kind", [FastSpawner, PortableSpawner])
def test_a_server_in_the_background_of_a_script_ignores_interrupts_and_its_programs_do_not(
    kind: type[FastSpawner | PortableSpawner], null: int
) -> None:
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGQUIT)}
    try:
        text, _ = said(kind(), null, "grep SigIgn /proc/self/status")
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    of_the_c_library = 0x180000000  # signals 32 and 33, which nobody else can use
    assert int(text.split()[1], 16) & ~of_the_c_library == 0


def test_a_program_that_is_not_there_is_an_error_that_leaves_nothing_open(spawner: Spawner, null: int) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(FileNotFoundError):
        spawner.spawn(["/nowhere/program"], {}, (null, null, null), ())
    with pytest.raises(ValueError, match=r"(?i)nul"):
        spawner.spawn(["/bin/echo", "a\0b"], {}, (null, null, null), ())
    assert len(list(Path("/proc/self/fd").iterdir())) == before
