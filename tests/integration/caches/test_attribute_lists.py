"""The values that attributes offer: written, rendered, or printed by a script of the packet."""

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from factories.lists import CONTAINER, ENVIRONMENT, INSTANCE, lists
from factories.repositories import GitRepository
from plugins.server import ServerProcess

URL = f"/api/v1/modules/localhost%2Ftests%2Flists/branches/main/environments/{ENVIRONMENT}"


@pytest.fixture(scope="module")
def lists_server(server: ServerProcess) -> Iterator[ServerProcess]:
    repository = GitRepository(server.folder / "tests" / "lists.git")
    repository.commit(lists(), branch="main")
    server.add_module(repository.path)
    yield server
    server.client.delete("/api/v1/modules/localhost%2Ftests%2Flists")


def ask(server: ServerProcess, name: str, *, refresh: bool = False, instance: str = INSTANCE) -> httpx.Response:
    url = f"{URL}/containers/{CONTAINER}/instances/{instance}/attributes/{name}/values"
    return server.client.get(url, params={"refresh": "true"} if refresh else {})


def values(server: ServerProcess, name: str, **more: Any) -> list[tuple[str, str]]:
    answer = ask(server, name, **more)
    assert answer.status_code == 200, answer.text
    return pairs(answer.json())


def pairs(answer: dict[str, Any]) -> list[tuple[str, str]]:
    return [(item["value"], item["caption"]) for item in answer["items"]]


class TestWritten:
    def test_values_and_captions_are_read(self, lists_server: ServerProcess) -> None:
        answer = ask(lists_server, "plain").json()
        assert [(item["value"], item["caption"]) for item in answer["items"]] == [
            ("1", "one"),
            ("2", "two"),
            ("3", "3"),
        ]
        assert (answer["source"], answer["newItemsAllowed"], answer["madeAt"]) == ("", True, None)

    def test_expressions_are_rendered_for_the_instance(self, lists_server: ServerProcess) -> None:
        assert values(lists_server, "rendered") == [("ann", "you"), ("only", "only")]

    def test_expressions_are_the_choice_where_the_value_is_an_expression(self, lists_server: ServerProcess) -> None:
        inherited = ('$instance.parent.getAttribute("region")', "Inherit")
        assert values(lists_server, "expressions") == [inherited, ('$x.f("a,b)")', '$x.f("a,b)")'), ("eu-west-1",) * 2]

    def test_brackets_and_quotes_that_end_nowhere_hide_no_values(self, lists_server: ServerProcess) -> None:
        assert [value for value, _ in values(lists_server, "unbalanced")] == ["smile :(", '5" disk', '6" disk']

    def test_an_attribute_without_a_list_offers_nothing(self, lists_server: ServerProcess) -> None:
        assert values(lists_server, "name") == []


