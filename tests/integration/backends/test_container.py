"""The container backend with a real podman."""

import asyncio
import json
import os
import subprocess
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest

from factories.containers import IMAGE, Ended, Podman, root_file_system
from factories.registry import PASSWORD, USER
from factories.sandbox import MIB
from infraxys.engine.backends.base import BackendUnavailable, Credentials, Exit, Image, Limits, Mount, PullPolicy
from infraxys.engine.backends.container import ContainerBackend
from infraxys.engine.backends.container_execution import ContainerExecution
from infraxys.engine.backends.kubernetes_manifest import FORWARD
from plugins.containers import Opened

INSTANCE = "/tmp/infraxys/environments/e/c/i"


def run(containers: Opened, script: str, **parts: object) -> Ended:
    """Run one script to its end."""

    async def main() -> Ended:
        async with containers() as opened:
            return await opened.run(script, **parts)

    return asyncio.run(main())


async def first_output(execution: ContainerExecution, stream: str = "stdout") -> bytes:
    async with asyncio.timeout(20):
        async for chunk in execution.output():
            if chunk.stream == stream:
                return chunk.data
    raise AssertionError("it ended")


def test_the_engine_tells_what_it_is(containers: Opened) -> None:
    async def main() -> None:
        async with containers(image=Image(IMAGE)) as opened:
            await opened.backend.probe()
            assert opened.backend.described.startswith("Podman Engine ")
            assert "limits by control groups" in opened.backend.described

    asyncio.run(main())


def test_an_engine_that_is_not_there_is_named(tmp_path: Path) -> None:
    backend = ContainerBackend(tmp_path, socket=tmp_path / "nobody.sock")
    with pytest.raises(BackendUnavailable, match="the container engine does not answer"):
        asyncio.run(backend.probe())


@pytest.mark.parametrize("code", [0, 3, 137])
def test_streams_are_apart_and_the_exit_code_is_the_actions(containers: Opened, code: int) -> None:
    ended = run(containers, f"echo out; echo err >&2; exit {code}")
    assert (ended.stdout, ended.stderr, ended.exit) == ("out\n", "err\n", Exit(code))


def test_the_log_begins_with_the_digest_of_the_image(containers: Opened) -> None:
    async def main() -> None:
        async with containers() as opened:
            execution = await opened.start("exit 0")
            said = await first_output(execution, "stderr")
            digest = opened.podman.command("image", "inspect", "--format", "{{.Digest}}", IMAGE)
            assert said.decode() == f"[infraxys] image {IMAGE} is localhost/tiny@{digest}\n"
            await execution.wait()

    asyncio.run(main())


def test_the_tree_is_read_only_but_for_what_is_writable(containers: Opened) -> None:
    async def main() -> None:
        async with containers() as opened:
            system, instance = opened.folder("system"), opened.folder("instance")
            (system / "arguments.json").write_text("{}")
            (system / "arguments.json").chmod(0o666)
            mounts = (Mount(system, "/tmp/infraxys/system"), Mount(instance, INSTANCE, writable=True))
            ended = await opened.run(
                f"echo made > {INSTANCE}/file; cat /tmp/infraxys/system/arguments.json;"
                "touch ~/mine /tmp/mine /run/x /x;"
                "echo no > /tmp/infraxys/system/arguments.json; mv /tmp/infraxys /tmp/away; touch /tmp/infraxys/new;"
                "mount -o remount,rw /tmp/infraxys/system; echo end",
                mounts=mounts,
            )
            assert ended.stdout == "{}end\n"
            for words in ("arguments.json: Read-only", "new: Read-only", "/x: Read-only", "/run/x: Permission denied",
                          "mv: can't rename '/tmp/infraxys'", "mount: permission denied"):  # fmt: skip
                assert words in ended.stderr, ended.stderr
            assert "mine" not in ended.stderr
            assert (instance / "file").read_text() == "made\n"
            assert (system / "arguments.json").read_text() == "{}"
            assert (instance / "file").stat().st_uid not in {0, os.geteuid()} or os.geteuid() != 0

    asyncio.run(main())


def test_the_action_has_no_privileges(containers: Opened) -> None:
    ended = run(containers, "cat /proc/self/status; id -u; echo 1 > /proc/sys/vm/swappiness; kill -9 1; ps | wc -l")
    facts = dict(line.split(":", 1) for line in ended.stdout.splitlines() if ":" in line)
    assert {facts[name].strip() for name in ("CapEff", "CapPrm", "CapBnd", "CapInh")} == {"0" * 16}
    assert facts["NoNewPrivs"].strip() == "1"
    assert facts["Seccomp"].strip() == "2"
    uid, processes = ended.stdout.split()[-2:]
    assert int(uid) >= 1000
    assert int(processes) < 10
    assert "swappiness" in ended.stderr


