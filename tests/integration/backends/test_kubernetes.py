"""The Kubernetes backend with a double of the API server (tests/factories/cluster.py): no cluster is asked."""

import asyncio
import base64
import json
import os
import random
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from factories.cluster import Cluster, Script, cluster
from infraxys.engine.backends import kubernetes_execution
from infraxys.engine.backends.base import (
    ActionSpec,
    BackendUnavailable,
    Chunk,
    Credentials,
    Exit,
    Image,
    Limits,
    Mount,
    StartFailed,
)
from infraxys.engine.backends.kubernetes import KubernetesBackend
from infraxys.engine.backends.kubernetes_access import find_access
from infraxys.engine.backends.kubernetes_execution import JobExecution
from infraxys.engine.backends.kubernetes_manifest import PART_BYTES

IMAGE = Image("registry.example/actions:1")
ROOT = "/tmp/infraxys"


@pytest.fixture
def double(tmp_path: Path) -> Iterator[tuple[Cluster, Path]]:
    with cluster(tmp_path) as running:
        yield running


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubernetes_execution, "FIRST_PAUSE", 0.005)
    monkeypatch.setattr(kubernetes_execution, "LONGEST_PAUSE", 0.02)


@asynccontextmanager
async def backend_of(config: Path, tmp_path: Path) -> AsyncIterator[KubernetesBackend]:
    access = find_access(config, None)
    backend = KubernetesBackend(tmp_path / "work", access, image=IMAGE, helper_image="registry.example/busybox:1")
    try:
        await backend.probe()
        yield backend
    finally:
        await backend.close()


def action(*command: str, **parts: object) -> ActionSpec:
    return ActionSpec("run-1", "step 1", command or ("/bin/sh", "-c", "true"), {}, "/root", **parts)  # type: ignore[arg-type]


async def finish(execution: JobExecution) -> tuple[Exit, str, str]:
    streams = {"stdout": b"", "stderr": b""}
    async with asyncio.timeout(30):
        async for chunk in execution.output():
            streams[chunk.stream] += chunk.data
        return await execution.wait(), streams["stdout"].decode(), streams["stderr"].decode()


def run(double: tuple[Cluster, Path], tmp_path: Path, spec: ActionSpec, script: Script | None = None):
    """Execute one action by a script."""

    async def main() -> tuple[Exit, str, str]:
        async with backend_of(double[1], tmp_path) as backend:
            double[0].script = script or Script()
            return await finish(await backend.start(spec))

    ended = asyncio.run(main())
    assert not double[0].jobs
    assert not double[0].secrets
    return ended


def test_the_cluster_would_take_a_job_and_is_described(double: tuple[Cluster, Path], tmp_path: Path) -> None:
    async def main() -> str:
        async with backend_of(double[1], tmp_path) as backend:
            return backend.described

    described = asyncio.run(main())
    assert described.startswith("Kubernetes v1.35.0 at http://127.0.0.1:")
    assert "namespace actions; no NetworkPolicy infraxys-no-network" in described
    assert len(double[0].trials) == 1
    assert not double[0].jobs


def test_the_job_is_as_closed_as_it_can_be(double: tuple[Cluster, Path], tmp_path: Path) -> None:
    limits = Limits(memory_bytes=512 * 1024**2, cpus=1.5, tmp_bytes=1000, home_bytes=2000)
    spec = action("/bin/sh", "-c", "echo $(date) $$ $HOME", limits=limits, seconds=90.5)

    async def main() -> None:
        async with backend_of(double[1], tmp_path) as backend:
            execution = await backend.start(spec, is_held=True)
            await held(double[0])
            (job,) = double[0].jobs.values()
            assert job["spec"]["suspend"] is True
            assert job["spec"]["backoffLimit"] == 0
            assert job["spec"]["activeDeadlineSeconds"] == 151
            assert job["metadata"]["annotations"] == {"infraxys/run": "run-1", "infraxys/step": "step 1"}
            pod = job["spec"]["template"]["spec"]
            assert pod["restartPolicy"] == "Never"
            assert pod["automountServiceAccountToken"] is False
            assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
            for container in (*pod["containers"], *pod["initContainers"]):
                assert container["securityContext"] == {
                    "allowPrivilegeEscalation": False, "privileged": False, "readOnlyRootFilesystem": True,
                    "runAsNonRoot": True, "capabilities": {"drop": ["ALL"]},
                }  # fmt: skip
            (container,) = pod["containers"]
            assert container["resources"]["limits"]["memory"] == str(512 * 1024**2)
            assert container["resources"]["limits"]["cpu"] == "1500m"
            # The cluster makes one dollar of two, and puts no variables in.
            assert container["command"][-1] == "echo $$(date) $$$$ $$HOME"
            sizes = {one["name"]: one.get("emptyDir", {}).get("sizeLimit") for one in pod["volumes"]}
            assert (sizes["tmp"], sizes["home"]) == ("1000", "2000")
            await execution.terminate(0)

    asyncio.run(main())
    assert not double[0].jobs
    assert not double[0].pods


