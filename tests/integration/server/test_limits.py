"""Limits from the packet file and the project to the sandbox, by a running server."""

import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from factories.modules import INSTANCE, PATH, file
from factories.repositories import GitRepository
from infraxys.engine.backends.own_network import find_network_tools
from plugins.server import ServerProcess, make_folder

SHOW = "ulimit -n; df --output=size -B1 /tmp | tail -1; grep -c : /proc/net/dev\n"
MIB = 1024**2


@pytest.fixture(scope="module")
def limited_server() -> Iterator[ServerProcess]:
    """A server with a module whose actions ask for limits, and another packet that asks for nonsense."""
    folder = make_folder()
    running = ServerProcess(folder, "--no-examples", environment={"INFRAXYS_TMP_MAX": str(3 * 1024 * MIB)})
    files = [
        file("plain.sh"),
        file("small.sh", limits={"tmpBytes": 8 * MIB, "openFiles": 64}, network="off"),
        file("large.sh", limits={"tmpBytes": 4096 * MIB, "openFiles": 100_000}),
        file("many.sh", limits={"processes": 20}),
    ]
    module: dict[str, Any] = {
        "packets/Tool/packet.json": {"id": "pac-1", "label": "tool", "files": files},
        **{f"packets/Tool/files/{item['filename']}": SHOW for item in files},
        "packets/Tool/files/many.sh": "for n in $(seq 60); do sleep 300 & done; wait\n",
        "environments/env/environment.json": {"id": "env-1"},
        "environments/env/con/container.json": {
            "id": "con-1",
            "instances": [{"id": INSTANCE, "packetId": "pac-1", "packetPath": PATH}],
        },
    }
    try:
        repository = GitRepository(folder / "tests" / "library.git")
        repository.commit(module, branch="main")
        running.add_module(repository.path)
        yield running
    finally:
        running.stop()
        shutil.rmtree(folder, ignore_errors=True)


def shown(server: ServerProcess, filename: str) -> tuple[list[int], str]:
    """Run an action; gives open files, bytes of /tmp and network interfaces, and what the server said."""
    run = server.execute(INSTANCE, filename)
    lines = run["log"].splitlines()
    said = "\n".join(line for line in lines if line.startswith("[infraxys]"))
    numbers = [int(line) for line in lines if not line.startswith("[infraxys]")]
    return numbers, said


def test_limits_come_from_the_packet_file_the_project_and_the_server(limited_server: ServerProcess) -> None:
    def limit(**limits: object) -> None:
        answer = limited_server.client.patch("/api/v1/projects/root", json={"limits": limits})
        assert (answer.status_code, answer.json()["limits"]) == (200, limits)

    most = "is the most that is allowed here"
    [files, tmp, interfaces], said = shown(limited_server, "plain.sh")
    assert (files, tmp, said) == (4096, 1024 * MIB, "")
    assert shown(limited_server, "small.sh") == ([64, 8 * MIB, 1], "")
    assert shown(limited_server, "large.sh") == (
        [4096, 3072 * MIB, interfaces],
        (
            f"[infraxys] tmpBytes: {4096 * MIB} was asked for, {3072 * MIB} {most}\n"
            f"[infraxys] openFiles: 100000 was asked for, 4096 {most}"
        ),
    )
    limit(tmpBytes=16 * MIB, network="off")
    assert shown(limited_server, "plain.sh") == ([4096, 16 * MIB, 1], "")
    assert shown(limited_server, "small.sh")[0][1] == 8 * MIB
    assert shown(limited_server, "large.sh")[0][1:] == [16 * MIB, 1]
    limit()
    assert shown(limited_server, "plain.sh")[0] == [4096, 1024 * MIB, interfaces]


@pytest.mark.slow  # the shell itself tries again for 15 seconds
def test_a_shell_that_may_start_nothing_more_ends_with_its_own_status(limited_server: ServerProcess) -> None:
    run = limited_server.execute(INSTANCE, "many.sh")
    assert (run["status"], run["exitCode"]) == ("FAILED", 254)
    assert "./many.sh: fork: " in run["log"]
    assert "bootstrap" not in run["log"]


def test_projects_above_each_other_bound_each_other_and_a_change_counts_for_the_next_run(
    limited_server: ServerProcess,
) -> None:
    def change(method: str, path: str, **body: object) -> str:
        answer = limited_server.client.request(method, f"/api/v1/projects{path}", json=body)
        assert answer.status_code in {200, 201}, answer.text
        return str(answer.json()["id"])

    upper = change("POST", "", name="upper")
    lower = change("POST", "", name="lower", parentId=upper)
    for path, limits in ((upper, {"tmpBytes": 32 * MIB}), (lower, {"tmpBytes": 64 * MIB, "openFiles": 100})):
        change("PATCH", f"/{path}", limits=limits)
    assert shown(limited_server, "plain.sh")[0][:2] == [4096, 1024 * MIB]
    change("POST", f"/{lower}/environments", module="localhost/tests/library", environmentId="env-1")
    assert shown(limited_server, "plain.sh")[0][:2] == [100, 32 * MIB]
    change("PATCH", f"/{upper}", limits={"tmpBytes": 128 * MIB})
    assert shown(limited_server, "plain.sh")[0][:2] == [100, 64 * MIB]
    change("PATCH", f"/{lower}", limits={})
    assert shown(limited_server, "plain.sh")[0][:2] == [4096, 128 * MIB]
    change("PATCH", f"/{upper}", limits={})


def test_wrong_limits_of_a_project_are_refused(limited_server: ServerProcess) -> None:
    for limits in ({"memoryBytes": 1}, {"memory": 2**30}, {"network": "none"}, {"cpus": -1}, {"processes": "many"}, []):
        answer = limited_server.client.patch("/api/v1/projects/root", json={"limits": limits})
        assert (answer.status_code, answer.json()["code"]) == (422, "validation_failed"), limits


def test_a_network_of_its_own_is_made_or_the_action_does_not_run(limited_server: ServerProcess) -> None:
    answer = limited_server.client.patch("/api/v1/projects/root", json={"limits": {"network": "loopback-refused"}})
    assert answer.status_code == 200
    try:
        run = limited_server.execute(INSTANCE, "plain.sh")
        if isinstance(find_network_tools(), str):
            assert (run["status"], run["log"]) == ("FAILED", "")
            assert "loopback-refused" in run["message"]
        else:
            assert (run["status"], run["log"].split()[-1]) == ("SUCCESS", "2")  # lo, and one of its own
    finally:
        limited_server.client.patch("/api/v1/projects/root", json={"limits": {}})