def test_without_network_there_is_only_loopback(containers: Opened) -> None:
    ended = run(containers, "tail -n +3 /proc/net/dev | wc -l")
    assert ended.stdout.strip() == "1"


def test_what_is_in_the_container_can_be_inspected_and_holds_no_more_than_given(containers: Opened) -> None:
    async def main() -> None:
        async with containers() as opened:
            execution = await opened.start("echo up; sleep 60", environment={"GIVEN": "a b"})
            await first_output(execution)
            (name,) = opened.podman.containers()
            seen = json.loads(opened.podman.command("inspect", name))[0]
            assert seen["Config"]["Labels"]["infraxys.run"] == "run-1"
            assert seen["Config"]["Labels"]["infraxys.step"] == "step-1"
            assert "GIVEN=a b" in seen["Config"]["Env"]
            assert seen["HostConfig"]["RestartPolicy"]["Name"] in {"no", ""}
            assert not seen["HostConfig"]["Privileged"]
            await execution.terminate(0)

    asyncio.run(main())


def test_a_held_action_begins_when_it_may_and_takes_input(containers: Opened) -> None:
    async def main() -> None:
        async with containers() as opened:
            instance = opened.folder("instance")
            mounts = (Mount(instance, INSTANCE, writable=True),)
            script = f"touch {INSTANCE}/begun; while read -r line; do echo got $line; [ $line = end ] && exit 5; done"
            execution = await opened.start(script, mounts=mounts, is_held=True)
            assert (await first_output(execution, "stderr")).startswith(b"[infraxys] image")
            async with asyncio.timeout(20):
                while not opened.podman.containers():  # noqa: ASYNC110 - another program makes it
                    await asyncio.sleep(0.01)
            assert not (instance / "begun").exists()
            execution.let_begin()
            for word in (b"one", b"end"):
                await execution.write(word + b"\n")
                assert await first_output(execution) == b"got " + word + b"\n"
            assert await execution.wait() == Exit(5)
            await execution.write(b"late\n")

    asyncio.run(main())


def test_a_held_action_that_is_ended_never_begins(containers: Opened) -> None:
    async def main() -> None:
        async with containers() as opened:
            instance = opened.folder("instance")
            mounts = (Mount(instance, INSTANCE, writable=True),)
            for pause in (0, 0.005, 0.05, 0.2):
                execution = await opened.start(f"touch {INSTANCE}/begun", mounts=mounts, is_held=True)
                await asyncio.sleep(pause)
                await execution.terminate(0)
                assert await execution.wait() == Exit(137, 9)
            assert not list(instance.iterdir())

    asyncio.run(main())


def test_cancelling_at_any_moment_leaves_nothing(containers: Opened) -> None:
    async def main() -> None:
        async with containers() as opened:
            for number in range(12):
                execution = await opened.start("sleep 60 & sleep 60")
                await asyncio.sleep(number * 0.015)
                await execution.terminate(0)
                await execution.wait()
            assert not opened.podman.containers()

    asyncio.run(main())


def test_an_action_can_clean_up_when_it_is_ended(containers: Opened) -> None:
    async def main() -> None:
        async with containers() as opened:
            # Not the first process of the container alone: the script's child is asked to end as well.
            script = (
                "(trap 'echo child; exit' TERM; echo up; while :; do sleep 0.05; done) & trap 'wait; exit 3' TERM; wait"
            )
            execution = await opened.start(script)
            assert await first_output(execution) == b"up\n"
            await execution.terminate(10)
            assert await execution.wait() == Exit(3)
            assert [chunk.data async for chunk in execution.output() if chunk.stream == "stdout"] == [b"child\n"]

    asyncio.run(main())


def test_an_action_that_does_not_want_to_end_is_killed_after_the_grace(containers: Opened) -> None:
    async def main() -> None:
        async with containers() as opened:
            execution = await opened.start("trap '' TERM; echo up; while :; do sleep 1; done")
            await first_output(execution)
            started = time.monotonic()
            await execution.terminate(0.5)
            assert await execution.wait() == Exit(137, 9)
            assert 0.5 <= time.monotonic() - started < 5

    asyncio.run(main())


def test_a_daemon_of_the_action_ends_with_it(containers: Opened) -> None:
    mark = f"314159{os.getpid()}"
    ended = run(containers, f"(trap '' TERM HUP; exec sleep {mark}) >/dev/null 2>&1 & echo done")
    assert ended.stdout == "done\n"
    left = subprocess.run(["pgrep", "-f", f"sleep {mark}"], capture_output=True, check=False)
    assert left.returncode == 1