class TestScript:
    def test_each_line_is_a_value_whatever_its_end(self, lists_server: ServerProcess) -> None:
        expected = [("eu-west-1", "Ireland"), ("us-east-1", "us-east-1"), ("spaced", "spaced")]
        assert values(lists_server, "regions") == expected

    def test_is_executed_as_the_instance(self, lists_server: ServerProcess) -> None:
        assert values(lists_server, "attribute") == [("ann/false", "ann/false")]

    def test_need_not_be_executable_or_a_shell_script(self, lists_server: ServerProcess) -> None:
        assert values(lists_server, "list") == [("from python", "from python")]

    def test_is_prepared_by_modules_that_write_to_caches(self, lists_server: ServerProcess) -> None:
        assert [value for value, _ in values(lists_server, "prepared")] == ["in the cache"]

    def test_has_the_variables_of_its_place_and_shows_no_secret(self, lists_server: ServerProcess) -> None:
        secret = {"value": "n0t-shown", "type": "KEYS", "saveToFile": True, "protect": True}
        for name, body in (("REGION", {"value": "eu-north-7", "export": True}), ("list-key", secret)):
            lists_server.client.put(f"/api/v1/projects/root/variables/{name}", json=body).raise_for_status()
        region, key = (value for value, _ in values(lists_server, "variables"))
        assert region == "eu-north-7"
        assert key
        assert "n0t-shown" not in key

    def test_leaves_no_artefacts_and_has_nothing_to_call_us_with(self, lists_server: ServerProcess) -> None:
        assert [value for value, _ in values(lists_server, "write")] == ["none", "no token"]

    def test_what_it_prints_is_text_only(self, lists_server: ServerProcess) -> None:
        found = [value for value, _ in values(lists_server, "escapes")]
        assert all(value.isprintable() for value in found)
        assert found[0] == "[31mred[0m"

    def test_is_kept_for_its_minutes_until_somebody_wants_it_anew(self, lists_server: ServerProcess) -> None:
        first = ask(lists_server, "kept").json()
        assert ask(lists_server, "kept").json() == first
        assert values(lists_server, "kept", refresh=True) != [
            (item["value"], item["caption"]) for item in first["items"]
        ]
        assert first["holdsUntil"] > first["madeAt"]

    def test_is_executed_each_time_without_minutes(self, lists_server: ServerProcess) -> None:
        assert values(lists_server, "not_kept") != values(lists_server, "not_kept")

    def test_those_who_ask_at_once_get_one_answer(self, lists_server: ServerProcess) -> None:
        async def scenario() -> list[httpx.Response]:
            url = f"{lists_server.url}{URL}/containers/{CONTAINER}/instances/{INSTANCE}/attributes/not_kept/values"
            async with httpx.AsyncClient(verify=False, timeout=60) as client:
                return await asyncio.gather(*(client.get(url) for _ in range(8)))

        answers = asyncio.run(scenario())
        assert {answer.status_code for answer in answers} == {200}
        assert len({answer.text for answer in answers}) < 8

    def test_no_run_is_recorded(self, lists_server: ServerProcess) -> None:
        before = lists_server.client.get("/api/v1/runs").json()["items"]
        values(lists_server, "not_kept")
        assert lists_server.client.get("/api/v1/runs").json()["items"] == before


class TestRefused:
    def test_a_script_that_fails_says_why(self, lists_server: ServerProcess) -> None:
        answer = ask(lists_server, "fail")
        assert (answer.status_code, answer.json()["code"]) == (409, "list_failed")
        assert "exit status 4" in answer.json()["detail"]
        assert answer.json()["detail"].endswith("the reason")

    def test_one_that_prints_without_end_is_ended(self, lists_server: ServerProcess) -> None:
        answer = ask(lists_server, "much")
        assert answer.status_code == 409
        assert "printed more" in answer.json()["detail"]

    def test_one_that_takes_too_long_is_ended(self, lists_server: ServerProcess) -> None:
        began = time.monotonic()
        answer = ask(lists_server, "slow")
        assert answer.status_code == 409
        assert "longer than 3 seconds" in answer.json()["detail"]
        assert time.monotonic() - began < 30

    @pytest.mark.parametrize("name", ["image", "in_image"])
    def test_images_need_a_container_engine(self, lists_server: ServerProcess, name: str) -> None:
        answer = ask(lists_server, name)
        assert (answer.status_code, answer.json()["code"]) == (409, "list_failed")
        assert f"attribute '{name}'" in answer.json()["detail"]
        assert "the container engine does not answer" in answer.json()["detail"]
        assert str(lists_server.folder) not in answer.text

    @pytest.mark.parametrize(
        ("name", "status", "code"),
        [
            ("missing", 404, "unknown_file"),
            ("outside", 404, "unknown_file"),
            ("nothing", 404, "unknown_attribute"),
            ("elsewhere", 409, "no_values"),
        ],
    )
    def test_what_is_not_there_is_named(self, lists_server: ServerProcess, name: str, status: int, code: str) -> None:
        answer = ask(lists_server, name)
        assert (answer.status_code, answer.json()["code"]) == (status, code)

    def test_unknown_instances_and_containers_are_404(self, lists_server: ServerProcess) -> None:
        assert ask(lists_server, "plain", instance="other").json()["code"] == "unknown_instance"
        answer = lists_server.client.get(f"{URL}/containers/x/instances/{INSTANCE}/attributes/plain/values")
        assert answer.status_code == 404
        answer = lists_server.client.get(f"{URL}x/containers/x/instances/{INSTANCE}/attributes/plain/values")
        assert answer.json()["code"] == "unknown_environment"