async def held(double: Cluster) -> None:
    """Wait until a Job waits with its Secrets."""
    async with asyncio.timeout(20):
        while not double.secrets:  # noqa: ASYNC110 - another thread makes them
            await asyncio.sleep(0.005)


def test_the_files_arrive_with_links_as_links_and_the_writable_over_the_rest(
    double: tuple[Cluster, Path], tmp_path: Path
) -> None:
    environment, instance, cache = tmp_path / "environment", tmp_path / "instance", tmp_path / "cache"
    (environment / "c" / "i").mkdir(parents=True)
    (environment / "c" / "i" / "script.sh").write_text("as generated")
    (environment / "c" / "other").write_text("seen")
    instance.mkdir()
    (instance / "script.sh").write_text("own")
    (instance / "script.sh").chmod(0o755)
    (instance / "secret-link").symlink_to("/etc/shadow")
    (instance / "big").write_bytes(random.Random(1).randbytes(2 * PART_BYTES))
    cache.mkdir()
    (cache / "x").write_text("c")
    target = f"{ROOT}/environments/e"
    mounts = (
        Mount(environment, target),
        Mount(instance, f"{target}/c/i", writable=True),
        Mount(cache, "/cache/project", writable=True),
    )

    async def main() -> None:
        async with backend_of(double[1], tmp_path) as backend:
            execution = await backend.start(action(mounts=mounts), is_held=True)
            async with asyncio.timeout(20):
                while len(double[0].secrets) < 3:  # noqa: ASYNC110 - another thread makes them
                    await asyncio.sleep(0.005)
            (name,) = double[0].jobs
            files = double[0].files(name)
            inner = "root/environments/e/c"
            assert double[0].contents[f"{inner}/other"] == b"seen"
            assert double[0].contents[f"{inner}/i/script.sh"] == b"own"
            assert len(double[0].contents[f"{inner}/i/big"]) == 2 * PART_BYTES
            assert files[f"{inner}/i/script.sh"].mode == 0o755
            assert files[f"{inner}/i/secret-link"].linkname == "/etc/shadow"
            assert double[0].contents["outside/cache/project/x"] == b"c"
            assert {one.uid for one in files.values()} == {0}
            seen = double[0].jobs[name]["spec"]["template"]["spec"]["containers"][0]["volumeMounts"]
            by_path = {one["mountPath"]: one for one in seen}
            assert by_path[ROOT] == {"name": "tree", "mountPath": ROOT, "subPath": "root", "readOnly": True}
            assert by_path[f"{target}/c/i"] == {"name": "tree", "mountPath": f"{target}/c/i", "subPath": f"{inner}/i"}
            assert by_path["/cache/project"]["subPath"] == "outside/cache/project"
            await execution.terminate(0)

    asyncio.run(main())


def test_files_that_are_too_many_are_refused_with_the_limit(double: tuple[Cluster, Path], tmp_path: Path) -> None:
    folder = tmp_path / "much"
    folder.mkdir()
    (folder / "big").write_bytes(random.Random(2).randbytes(PART_BYTES * 10 + 1000))
    ended, _, _ = run(double, tmp_path, action(mounts=(Mount(folder, f"{ROOT}/system"),)))
    assert ended.code is None
    assert ended.start_error is not None
    assert ended.start_error.startswith("its files are more than 7 MiB when compressed")


def test_a_device_or_pipe_is_not_packed(double: tuple[Cluster, Path], tmp_path: Path) -> None:
    folder = tmp_path / "odd"
    folder.mkdir()
    os.mkfifo(folder / "pipe")
    assert stat.S_ISFIFO((folder / "pipe").stat().st_mode)
    ended, _, _ = run(double, tmp_path, action(mounts=(Mount(folder, f"{ROOT}/system"),)))
    assert ended == Exit(0)