@pytest.mark.parametrize(("script", "code"), [("exec tail -n 1 /dev/zero", 137), ("tail -n 1 /dev/zero; exit 5", 5)])
def test_the_kernels_victim_is_reported_as_that(containers: Opened, script: str, code: int) -> None:
    ended = run(containers, script, limits=Limits(memory_bytes=64 * MIB))
    assert (ended.exit.code, ended.exit.out_of_memory) == (code, True)


def test_a_killed_process_is_not_reported_as_out_of_memory(containers: Opened) -> None:
    assert run(containers, "sh -c 'kill -9 $$'; exit 137").exit == Exit(137)


def test_limits_of_processes_and_memory_file_systems_hold(containers: Opened) -> None:
    limits = Limits(processes=32, tmp_bytes=MIB, home_bytes=MIB)
    script = (
        "for folder in /tmp ~ /var/tmp /dev/shm; do"
        "  dd if=/dev/zero of=$folder/x bs=1M count=80 2>&1 | grep -c 'No space'; done;"
        "n=0; while [ $n -lt 60 ]; do sleep 5 & n=$((n+1)); done; echo end"
    )
    ended = run(containers, script, limits=limits)
    assert ended.stdout.split()[:4] == ["1", "1", "1", "1"]
    assert "fork" in ended.stderr


def test_much_output_comes_complete_through_a_slow_reader_with_bounded_memory(containers: Opened) -> None:
    async def main() -> None:
        async with containers() as opened:
            execution = await opened.start("seq 1 3000000 & yes err | head -c 10000000 >&2; wait; echo end >&2")
            counts, held = {"stdout": 0, "stderr": 0}, []
            tails = {"stdout": b"", "stderr": b""}
            async for chunk in execution.output():
                counts[chunk.stream] += len(chunk.data)
                tails[chunk.stream] = (tails[chunk.stream] + chunk.data)[-20:]
                held.append(execution._ahead._bytes)
                if len(held) < 20:
                    await asyncio.sleep(0.05)
            assert counts["stdout"] == 22888896
            assert tails["stdout"].endswith(b"3000000\n")
            assert tails["stderr"].endswith(b"end\n")
            assert counts["stderr"] >= 10000004
            assert max(held) <= 2 * MIB
            assert await execution.wait() == Exit(0)

    asyncio.run(main())


def test_an_image_that_is_not_here_is_not_pulled_against_the_policy(containers: Opened) -> None:
    ended = run(containers, "true", image=Image("localhost/other:1", "never"))
    assert ended.exit.start_error == "image 'localhost/other:1' is not on this machine, and it is never to be pulled"


def test_a_mount_that_cannot_be_is_a_start_error_without_the_servers_paths(containers: Opened) -> None:
    async def main() -> None:
        async with containers() as opened:
            mounts = (Mount(opened.work / "missing", "/tmp/infraxys/system"),)
            ended = await opened.run("true", mounts=mounts)
            assert ended.exit.code is None
            assert ended.exit.start_error
            assert str(opened.work) not in ended.exit.start_error

    asyncio.run(main())


def test_what_a_killed_server_left_is_removed_and_others_containers_are_not(engine: Podman, containers: Opened) -> None:
    async def main() -> None:
        async with containers() as opened:
            left = await opened.start("echo up; sleep 300")
            await first_output(left)
            limits = ("--ulimit", "nofile=1024", "--ulimit", "nproc=1024")
            other = engine.command("run", "--detach", "--network=none", *limits, IMAGE, "sleep", "300")
            again = ContainerBackend(opened.work, socket=engine.socket)
            await again.probe()
            (name,) = engine.containers()
            assert engine.command("inspect", "--format", "{{.Id}}", name) == other
            await again.close()
            engine.command("rm", "--force", "--time", "0", other)
            left_end = await left.wait()
            assert left_end.code in {None, 137}

    asyncio.run(main())


def test_an_engine_without_an_init_for_containers_says_what_to_install(
    engine: Podman, containers: Opened, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "containers.conf").write_text('[engine]\ninit_path = "/nonexistent/init"\n')
    engine.stop()
    try:
        with monkeypatch.context() as patch:
            patch.setenv("CONTAINERS_CONF", str(tmp_path / "containers.conf"))
            engine.start()
        said = run(containers, "true").exit.start_error
    finally:
        engine.stop()
        engine.start()
    assert said == "the engine has no init for containers: install catatonit"


