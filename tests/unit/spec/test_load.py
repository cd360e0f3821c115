"""What a file's problems say, and that a file with many of them is still read to its end."""

import json
import time
from typing import Any

import pytest

from infraxys.spec.load import (
    MAX_PROBLEMS,
    Loaded,
    load_container,
    load_environment,
    load_module,
    load_packet,
    load_role,
)
from infraxys.spec.models import Packet
from infraxys.spec.problem import Problem


def packet(**fields: Any) -> Loaded[Packet]:
    return load_packet(json.dumps({"version": "1.0", **fields}).encode(), "packets/p/packet.json")


def file(**fields: Any) -> dict[str, Any]:
    return {"files": [{"filename": "a", **fields}]}


def message(loaded: Loaded[Any]) -> str:
    (problem,) = loaded.problems
    return problem.message


def codes(loaded: Loaded[Any]) -> list[str]:
    return [problem.code for problem in loaded.problems]


def test_a_value_that_is_nearly_right_is_named() -> None:
    found = message(packet(files=[{"filename": "a", "saveWith": "CURRENT INSTANC"}]))
    assert found.startswith("'files[0].saveWith' is 'CURRENT INSTANC'; did you mean 'CURRENT INSTANCE'?")
    assert "EVERY CONTAINER" in found


def test_a_value_that_is_like_nothing_gets_all_that_are_possible() -> None:
    found = message(packet(attributes=[{"name": "a", "scope": 7}]))
    assert found == "'attributes[0].scope' is 7; possible are Instance, Container, Environment"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"attributes": [{"name": ""}]}, "'attributes[0].name' is empty"),
        ({"attributes": [{"caption": "x"}]}, "'attributes[0].name' is missing"),
        ({"autoExpand": 1}, "'autoExpand' has to be true or false, this is a number"),
        ({"autoExpand": None}, "'autoExpand' has to be true or false, this is null"),
        ({"files": {}}, "'files' has to be a list, this is an object"),
        ({"files": ["a"]}, "'files[0]' has to be an object, this is a text"),
        (file(menuOrder=1.5), "'files[0].menuOrder' has to be a whole number, this is a number"),
        (file(timeoutSeconds="60"), "'files[0].timeoutSeconds' has to be a number, this is a text"),
        (file(timeoutSeconds=True), "'files[0].timeoutSeconds' has to be a number, this is a boolean"),
        (file(timeoutSeconds=-1), "'files[0].timeoutSeconds' is -1; it has to be greater than 0"),
        (file(menuOrder=2**31), "'files[0].menuOrder' is 2147483648; it has to be at most 2147483647"),
        ({"autoExpnd": True}, "'autoExpnd' is not known and has no effect; did you mean 'autoExpand'?"),
        ({"AutoExpand": True}, "'AutoExpand' is not known and has no effect; did you mean 'autoExpand'?"),
    ],
)  # fmt: skip
def test_problems_say_what_is_wrong_and_what_is_expected(fields: dict[str, Any], expected: str) -> None:
    assert message(packet(**fields)) == expected


def test_every_wrong_value_is_reported_in_the_order_of_the_file() -> None:
    text = b'{\n"files": [{"filename": "a", "executable": 1},\n{"filename": 2}],\n"label": 3,\n"attributes": [{}]}'
    found = load_packet(text, "packet.json").problems
    assert [(one.line, one.code) for one in found] == [
        (2, "wrong_type"),
        (3, "wrong_type"),
        (4, "wrong_type"),
        (5, "missing_field"),
    ]


def test_misspelt_keys_are_found_at_every_depth() -> None:
    step = {"containerId": "c", "instanceId": "i", "packetFileId": "f", "enviromentId": "e"}
    text = json.dumps({"workflows": [{"id": "1", "name": "a", "steps": [step]}]}).encode()
    (problem,) = load_environment(text, "e.json").problems
    assert (problem.code, problem.column) == ("unknown_field", text.index(b'"e"') + 1)
    assert codes(load_module(b'{"velocity": {"strickt": false}}', "module.json")) == ["unknown_field"]


def test_somebodys_own_keys_and_those_of_old_versions_are_no_problem() -> None:
    assert not packet(group="x", keywords="y", requiredPackets=[], owner="me", guid="g").problems


def test_a_packet_with_problems_of_meaning_is_still_usable() -> None:
    loaded = packet(attributes=[{"name": "PATH"}, {"name": "a"}, {"name": "a"}], files=[{"filename": "../x"}])
    assert codes(loaded) == ["not_exportable", "duplicate_name", "unsafe_file_name"]
    assert [problem.severity for problem in loaded.problems] == ["warning", "error", "error"]
    assert loaded.model is not None


@pytest.mark.parametrize(
    "name", ["../x", "/etc/passwd", "a/b", "a\\b", "-rf", ".", "..", "a\nb", "a\x1b[2J", "a\u202eb", "x" * 201]
)
def test_file_names_that_lead_elsewhere_are_refused(name: str) -> None:
    loaded = packet(files=[{"filename": name}])
    assert codes(loaded) == ["unsafe_file_name"]
    assert message(loaded).isprintable()


