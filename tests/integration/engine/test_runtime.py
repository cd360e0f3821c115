"""Steps in real sandboxes: what an action finds, what it can do, how its end is told, and what is left of it."""

import asyncio
import json
import resource
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from factories.plans import make_context, make_plan
from factories.sandbox import MIB, Sandbox, prepared_sandbox
from infraxys.engine.backends.base import Limits, StartFailed
from infraxys.engine.backends.execution import SandboxExecution
from infraxys.engine.feedback.idle import NOTE
from infraxys.engine.limits import Allowance
from infraxys.engine.logs import LogReader, LogWriter, recover
from infraxys.engine.plan import Plan, PlannedModule
from infraxys.engine.runtime import RunContext, StepResult, StepRuntime, Stopper
from infraxys.engine.status import Status
from infraxys.spec.identity import BranchPath

OFFLINE = Allowance(Limits(), "off")
MODULE = PlannedModule(BranchPath.parse("host\\org\\library\\main"), "1" * 40)


@dataclass
class Bench:
    """A runtime over a real backend. `run` executes all steps of a plan and gives the results and the log."""

    sandbox: Sandbox
    logs: Path

    def runtime(self, **settings: Any) -> StepRuntime:
        runtime = StepRuntime(self.sandbox.backend, self.sandbox.work, self.export, **{"usual": OFFLINE, **settings})
        runtime.prepare()
        return runtime

    def export(self, module: PlannedModule) -> Path:
        folder = self.sandbox.work / "modules" / module.commit
        if module.commit == "f" * 40:
            raise StartFailed("the commit is gone")
        (folder / "lib").mkdir(parents=True, exist_ok=True)
        (folder / "lib" / "tool.sh").write_text("greet() { echo greetings; }\n")
        for path in (folder.parent, folder, folder / "lib"):
            path.chmod(0o755)
        return folder

    def run(
        self,
        plan: Plan,
        context: RunContext | None = None,
        *,
        during: Callable[[Stopper, LogWriter], Awaitable[None]] | None = None,
        **settings: Any,
    ) -> tuple[list[StepResult], bytes]:
        async def scenario() -> list[StepResult]:
            runtime, run, stopper = self.runtime(**settings), context or make_context(), Stopper()
            writer = LogWriter(self.logs)
            other = asyncio.ensure_future(during(stopper, writer)) if during else None
            results = []
            for index in range(len(plan.steps)):
                started = await runtime.start(plan, index, run)
                results.append(await runtime.execute(started, writer, stopper))
            writer.close()
            if other:
                await other
            await runtime.close()
            return results

        self.logs.unlink(missing_ok=True)
        results = asyncio.run(asyncio.wait_for(scenario(), 120))
        assert self.left() == []
        return results, whole_log(self.logs)

    def left(self) -> list[str]:
        """What is left of runs: folders and processes."""
        return [path.name for path in (self.sandbox.work / "runs").glob("*")] + [
            str(one) for one in self.sandbox.left()
        ]

    def text(self, files: dict[str, str | bytes], *actions: str, context: RunContext | None = None, **plan: Any) -> str:
        """The log of a run that succeeds."""
        results, log = self.run(make_plan(files, *actions, **plan), context)
        assert {result.status for result in results} == {Status.SUCCESS}, (results, log)
        return log.decode()


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with prepared_sandbox() as prepared:
        yield prepared


@pytest.fixture
def bench(sandbox: Sandbox, tmp_path: Path) -> Bench:
    return Bench(sandbox, tmp_path / "run.log")


async def said(writer: LogWriter, text: bytes) -> None:
    """Wait until the action has said something."""
    while text not in LogReader(writer.path, writer).read(0):
        await writer.changed()


def whole_log(path: Path) -> bytes:
    """Give a log, which is no file while nothing was said."""
    return path.read_bytes() if path.exists() else b""


