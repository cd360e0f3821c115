"""Names of images, who may use them, and what their registries are told."""

import base64
import json
from dataclasses import replace

import pytest

from infraxys.engine.backends.base import ActionSpec, Credentials, Image, StartFailed
from infraxys.engine.backends.dummy import DummyBackend
from infraxys.engine.images import ImageRules, Images, complete, find_credentials
from infraxys.engine.plan import PlannedStep
from infraxys.engine.run_tree import RunContext, RunVariable

STEP = PlannedStep("1", "Build", "con-1", "ins-1", "pac-1", "build.sh", "e/c/i", {}, {}, (), 60, image="tool:1")
RUN = RunContext("run-1", b"{}", "ann", "Ann", ())
ACTION = ActionSpec("run-1", "1", ("source", "x"), {}, "/root")
DIGEST = f"sha256:{'a' * 64}"


@pytest.mark.parametrize(
    ("written", "whole"),
    [
        ("alpine", "docker.io/library/alpine:latest"),
        ("team/tool:1", "docker.io/team/tool:1"),
        ("localhost/tool", "localhost/tool:latest"),
        ("registry.example/a/b/c:1.2", "registry.example/a/b/c:1.2"),
        ("registry:5000/tool", "registry:5000/tool:latest"),
        (f"tool@{DIGEST}", f"docker.io/library/tool@{DIGEST}"),
    ],
)
def test_names_are_completed_as_docker_does(written: str, whole: str) -> None:
    assert complete(written) == whole


def test_only_images_that_the_rules_name_are_used() -> None:
    rules = ImageRules(patterns=("registry.example/tools/*", "docker.io/library/alpine:*"))
    for image in ("registry.example/tools/a/b:1", "alpine", f"alpine:3@{DIGEST}"):
        assert rules.image(replace(STEP, image=image)).reference == complete(image)
    for image in ("registry.example/other/a", "evil.example/registry.example/tools/a", f"alpine@{DIGEST}", "b/alpine"):
        with pytest.raises(StartFailed, match="none of those that this server allows"):
            rules.image(replace(STEP, image=image))
    with pytest.raises(StartFailed, match="allow_custom_images"):
        ImageRules(is_allowed=False).image(STEP)


def test_the_packet_files_pull_policy_wins_over_the_servers() -> None:
    rules = ImageRules(pull_policy="always")
    assert rules.image(STEP) == Image("docker.io/library/tool:1", "always")
    assert rules.image(replace(STEP, pull_policy="never")).pull_policy == "never"


def told(name: str, password: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{name}:{password}".encode()).decode()}


class TestCredentials:
    CONFIGS = (
        ("one", json.dumps({"auths": {"registry.example": told("ann", "a:b"), "https://index.docker.io/v1/": {}}})),
        ("two", json.dumps({"auths": {"https://registry.example/team/tool": {"username": "t", "password": "p"}}})),
        ("three", json.dumps({"auths": {"cloud.example/v2/": {"identitytoken": "it"}}})),
    )

    @pytest.mark.parametrize(
        ("reference", "found"),
        [
            ("registry.example/other:1", Credentials("registry.example", "ann", "a:b")),
            ("registry.example/team/tools:1", Credentials("registry.example", "ann", "a:b")),
            ("registry.example/team/tool:1", Credentials("registry.example", "t", "p")),
            (f"registry.example/team/tool/part@{DIGEST}", Credentials("registry.example", "t", "p")),
            ("docker.io/library/alpine:latest", Credentials("docker.io")),
            ("cloud.example/x:1", Credentials("cloud.example", identity_token="it")),
        ],
    )
    def test_the_longest_name_wins(self, reference: str, found: Credentials) -> None:
        assert find_credentials(reference, self.CONFIGS) == found

    @pytest.mark.parametrize(
        "reference",
        ["registry.example.evil/x:1", "registry.example:5000/x:1", "evil/registry.example/x:1", "a.cloud.example/x:1"],
    )
    def test_no_other_registry_is_told_anything(self, reference: str) -> None:
        assert find_credentials(reference, self.CONFIGS) is None

    @pytest.mark.parametrize(
        "text",
        ["", "[]", '{"auths": 1}', "{" * 5000, '{"auths": {"registry.example": {"auth": "s3cret-but-no-base64"}}}'],
    )
    def test_what_is_no_configuration_is_named_without_its_value(self, text: str) -> None:
        with pytest.raises(ValueError, match="variable 'broken'") as problem:
            find_credentials("registry.example/x:1", [("broken", text)])
        assert "s3cret" not in str(problem.value)

    def test_they_are_the_runs_variables_of_the_type_saved_to_a_file_or_not(self) -> None:
        images = Images(DummyBackend())
        text = json.dumps({"auths": {"docker.io": told("ann", "pw")}})
        for variable, is_told in (
            (RunVariable("any", text, type="DOCKER-CONFIG", is_secret=True), True),
            (RunVariable("any", text, type="DOCKER-CONFIG", file="DOCKER-CONFIG/any"), True),
            (RunVariable("DOCKER-CONFIG", text, is_exported=True), False),
        ):
            adapted = images.adapt(ACTION, STEP, replace(RUN, variables=(variable,)))
            assert adapted.image is not None
            assert (adapted.image.credentials == Credentials("docker.io", "ann", "pw")) is is_told


def test_what_is_executed_is_the_file_a_line_or_a_list() -> None:
    images = Images(DummyBackend())
    launcher = ("/bin/sh", "/tmp/infraxys/core/image.sh")
    assert images.adapt(ACTION, STEP, RUN).command == (*launcher, "file", "build.sh")
    line = replace(STEP, custom_command=" make 'all' ")
    assert images.adapt(ACTION, line, RUN).command == (*launcher, "line", "make 'all'")
    words = replace(STEP, custom_command='["make", "a b"]', attributes={"colour": "red"})
    variables = (
        RunVariable("region", "eu", is_exported=True),
        RunVariable("password", "s3cret", is_exported=True, is_secret=True),
    )
    adapted = images.adapt(ACTION, words, replace(RUN, variables=variables))
    assert adapted.command == ("make", "a b")
    assert (adapted.environment["colour"], adapted.environment["region"]) == ("red", "eu")
    assert "s3cret" not in str(adapted.environment)  # whoever may use the engine sees these
    for wrong in ("[", "[1]", "[]", '["a\\u0000"]', "[" * 5000):
        with pytest.raises(StartFailed, match="not a JSON list of texts"):
            images.adapt(ACTION, replace(STEP, custom_command=wrong), RUN)
