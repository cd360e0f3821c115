"""What actions leave in their artefacts folder, and folders of the developer's machine."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from factories.modules import ENVIRONMENT, INSTANCE, WORKFLOW
from plugins.server import ServerProcess, make_folder, make_library

API = "/api/v1"


def leave(server: ServerProcess, script: str) -> dict[str, Any]:
    """Execute a shell script as an action, in its artefacts folder."""
    code = f"import os, subprocess; subprocess.run(['bash', '-c', {script!r}], cwd=os.environ['INFRAXYS_ARTEFACTS'])"
    run = server.execute(INSTANCE, "code.py", argument={"code": code})
    assert run["status"] == "SUCCESS", run["log"]
    return run


def artefacts(server: ServerProcess, run: dict[str, Any]) -> dict[str, dict[str, Any]]:
    answer = server.client.get(f"{API}/runs/{run['id']}/artefacts", params={"limit": 500})
    assert answer.status_code == 200, answer.text
    return {item["path"]: item for item in answer.json()["items"]}


class TestArtefacts:
    def test_are_kept_and_given_out(self, server: ServerProcess) -> None:
        run = leave(server, "mkdir -p reports/deep; echo '{}' > reports/deep/plan.json; echo text > 'a b.txt'")
        found = artefacts(server, run)
        assert {path: item["contentType"] for path, item in found.items()} == {
            "a b.txt": "text/plain; charset=utf-8",
            "reports/deep/plan.json": "application/json",
        }
        got = server.client.get(f"{API}/runs/{run['id']}/artefacts/a%20b.txt")
        assert got.text == "text\n"
        assert got.headers["content-disposition"] == "attachment; filename*=UTF-8''a%20b.txt"
        part = server.client.get(f"{API}/runs/{run['id']}/artefacts/a%20b.txt", headers={"Range": "bytes=1-2"})
        assert (part.status_code, part.text) == (206, "ex")
        assert server.client.get(f"{API}/runs/{run['id']}/artefacts/reports").json()["code"] == "unknown_artefact"

    def test_are_there_when_the_answer_is(self, server: ServerProcess) -> None:
        for _ in range(5):
            run = leave(server, "echo x > x")
            assert artefacts(server, run).keys() == {"x"}

    def test_a_run_that_leaves_nothing_costs_no_folder(self, own_server: ServerProcess) -> None:
        run = own_server.execute(INSTANCE, "true.sh")
        assert artefacts(own_server, run) == {}
        own_server.stop()  # what is cleared away in the background is done then
        folder = own_server.data / "artefacts" / run["id"][:6]
        assert not (folder / run["id"]).exists()
        own_server.start()

    def test_steps_of_a_run_share_them(self, server: ServerProcess) -> None:
        answer = server.client.post(
            f"{API}/environments/main/execute",
            json={
                "environmentGuid": ENVIRONMENT,
                "argument": {"code": "import os; open(os.environ['INFRAXYS_ARTEFACTS'] + '/all', 'a').write('x')"},
                "actions": [{"containerGuid": "con-1", "instanceGuid": INSTANCE, "filename": "code.py"}] * 3,
            },
        )
        assert answer.json()["status"] == "SUCCESS", answer.text
        got = server.client.get(f"{API}/runs/{answer.json()['id']}/artefacts/all")
        assert got.text == "xxx"

    def test_those_of_a_failed_run_are_kept_as_well(self, server: ServerProcess) -> None:
        code = "import os, sys; open(os.environ['INFRAXYS_ARTEFACTS'] + '/why', 'w').write('because'); sys.exit(3)"
        run = server.execute(INSTANCE, "code.py", argument={"code": code})
        assert run["status"] == "FAILED"
        assert server.client.get(f"{API}/runs/{run['id']}/artefacts/why").text == "because"

    def test_many_come_page_by_page(self, server: ServerProcess) -> None:
        run = leave(server, "touch $(seq -w 1 250)")
        url = f"{API}/runs/{run['id']}/artefacts"
        names: list[str] = []
        cursor = ""
        while cursor is not None:
            page = server.client.get(url, params={"cursor": cursor} if cursor else {}).json()
            names += [item["path"] for item in page["items"]]
            cursor = page["nextCursor"]
        assert names == [f"{number:03}" for number in range(1, 251)]
        assert server.client.get(url, params={"cursor": "x"}).status_code == 400

    def test_workflows_have_the_folder_too(self, server: ServerProcess) -> None:
        run = server.client.post(f"{API}/environment/main/{ENVIRONMENT}/workflow/{WORKFLOW}/execute", json={}).json()
        assert (run["status"], artefacts(server, run)) == ("SUCCESS", {})


@pytest.fixture(scope="module")
def shared() -> Iterator[Path]:
    folder = make_folder()
    for name in ("read", "write"):
        (folder / name).mkdir()
        (folder / name).chmod(0o777)
        (folder / name / "file").write_text(f"{name}\n")
    yield folder
    shutil.rmtree(folder)


class TestHostMounts:
    def test_show_folders_of_a_developers_machine(self, shared: Path) -> None:
        setting = f".ssh={shared / 'read'}, src={shared / 'write'}:rw"
        folder = make_folder()
        server = ServerProcess(folder, "--no-examples", environment={"INFRAXYS_HOST_MOUNTS": setting})
        before = (shared / "write").stat()
        try:
            server.add_module(make_library(folder).path)
            code = (
                "import os; os.system('cat /host/.ssh/file /host/src/file; touch /host/.ssh/x;"
                " echo made > /host/src/made; ls -A /host')"
            )
            log = server.execute(INSTANCE, "code.py", argument={"code": code})["log"]
        finally:
            server.stop()
            shutil.rmtree(folder)
        assert "read\nwrite\n" in log
        assert "'/host/.ssh/x': Read-only file system" in log
        assert ".ssh\nsrc\n" in log
        assert (shared / "write" / "made").read_text() == "made\n"
        after = (shared / "write").stat()
        assert (after.st_uid, after.st_gid, after.st_mode) == (before.st_uid, before.st_gid, before.st_mode)

    def test_a_server_for_others_does_not_start_with_any(self, shared: Path) -> None:
        folder = make_folder()
        environment = {"INFRAXYS_HOST_MOUNTS": f"src={shared / 'read'}"}
        try:
            with pytest.raises(AssertionError, match="host_mounts is for developer mode only"):
                ServerProcess(folder, "--mode", "server", environment=environment)
        finally:
            shutil.rmtree(folder)