class TestWhatAnActionFinds:
    def test_a_sh_file_is_sourced_in_the_shell_of_the_bootstrap(self, bench: Bench) -> None:
        script = 'echo "${BASH_SOURCE[0]} $initial_script_name $- $#"; pwd; [[ $0 == bash ]] && return 0; exit 9'
        lines = bench.text({"run.sh": script}).splitlines()
        assert lines[0].startswith("./run.sh run.sh ")
        assert "e" in lines[0].split()[2]
        assert lines[0].endswith(" 0")
        assert lines[1] == "/tmp/infraxys/environments/prod_1/web/server_1"

    def test_other_files_are_executed_by_their_first_line(self, bench: Bench) -> None:
        program = (
            "#!/usr/bin/env python3\nimport os, sys\nprint(sys.argv[1:], os.getcwd(), os.environ['INSTANCE_GUID'])\n"
        )
        assert bench.text({"run.py": program}) == "[] /tmp/infraxys/environments/prod_1/web/server_1 i\n"

    def test_attributes_arrive_unchanged_in_the_shell_and_in_programs(self, bench: Bench) -> None:
        values = {
            "one": 'it\'s "quoted" $HOME `id` \\ \n\ttwo  ',
            "two": "",
            "three": "é😀*",
            "four": "-n",
            "five": "a=b",
        }
        shell = 'for name in one two three four five; do printf "%s\\0" "${!name}"; done'
        python = "#!/usr/bin/python3\nimport json, os\nprint(json.dumps([os.environ[n] for n in %r]))\n" % list(values)  # noqa: UP031 - braces of the program
        *found, executed = bench.text({"a.sh": shell, "b": python}, attributes=values).split("\0")
        assert found == json.loads(executed) == list(values.values())

    def test_attributes_are_neither_on_a_command_line_nor_in_the_first_process(self, bench: Bench) -> None:
        script = 'grep -c "canar[y]" -z /proc/[0-9]*/cmdline /proc/1/environ | grep -v ":0$" || echo nowhere'
        assert bench.text({"run.sh": script}, attributes={"secret": "canary"}) == "nowhere\n"

    def test_a_very_long_attribute_does_not_keep_programs_from_starting(self, bench: Bench) -> None:
        text = bench.text({"run.sh": 'echo "${#long}"; /bin/echo started'}, attributes={"long": "x" * 300_000})
        assert text == "300000\nstarted\n"

    def test_the_argument_is_there_byte_for_byte_for_every_step(self, bench: Bench) -> None:
        argument = json.dumps({"key": "é" * 500_000}).encode() + b"  "
        script = "cd $INFRAXYS_ROOT/system/custom; sha256sum arguments.json; stat -c %a arguments.json"
        first, mode, second, _ = bench.text(
            {"a.sh": script, "b.sh": script}, context=make_context(argument=argument)
        ).split("\n")[:4]
        assert first == second
        assert mode == "444"
        assert (
            bench.text(
                {"a.sh": "cat /tmp/infraxys/system/custom/arguments.json"}, context=make_context(argument=argument)
            ).encode()
            == argument
        )

    @pytest.mark.parametrize(
        "attempt",
        ["echo x >> arguments.json", "rm -f arguments.json", "chmod 666 arguments.json", "mv arguments.json other",
         "touch ../new", "echo y > arguments.json", "mv ../../system ../../other", "ln -sf x ../has_grant",
         "mount -o remount,rw /tmp/infraxys/system", "echo true >> /tmp/infraxys/core/has_grant",
         "echo x >> ../environment.sh", "touch $MODULES_ROOT/x", "touch $ENVIRONMENT_DIR/x",
         "touch $ENVIRONMENT_DIR/web/x", "rm -rf $INSTANCE_DIR"],
    )  # fmt: skip
    def test_nothing_of_the_tree_can_be_changed(self, bench: Bench, attempt: str) -> None:
        script = (
            f"cd $INFRAXYS_ROOT/system/custom; if ({attempt}) 2>/dev/null; then echo changed; fi; cat arguments.json"
        )
        assert bench.text({"run.sh": script}, context=make_context(argument=b"[1]")) == "[1]"

    def test_the_user_and_the_grants_are_known(self, bench: Bench) -> None:
        script = 'for g in deploy "two words" other "" "x\ndeploy"; do /tmp/infraxys/system/has_grant "$g"; done; '
        script += "cat /tmp/infraxys/system/current_user.json"
        *answers, user = bench.text({"run.sh": script}).splitlines()
        assert answers[:4] == ["true", "true", "false", "false"]
        assert json.loads(user) == {
            "username": "ann", "full_name": "Ann Smith", "grants": ["deploy", "two words"], "teams": [], "projects": [],
        }  # fmt: skip
        asked = {"run.sh": "/tmp/infraxys/system/has_grant anything"}
        assert bench.text(asked, context=make_context(grants=("*",))) == "true\n"
        assert bench.text(asked, context=make_context(grants=())) == "false\n"

    def test_modules_are_where_they_belong(self, bench: Bench) -> None:
        script = ". $MODULES_ROOT/host/org/library/main/lib/tool.sh; greet"
        assert bench.text({"run.sh": script}, modules=(MODULE,)) == "greetings\n"

    def test_the_rest_of_the_environment_is_there_to_read(self, bench: Bench) -> None:
        files: dict[str, str | bytes] = {"run.sh": "cat ../container.auto/data $ENVIRONMENT_DIR/environment.auto/data"}
        files |= {"/web/container.auto/data": "container ", "/environment.auto/data": "environment"}
        assert bench.text(files, "run.sh") == "container environment"

    def test_the_instance_directory_is_writable_and_private_to_the_step(self, bench: Bench) -> None:
        script = "echo more >> data; mkdir new; cat data; ls"
        assert bench.text({"data": "x\n", "a.sh": script, "b.sh": script}, "a.sh", "b.sh") == (
            "x\nmore\na.sh\nb.sh\ndata\nnew\n" * 2
        )

    def test_standard_input_ends_unless_somebody_is_there(self, bench: Bench) -> None:
        text = bench.text({"run.sh": "echo begin; cat; echo end"})
        assert text == f"begin\n{NOTE}end\n"
        assert bench.text({"run.sh": "x=$(sleep 1.5; echo no); echo $x"}) == "no\n"

    def test_step_and_run_have_their_ids(self, bench: Bench) -> None:
        context = make_context(workflow_name="nightly", rest_endpoint="https://x/api/v1")
        script = 'echo "$RUN_GUID $STEP_IDEMPOTENCY_KEY $WORKFLOW $INFRAXYS_REST_ENDPOINT $action_label"'
        text = bench.text({"a.sh": script, "b.sh": script}, context=context)
        assert text == "".join(f"run-1 run-1-{n} nightly https://x/api/v1 Do {f}.sh\n" for n, f in ((1, "a"), (2, "b")))


