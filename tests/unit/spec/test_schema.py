"""The schemas say the same as the models."""

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from infraxys.spec.schema import FORMATS, schemas

SAMPLES: list[tuple[str, dict[str, Any]]] = [
    ("packet.json", {}),
    ("packet.json", {"class": "", "attributes": [{"name": "a", "height": 4}], "files": [{"filename": "a"}], "mine": 1}),
    ("packet.json", {"attributes": [{}]}),
    ("packet.json", {"attributes": [{"name": "a", "type": "text"}]}),
    ("packet.json", {"files": [{"filename": "a", "timeoutSeconds": 0}]}),
    ("packet.json", {"label": 1}),
    ("role.json", {"instances": [{"id": "a", "instances": [{"id": "b"}]}]}),
    ("role.json", {"instances": [{"id": "a", "instances": [{"id": 7}]}]}),
    (
        "container.json",
        {"roles": [{"id": "r"}], "instances": [{"id": "a", "attributes": [{"name": "x", "value": ""}]}]},
    ),
    ("container.json", {"roles": {}}),
    ("environment.json", {"workflows": [{"id": "w", "name": "n", "steps": [{"containerId": "c", "instanceId": "i"}]}]}),
    ("environment.json", {"workflows": [{"id": "w", "name": "n", "steps": [{"containerId": "c"}]}]}),
    ("module.json", {"dependencies": [{"git_url": "https://h/o/r"}], "velocity": {"strict": False}}),
    ("module.json", {"dependencies": [{"branch": "master"}]}),
]


@pytest.mark.parametrize("name", FORMATS)
def test_each_format_has_a_valid_schema_that_json_can_hold(name: str) -> None:
    schema = json.loads(json.dumps(schemas()[name]))
    Draft202012Validator.check_schema(schema)
    assert schema["title"] == name


@pytest.mark.parametrize(("name", "value"), SAMPLES)
def test_schema_and_model_accept_the_same(name: str, value: dict[str, Any]) -> None:
    try:
        FORMATS[name].model_validate(value)
        accepted = True
    except ValidationError:
        accepted = False
    assert Draft202012Validator(schemas()[name]).is_valid(value) == accepted


def test_the_samples_are_of_both_kinds() -> None:
    verdicts = [Draft202012Validator(schemas()[name]).is_valid(value) for name, value in SAMPLES]
    assert {True, False} == set(verdicts)