@pytest.mark.parametrize("directory", ["..", "a/../b", "a/-x", "a\nb"])
def test_directories_that_lead_elsewhere_are_refused(directory: str) -> None:
    assert codes(packet(files=[{"filename": "a", "directory": directory}])) == ["unsafe_file_name"]
    assert not packet(files=[{"filename": "a", "directory": "a/b c"}]).problems


def test_ids_of_one_packet_are_distinct() -> None:
    loaded = packet(
        attributes=[{"id": "1", "name": "a"}, {"id": "1", "name": "b"}],
        files=[{"id": "1", "filename": "a"}, {"id": "1", "filename": "b"}, {"filename": "c"}, {"filename": "d"}],
    )
    assert codes(loaded) == ["duplicate_id", "duplicate_id"]


def test_parents_are_checked() -> None:
    parent = {"name": "x", "moduleBranchPath": r"h\o\r\b", "id": "p"}
    nowhere = {"name": "z", "moduleBranchPath": "x", "id": "z"}
    loaded = packet(id="me", extends=[parent, parent, {"id": "me"}, {}, nowhere])
    assert codes(loaded) == ["duplicate_id", "extends_itself", "missing_field", "bad_path"]
    assert codes(packet(inheritFilesFromPacketGuid="h\\o\\r\\b\\p\nsomewhere\n")) == ["bad_path"]


def test_roles_and_instances_of_a_container_are_checked() -> None:
    instance = {"id": "i", "packetId": "p", "attributes": [{"name": "a"}, {"name": "a"}, {"id": "1"}, {"id": "1"}]}
    value = {"roles": [{"id": "r"}, {"id": "r"}, {"path": "x", "name": "n"}, {}], "instances": [instance]}
    loaded = load_container(json.dumps(value).encode(), "container.json")
    assert codes(loaded) == ["duplicate_id", "bad_path", "missing_field", "duplicate_name", "duplicate_id"]
    assert loaded.model is not None


def test_workflows_are_checked() -> None:
    step = {"containerId": "c", "instanceId": "i"}
    value = {"workflows": [{"id": "1", "name": "a", "steps": [step]}, {"id": "2", "name": "a"}]}
    assert codes(load_environment(json.dumps(value).encode(), "e.json")) == ["missing_field", "duplicate_name"]


def test_dependencies_are_checked() -> None:
    same = {"git_url": "https://h/o/r", "branch": "master"}
    other = [{"git_url": "https://h/o/r"}, {"git_url": "https://h/o/r", "branch": "next"}]
    odd = [{"git_url": "--upload-pack=x"}, {"git_url": "https://h/o/r", "branch": "-x"}, {"git_url": "ext::sh -c x"}]
    loaded = load_module(json.dumps({"dependencies": [same, *other, *odd]}).encode(), "module.json")
    assert codes(loaded) == ["duplicate_dependency", "unsafe_value", "unsafe_value", "unsafe_value"]
    assert codes(load_module(b'{"velocity": {"strict": "no"}}', "module.json")) == ["wrong_type"]


def test_a_file_that_is_nothing_but_problems_is_reported_briefly() -> None:
    start = time.process_time()
    loaded = packet(attributes=[{"name": f"{index} x"} for index in range(10_000)])
    assert len(loaded.problems) == MAX_PROBLEMS
    wrong = packet(attributes=[{"name": 1}] * 10_000)
    assert codes(wrong) == ["too_many_problems"]
    unknown = packet(**{f"autoExpnd{index}": 1 for index in range(20_000)})
    assert len(unknown.problems) <= MAX_PROBLEMS
    steps = load_environment(
        json.dumps({"workflows": [{"name": "a", "id": "b", "steps": [{}] * 10_000}]}).encode(), "e"
    )
    assert codes(steps) == ["too_many_problems"]
    assert time.process_time() - start < 30


def test_instances_nest_no_deeper_than_json_may() -> None:
    value: list[Any] = []
    for depth in range(200):
        value = [{"id": str(depth), "packetId": "p", "instances": value}]
    assert codes(load_role(json.dumps({"instances": value}).encode(), "role.json")) == ["too_deep"]


@pytest.mark.parametrize("data", [b"null", b"1", b'"x"', b"[]", b"true"])
@pytest.mark.parametrize("load", [load_packet, load_role, load_container, load_environment, load_module])
def test_every_file_has_to_be_an_object(load: Any, data: bytes) -> None:
    assert codes(load(data, "f.json")) == ["wrong_type"]


@pytest.mark.parametrize("load", [load_packet, load_role, load_container, load_environment, load_module])
def test_an_empty_object_is_a_file_without_anything(load: Any) -> None:
    assert not load(b"{}", "f.json").problems


def test_a_problem_is_shown_as_editors_understand_it() -> None:
    problem = Problem("packets/a/packet.json", 3, 7, "not_json", "not JSON")
    assert str(problem) == "packets/a/packet.json:3:7: not JSON"
