"""Files of old versions are read into the same models; what they are missing is told apart from what is wrong."""

import json
from typing import Any

import pytest

from infraxys.spec.dump import dump
from infraxys.spec.load import load_container, load_environment, load_packet, load_role
from infraxys.spec.models import Container, Environment, Packet, Role, RoleReference

PATH = r"github.com\org\network\master"

ROLE = {
    "version": "1.0",
    "description": "A network",
    "guid": rf"{PATH}\role\network",
    "remarks": "",
    "requiredPackets": [{"packetKey": "CORE-VARIABLES"}],
    "instances": [
        {
            "guid": "guid-1",
            "parentGuid": "",
            "packetGuid": rf"{PATH}\public address",
            "velocityName": "address",
            "instanceGroups": "",
            "address_count": "$zone_count",
            "instance_label": "Static addresses",
            "instances": [{"guid": "guid-2", "packetGuid": rf"{PATH}\remote state", "state_key": "x", "encrypt": True}],
        }
    ],
}
PACKET = {
    "version": "1.0",
    "label": "x",
    "inheritFilesFromPacketGuid": "github.com\\org\\terraform\\master\\terraform helper\n",
    "attributes": [{"name": "a", "referenceChildGuidFilter": "f", "cloneAttribute": True, "autoExport": True}],
    "files": [{"guid": "f-1", "filename": "a.sh", "menuLabel": "Do it", "installPipeline": 0}],
}
ENVIRONMENT = {
    "version": "1.0",
    "name": "network",
    "guid": rf"{PATH}\network",
    "workflows": [
        {
            "name": "Create",
            "guid": "w",
            "confirmationMessage": "",
            "steps": [
                {"name": "two", "location": 2, "instanceGuid": "i2", "containerGuid": "c", "filename": "b.sh"},
                {"name": "one", "location": 1, "instanceGuid": "i1", "containerGuid": "c", "filename": "a.sh"},
            ],
        }
    ],
}


def as_bytes(value: Any) -> bytes:
    return json.dumps(value, indent=2).encode()


def read_role() -> Role:
    loaded = load_role(as_bytes(ROLE), "role.json")
    assert not loaded.problems
    assert loaded.model is not None
    return loaded.model


def test_old_instances_have_their_packet_by_path_and_name() -> None:
    (instance,) = read_role().instances
    assert (instance.id, instance.packet_id) == ("guid-1", "")
    assert (instance.packet_path, instance.packet_name) == (PATH, "public address")
    assert instance.velocity_name == "address"
    assert instance.instances[0].packet_name == "remote state"


def test_every_other_key_of_an_old_instance_is_an_attribute() -> None:
    (instance,) = read_role().instances
    found = [(one.id, one.name, one.value) for one in instance.attributes]
    assert found == [("", "address_count", "$zone_count"), ("", "instance_label", "Static addresses")]
    assert [(one.name, one.value) for one in instance.instances[0].attributes] == [("state_key", "x"), ("encrypt", "1")]


def test_what_only_old_roles_say_is_kept() -> None:
    role = read_role()
    assert (role.id, role.description) == (rf"{PATH}\role\network", "A network")
    assert role.model_extra == {"remarks": "", "requiredPackets": [{"packetKey": "CORE-VARIABLES"}]}


def test_old_packets_have_no_id_and_inherit_files_by_path() -> None:
    loaded = load_packet(as_bytes(PACKET), "packet.json")
    assert not loaded.problems
    packet = loaded.model
    assert packet is not None
    assert packet.id == ""
    assert packet.inherit_files_from == (r"github.com\org\terraform\master\terraform helper",)
    assert (packet.files[0].id, packet.files[0].menu_caption) == ("f-1", "Do it")
    assert packet.attributes[0].reference_child_id_filter == "f"
    assert (packet.attributes[0].clone_attribute, packet.attributes[0].auto_export) == (True, True)


def test_old_steps_run_in_the_order_of_their_location() -> None:
    loaded = load_environment(as_bytes(ENVIRONMENT), "environment.json")
    assert not loaded.problems
    assert loaded.model is not None
    (workflow,) = loaded.model.workflows
    assert workflow.id == "w"
    found = [(step.name, step.container_id, step.instance_id, step.filename) for step in workflow.steps]
    assert found == [("one", "c", "i1", "a.sh"), ("two", "c", "i2", "b.sh")]


def test_new_steps_stay_in_the_order_of_the_file() -> None:
    steps = [{"name": name, "containerId": "c", "instanceId": "i", "packetFileId": "f"} for name in "cab"]
    environment = Environment.model_validate({"workflows": [{"name": "w", "id": "w", "steps": steps}]})
    assert [step.name for step in environment.workflows[0].steps] == ["c", "a", "b"]


@pytest.mark.parametrize(
    ("written", "found"),
    [
        (rf"{PATH}\role\network", ("network", PATH, rf"{PATH}\role\network")),
        (rf"{PATH}\network", ("network", PATH, rf"{PATH}\network")),
        ("877de7e2-6f2e", ("", "", "877de7e2-6f2e")),
    ],
)
def test_old_references_to_roles_are_paths_or_ids(written: str, found: tuple[str, str, str]) -> None:
    reference = RoleReference.model_validate({"roleGuid": written})
    assert (reference.name, reference.path, reference.id) == found


def test_a_packet_guid_that_is_no_path_is_an_id() -> None:
    container = Container.model_validate({"instances": [{"guid": "i", "packetGuid": "877de7e2-6f2e"}]})
    assert container.instances[0].packet_id == "877de7e2-6f2e"


def test_null_is_an_empty_text() -> None:
    packet = Packet.model_validate({"id": None, "label": None, "files": [{"filename": "a", "dockerImage": None}]})
    assert (packet.id, packet.label, packet.files[0].docker_image) == ("", "", "")


def test_problems_of_old_files_stand_where_the_old_names_stand() -> None:
    text = '{\n  "instances": [\n    {\n      "guid":\n        [],\n      "packetGuid": "h\\\\o\\\\r\\\\b\\\\p"}]}'
    (problem,) = load_container(text.encode(), "container.json").problems
    assert (problem.line, problem.column, problem.code) == (5, 9, "wrong_type")
    assert problem.message == "'instances[0].guid' has to be a text, this is a list"


def test_steps_of_old_files_are_found_in_spite_of_their_order() -> None:
    steps = [dict(step) for step in ENVIRONMENT["workflows"][0]["steps"]]  # type: ignore[index] - a literal
    steps[0]["instanceGuid"] = 7
    text = as_bytes({"workflows": [{"name": "w", "guid": "w", "steps": steps}]})
    (problem,) = load_environment(text, "environment.json").problems
    assert problem.message == "'workflows[0].steps[0].instanceGuid' has to be a text, this is a number"
    assert text.decode().splitlines()[problem.line - 1].strip() == '"instanceGuid": 7,'  # type: ignore[operator] - set


def test_old_files_are_written_in_the_new_format() -> None:
    value = json.loads(dump(read_role()))
    (instance,) = value["instances"]
    assert list(value)[:3] == ["version", "description", "id"]
    assert instance["packetPath"] == PATH
    assert instance["attributes"][0] == {"id": "", "name": "address_count", "value": "$zone_count"}
    assert not {"guid", "packetGuid", "address_count"} & set(instance)
    again = load_role(json.dumps(value).encode(), "role.json").model
    assert again is not None
    assert dump(again) == dump(read_role())