class TestHowItEnds:
    @pytest.mark.parametrize("code", [1, 2, 7, 125, 126, 127, 137, 255])
    @pytest.mark.parametrize("name", ["run.sh", "run"])
    def test_the_exit_code_is_the_actions(self, bench: Bench, name: str, code: int) -> None:
        first = "" if name.endswith(".sh") else "#!/bin/sh\n"
        [result], log = bench.run(make_plan({name: f"{first}echo out; exit {code}"}))
        assert (result.status, result.exit_code, log) == (Status.FAILED, code, b"out\n")
        assert f"Command failed with exit status {code}" in result.message

    @pytest.mark.parametrize("script", ["false", "false | true", "missing-command", "set +e; false"])
    def test_the_first_failing_command_ends_a_sourced_action(self, bench: Bench, script: str) -> None:
        [result], log = bench.run(make_plan({"run.sh": f"{script}\n"}))
        assert result.status is Status.FAILED
        assert result.exit_code in {1, 127}
        assert b"bootstrap" not in log

    def test_a_signal_is_named(self, bench: Bench) -> None:
        [result], _ = bench.run(make_plan({"run.sh": "kill -KILL $$"}))
        assert (result.exit_code, "SIGKILL" in result.message) == (137, True)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("print('x')", "does not name a program"),
            ("", "does not name a program"),
            (b"\0\0\0", "does not name a program"),
            ("#!/usr/bin/env python3\r\nprint()\r\n", "Windows"),
            ("#!/nowhere/python\n", "/nowhere/python"),
        ],
    )
    def test_a_file_that_cannot_be_executed_says_why(self, bench: Bench, content: str | bytes, message: str) -> None:
        [result], log = bench.run(make_plan({"run": content}))
        assert result.status is Status.FAILED
        assert result.exit_code in {126, 127}
        assert message in log.decode()

    def test_a_binary_is_executed(self, bench: Bench) -> None:
        program = Path("/bin/true").resolve().read_bytes()
        assert bench.text({"run": program}) == ""

    def test_a_time_out_gives_the_action_its_grace(self, bench: Bench) -> None:
        script = "trap 'echo cleaned; exit 3' TERM; echo ready; while :; do sleep 0.05; done"
        [result], log = bench.run(make_plan({"run.sh": script}, timeout_seconds=0.5), grace_seconds=20)
        assert (result.status, result.exit_code) == (Status.TIMEOUT, 3)
        assert log.startswith(b"ready\n")
        assert log.endswith(b"cleaned\n")
        assert "took longer than 0.5 seconds" in result.message

    def test_the_runs_time_out_is_for_each_step_when_it_is_shorter(self, bench: Bench) -> None:
        [result], _ = bench.run(make_plan({"run.sh": "sleep 60"}), make_context(timeout_seconds=0.2))
        assert result.status is Status.TIMEOUT

    def test_a_cancel_ends_what_ignores_the_signal_with_all_its_descendants(self, bench: Bench) -> None:
        async def cancel(stopper: Stopper, writer: LogWriter) -> None:
            await said(writer, b"ready")
            stopper.stop(Status.CANCELLED)
            stopper.stop(Status.TIMEOUT)

        script = "trap '' TERM; (setsid sleep 1000 &); echo ready; while :; do sleep 1; done"
        [result], _ = bench.run(make_plan({"run.sh": script}), during=cancel, grace_seconds=0.2)
        assert (result.status, result.exit_code) == (Status.CANCELLED, 137)
        assert result.message == "step 'run.sh' was cancelled"

    def test_what_was_cancelled_before_does_not_start(self, bench: Bench) -> None:
        async def scenario() -> StepResult:
            runtime, stopper, writer = bench.runtime(), Stopper(), LogWriter(bench.logs)
            started = await runtime.start(make_plan({"run.sh": "echo x"}), 0, make_context())
            stopper.stop(Status.CANCELLED)
            result = await runtime.execute(started, writer, stopper)
            writer.close()
            await runtime.close()
            return result

        result = asyncio.run(scenario())
        assert (result.status, result.exit_code, whole_log(bench.logs)) == (Status.CANCELLED, None, b"")
        assert bench.left() == []

    def test_a_started_step_does_nothing_before_it_is_executed(self, bench: Bench) -> None:
        async def scenario() -> tuple[bytes, StepResult]:
            runtime, writer = bench.runtime(), LogWriter(bench.logs)
            started = await runtime.start(make_plan({"run.sh": "date +%s%N; echo ran"}), 0, make_context())
            assert isinstance(started.execution, SandboxExecution)
            await asyncio.wait_for(asyncio.shield(started.execution._started), 10)
            before = time.time_ns()
            result = await runtime.execute(started, writer)
            writer.close()
            await runtime.close()
            moment, said = whole_log(bench.logs).split()
            assert int(moment) > before
            return said, result

        said, result = asyncio.run(scenario())
        assert (said, result.status) == (b"ran", Status.SUCCESS)
        assert bench.left() == []

    def test_a_started_step_that_is_discarded_leaves_nothing(self, bench: Bench) -> None:
        async def scenario() -> None:
            runtime = bench.runtime()
            for _ in range(3):
                starting = asyncio.create_task(runtime.start(make_plan({"run.sh": "true"}), 0, make_context()))
                await asyncio.sleep(0)
                runtime.discard(starting)
            await runtime.close()

        asyncio.run(scenario())
        assert bench.left() == []

    def test_what_was_laid_out_for_a_step_that_does_not_start_is_cleared_away(self, bench: Bench) -> None:
        async def scenario() -> int:
            runtime = bench.runtime()
            plan = make_plan({"run.sh": "true"}, "run.sh", "run.sh")
            started = await runtime.start(plan, 0, make_context())
            laying_out = asyncio.create_task(runtime.lay_out_next(started, make_context()))
            prepared = await laying_out
            runtime.drop(laying_out)
            runtime.discard(asyncio.create_task(asyncio.sleep(0, started)))
            await runtime.close()
            return prepared.run.thread_number

        assert asyncio.run(scenario()) == 1
        assert bench.left() == []

    def test_the_end_of_the_server_ends_the_action(self, bench: Bench) -> None:
        async def scenario() -> None:
            runtime, writer = bench.runtime(), LogWriter(bench.logs)
            plan = make_plan({"run.sh": "echo ready; sleep 1000"})
            started = await runtime.start(plan, 0, make_context())
            task = asyncio.create_task(runtime.execute(started, writer))
            await said(writer, b"ready")
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            writer.close()
            await runtime.close()

        asyncio.run(scenario())
        assert bench.left() == []

    def test_too_much_memory_is_said(self, bench: Bench) -> None:
        if not bench.sandbox.backend.limits_by.startswith("cgroup"):
            pytest.skip("only control groups tell")
        usual = Allowance(Limits(memory_bytes=64 * MIB, processes=64), "off")
        program = "#!/usr/bin/python3\nparts = [bytearray(16 << 20) for _ in range(64)]\n"
        [result], _ = bench.run(make_plan({"run": program}), usual=usual)
        assert (result.status, "more memory than allowed" in result.message) == (Status.FAILED, True)

    def test_a_module_that_is_gone_fails_the_step(self, bench: Bench) -> None:
        gone = PlannedModule(MODULE.path, "f" * 40)
        [result], _ = bench.run(make_plan({"run.sh": "true"}, modules=(gone,)))
        assert result == StepResult(
            Status.FAILED, None, "step 'run.sh' could not be started: the commit is gone"
        )  # fmt: skip

    def test_files_that_cannot_be_written_fail_the_step_without_a_path(self, bench: Bench) -> None:
        context = make_context(run_id="x" * 300)
        [result], _ = bench.run(make_plan({"run.sh": "true"}), context)
        assert (result.status, str(bench.sandbox.work) in result.message) == (Status.FAILED, False)
        assert "the server cannot write its files: File name too long" in result.message


