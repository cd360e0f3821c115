"""Forms: what they ask, and what becomes of their events."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from factories.core_python import Server, module


def window() -> Any:
    return module("json.json_window").JsonWindow.get_instance()


def form(**options: Any) -> Any:
    return module("json.json_form").JsonForm(form_json={"form": {"id": "f"}}, **options)


def event(kind: str, **members: Any) -> str:
    return json.dumps({"eventType": kind, "eventDetails": "", "eventDetailsJson": [], "results": [], **members})


OK = event("BUTTON_CLICK", eventDetails="OK", results=[{"id": "size", "value": "5"}, {"id": "on", "value": "true"}])
CANCEL = event("BUTTON_CLICK", eventDetails="CANCEL")
DONE = "SUCCESS"


def verbs(server: Server) -> list[str]:
    return [request.verb.removeprefix("UI/") for request in server.requests]


class TestWindow:
    def test_with_auto_close_a_form_is_shown_until_ok(self, server: Server) -> None:
        got: list[Any] = []
        shown = form(ok_callback=lambda answer: got.append(answer.get_form_fields()))
        server.answers = [DONE, DONE, event("FORM_LOADED"), OK, DONE]
        window().show()
        assert module("json.json_window").JsonWindow.is_open()
        window().set_form(shown, auto_close=True)
        assert got == [{"size": "5", "on": "true"}]
        assert verbs(server) == ["WINDOW", "STATUS", "FORM", "ACTION"]
        assert (window().canceled, window().window_is_open, server.answers) == (False, False, [])

    def test_a_form_opens_the_window_that_nobody_opened_and_closes_it(self, server: Server) -> None:
        server.answers = [DONE, DONE, OK, DONE]
        window().set_form(form(ok_callback=lambda _: True))
        assert verbs(server) == ["WINDOW", "STATUS", "FORM", "ACTION"]

    def test_buttons_do_not_end_a_form_until_it_is_cancelled(self, server: Server) -> None:
        clicks: list[str] = []
        shown = form(ok_callback=lambda answer: clicks.append(answer.event_details))
        shown.add_button_click_listener("MORE", lambda answer: clicks.append(answer.event_details))
        server.answers = [DONE, DONE, event("BUTTON_CLICK", eventDetails="MORE"), OK, OK, CANCEL, DONE]
        window().set_form(shown)
        assert (clicks, window().canceled) == (["MORE", "OK", "OK"], True)
        assert verbs(server)[-1] == "ACTION"
        assert server.answers == []

    @pytest.mark.parametrize("kind", ["FORM_LOADED", "VALUE CHANGE", "BUTTON_CLICK"])
    def test_a_form_ends_when_a_listener_closes_the_window(self, server: Server, kind: str) -> None:
        def close(_: Any) -> None:
            window().close()

        shown = form(ok_callback=close)
        shown.add_value_change_listener("a", close)
        server.answers = [DONE, DONE, event(kind, eventDetails="OK", objectId="a"), DONE]
        window().set_form(shown, form_loaded_listener=close)
        assert server.answers == []

    def test_the_window_stays_for_the_next_form(self, server: Server) -> None:
        server.answers = [DONE, DONE, OK, DONE, OK]
        window().show()
        window().set_form(form(ok_callback=lambda _: True))
        window().set_form(form(ok_callback=lambda _: True))
        assert verbs(server) == ["WINDOW", "STATUS", "FORM", "STATUS", "FORM"]

    def test_a_listener_can_keep_the_form_and_ask_meanwhile(self, server: Server) -> None:
        tries: list[bool] = []
        shown = form()

        def check(_: Any) -> bool:
            tries.append(module("communicator").Communicator.show_yes_no("ok?"))
            return tries[-1]

        shown.add_button_click_listener("OK", check)
        shown.add_button_click_listener("OK", lambda _: tries.append(True))
        server.answers = [DONE, DONE, OK, "2", OK, "1", DONE]
        window().set_form(shown, auto_close=True)
        assert tries == [False, True, True]

    @pytest.mark.parametrize("auto_close", [False, True])
    def test_a_listener_can_show_another_form_in_its_place(self, server: Server, *, auto_close: bool) -> None:
        seen: list[str] = []
        second = form(ok_callback=lambda _: seen.append("second") or True)

        def further(_: Any) -> None:
            seen.append("first")
            window().set_form(second, auto_close=auto_close)

        server.answers = [DONE, DONE, OK, DONE, OK, DONE]
        window().set_form(form(ok_callback=further), auto_close=auto_close)
        assert seen == ["first", "second"]
        assert verbs(server) == ["WINDOW", "STATUS", "FORM", "STATUS", "FORM", "ACTION"]
        assert server.answers == []

    def test_what_a_listener_raises_is_shown_and_ends_the_action(self, server: Server) -> None:
        def broken(_: Any) -> None:
            raise KeyError("size")

        server.answers = [DONE, DONE, OK, "1"]
        with pytest.raises(KeyError):
            window().set_form(form(ok_callback=broken))
        assert server.requests[-1].verb == "UI/SHOW DIALOG"
        assert server.requests[-1].fields["message"] == "'size'"

    def test_loaded_and_changed_are_told(self, server: Server) -> None:
        seen: list[Any] = []
        shown = form(ok_callback=lambda _: True)
        shown.add_value_change_listener("size", lambda answer: seen.append(answer.object_id))
        change = event("VALUE CHANGE", objectId="size")
        other = event("VALUE CHANGE", objectId="other")
        server.answers = [DONE, DONE, event("FORM_LOADED"), change, other, "", "odd", event("ODD"), OK, DONE]
        window().set_form(shown, form_loaded_listener=lambda answer: seen.append(answer.event_type))
        assert seen == ["FORM_LOADED", "size"]

    def test_a_button_without_listener_ends_the_action(self, server: Server) -> None:
        server.answers = [DONE, DONE, event("BUTTON_CLICK", eventDetails="MORE"), DONE]
        with pytest.raises(SystemExit):
            window().set_form(form())
        assert "no listener for the button 'MORE'" in server.output
        assert verbs(server)[-1] == "ACTION"

    def test_styles_come_from_a_file(self, server: Server, tmp_path: Path) -> None:
        (tmp_path / "a.css").write_text(".é {}")
        server.answers = [DONE]
        window().show(str(tmp_path / "a.css"))
        assert base64.b64decode(server.requests[0].fields["css"]).decode() == ".é {}"

    def test_the_window_of_an_instance_has_the_styles_that_are_set(
        self, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "a.css").write_text("x")
        monkeypatch.setenv("MODULES_ROOT", str(tmp_path))
        monkeypatch.setenv("JSON_WINDOW_CSS_FILE", "a.css")
        server.answers = [DONE]
        resource = module("json.json_resource").JsonResource()
        assert resource._get_json_window() is resource._get_json_window() is window()
        assert server.requests[0].fields["css"] == "eA=="
        assert len(server.requests) == 1


class TestForm:
    def test_data_parts_of_every_kind(self, tmp_path: Path) -> None:
        (tmp_path / "f.json").write_text('{"form": {"id": "x"}, "dataParts": [{"id": "old"}]}')
        (tmp_path / "d.json").write_text('{"rows": [1]}')
        made = module("json.json_form").JsonForm(form_file=str(tmp_path / "f.json"))
        made.add_data_part("a", data_part_json={"items": [1]})
        made.add_data_part("b", list_items_attribute="rows", data_part_file=str(tmp_path / "d.json"))
        made.add_data_part("c", cached_filename="/cache/project/c.json")
        request = made.generate_json()
        assert request == made.generate_json()
        assert (request["requestType"], request["subType"]) == ("UI", "FORM")
        assert request["json"]["dataParts"] == [
            {"id": "old"},
            {"id": "a", "listItemsAttribute": "items", "data": {"items": [1]}},
            {"id": "b", "listItemsAttribute": "rows", "data": {"rows": [1]}},
            {"id": "c", "listItemsAttribute": "items", "cachedFilename": "/cache/project/c.json"},
        ]

    def test_fields_are_changed_while_it_is_shown(self, server: Server) -> None:
        server.answers = [DONE] * 6 + ["/tmp/infraxys/system/selected-1.json"]
        made = form()
        made.set_object_value("a", "")
        made.set_object_value("b", base64Value="eA==")
        made.set_object_enabled("c", value=False)
        made.set_data_part("d", {})
        made.set_status("x")
        made.clear_status()
        assert made.store_selected_items("t") == "/tmp/infraxys/system/selected-1.json"
        said = [{**request.fields, "verb": request.verb} for request in server.requests]
        assert [(item.get("objectId"), item.get("value"), item.get("valueBase64")) for item in said[:3]] == [
            ("a", "", None), ("b", None, "eA=="), ("c", False, None),
        ]  # fmt: skip
        assert [item["verb"] for item in said[3:]] == [
            "UI/UPDATE DATA PART", "UI/STATUS", "UI/STATUS", "UI/STORE SELECTED ITEMS",
        ]  # fmt: skip
        with pytest.raises(ValueError, match="needs a value"):
            made.set_object_value("a")

    def test_tables_tell_their_headers(self) -> None:
        headers = [{"property": "name"}, {"property": "size", "columnType": "x"}]
        table = {"class": "JsonTable", "id": "rows", "headers": headers}
        columns = [{"components": [{"class": "Label"}, {"class": "Other", "id": "rows"}, table]}]
        made = module("json.json_form").JsonForm(form_json={"form": {"canvas": {"columns": columns}}})
        assert made.get_table_headers("rows") == headers
        assert made.get_table_headers("rows", property_names_only=True) == ["name", "size"]
        assert made.get_form_component("Other", "rows", columns) == {"class": "Other", "id": "rows"}
        assert made.get_form_component("Label", "rows") is None
        with pytest.raises(Exception, match="Table with id none not found"):
            made.get_table_headers("none")

    def test_components_are_found_wherever_they_are(self) -> None:
        inner = {"components": [{"id": "b", "class": "T"}]}
        definition: dict[str, Any] = {"canvas": {"columns": [{"components": [{"id": "a", "class": "T"}, inner]}]}}
        made = form()
        made.write_attribute_value(definition, "id", "b", "height", 5)
        made.tag_all_fields(definition, {"x": 1})
        made.rename_id_fields(definition, "_2")
        assert definition["canvas"]["columns"][0]["components"] == [
            {"id": "a_2", "class": "T", "tags": {"x": 1}},
            {"components": [{"id": "b_2", "class": "T", "tags": {"x": 1}, "height": 5}]},
        ]

    def test_what_fields_hold_is_copied_under_their_first_ids(self) -> None:
        answer = (
            module("json.server_answer")
            .ServerAnswerSchema()
            .load({"eventType": "BUTTON_CLICK", "results": [{"id": "a_2", "value": "x"}, {"id": "b_2", "value": None}]})
        )
        into: dict[str, Any] = {}
        form().copy_fields_from_server_response(answer, into, "_2")
        assert into == {"a": "x", "b": None}


def test_an_answer_gives_what_its_fields_hold() -> None:
    rows = [{"name": "one"}, {"name": "two"}]
    answer = (
        module("json.server_answer")
        .ServerAnswerSchema()
        .load(
            {
                "eventType": "BUTTON_CLICK",
                "eventDetails": "OK",
                "eventDetailsJson": [{}],
                "objectId": "o",
                "tags": {"t": 1},
                "results": [
                    {"id": "rows", "selectedItemList": rows, "tags": 1},
                    {"id": "on", "value": "true", "selectedItemList": []},
                    {"id": "off", "value": "false"},
                ],
            }
        )
    )
    assert (answer.event_type, answer.event_details, answer.object_id, answer.tags) == (
        "BUTTON_CLICK",
        "OK",
        "o",
        {"t": 1},
    )
    assert (answer.get_selected_items("rows"), answer.get_selected_item("rows")) == (rows, rows[0])
    assert (answer.get("rows"), answer.get_boolean("on"), answer.get_boolean("off")) == (rows, True, False)
    assert answer.get_result("rows").tags == 1
    assert answer.get_result("none") is None
    for missing in (answer.get, answer.get_selected_items):
        with pytest.raises(KeyError):
            missing("none")
    with pytest.raises(IndexError):
        answer.get_selected_item("on")
