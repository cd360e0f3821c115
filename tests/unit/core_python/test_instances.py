"""Classes for instances: what they know of their packet, and what they ask of the server."""

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from factories.core_python import NAME, Server, module

PACKETS = """{"packets": [
  {"dbId": 1, "guid": "p-1", "name": "Web", "packetType": "WEB", "attributes": [
    {"dbId": 2, "name": "colour", "caption": "Colour", "tooltip": "two
lines", "typeClassName": "x", "uiFieldClassName": "y", "required": true, "isKey": true, "defaultValue": "", "odd": 1},
    {"dbId": 3, "name": "size"}]},
  {"guid": "p-2", "name": "Other", "attributes": []}
]}"""
ANSWER = {"dbId": "7", "containerDbId": "8", "environmentDbId": "9", "colour": "red", "size": "5"}


@pytest.fixture
def packets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "environment.auto").mkdir()
    (tmp_path / "environment.auto" / "packets.json").write_text(PACKETS)
    monkeypatch.setenv("ENVIRONMENT_DIR", str(tmp_path))


def web(**options: Any) -> Any:
    kind = type("Web", (module("json.json_instance").JsonInstance,), {"packet_guid": "p-1"})
    return kind(**options)


@pytest.mark.usefixtures("packets")
class TestInstances:
    def test_packets_are_found_by_id_and_type(self) -> None:
        known = module("json.packets").Packets.get_instance()
        packet = known.get_packet(guid="p-1")
        assert packet is known.get_packet(packet_type="WEB")
        assert (packet.name, packet.dbId, known.get_packet("p-2").packetType) == ("Web", 1, "")
        first, second = packet.get_attributes()
        assert (first.name, first.tooltip, first.isKey, second.maxLength) == ("colour", "two\nlines", True, 0)
        with pytest.raises(KeyError):
            known.get_packet(packet_type="NONE")
        with pytest.raises(ValueError, match="needs a guid"):
            known.get_packet()

    def test_values_come_from_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("colour", "blue")
        monkeypatch.delenv("size", raising=False)
        kind = type("Mine", (module("model.base_object").BaseObject,), {"_loaded": lambda self: setattr(self, "x", 1)})
        made = kind(packet_type="WEB").from_environment()
        assert (made.colour, made.size, made.x) == ("blue", "", 1)

    def test_an_instance_is_ensured_and_updated(self, server: Server) -> None:
        made = web(parent_instance_id="parent")
        made.load_instance_from_name_values({"colour": "red", "size": "5"})
        with pytest.raises(ValueError, match="loaded from the server"):
            made.update_instance()
        server.answers = [json.dumps({"dbId": "7"}), json.dumps(ANSWER), json.dumps({"dbId": "7"})]
        assert made.ensure_instance(compile_container=True) == {"dbId": "7"}
        made.get_from_db_by_velocity_name("web", container_id="c")
        assert (made.instance_id, made.db_id, made.container_db_id, made.environment_db_id) == ("7", "7", "8", "9")
        made.colour = "green"
        made.update_instance(compile_environment=True)
        ensure, get, update = [request.fields for request in server.requests]
        assert ensure == {
            "requestType": "ENSURE INSTANCE", "packetGuid": "p-1", "parentInstanceId": "parent",
            "compileInstance": False, "compileContainer": True, "compileEnvironment": False,
            "fields": {"colour": "red", "size": "5"},
        }  # fmt: skip
        assert get == {"requestType": "GET INSTANCE", "velocityName": "web", "containerId": "c"}
        assert update == {
            "requestType": "UPDATE INSTANCE", "dbId": "7", "compileInstance": False, "compileContainer": False,
            "compileEnvironment": True, "fields": {"colour": "green", "size": "5"},
        }  # fmt: skip
        with pytest.raises(ValueError, match="needs a container_id"):
            made.get_from_db_by_velocity_name("web")

    def test_many_are_imported_at_once(self, server: Server) -> None:
        one, two = web(), web()
        for number, made in enumerate((one, two)):
            made.load_instance_from_name_values({"colour": str(number), "size": None})
        server.answers = ['{"done": 2}']
        assert module("json.json_instances").JsonInstances([one, two], "parent", "p-1").import_instances(
            remove_existing_children=True
        ) == {"done": 2}
        assert server.requests[0].fields["instances"] == [
            {"fields": {"colour": "0", "size": None}},
            {"fields": {"colour": "1", "size": None}},
        ]
        assert server.requests[0].fields["removeExistingChildren"] is True

    def test_somebody_fills_in_the_form_of_a_new_instance(self, server: Server) -> None:
        made = web()
        forms = module("json.json_form")
        type(made).form = staticmethod(lambda _: forms.JsonForm(form_json={"form": {}}))
        results = [{"id": "colour", "value": "red"}, {"id": "size", "value": "1"}]
        click = json.dumps({"eventType": "BUTTON_CLICK", "eventDetails": "OK", "results": results})
        server.answers = ["SUCCESS", "SUCCESS", click, '{"dbId": "7"}', "SUCCESS"]
        made.show_instance_form_and_ensure("parent")
        assert (made.instance_id, made.colour, server.answers) == ("7", "red", [])
        assert server.requests[3].fields["compileInstance"] is True

    def test_what_is_withdrawn_says_what_to_do(self) -> None:
        for call in (lambda: web().execute_action("x.sh"), lambda: web().execute_pipeline()):
            with pytest.raises(Exception, match="Use REST-API"):
                call()
        with pytest.raises(NotImplementedError, match="JsonInstance does"):
            module("model.base_object").BaseObject().create_new(None)

    def test_what_it_says_of_itself(self, server: Server) -> None:
        server.answers = ["SUCCESS"] * 4
        made = web(audit_json={"who": "me"}, parent_instance_guid="a")
        made.set_parent_instance_guid("b")
        made.audit_action_start("l")
        made.audit_action_complete("l")
        made.audit_action("l", "odd")
        made.set_status("s")
        made.add_action_error("E1", "bad")
        made.add_action_log_entry("well")
        made.set_rest_response(3, {"x": 1})
        assert made.get_parent_instance_guid() == "b"
        assert [request.verb for request in server.requests[3:]] == [
            "UI/STATUS", "ADD_ACTION_ERROR", "ADD_ACTION_LOG", "SET_REST_RESPONSE",
        ]  # fmt: skip
        assert server.requests[0].fields["json"] == {"who": "me", "label": "l", "status": "start"}
        assert server.requests[-1].fields["actionResponse"] == {"code": 3, "message": {"x": 1}}


