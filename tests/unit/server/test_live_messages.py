"""The messages of the live connection are those that are documented."""

import re
from pathlib import Path
from typing import get_args

import pytest
from pydantic import ValidationError

from infraxys.server.live import messages
from infraxys.server.live.messages import REQUEST

DOCUMENT = (Path(__file__).resolve().parents[3] / "docs" / "reference" / "live.md").read_text()
ASKED = {model.model_fields["type"].annotation: model for model in get_args(get_args(messages.Request)[0])}


def table(after: str) -> dict[str, str]:
    """Give the rows of the table below a heading by their first words."""
    part = DOCUMENT.split(after)[1].split("\n\n")[1]
    rows = [row.split("|") for row in part.splitlines()[2:]]
    return {name: row[2] for row in rows for name in re.findall(r"`(\w+)`", row[1])}


def test_every_request_is_documented_with_its_fields() -> None:
    documented = table("### What a client sends")
    models = {get_args(kind)[0]: model for kind, model in ASKED.items()}
    assert set(documented) == set(models)
    for kind, model in models.items():
        fields = {field.alias for name, field in model.model_fields.items() if name not in {"type", "id"}}
        assert set(re.findall(r"`(\w+)`", documented[kind])) == fields, kind


def test_every_message_of_the_server_is_documented() -> None:
    documented = set(table("### What the server sends"))
    source = Path(messages.__file__).read_text()
    assert set(re.findall(r'return \{"type": "(\w+)"|        "type": "(\w+)"', source)) == {
        (name, "") if name != "end" else ("", name) for name in documented
    }


@pytest.mark.parametrize("text", ['{"type": "follow", "run_id": "x"}', '{"type": "Follow", "runId": "x"}', "{}"])
def test_names_are_those_of_the_api_and_no_others(text: str) -> None:
    with pytest.raises(ValidationError):
        REQUEST.validate_json(text)


def test_bytes_that_are_no_text_are_counted_as_what_they_are() -> None:
    assert messages.log("r", 10, b"a\xff\xfeb") == {
        "type": "log", "runId": "r", "offset": 10, "next": 14, "text": "a\ufffd\ufffdb",
    }  # fmt: skip