LINES = [(f"2026-01-01T00:00:{number // 40:02}.{number % 40 // 3:09}Z", f"line {number}\n") for number in range(400)]


def test_the_log_and_the_digest_are_told(double: tuple[Cluster, Path], tmp_path: Path) -> None:
    ended, out, err = run(double, tmp_path, action(), Script(lines=LINES, exit_code=3))
    assert ended == Exit(3)
    assert out == "".join(line for _, line in LINES)
    assert err == f"[infraxys] image {IMAGE.reference} is registry.example/tool@sha256:{'a' * 64}\n"


@pytest.mark.parametrize("cuts", [[1], [40], [1500, 2200, 3300], [17000, 900], [20, 31, 32, 33, 34, 35, 36, 200]])
def test_a_log_that_breaks_off_comes_complete_and_only_once(
    double: tuple[Cluster, Path], tmp_path: Path, cuts: list[int]
) -> None:
    ended, out, _ = run(double, tmp_path, action(), Script(lines=LINES, cuts=list(cuts)))
    assert ended == Exit(0)
    assert out == "".join(line for _, line in LINES)
    assert len(double[0].log_requests) > len(cuts)


def test_an_api_server_that_restarts_is_waited_for(double: tuple[Cluster, Path], tmp_path: Path) -> None:
    ended, out, _ = run(double, tmp_path, action(), Script(lines=LINES[:3], errors=[503, 500, 503]))
    assert (ended, out) == (Exit(0), "line 0\nline 1\nline 2\n")


def test_the_kernels_victim_is_reported_as_that(double: tuple[Cluster, Path], tmp_path: Path) -> None:
    ended, _, _ = run(double, tmp_path, action(), Script(exit_code=137, reason="OOMKilled"))
    assert ended == Exit(137, out_of_memory=True)


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (Script(waiting={"reason": "ImagePullBackOff", "message": "denied"}), "ImagePullBackOff: denied"),
        (Script(failed={"phase": "Failed", "reason": "Evicted", "message": "disk"}), "ended the pod: Evicted: disk"),
        (Script(helper_exit=2), "its files could not be unpacked in the cluster: Error"),
    ],
)
def test_what_never_begins_is_a_start_error(
    double: tuple[Cluster, Path], tmp_path: Path, script: Script, words: str
) -> None:
    ended, _, _ = run(double, tmp_path, action(), script)
    assert ended.code is None
    assert words in (ended.start_error or "")


def test_secrets_that_are_refused_leave_no_job(double: tuple[Cluster, Path], tmp_path: Path) -> None:
    double[0].is_refusing_secrets = True
    ended, _, _ = run(double, tmp_path, action())
    assert ended.start_error == "exceeded quota: secrets=0"


def test_ending_asks_first_and_waits_for_the_grace(double: tuple[Cluster, Path], tmp_path: Path) -> None:
    async def main() -> Exit:
        async with backend_of(double[1], tmp_path) as backend:
            double[0].script = Script(lines=LINES[:1], is_blocked=True, exit_after_term=3)
            execution = await backend.start(action())
            await first(execution, "stdout")
            await execution.terminate(7.2)
            return await execution.wait()

    assert asyncio.run(main()) == Exit(3)
    assert double[0].ended[0].deleted_with == [8]


async def first(execution: JobExecution, stream: str) -> Chunk:
    async with asyncio.timeout(20):
        async for chunk in execution.output():
            if chunk.stream == stream:
                return chunk
    raise AssertionError("it ended")


def test_what_does_not_want_to_end_is_killed_after_the_grace(double: tuple[Cluster, Path], tmp_path: Path) -> None:
    async def main() -> Exit:
        async with backend_of(double[1], tmp_path) as backend:
            double[0].script = Script(lines=LINES[:1], is_blocked=True, exit_after_term=None)
            execution = await backend.start(action())
            await first(execution, "stdout")
            await execution.terminate(0.2)
            return await execution.wait()

    assert asyncio.run(main()) == Exit(137, 9)
    assert double[0].ended[0].deleted_with == [1, 0]


