"""Packet files that name an image, through the real server with a real podman."""

import json
import shutil
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from factories.containers import IMAGE, SPEAKING, Podman, without_notice
from factories.modules import CONTAINER, ENVIRONMENT, INSTANCE, PATH, file
from factories.repositories import GitRepository
from infraxys.engine.feedback.idle import NOTE
from plugins.server import ServerProcess, make_folder

FILES: dict[str, tuple[str, dict[str, Any]]] = {
    "script.sh": (
        "echo $greeting $0; pwd; cat ../../environment.auto/note.txt; echo made > here; ls; exit 4\n",
        {},
    ),
    "shebang.txt": ("#!/bin/cat\nline\n", {}),
    "line.sh": (
        "unused\n",
        {"customCommand": "echo $greeting | tr a-z A-Z; test -e $INSTANCE_DIR/nothing"},
    ),
    "list.sh": ("unused\n", {"customCommand": '["/bin/sh", "-c", "echo $0 $greeting $INTERACTIVE", "$HOME"]'}),
    "argument.sh": ("cat /tmp/infraxys/system/custom/arguments.json; read -r line || echo no input\n", {}),
    "sleep.sh": ("echo started; sleep 300\n", {}),
    "tools.sh": ("command -v python3 bash; ls /usr\n", {}),
    "token.sh": ("ls -l /tmp/infraxys/system/token; sleep 300\n", {}),
    "late.sh": ("sleep 300\n", {"timeoutSeconds": 2}),
    "bad.sh": ("true\n", {"dockerImage": "no image;"}),
    "list-bad.sh": ("true\n", {"customCommand": "[1"}),
    "other.sh": ("true\n", {"dockerImage": "localhost/not-here:1", "pullPolicy": "never"}),
}


def module() -> dict[str, Any]:
    """Give the files of a module whose actions name images; `plain.sh` does not."""
    files = [file(name, **{"dockerImage": IMAGE, "timeoutSeconds": 60, **more}) for name, (_, more) in FILES.items()]
    files += [file("plain.sh"), file("note.txt", executable=False, saveWith="CURRENT ENVIRONMENT")]
    files.append(file("values.sh", executable=False))
    attributes: list[dict[str, Any]] = [
        {"id": "a-1", "name": "greeting", "defaultValue": "it's $5"},
        {"id": "a-2", "name": "usual", "source": "DOCKER RUN", "referenceFilter": SPEAKING},
        {
            "id": "a-3",
            "name": "asked",
            "source": "DOCKER RUN",
            "referenceFilter": SPEAKING,
            "referenceValueAttributeName": "it's $5\r\nsecond",
        },
        {
            "id": "a-4",
            "name": "script",
            "source": "SCRIPT OUTPUT",
            "referenceFilter": "values.sh",
            "referenceValueAttributeName": IMAGE,
        },
    ]
    return {
        "module.json": {},
        "packets/Tool/packet.json": {"id": "pac-1", "label": "Tool", "attributes": attributes, "files": files},
        **{f"packets/Tool/files/{name}": text for name, (text, _) in FILES.items()},
        "packets/Tool/files/plain.sh": "command -v bash; ls /usr | head -n 1\n",
        "packets/Tool/files/note.txt": "noted\n",
        "packets/Tool/files/values.sh": "echo one=First; echo $greeting; command -v bash || true\n",
        "environments/production/environment.json": {
            "id": ENVIRONMENT,
            "workflows": [
                {
                    "id": "wf-1",
                    "name": "Mixed",
                    "steps": [
                        {"name": name, "containerId": CONTAINER, "instanceId": INSTANCE, "packetFileId": f"file-{name}"}
                        for name in ("plain.sh", "shebang.txt", "plain.sh")
                    ],
                }
            ],
        },
        "environments/production/web/container.json": {
            "id": CONTAINER,
            "instances": [{"id": INSTANCE, "packetId": "pac-1", "packetName": "Tool", "packetPath": PATH}],
        },
    }


