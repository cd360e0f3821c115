"""Interactive actions: a terminal in the sandbox (sandbox.md 7, S15, S22, S23, S29)."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from factories.sandbox import Sandbox
from infraxys.engine.backends.base import Exit, StartFailed
from infraxys.engine.backends.execution import SandboxExecution

Talk = Callable[[SandboxExecution, "Screen"], Awaitable[None]]


class Screen:
    """What an action has shown."""

    def __init__(self, execution: SandboxExecution) -> None:
        self.text = ""
        self._execution = execution
        self._news = asyncio.Condition()

    async def read(self) -> None:
        async for chunk in self._execution.output():
            assert chunk.stream == "stdout"
            self.text += chunk.data.decode(errors="replace")
            async with self._news:
                self._news.notify_all()

    async def shows(self, text: str) -> None:
        """Wait until it shows a text."""
        try:
            async with self._news, asyncio.timeout(10):
                await self._news.wait_for(lambda: text in self.text)
        except TimeoutError:
            pytest.fail(f"{text!r} is not in {self.text!r}")


def converse(sandbox: Sandbox, script: str, talk: Talk | None = None, **parts: Any) -> tuple[Exit, str]:
    """Run a script at a terminal, talk with it, and give how it ended and all that it showed."""

    async def scenario() -> tuple[Exit, str]:
        execution = await sandbox.start(script, is_interactive=True, **parts)
        screen = Screen(execution)
        reading = asyncio.create_task(screen.read())
        try:
            if talk is not None:
                await talk(execution, screen)
            async with asyncio.timeout(30):
                await reading
                return await execution.wait(), screen.text
        finally:
            await execution.terminate(0)
            await execution.wait()
            reading.cancel()

    return asyncio.run(scenario())


def test_all_three_streams_are_one_terminal_of_the_action_alone(sandbox: Sandbox) -> None:
    script = "test -t 0 -a -t 1 -a -t 2 && echo yes; tty; echo error >&2; echo direct >/dev/tty; echo $- | grep -c i"
    ended, text = converse(sandbox, f"{script}; ps -o tpgid= -p $$ 2>/dev/null | tr -d ' '; ls /dev/pts; exit 6")
    assert ended == Exit(6)
    assert text.split("\r\n")[:4] == ["yes", "/dev/console", "error", "direct"]
    assert text.split()[-1] == "ptmx"  # no terminal of anybody else


def test_its_size_changes_and_what_runs_is_told(sandbox: Sandbox) -> None:
    async def talk(execution: SandboxExecution, screen: Screen) -> None:
        await screen.shows("ready 40 120")
        assert execution.resize(101, 33)
        await screen.shows("now 33 101")
        for size in ((0, 1), (1, 0), (1001, 1), (-1, 5)):
            with pytest.raises(ValueError, match="columns and rows"):
                execution.resize(*size)
        await execution.write(b"\x03")

    script = "trap 'echo now $(stty size)' WINCH; echo ready $(stty size); while :; do sleep 0.05; done"
    ended, _ = converse(sandbox, script, talk)
    assert ended.code == 130


def test_the_end_of_input_is_a_key(sandbox: Sandbox) -> None:
    async def talk(execution: SandboxExecution, screen: Screen) -> None:
        await execution.write(b"one\ntwo\n\x04")

    ended, text = converse(sandbox, "sort -r; echo done", talk)
    assert (ended.code, text.split("\r\n")[-4:]) == (0, ["two", "one", "done", ""])


def test_an_interrupt_ends_the_foreground_and_nothing_of_the_sandbox(sandbox: Sandbox) -> None:
    async def talk(execution: SandboxExecution, screen: Screen) -> None:
        await screen.shows("ready")
        await execution.write(b"\x03")

    # Not one long sleep: the interrupt may come before it is there, and then bash waits for its end.
    script = "trap 'echo caught; exit 5' INT; echo ready; while true; do sleep 0.05; done"
    ended, text = converse(sandbox, script, talk)
    assert (ended, "caught" in text) == (Exit(5), True)
    ended, _ = converse(sandbox, "echo ready; exec sleep 100", talk)
    assert ended.code == 130


def test_jobs_can_be_stopped_and_go_on(sandbox: Sandbox) -> None:
    async def talk(execution: SandboxExecution, screen: Screen) -> None:
        await screen.shows("# ")
        prompt = screen.text
        await execution.write(b"echo $((5 * 7)); cat\n")
        await screen.shows("35\r\n")
        await execution.write(b"x1\n")
        await screen.shows("x1\r\nx1\r\n")
        await execution.write(b"\x1a")
        await screen.shows(f"cat\r\n{prompt}")
        await execution.write(b"echo $((6 * 7))\n")
        await screen.shows(f"42\r\n{prompt}")
        await execution.write(b"fg\n")
        await screen.shows("fg\r\ncat\r\n")
        await execution.write(b"x2\n")
        await screen.shows("x2\r\nx2\r\n")
        await execution.write(b"\x03")
        await screen.shows(f"^C\r\n{prompt}")
        await execution.write(b"exit 4\n")

    ended, _ = converse(sandbox, "", talk, command=("bash", "--norc", "--noprofile", "-i"))
    assert ended.code == 4


def test_s15_nothing_can_be_typed_by_the_action_itself(sandbox: Sandbox) -> None:
    program = (
        "import fcntl, termios\n"
        "for path in ('/dev/stdin', '/dev/tty', '/dev/console'):\n"
        "    try:\n        fcntl.ioctl(open(path), termios.TIOCSTI, b'x')\n        print('typed')\n"
        "    except OSError as error:\n        print(error.strerror)\n"
    )
    _, text = converse(sandbox, "", command=("/usr/bin/python3", "-c", program))
    assert text == "Operation not permitted\r\n" * 3


@pytest.mark.parametrize("ending", ["trap '' TERM; echo ready; sleep 100", "echo ready; exec bash --norc -i"])
def test_s23_what_does_not_want_to_end_is_ended(sandbox: Sandbox, ending: str) -> None:
    async def talk(execution: SandboxExecution, screen: Screen) -> None:
        await screen.shows("ready")
        async with asyncio.timeout(5):
            await execution.terminate(1)

    converse(sandbox, ending, talk)
    assert sandbox.left() == []


def test_a_shell_that_waits_for_its_person_ends_well_before_the_grace(sandbox: Sandbox) -> None:
    async def talk(execution: SandboxExecution, screen: Screen) -> None:
        await screen.shows("# ")
        async with asyncio.timeout(10):
            await execution.terminate(60)

    ended, _ = converse(sandbox, "", talk, command=("bash", "--norc", "--noprofile", "-i"))
    assert ended.code != 0


def test_s26_one_that_cleans_up_is_not_disturbed_by_its_terminal(sandbox: Sandbox) -> None:
    async def talk(execution: SandboxExecution, screen: Screen) -> None:
        await screen.shows("ready")
        await execution.terminate(20)

    script = "trap 'sleep 0.3; echo clean; exit 3' TERM; echo ready; sleep 100 & wait"
    ended, text = converse(sandbox, script, talk)
    assert (ended.code, text.endswith("clean\r\n")) == (3, True)


def test_what_is_stopped_is_asked_to_end_as_well(sandbox: Sandbox) -> None:
    async def talk(execution: SandboxExecution, screen: Screen) -> None:
        await screen.shows("ready")
        async with asyncio.timeout(10):
            await execution.terminate(60)

    script = "trap 'echo ended; exit 9' TERM; echo ready; kill -STOP $$; sleep 100 & wait"
    ended, text = converse(sandbox, script, talk)
    assert (ended.code, "ended" in text) == (9, True)


def test_s22_a_daemon_that_keeps_the_terminal_does_not_keep_the_run(sandbox: Sandbox) -> None:
    ended, text = converse(sandbox, "(setsid bash -c 'trap \"\" TERM HUP; sleep 1000' &) ; echo out")
    assert (ended.code, text) == (0, "out\r\n")
    assert sandbox.left() == []


def test_s28_everything_that_is_written_arrives_to_the_last_byte(sandbox: Sandbox) -> None:
    ended, text = converse(sandbox, "stty -opost; seq 1 300000; printf end")
    assert ended.code == 0
    assert text == "".join(f"{n}\n" for n in range(1, 300_001)) + "end"


def test_s29_a_line_that_is_typed_is_cut_where_the_terminal_ends_it_unless_it_is_raw(sandbox: Sandbox) -> None:
    async def talk(execution: SandboxExecution, screen: Screen) -> None:
        await screen.shows("ready")
        await execution.write(b"y" * 8000 + b"\n")

    _, text = converse(sandbox, "stty -echo; echo ready; read -r line; echo ${#line}", talk)
    assert text.split() == ["ready", "4095"]
    _, text = converse(sandbox, "stty raw -echo; echo ready; head -c 8001 | wc -c", talk)
    assert text.split() == ["ready", "8001"]


def test_one_that_was_held_shows_nothing_before_it_begins(sandbox: Sandbox) -> None:
    async def scenario() -> str:
        spec = sandbox.spec("echo begun", is_interactive=True)
        execution = await sandbox.backend.start(spec, is_held=True)
        screen = Screen(execution)
        reading = asyncio.create_task(screen.read())
        await asyncio.wait([reading], timeout=0.3)
        assert screen.text == ""
        execution.let_begin()
        await reading
        await execution.wait()
        assert not execution.resize(10, 10)
        await execution.write(b"late")
        return screen.text

    assert asyncio.run(scenario()) == "begun\r\n"


def test_nothing_is_left_open(sandbox: Sandbox) -> None:
    converse(sandbox, "true")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        converse(sandbox, "true")
    assert len(list(Path("/proc/self/fd").iterdir())) <= before


def test_a_host_that_cannot_give_one_says_so(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = sandbox.backend._facts
    assert facts is not None
    monkeypatch.setattr(sandbox.backend, "_facts", replace(facts, setsid=None))
    with pytest.raises(StartFailed, match="setsid"):
        converse(sandbox, "true")


def test_what_a_program_answers_is_not_shown_not_edited_and_of_any_length(sandbox: Sandbox) -> None:
    answer = b"an\x03swer\x7f" + b"x" * 20_000

    async def talk(execution: SandboxExecution, screen: Screen) -> None:
        await screen.shows("asked")
        await execution.write(answer + b"\n", is_hidden=True)
        await screen.shows("bytes")
        await execution.write(b"typee\x7fd\n")
        await screen.shows("got")

    script = "echo asked; read -r line; echo ${#line} bytes; read -r line; echo got $line"
    end, shown = converse(sandbox, script, talk)
    assert end.code == 0
    assert shown == f"asked\r\n{len(answer)} bytes\r\ntypee\b \bd\r\ngot typed\r\n"