@pytest.mark.parametrize("pause", [0, 0.01, 0.05])
def test_ending_before_it_begins_leaves_nothing(double: tuple[Cluster, Path], tmp_path: Path, pause: float) -> None:
    async def main() -> Exit:
        async with backend_of(double[1], tmp_path) as backend:
            execution = await backend.start(action(), is_held=True)
            await asyncio.sleep(pause)
            await execution.terminate(0)
            return await execution.wait()

    assert asyncio.run(main()) == Exit(137, 9)
    assert not double[0].jobs
    assert not double[0].ended


def test_ending_while_the_image_is_pulled_leaves_nothing(double: tuple[Cluster, Path], tmp_path: Path) -> None:
    async def main() -> Exit:
        async with backend_of(double[1], tmp_path) as backend:
            double[0].script = Script(waiting={"reason": "ContainerCreating"})
            execution = await backend.start(action())
            async with asyncio.timeout(20):
                while not double[0].pods:  # noqa: ASYNC110 - another thread makes it
                    await asyncio.sleep(0.005)
            await execution.terminate(0)
            return await execution.wait()

    assert asyncio.run(main()).code == 137
    assert not double[0].jobs


def test_input_goes_to_the_pod(double: tuple[Cluster, Path], tmp_path: Path) -> None:
    async def main() -> None:
        async with backend_of(double[1], tmp_path) as backend:
            double[0].script = Script(lines=LINES[:1], is_blocked=True)
            execution = await backend.start(action())
            await first(execution, "stdout")
            await execution.write(b"one\n")
            await execution.write(b"two\n")
            async with asyncio.timeout(20):
                while double[0].stdin != b"one\ntwo\n":  # noqa: ASYNC110 - another thread reads it
                    await asyncio.sleep(0.005)
            await execution.terminate(0)
            await execution.write(b"late\n")

    asyncio.run(main())


def test_a_private_image_gets_a_secret_of_its_own(double: tuple[Cluster, Path], tmp_path: Path) -> None:
    image = Image("registry.example/private:1", "always", Credentials("registry.example", "ann", "s3cret"))

    async def main() -> None:
        async with backend_of(double[1], tmp_path) as backend:
            execution = await backend.start(action(image=image), is_held=True)
            async with asyncio.timeout(20):
                while len(double[0].secrets) < 2:  # noqa: ASYNC110 - another thread makes them
                    await asyncio.sleep(0.005)
            (job,) = double[0].jobs.values()
            pod = job["spec"]["template"]["spec"]
            (name,) = (one["name"] for one in pod["imagePullSecrets"])
            config = json.loads(base64.b64decode(double[0].secrets[name]["data"][".dockerconfigjson"]))
            assert config["auths"]["registry.example"] == {"username": "ann", "password": "s3cret"}
            assert pod["containers"][0]["imagePullPolicy"] == "Always"
            assert "s3cret" not in json.dumps(job)
            await execution.terminate(0)

    asyncio.run(main())


def test_without_the_network_policy_an_action_without_network_is_refused(
    double: tuple[Cluster, Path], tmp_path: Path
) -> None:
    with pytest.raises(StartFailed, match="no NetworkPolicy of the name 'infraxys-no-network'"):
        run(double, tmp_path, action(network=False))
    double[0].policies.add("infraxys-no-network")
    assert run(double, tmp_path, action(network=False))[0] == Exit(0)


def test_what_a_killed_server_left_is_removed_and_others_jobs_are_not(
    double: tuple[Cluster, Path], tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()

    async def main() -> None:
        async with backend_of(double[1], tmp_path) as backend, backend_of(double[1], other) as another:
            left = await backend.start(action(), is_held=True)
            kept = await another.start(action(), is_held=True)
            async with asyncio.timeout(20):
                while len(double[0].jobs) < 2:  # noqa: ASYNC110 - another thread makes them
                    await asyncio.sleep(0.005)
            async with backend_of(double[1], tmp_path):
                assert len(double[0].jobs) == 1
            await left.terminate(0)
            await kept.terminate(0)

    asyncio.run(main())


def test_a_cluster_that_refuses_the_token_is_named(double: tuple[Cluster, Path], tmp_path: Path) -> None:
    (tmp_path / "token").write_text("wrong")

    async def main() -> None:
        async with backend_of(double[1], tmp_path):
            pass

    with pytest.raises(BackendUnavailable, match="cannot be used: Unauthorized"):
        asyncio.run(main())
