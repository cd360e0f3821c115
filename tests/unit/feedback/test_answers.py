"""Which answers fit a dialog, and how they are written."""

import json
from typing import Any

import pytest

from infraxys.engine.feedback.dialogs import Answer, BadAnswer, Dialog, default_reply, dialog_of, reply_to
from infraxys.engine.feedback.requests import read_request


def dialog(body: str | dict[str, Any], *, is_in_window: bool = False) -> Dialog:
    text = body if isinstance(body, str) else json.dumps(body)
    found = dialog_of(read_request(text), is_in_window=is_in_window)
    assert found is not None
    return found


def buttons(*labels: str, more: str = "") -> Dialog:
    lines = "".join(f'button caption="{label}" location=LEFT\n' for label in labels)
    return dialog(f"ui interaction\ntype=BUTTON_DIALOG\ntitle=t\n{more}{lines}message")


def selection(least: int, most: int, items: str) -> Dialog:
    counts = f"min_selected_items_count={least}\nmax_selected_items_count={most}"
    return dialog(f"ui interaction\ntype=selection_list\n{counts}\n\n{items}")


FORM = {"requestType": "UI", "subType": "FORM", "json": {"form": {"header": "h"}}}
CLICK = {"eventType": "BUTTON_CLICK", "eventDetails": "OK", "results": [{"id": "a", "value": 'it\'s "x"\n'}]}


class TestReplies:
    def test_lines_end_with_success_and_json_is_one_line(self) -> None:
        assert reply_to(buttons("Yes", "No"), Answer(button="No")).lines == ("No", "SUCCESS")
        shown = dialog({"requestType": "UI", "subType": "SHOW DIALOG", "buttons": [{"label": "Yes", "id": 1}]})
        assert reply_to(shown, Answer(button="1")).lines == ("1",)

    def test_a_dialog_without_buttons_has_one(self) -> None:
        assert reply_to(buttons(), Answer(button="OK")).lines == ("OK", "SUCCESS")
        assert reply_to(dialog({"requestType": "UI", "subType": "SHOW DIALOG"}), Answer(button="1")).lines == ("1",)

    def test_a_text_is_the_answer_unless_the_button_cancels(self) -> None:
        asked = buttons("Ok", "Cancel", more="string_input_label=Name\n")
        assert reply_to(asked, Answer(button="Ok", value="ada")).lines == ("ada", "SUCCESS")
        assert reply_to(asked, Answer(button="Cancel")).lines == ("Cancel", "SUCCESS")
        assert "ada" not in str(reply_to(asked, Answer(button="Ok", value="ada")).summary)

    @pytest.mark.parametrize(
        "value", ["SUCCESS", "FAILED", "processed", "<FROM_SERVER>", "error: no", " Error", "a\nb", "\x00"]
    )
    def test_a_text_cannot_end_the_answer_early(self, value: str) -> None:
        with pytest.raises(BadAnswer):
            reply_to(buttons("Ok", more="string_input_label=Name\n"), Answer(button="Ok", value=value))

    def test_what_happens_in_a_form_is_one_line_of_json(self) -> None:
        reply = reply_to(dialog(FORM, is_in_window=True), Answer(event=CLICK))
        assert (len(reply.lines), reply.closes) == (1, False)
        assert json.loads(reply.lines[0]) == {**CLICK, "eventDetailsJson": [], "objectId": ""}

    @pytest.mark.parametrize("results", [{"a": "x"}, None, ["x"], [{"value": "x"}]])
    def test_values_of_a_form_are_a_list_of_fields(self, results: Any) -> None:
        with pytest.raises(BadAnswer, match="list of fields"):
            reply_to(dialog(FORM), Answer(event={**CLICK, "results": results}))

    def test_a_form_of_its_own_ends_with_ok_and_cancel(self) -> None:
        for details, is_end in (("OK", True), ("CANCEL", True), ("more", False)):
            reply = reply_to(dialog(FORM), Answer(event={**CLICK, "eventDetails": details}))
            assert (reply.closes, reply.lines[1:] == ("SUCCESS",)) == (is_end, is_end)

    def test_no_items_to_choose_from_may_be_named_by_their_kind(self) -> None:
        listed = selection(0, 1, "list_type=PROJECTS")
        assert listed.definition["listType"] == "PROJECTS"
        assert reply_to(listed, Answer(values=["any"])).lines == ("any", "SUCCESS")

    def test_a_new_instance_is_answered_by_its_id_or_given_up(self) -> None:
        asked = dialog("set instanceid=7\nui interaction\ntype=CREATE INSTANCE\nguid=g")
        assert reply_to(asked, Answer(value="i-1")).lines == ("i-1", "SUCCESS")
        assert reply_to(asked, Answer(button="Cancel")).lines == ("FAILED",)


class TestNobodyThere:
    @pytest.mark.parametrize(
        ("labels", "chosen"),
        [
            (("Yes", "No"), "No"),
            (("Yes", "No", "Cancel"), "Cancel"),
            (("OK",), "OK"),
            (("cancel", "OK"), "cancel"),
            ((), "OK"),
        ],
    )
    def test_the_button_that_confirms_nothing_is_chosen(self, labels: tuple[str, ...], chosen: str) -> None:
        reply = default_reply(buttons(*labels, more="default_button=Yes\n"))
        assert reply is not None
        assert reply.lines == (chosen, "SUCCESS")

    @pytest.mark.parametrize("labels", [("Yes", "Maybe"), ("Delete", "Archive")])
    def test_no_answer_where_every_button_confirms_something(self, labels: tuple[str, ...]) -> None:
        assert default_reply(buttons(*labels, more="default_button=Delete\n")) is None

    def test_no_answer_to_a_text_a_form_and_a_list_that_needs_one(self) -> None:
        assert default_reply(buttons("Ok", more="string_input_label=Name\n")) is None
        assert default_reply(dialog(FORM)) is None
        assert default_reply(selection(1, 1, "a")) is None

    def test_a_list_that_may_stay_empty_does(self) -> None:
        reply = default_reply(selection(0, 0, "a\nb"))
        assert reply is not None
        assert reply.lines == ("SUCCESS",)
