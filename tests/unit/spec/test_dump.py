"""What was read is written again as it was, in the way of the original."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from infraxys.spec.dump import dump
from infraxys.spec.load import load_container, load_environment, load_module, load_packet, load_role
from infraxys.spec.models import Container, Environment, Instance, Model, ModuleFile, Packet, Role

PACKET = r"""{
  "version": "1.0",
  "id": "4c2cf0c5-7724-4634-bf3c-9e6eaec231f3",
  "label": "%name% (%region%)",
  "type": "SAMPLE",
  "class": "",
  "packageName": "",
  "autoExpand": true,
  "skipEveryInstanceFiles": false,
  "limitToAllowedChildren": false,
  "autoGenerate": false,
  "key": "",
  "infoHtml": "\u003cb\u003eIt\u0027s \u0026 more\u003c/b\u003e \u003d",
  "extends": [
    {
      "name": "Base",
      "moduleBranchPath": "github.com\\org\\repo\\master",
      "id": "base-id"
    }
  ],
  "attributes": [
    {
      "id": "7b4f535c-e399-4b09-b7da-6681a9063242",
      "name": "name",
      "caption": "Name",
      "type": "byte[]",
      "formColumn": 1,
      "formOrder": 1100,
      "height": 150,
      "visibility": "ALWAYS VISIBLE",
      "writability": "ALWAYS",
      "required": true,
      "isPartOfKey": false,
      "listOfValues": "",
      "cacheMinutes": 0,
      "source": "DOCKER RUN",
      "referenceFilter": "",
      "referenceValueAttributeName": "",
      "referenceChildIdFilter": "",
      "newItemsAllowed": false,
      "parseWithVelocity": true,
      "cloneAttribute": true,
      "autoExport": true,
      "inputPrompt": "",
      "tooltip": "",
      "scope": "Container",
      "defaultValue": "line\n\ttab \"quoted\" \\ \u2028 ü"
    }
  ],
  "files": [
    {
      "id": "file-id",
      "filename": "run.sh",
      "includeName": "",
      "menuCaption": "Run",
      "directory": "",
      "runsIndependent": false,
      "runsParallel": false,
      "runBeforeIndependentActions": false,
      "parseWithVelocity": false,
      "executable": true,
      "saveWith": "CURRENT INSTANCE",
      "isInteractive": false,
      "hideRunnerWindow": false,
      "timeoutSeconds": 3600,
      "key": "",
      "menuOrder": 100,
      "menuSeparatorBefore": false,
      "hideFromInstanceActionsMenu": false,
      "hideFromBottomMenu": false,
      "menuPath": "Apply",
      "dockerImage": "",
      "customCommand": "",
      "installPipeline": 0
    }
  ],
  "allowedChildren": []
}""".encode()

ENVIRONMENT = rb"""{
  "version": "1.0",
  "id": "e",
  "workflows": [
    {
      "name": "Full run",
      "id": "w",
      "runnableFromWebhook": false,
      "steps": [
        {
          "name": "Apply",
          "moduleBranchPath": "github.com\\org\\repo\\master",
          "environmentId": "e",
          "containerId": "c",
          "instanceId": "i",
          "packetFileId": "f"
        }
      ]
    }
  ]
}"""

CONTAINER = rb"""{
  "version": "1.0",
  "id": "c",
  "roles": [
    {
      "name": "Shared",
      "id": "r",
      "path": "github.com\\org\\repo\\master"
    }
  ],
  "instances": [
    {
      "id": "guid-46433",
      "packetId": "p",
      "packetName": "Packet",
      "packetPath": "github.com\\org\\repo\\master",
      "velocityName": "main",
      "instanceGroups": "",
      "attributes": [
        {
          "id": "a",
          "name": "tags",
          "value": "$container.getAttribute(\u0027x\u0027)"
        }
      ],
      "instances": [
        {
          "id": "child",
          "packetId": "p",
          "packetName": "Packet",
          "packetPath": "github.com\\org\\repo\\master",
          "velocityName": "",
          "instanceGroups": "",
          "attributes": []
        }
      ]
    }
  ]
}"""

ROLE = b'{\n  "version": "1.0",\n  "id": "r",\n  "instances": []\n}'
MODULE = b"""{
  "dependencies": [
    {
      "git_url": "https://github.com/org/repo.git",
      "branch": "master"
    },
    {
      "git_url": "git@github.com:org/other.git"
    }
  ],
  "velocity": {
    "strict": false
  },
  "group": "tools"
}"""

FILES = {
    "packet": (load_packet, PACKET),
    "environment": (load_environment, ENVIRONMENT),
    "container": (load_container, CONTAINER),
    "role": (load_role, ROLE),
    "module": (load_module, MODULE),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_file_of_the_new_format_keeps_its_bytes(kind: str) -> None:
    load, data = FILES[kind]
    loaded = load(data, f"{kind}.json")  # type: ignore[operator] - one loader for each kind
    assert not loaded.problems
    assert dump(loaded.model) == data


def test_nothing_that_html_obeys_is_written_plainly() -> None:
    written = dump(Packet(label="<script>='&\u2028\u2029</script>"))
    assert not set(b"<>='&") & set(written)
    assert "\u2028" not in written.decode()
    assert json.loads(written)["label"] == "<script>='&\u2028\u2029</script>"


def test_a_change_of_one_value_changes_one_line() -> None:
    packet = load_packet(PACKET, "packet.json").model
    assert packet is not None
    before, after = (dump(one).splitlines() for one in (packet, packet.model_copy(update={"type": "OTHER"})))
    assert [new for old, new in zip(before, after, strict=True) if old != new] == [b'  "type": "OTHER",']


def test_unknown_keys_are_kept_at_every_level() -> None:
    value = {"id": "c", "x": {"y": [1, None, 1.5]}, "instances": [{"id": "i", "packetId": "p", "z": True}]}
    model = load_container(json.dumps(value).encode(), "container.json").model
    assert model is not None
    assert json.loads(dump(model)) == value


def test_whole_seconds_are_written_without_a_fraction() -> None:
    text = b'{"files": [{"filename": "a", "timeoutSeconds": 7200}, {"filename": "b", "timeoutSeconds": 1.5}]}'
    model = load_packet(text, "packet.json").model
    assert model is not None
    assert [file.timeout_seconds for file in model.files] == [7200.0, 1.5]
    assert [file["timeoutSeconds"] for file in json.loads(dump(model))["files"]] == [7200, 1.5]
    assert b"7200," in dump(model) or b"7200\n" in dump(model)


def test_models_do_not_change() -> None:
    with pytest.raises(ValidationError):
        Packet().label = "x"  # type: ignore[misc] - that is the question


words = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S"], include_characters=" "), max_size=20)
names = st.from_regex(r"[a-z][a-z0-9_]{0,10}\Z", fullmatch=True)
extras = st.dictionaries(names.map(lambda name: f"x_{name}"), st.none() | st.integers() | words, max_size=2)


def written(**fields: Any) -> st.SearchStrategy[dict[str, Any]]:
    """Objects with some of these fields, in the order of the format, and unknown keys behind them."""
    known = st.fixed_dictionaries({}, optional=fields).map(lambda drawn: {k: drawn[k] for k in fields if k in drawn})
    return st.tuples(known, extras).map(lambda both: {**both[0], **both[1]})


def with_required(strategy: st.SearchStrategy[dict[str, Any]], **required: Any) -> st.SearchStrategy[dict[str, Any]]:
    return st.tuples(st.fixed_dictionaries(required), strategy).map(lambda both: {**both[0], **both[1]})


attribute_values = st.lists(
    written(id=words, name=words, value=st.text(st.characters(codec="utf-8", exclude_characters="\0"))), max_size=3
)
instances = st.recursive(
    st.just([]),
    lambda children: st.lists(
        with_required(
            written(
                packetId=words, packetName=words, velocityName=words, attributes=attribute_values, instances=children
            ),
            id=words.filter(bool),
        ),
        max_size=3,
    ),
    max_leaves=6,
)
containers = written(
    version=st.just("1.0"),
    id=words,
    roles=st.lists(written(name=words, id=words, path=words), max_size=2),
    instances=instances,
)
packets = written(
    version=st.just("1.0"),
    id=words,
    label=words,
    autoExpand=st.booleans(),
    attributes=st.lists(
        with_required(
            written(
                type=st.sampled_from(["java.lang.String", "byte[]"]),
                formOrder=st.integers(-(2**31), 2**31 - 1),
                tooltip=words,
            ),
            name=names,
        ),
        max_size=3,
    ),
    files=st.lists(
        with_required(
            written(executable=st.booleans(), timeoutSeconds=st.integers(1, 10**6) | st.floats(0.5, 10**6)),
            filename=names,
        ),
        max_size=3,
    ),
)  # fmt: skip


def as_original(value: Any) -> bytes:
    text = json.dumps(value, indent=2, ensure_ascii=False)
    for mark in "<>=&'\u2028\u2029":
        text = text.replace(mark, f"\\u{ord(mark):04x}")
    return text.encode()


@given(containers)
def test_any_container_keeps_its_bytes(value: dict[str, Any]) -> None:
    assert dump(Container.model_validate(value)) == as_original(value)


@given(packets)
def test_any_packet_means_the_same_when_read_again(value: dict[str, Any]) -> None:
    packet = Packet.model_validate(value)
    assert Packet.model_validate(json.loads(dump(packet))) == packet
    assert json.loads(dump(packet)) == value


@given(st.sampled_from([Packet, Role, Container, Environment, ModuleFile, Instance]), st.data())
def test_whatever_is_read_can_be_written_and_read_again(model_type: type[Model], data: st.DataObject) -> None:
    keys = st.sampled_from(
        ["id", "guid", "name", "packetGuid", "roleGuid", "attributes", "files", "steps", "instances", "roles",
         "workflows", "dependencies", "location", "velocity", "class", "class_name", "model_config", "__class__", "zz"]
    )  # fmt: skip
    leaves = (
        st.none()
        | st.booleans()
        | st.integers(0, 3)
        | st.sampled_from(["", "a", "h\\o\\r\\b\\p", "h\\o\\r\\b\\role\\p"])
    )
    tree = st.recursive(leaves, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(keys, inner, max_size=4))
    try:
        model = model_type.model_validate(data.draw(st.dictionaries(keys, tree, max_size=5)))
    except ValidationError:
        return
    again = model_type.model_validate(json.loads(dump(model)))
    assert dump(again) == dump(model)
