"""Limits and network in packet files."""

import json
from typing import Any

import pytest

from infraxys.spec.dump import dump
from infraxys.spec.load import load_packet


def packet(**parts: Any) -> bytes:
    file = {"id": "f", "filename": "a.sh", "executable": True, **parts}
    return json.dumps({"version": "1.0", "id": "p", "files": [file]}, indent=2).encode()


@pytest.mark.parametrize("cpus", [1, 1.5])
def test_what_is_written_is_kept_byte_for_byte(cpus: float) -> None:
    limits = {"memoryBytes": 536870912, "processes": 64, "cpus": cpus, "openFiles": 256, "ownKey": {"a": 1}}
    data = packet(limits=limits, network="loopback-refused")
    loaded = load_packet(data, "packet.json")
    assert loaded.model is not None
    assert dump(loaded.model) == data


@pytest.mark.parametrize(
    ("parts", "code", "line", "said"),
    [
        ({"network": "none"}, "unknown_value", 9, "loopback-refused"),
        ({"network": True}, "unknown_value", 9, "network"),
        ({"limits": {"memoryBytes": 1}}, "out_of_range", 10, "at least 16777216"),
        ({"limits": {"memoryBytes": "1G"}}, "wrong_type", 10, "a whole number"),
        ({"limits": {"cpus": 0}}, "out_of_range", 10, "cpus"),
        ({"limits": {"processes": 1.5}}, "wrong_type", 10, "processes"),
        ({"limits": []}, "wrong_type", 9, "an object"),
    ],
)
def test_a_wrong_value_is_a_problem_at_its_place(parts: dict[str, Any], code: str, line: int, said: str) -> None:
    [problem] = load_packet(packet(**parts), "packet.json").problems
    assert (problem.code, problem.line, problem.severity) == (code, line, "error")
    assert problem.column > 1
    assert said in problem.message


@pytest.mark.parametrize("key", ["memory", "memorybytes", "ram"])
def test_a_limit_that_there_is_not_is_named_once(key: str) -> None:
    loaded = load_packet(packet(limits={key: 5}), "packet.json")
    assert loaded.model is not None
    [problem] = loaded.problems
    assert (problem.code, problem.line, problem.severity) == ("unknown_field", 10, "warning")
    assert "memoryBytes" in problem.message