class ImageServer(ServerProcess):
    """A server in developer mode with a container engine."""

    engine: Podman

    def run(self, name: str, **body: Any) -> tuple[dict[str, Any], str]:
        """Execute an action; gives the run and its log without the line about the image."""
        run = self.execute(INSTANCE, name, **body)
        log = self.client.get(f"/api/v1/runs/{run['id']}/log").text
        return run, without_notice(log)

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait for something of another program."""
        deadline = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < deadline, "it did not come about"
            time.sleep(0.02)


@pytest.fixture(scope="module")
def image_server(engine: Podman) -> Iterator[ImageServer]:
    folder = make_folder()
    settings = {
        "INFRAXYS_CONTAINER_SOCKET": str(engine.socket),
        "INFRAXYS_CONTAINER_NETWORK": "host",  # a network of the engine's own needs more of the machine
        "INFRAXYS_KILL_GRACE": "1",
    }
    running = ImageServer(folder, "--no-examples", environment=settings)
    running.engine = engine
    try:
        repository = GitRepository(folder / "tests" / "library.git")
        repository.commit(module(), branch="main")
        running.add_module(repository.path)
        yield running
    finally:
        running.stop()
        shutil.rmtree(folder, ignore_errors=True)
        assert not engine.containers()


def test_the_file_runs_in_its_image_with_the_runs_tree(image_server: ImageServer) -> None:
    run, log = image_server.run("script.sh")
    assert (run["status"], run["exitCode"]) == ("FAILED", 4), run["message"]
    first, directory, note, *files = log.splitlines()
    assert first == "it's $5 ./script.sh"
    assert directory.startswith("/tmp/infraxys/environments/production_")
    assert note == "noted"
    assert {"here", "script.sh"} <= set(files)


def test_the_log_says_which_content_ran(image_server: ImageServer) -> None:
    run = image_server.execute(INSTANCE, "shebang.txt")
    log = image_server.client.get(f"/api/v1/runs/{run['id']}/log").text
    digest = image_server.engine.command("image", "inspect", "--format", "{{.Digest}}", IMAGE)
    assert log.splitlines()[0] == f"[infraxys] image {IMAGE} is localhost/tiny@{digest}"
    assert log.splitlines()[1:] == ["#!/bin/cat", "line"]


def test_a_command_line_is_the_shells_of_the_image(image_server: ImageServer) -> None:
    run, log = image_server.run("line.sh")
    assert log == "IT'S $5\n"
    assert run["exitCode"] == 1


def test_a_list_is_executed_as_it_is_with_the_variables(image_server: ImageServer) -> None:
    _, log = image_server.run("list.sh")
    assert log == "$HOME it's $5 false\n"


def test_the_argument_arrives_and_nobody_answers(image_server: ImageServer) -> None:
    _, log = image_server.run("argument.sh", argument={"a": [1, "é"]})
    assert json.loads(log.removesuffix(f"{NOTE}no input\n")) == {"a": [1, "é"]}
    assert log.endswith(f"{NOTE}no input\n")


@pytest.mark.parametrize(
    ("attribute", "values"),
    [
        ("usual", [("own usual", "own usual")]),
        ("asked", [("own it's $5 second", "own it's $5 second")]),
        ("script", [("one", "First"), ("it's $5", "it's $5")]),
    ],
)
def test_an_attribute_takes_its_values_from_an_image(
    image_server: ImageServer, attribute: str, values: list[tuple[str, str]]
) -> None:
    module = "/api/v1/modules/localhost%2Ftests%2Flibrary/branches/main"
    instance = f"containers/{CONTAINER}/instances/{INSTANCE}"
    answer = image_server.client.get(f"{module}/environments/{ENVIRONMENT}/{instance}/attributes/{attribute}/values")
    assert answer.status_code == 200, answer.text
    assert [(item["value"], item["caption"]) for item in answer.json()["items"]] == values


def test_nothing_of_the_host_is_in_the_image(image_server: ImageServer) -> None:
    run, log = image_server.run("tools.sh")
    assert run["status"] == "FAILED"
    assert log.strip() == "ls: /usr: No such file or directory"


def test_the_runs_token_is_in_a_file_and_not_in_what_the_engine_shows(image_server: ImageServer) -> None:
    answer = image_server.client.post(
        f"/api/v1/instance/main/{INSTANCE}/files/token.sh/execute", json={"asynchronous": True}
    )
    url = f"/api/v1/runs/{answer.json()['id']}"
    image_server.until(lambda: "token" in image_server.client.get(f"{url}/log").text)
    (name,) = image_server.engine.containers()
    seen = image_server.engine.command("inspect", name)
    assert "ifx_" not in seen
    assert "it's $5" not in seen
    assert image_server.client.post(f"{url}/cancel").status_code == 202
    image_server.until(lambda: image_server.client.get(url).json()["status"] == "CANCELLED")
    assert not image_server.engine.containers()


def test_a_time_out_ends_the_container(image_server: ImageServer) -> None:
    run, _ = image_server.run("late.sh")
    assert run["status"] == "TIMEOUT"
    assert not image_server.engine.containers()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("bad.sh", "the name of image 'no image;' is not possible"),
        ("list-bad.sh", "its custom command begins with"),
        ("other.sh", "image 'localhost/not-here:1' is not on this machine, and it is never to be pulled"),
    ],
)
def test_what_cannot_be_is_told(image_server: ImageServer, name: str, words: str) -> None:
    run, _ = image_server.run(name)
    assert (run["status"], run["exitCode"]) == ("FAILED", None)
    assert run["message"].startswith(f"step '{name}' could not be started: ")
    assert words in run["message"]


def test_a_workflow_may_have_steps_of_both_kinds(image_server: ImageServer) -> None:
    answer = image_server.client.post(f"/api/v1/environment/main/{ENVIRONMENT}/workflow/wf-1/execute", json={})
    assert answer.json()["status"] == "SUCCESS", answer.text
    log = without_notice(image_server.client.get(f"/api/v1/runs/{answer.json()['id']}/log").text)
    assert "#!/bin/cat\nline\n" in log
    assert log.count("/bash\n") == 2


def test_a_killed_servers_container_is_removed_when_it_starts_again(image_server: ImageServer) -> None:
    answer = image_server.client.post(
        f"/api/v1/instance/main/{INSTANCE}/files/sleep.sh/execute", json={"asynchronous": True}
    )
    url = f"/api/v1/runs/{answer.json()['id']}"
    image_server.until(lambda: "started" in image_server.client.get(f"{url}/log").text)
    image_server.kill()
    assert len(image_server.engine.containers()) == 1
    image_server.start()
    image_server.until(lambda: not image_server.engine.containers())
    assert image_server.client.get(url).json()["status"] in {"LOST", "RUNNING"}


def test_doctor_says_what_is_there(image_server: ImageServer) -> None:
    looked = image_server.command("doctor", "--json")
    found = {item["name"]: item for item in json.loads(looked.stdout)}
    assert found["containers"]["ok"]
    assert "Podman Engine" in found["containers"]["detail"]
    assert "images that modules choose are allowed" in found["containers"]["detail"]
    assert found["kubernetes"] == {"name": "kubernetes", "ok": True, "detail": "not used"}


def test_without_an_engine_a_run_that_needs_one_is_refused_and_says_what_to_do() -> None:
    folder = make_folder()
    running = ImageServer(folder, "--no-examples", environment={"INFRAXYS_CONTAINER_SOCKET": "/nowhere/podman.sock"})
    try:
        repository = GitRepository(folder / "tests" / "library.git")
        repository.commit(module(), branch="main")
        running.add_module(repository.path)
        refused = running.client.post("/api/v1/instance/main/ins-1/files/script.sh/execute")
        assert (refused.status_code, refused.json()["code"]) == (503, "no_runner")
        assert int(refused.headers["Retry-After"]) > 0
        assert "names a container image, and no container engine was found" in refused.json()["detail"]
        assert running.client.get("/api/v1/runs").json()["items"] == []
        assert running.run("plain.sh")[0]["status"] == "SUCCESS"
    finally:
        running.stop()
        shutil.rmtree(folder, ignore_errors=True)
