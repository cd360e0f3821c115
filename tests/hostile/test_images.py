"""What packet files try with images (field.md G36): names that are options, other content, others' credentials."""

import json
import shutil
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from factories.containers import Podman, root_file_system
from factories.modules import CONTAINER, PATH, file
from factories.registry import PASSWORD, USER
from factories.repositories import GitRepository
from infraxys.engine.images import complete
from plugins.server import ServerProcess, make_folder

API = "/api/v1"
OWN, OTHER = "env-own", "env-other"


@pytest.mark.parametrize(
    "name",
    [
        "--privileged", "-v/:/host", "alpine --privileged", "alpine\n--privileged", "alpine;id", "$(id)", "alpine:1 id",
        "../../x", "/etc/passwd", "a//b", "registry.example/../x", "http://registry.example/x", "docker-archive:/etc/x",
        "oci:/tmp/x", "dir:/", "user:pw@registry.example/x", "alpine?x=1", "alpine#x", "Alpine",
        "alpine@sha256:1234", "alpine@md5:" + "0" * 64, "alpine:" + "x" * 200, "x" * 600, "", "älpine", "alpine\0",
        "registry.example:99999999/x", "registry.example:/x",
    ],
)  # fmt: skip
def test_g36_a_name_is_a_name_and_nothing_else(name: str) -> None:
    with pytest.raises(ValueError, match="it is not written like"):
        complete(name)
    assert complete("containers-storage:x") == "docker.io/library/containers-storage:x"


@pytest.fixture(scope="module")
def two_projects(engine: Podman) -> Iterator[ServerProcess]:
    """A server with an environment in each of two projects; the first one's knows the password of a registry."""
    digest = engine.registry.put("team/closed", "1", root_file_system())
    engine.registry.put("team/closed", "moved", root_file_system())
    reference = f"{engine.registry.host}/team/closed"
    files = [
        file("tag.sh", dockerImage=f"{reference}:1", pullPolicy="always"),
        file("digest.sh", dockerImage=f"{reference}@{digest}"),
        file("other.sh", dockerImage=f"{reference}@sha256:{'0' * 64}"),
        file("moved.sh", dockerImage=f"{reference}:moved", pullPolicy="always"),
    ]
    module: dict[str, Any] = {
        "packets/Tool/packet.json": {"id": "pac-1", "label": "tool", "files": files},
        **{f"packets/Tool/files/{item['filename']}": "echo ran\n" for item in files},
    }
    for environment in (OWN, OTHER):
        instance = {"id": f"ins-{environment}", "packetId": "pac-1", "packetPath": PATH}
        module[f"environments/{environment}/environment.json"] = {"id": environment}
        container = {"id": f"{CONTAINER}-{environment}", "instances": [instance]}
        module[f"environments/{environment}/con/container.json"] = container
    folder = make_folder()
    settings = {"INFRAXYS_CONTAINER_SOCKET": str(engine.socket), "INFRAXYS_CONTAINER_NETWORK": "host"}
    running = ServerProcess(folder, "--no-examples", environment=settings)
    try:
        repository = GitRepository(folder / "tests" / "library.git")
        repository.commit(module, branch="main")
        running.add_module(repository.path)
        value = json.dumps({"auths": {engine.registry.host: {"username": USER, "password": PASSWORD}}})
        for environment in (OWN, OTHER):
            project = running.client.post(f"{API}/projects", json={"name": uuid.uuid4().hex}).json()["id"]
            body: dict[str, Any] = {"module": "localhost/tests/library", "environmentId": environment}
            assert running.client.post(f"{API}/projects/{project}/environments", json=body).status_code == 201
            if environment == OWN:
                body = {"value": value, "type": "DOCKER-CONFIG", "protect": True}
                assert running.client.put(f"{API}/projects/{project}/variables/reg", json=body).status_code == 201
        yield running
    finally:
        running.stop()
        shutil.rmtree(folder, ignore_errors=True)


def test_g36_the_credentials_of_another_project_are_not_used(two_projects: ServerProcess, engine: Podman) -> None:
    refused = two_projects.execute(f"ins-{OTHER}", "tag.sh")
    assert refused["status"] == "FAILED"
    assert "cannot be pulled" in refused["message"]
    own = two_projects.execute(f"ins-{OWN}", "tag.sh")
    assert (own["status"], own["log"].splitlines()[-1]) == ("SUCCESS", "ran"), own["message"]
    again = two_projects.execute(f"ins-{OTHER}", "tag.sh")  # what is here by now is asked for again: `always`
    assert again["status"] == "FAILED"
    for run in (refused, own, again):
        assert PASSWORD not in json.dumps(run)


def test_g36_content_that_is_not_what_was_named_does_not_run(two_projects: ServerProcess, engine: Podman) -> None:
    assert two_projects.execute(f"ins-{OWN}", "digest.sh")["status"] == "SUCCESS"
    wrong = two_projects.execute(f"ins-{OWN}", "other.sh")
    assert (wrong["status"], wrong["exitCode"]) == ("FAILED", None)
    assert "cannot be pulled" in wrong["message"]


def test_g36_a_tag_that_moved_is_seen_in_the_log(two_projects: ServerProcess, engine: Podman) -> None:
    digests = []
    for version in ("1", "2"):
        digest = engine.registry.put("team/closed", "moved", root_file_system(), Labels={"version": version})
        first_line = two_projects.execute(f"ins-{OWN}", "moved.sh")["log"].splitlines()[0]
        assert first_line.endswith(f"/team/closed@{digest}")
        digests.append(digest)
    assert digests[0] != digests[1]