class TestPlaces:
    def test_an_environment_is_found_or_made(self, server: Server) -> None:
        made = module("model.environment").Environment("p", "prod")
        taken = '{"actionTaken": "none", "reason": "exists", "dbId": "5"}'
        server.answers = ["SUCCESS", taken, "SUCCESS"]
        made.ensure_instance()
        assert (made.is_new, made.reason, made.db_id) == (False, "exists", "5")
        server.answers = ["SUCCESS", '{"actionTaken": "cloned", "dbId": "6"}', "SUCCESS", "SUCCESS"]
        made.clone_instance("source")
        assert (made.is_new, made.db_id) == (True, "6")
        asked = [request.fields for request in server.requests if "ENVIRONMENT" in request.verb]
        assert asked == [
            {"requestType": "ENSURE ENVIRONMENT", "projectId": "p", "environmentName": "prod"},
            {
                "requestType": "CLONE ENVIRONMENT",
                "projectId": "p",
                "environmentName": "prod",
                "sourceEnvironmentId": "source",
            },
        ]

    def test_a_container_is_found_or_made(self, server: Server) -> None:
        made = module("model.container").Container("e")
        server.answers = ["SUCCESS", '{"actionTaken": "made", "dbId": "5", "containerName": "n"}', "SUCCESS", "SUCCESS"]
        made.clone_instance("source")
        assert (made.is_new, made.name, made.db_id) == (True, "n", "5")
        server.answers = ["SUCCESS", '{"actionTaken": "none", "dbId": "5", "reason": "there"}', "SUCCESS"]
        made.ensure_instance()
        asked = [request.fields for request in server.requests if "CONTAINER" in request.verb]
        assert asked == [
            {"requestType": "CLONE CONTAINER", "targetEnvironmentId": "e", "sourceContainerId": "source"},
            {"requestType": "ENSURE CONTAINER", "targetEnvironmentId": "e", "containerName": "n"},
        ]


class TestPacketFiles:
    def test_a_packet_of_a_module(self, root: Path) -> None:
        folder = root / "modules" / "host" / "org" / "repo" / "feature" / "x" / "packets" / "My packet"
        folder.mkdir(parents=True)
        attribute = {"id": "a", "name": "Colour", "defaultValue": "red", "formColumn": 2, "isPartOfKey": True}
        extends = [{"name": "Base", "id": "b", "moduleBranchPath": "host\\org\\repo\\main"}]
        packet = {"id": "p", "label": "%Colour%", "type": "T", "attributes": [attribute], "extends": extends}
        (folder / "packet.json").write_text(json.dumps(packet))
        found = module("services.packet_service").PacketService.get_instance().get_packet(packet_directory=str(folder))
        assert (found.id, found.type, found.module_branch_path) == ("p", "T", "host\\org\\repo\\feature/x")
        assert (found.get_default_value("COLOUR"), found.get_default_value("none")) == ("red", None)
        (read,) = found.get_attributes()
        assert (read.id, read.form_column, read.part_of_key, read.form_order) == ("a", 2, True, 1000)
        assert (found.packet_extends[0].name, found.packet_extends[0].module_branch_path) == (
            "Base",
            "host\\org\\repo\\main",
        )

    def test_the_packet_of_a_class_is_in_its_own_module(self, root: Path) -> None:
        repository = root / "modules" / "host" / "org" / "repo" / "main"
        (repository / "packets" / "Web").mkdir(parents=True)
        (repository / "packets" / "Web" / "packet.json").write_text('{"id": "p", "attributes": [{"name": "colour"}]}')
        (repository / "generated" / "python" / "web").mkdir(parents=True)
        code = repository / "generated" / "python" / "web" / "generated_web.py"
        module("model.base_object")
        code.write_text(
            f"from {NAME}.model.base_object import BaseObject\nclass Web(BaseObject):\n    packet_name = 'Web'\n"
        )
        spec = importlib.util.spec_from_file_location("generated_web", code)
        assert spec is not None
        assert spec.loader is not None
        made = importlib.util.module_from_spec(spec)
        sys.modules["generated_web"] = made
        try:
            spec.loader.exec_module(made)
            assert [item.name for item in made.Web().get_attributes()] == ["colour"]
            made.Web.packet_name = "None"
            with pytest.raises(FileNotFoundError, match="no 'packets/None/packet"):
                made.Web().get_packet()
        finally:
            del sys.modules["generated_web"]