class TestOutput:
    def test_bytes_arrive_as_they_are(self, bench: Bench) -> None:
        [result], log = bench.run(make_plan({"run": "#!/bin/sh\nprintf '\\377\\376\\000\\033[31m end'\n"}))
        assert (result.status, log) == (Status.SUCCESS, b"\xff\xfe\x00\x1b[31m end")

    def test_the_log_is_on_file_while_the_action_runs(self, bench: Bench) -> None:
        seen = []

        async def look(stopper: Stopper, writer: LogWriter) -> None:
            await said(writer, b"early")
            seen.append(whole_log(writer.path))
            stopper.stop(Status.CANCELLED)

        bench.run(make_plan({"run.sh": "echo early; sleep 1000"}), during=look, grace_seconds=0)
        assert seen == [b"early\n"]

    def test_steps_and_streams_are_told_apart(self, bench: Bench) -> None:
        script = "echo out; sleep 0.2; echo err >&2"
        bench.run(make_plan({"a.sh": script, "b.sh": script}))
        records = LogReader(bench.logs).records()
        assert [(item["step"], item["stream"], item["text"]) for item in records] == [
            (0, "stdout", "out\n"), (0, "stderr", "err\n"), (1, "stdout", "out\n"), (1, "stderr", "err\n"),
        ]  # fmt: skip

    @pytest.mark.slow
    def test_a_hundred_megabytes_need_little_memory(self, bench: Bench) -> None:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        results, size = self.sized(bench, "head -c 100000000 /dev/zero", max_bytes=10**9)
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        assert (results.status, size) == (Status.SUCCESS, 100_000_000)
        assert grown < 30 * 1024

    def test_more_than_allowed_is_read_but_not_kept(self, bench: Bench) -> None:
        result, size = self.sized(bench, "head -c 3000000 /dev/zero", max_bytes=1_000_000)
        assert result.status is Status.SUCCESS
        assert 1_000_000 < size < 1_000_200

    @staticmethod
    def sized(bench: Bench, script: str, *, max_bytes: int) -> tuple[StepResult, int]:
        async def scenario() -> StepResult:
            runtime, writer = bench.runtime(), LogWriter(bench.logs, max_bytes=max_bytes)
            started = await runtime.start(make_plan({"run.sh": script}), 0, make_context())
            result = await runtime.execute(started, writer)
            writer.close()
            await runtime.close()
            return result

        return asyncio.run(scenario()), bench.logs.stat().st_size