def test_an_engine_that_goes_away_is_told(engine: Podman, containers: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infraxys.engine.backends.container_execution.SILENCE_SECONDS", 0.1)
    monkeypatch.setattr("infraxys.engine.backends.container_execution.REMOVE_SECONDS", 0.2)

    async def main() -> None:
        async with containers() as opened:
            execution = await opened.start("echo up; sleep 300")
            await first_output(execution)
            engine.stop()
            try:
                end = await asyncio.wait_for(execution.wait(), 20)
                assert end.start_error is not None
                assert "was lost while the action ran" in end.start_error
                assert not isinstance(end.start_error, httpx2.HTTPError)
            finally:
                engine.start()

    asyncio.run(main())


class TestRegistry:
    """Images that a registry gives only to whoever knows its password."""

    def image(self, engine: Podman, name: str, policy: PullPolicy = "missing", password: str = PASSWORD) -> Image:
        host = engine.registry.host
        return Image(f"{host}/{name}:1", policy, Credentials(host, USER, password))

    def test_an_image_is_pulled_with_credentials_and_its_digest_is_told(
        self, engine: Podman, containers: Opened
    ) -> None:
        digest = engine.registry.put("team/tool", "1", root_file_system(), Entrypoint=["/bin/false"])

        async def main() -> None:
            async with containers() as opened:
                execution = await opened.start("echo pulled", image=self.image(engine, "team/tool"))
                reference = f"{engine.registry.host}/team/tool"
                said = await first_output(execution, "stderr")
                assert said.decode() == f"[infraxys] image {reference}:1 is {reference}@{digest}\n"
                assert await first_output(execution) == b"pulled\n"
                assert await execution.wait() == Exit(0)

        asyncio.run(main())
        assert engine.registry.pulls

    def test_without_or_with_wrong_credentials_it_is_refused(self, engine: Podman, containers: Opened) -> None:
        engine.registry.put("team/closed", "1", root_file_system())
        image = self.image(engine, "team/closed", password="wrong-password")
        for tried in (image, replace(image, credentials=None)):
            ended = run(containers, "true", image=tried)
            assert ended.exit.start_error is not None
            assert ended.exit.start_error.startswith(f"image '{image.reference}' cannot be pulled: ")
            assert "wrong-password" not in ended.exit.start_error

    def test_the_policy_says_when_a_tag_is_asked_for_again(self, engine: Podman, containers: Opened) -> None:
        layer = root_file_system()
        for version in ("1", "2"):
            engine.registry.put("team/moving", "1", layer, Labels={"version": version})
            for policy, is_new in (("missing", version == "1"), ("always", True), ("never", False)):
                before = len(engine.registry.pulls)
                ended = run(containers, "true", image=self.image(engine, "team/moving", policy))
                assert ended.exit == Exit(0)
                assert (len(engine.registry.pulls) > before) == is_new, (version, policy)

    def test_an_image_can_be_pinned_by_its_digest(self, engine: Podman, containers: Opened) -> None:
        layer = root_file_system()
        digest = engine.registry.put("team/pinned", "1", layer, Labels={"version": "good"})
        engine.registry.put("team/pinned", "1", layer, Labels={"version": "bad"})
        host = engine.registry.host
        pinned = Image(f"{host}/team/pinned@{digest}", "missing", Credentials(host, USER, PASSWORD))
        assert run(containers, "true", image=pinned).exit == Exit(0)
        wrong = replace(pinned, reference=f"{host}/team/pinned@sha256:{'0' * 64}")
        assert "cannot be pulled" in (run(containers, "true", image=wrong).exit.start_error or "")

    def test_a_pull_can_be_ended(self, containers: Opened) -> None:
        async def main() -> None:
            async with containers() as opened:
                gone = asyncio.Event()

                async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                    await reader.read()
                    writer.close()
                    with suppress(OSError):
                        await writer.wait_closed()
                    gone.set()

                listening = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
                port = listening.sockets[0].getsockname()[1]
                execution = await opened.start("true", image=Image(f"127.0.0.1:{port}/slow:1", "always"))
                await asyncio.sleep(0.2)
                started = time.monotonic()
                await execution.terminate(10)
                assert await execution.wait() == Exit(137, 9)
                assert time.monotonic() - started < 2
                async with asyncio.timeout(20):
                    await gone.wait()  # the engine asks no more
                listening.close()

        asyncio.run(main())


def test_the_first_process_of_a_cluster_passes_the_end_on(engine: Podman) -> None:
    script = "trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.05; done"
    limits = ("--ulimit", "nofile=1024", "--ulimit", "nproc=1024", "--network=none")
    name = f"forward-{os.getpid()}"
    first = (IMAGE, "/bin/sh", "-c", FORWARD, "sh")
    engine.command("run", "--detach", "--name", name, *limits, *first, "sh", "-c", script)
    deadline = time.monotonic() + 20
    while "up" not in engine.command("logs", name):
        assert time.monotonic() < deadline
    engine.command("kill", "--signal", "TERM", name)
    assert engine.command("wait", name) == "3"
    assert engine.command("logs", name).split() == ["up", "bye"]
    engine.command("rm", name)
    said = engine.command("run", "--rm", "--interactive", *limits, *first, "cat", stdin=b"input\n")
    assert said == "input"
