"""Attempts on what changes modules: hostile.md C8, C9 and field.md G26."""

import json
import threading
from collections import Counter
from typing import Any

import pytest

from factories.instances import CHILD, ROOT
from plugins.shapes import Shapes


class TestAtTheSameTime:
    def test_c8_g26_of_fifty_changes_of_one_branch_none_is_lost(self, module: Shapes) -> None:
        branch = module.branch.replace("/", "%2F")
        answers: list[Any] = []

        def ensure(number: int) -> None:
            path = f"instance/{branch}/{ROOT}/children/ensure"
            answers.append(module.post(path, {"instances": [{"key": f"k{number}"}]})["status"])

        threads = [threading.Thread(target=ensure, args=(number,)) for number in range(50)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert Counter(answers) == {"SUCCESS": 50}
        keys = [item["value"] for child in module.children() for item in child["attributes"] if item["name"] == "key"]
        assert sorted(keys) == sorted(["one", *(f"k{number}" for number in range(50))])
        assert len(module.log(100)) == 51

    def test_c8_a_fetch_that_moves_the_branch_loses_no_change(self, module: Shapes) -> None:
        branch, stop = module.branch.replace("/", "%2F"), threading.Event()

        def fetch() -> None:
            while not stop.is_set():
                module.post("modules/localhost%2Ftests%2Fshapes/fetch")

        fetching = threading.Thread(target=fetch)
        fetching.start()
        try:
            for number in range(15):
                path = f"instance/{branch}/{ROOT}/children/ensure"
                assert module.post(path, {"instances": [{"key": f"k{number}"}]})["status"] == "SUCCESS"
        finally:
            stop.set()
            fetching.join(60)
        assert len(module.children()) == 16


@pytest.mark.parametrize(
    "value", ["\x1b]0;x\x07", "a\r\nb", "\u202eevil", "<script>", "--upload-pack=x", "$(id)", "é" * 1000, "\U0001f600"]
)
def test_c9_values_are_stored_literally_and_are_never_options(module: Shapes, value: str) -> None:
    body = {**module.reference(), "id": CHILD, "attributes": [{"name": "key", "value": value}]}
    assert module.post("instances", {"instance": body})["status"] == "SUCCESS"
    assert module.values(CHILD)["key"] == value
    module.mirror().git("fsck", "--strict")
    said = module.run(f'print(ask({{"requestType": "UPDATE INSTANCE", "dbId": {CHILD!r}, "fields": {{"size": 2}}}}))')
    assert '"updated"' in said
    assert len(module.log(5)) == 3


def test_a3_what_no_file_can_hold_is_refused(module: Shapes) -> None:
    for value in ("\\ud83d", "\\u0000"):
        instance = {"moduleBranchPath": module.path, "id": CHILD, "attributes": [{"name": "key", "value": "HERE"}]}
        raw = json.dumps({"instance": instance}).replace("HERE", value)
        answer = module.server.client.post(
            "/api/v1/instances", content=raw, headers={"content-type": "application/json"}
        )
        assert (answer.status_code, answer.json()["status"]) == (200, "FAILED")
    assert len(module.log(5)) == 1


def test_a9_what_a_client_cannot_set_is_left_aside(module: Shapes) -> None:
    body = {**module.reference(), "id": CHILD, "attributes": [], "packetName": "Other", "parentId": "x", "author": "x"}
    answer = module.post("instances", {"instance": body})
    assert (answer["instance"]["packetName"], answer["instance"]["parentId"]) == ("Item", ROOT)
    assert len(module.log(5)) == 1


def test_d2_requests_about_what_is_not_ones_own_are_bounded(module: Shapes) -> None:
    code = f"""
for number in range(200):
    send({{"requestType": "UPDATE INSTANCE", "dbId": "x" * 5000, "fields": {{"a": number}}}})
    assert sys.stdin.readline() == "FAILED\\n"
print(ask({{"requestType": "UPDATE INSTANCE", "dbId": {CHILD!r}, "fields": {{"size": 2}}}}))
"""
    assert '"updated"' in module.run(code)