class TestWhatIsLeft:
    def test_nothing_is_left_of_hostile_folders(self, bench: Bench) -> None:
        outside = bench.sandbox.work / "core"
        script = (
            f"ln -s {outside} link; ln -s / root; mkdir -p a/b/c; touch a/b/c/d; chmod 0 a/b; chmod 0 a; mkfifo pipe; "
        )
        script += "python3 - <<'END'\nimport os\nfor _ in range(1100):\n    os.mkdir('deep'); os.chdir('deep')\nEND"
        bench.text({"run.sh": script})
        assert (outside / "bootstrap.sh").exists()

    def test_runs_at_the_same_time_share_the_environment_and_nothing_else(self, bench: Bench) -> None:
        plan = make_plan({"run.sh": "echo $RUN_GUID >> data; sleep 0.2; cat data", "data": ""}, "run.sh")

        async def scenario() -> list[bytes]:
            runtime = bench.runtime()

            async def one(number: int) -> bytes:
                writer = LogWriter(bench.logs.with_name(f"{number}.log"))
                started = await runtime.start(plan, 0, make_context(f"run-{number}"))
                await runtime.execute(started, writer)
                writer.close()
                return whole_log(writer.path)

            found = await asyncio.gather(*(one(number) for number in range(6)))
            await runtime.close()
            return found

        assert asyncio.run(scenario()) == [f"run-{number}\n".encode() for number in range(6)]
        assert len(list((bench.sandbox.work / "environments").iterdir())) == 1
        assert bench.left() == []

    def test_nothing_is_left_of_a_server_that_was_killed(self, tmp_path: Path) -> None:
        with prepared_sandbox() as sandbox:
            tests = str(Path(__file__).parents[2])
            program = KILLED.format(tests=tests, work=str(sandbox.work), log=str(tmp_path / "a.log"))
            server = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
            try:
                assert server.stdout is not None
                assert server.stdout.readline() == b"ready\n"
            finally:
                server.kill()
                server.wait()
                server.communicate()
            again = Bench(sandbox, tmp_path / "a.log")
            assert recover(again.logs).length == len(b"ready\n")
            sandbox.backend.prepare()
            again.runtime()
            assert again.left() == []
            assert list((sandbox.work / "environments").iterdir()) == []


KILLED = """
import asyncio, sys
from pathlib import Path

sys.path.insert(0, {tests!r})
from factories.plans import make_context, make_plan
from infraxys.engine.backends.base import Limits
from infraxys.engine.backends.bubblewrap import BubblewrapBackend
from infraxys.engine.limits import Allowance
from infraxys.engine.logs import LogWriter
from infraxys.engine.runtime import StepRuntime

async def main():
    backend = BubblewrapBackend(Path({work!r}), slots=8)
    backend.prepare()
    runtime = StepRuntime(backend, Path({work!r}), Path, usual=Allowance(Limits(), "off"))
    runtime.prepare()
    writer = LogWriter(Path({log!r}))
    plan = make_plan({{"run.sh": "echo ready; sleep 1000"}})
    started = await runtime.start(plan, 0, make_context())
    task = asyncio.create_task(runtime.execute(started, writer))
    while not writer.length:
        await writer.changed()
    print("ready", flush=True)
    await task

asyncio.run(main())
"""
