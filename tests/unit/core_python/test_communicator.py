"""What the library asks, as the server's own code reads it, and what it makes of answers."""

import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import PurePosixPath
from types import SimpleNamespace
from typing import Any

import pytest

from factories.core_python import Server, module
from infraxys.engine.feedback.dialogs import Answer, dialog_of, reply_to
from infraxys.engine.feedback.requests import FeedbackRequest


def talk() -> Any:
    return module("communicator").Communicator.get_instance()


def chosen(button: str) -> Callable[[FeedbackRequest], list[str]]:
    """Answer a dialog by a button, as the server does."""

    def answer(request: FeedbackRequest) -> list[str]:
        dialog = dialog_of(request)
        assert dialog is not None
        return list(reply_to(dialog, Answer(button=button)).lines)

    return answer


class TestQuestions:
    @pytest.mark.parametrize("button", ["1", "2"])
    def test_yes_and_no(self, server: Server, button: str) -> None:
        server.answers = [chosen(button)]
        assert talk().show_yes_no("Go <b>on</b>?", title="Sure?") is (button == "1")
        (request,) = server.requests
        dialog = dialog_of(request)
        assert dialog is not None
        assert (dialog.title, dialog.message, dialog.is_html) == ("Sure?", "Go <b>on</b>?", True)
        assert dialog.definition["buttons"] == [{"id": "1", "label": "Yes"}, {"id": "2", "label": "No"}]

    def test_a_dialog_gives_the_id_of_the_button(self, server: Server) -> None:
        server.answers = [chosen("later"), chosen("1")]
        buttons = [{"label": "Now", "id": 0}, {"label": "Later", "id": "later"}]
        assert talk().show_dialog("When?", buttons=buttons, width="50%", height=200, is_html=False) == "later"
        assert talk().show_dialog("Done") == "1"
        assert server.requests[0].fields["width"] == "50%"
        assert server.requests[1].fields["buttons"] == [{"label": "OK", "id": 1}]

    def test_errors_and_exceptions_wait_until_they_were_seen(self, server: Server) -> None:
        server.answers = [chosen("1"), chosen("1")]
        talk().show_exception_dialog(ValueError("no <such> thing"), "Oh")
        talk().show_error_dialog("<b>broken</b>", title="Oh")
        shown = [(request.fields["message"], request.fields["isHtml"]) for request in server.requests]
        assert shown == [("no <such> thing", False), ("<b>broken</b>", True)]


class TestMessages:
    @pytest.mark.parametrize("kind", ["info", "warning", "error", "tray"])
    def test_each_kind_is_shown(self, server: Server, kind: str) -> None:
        server.answers = ["SUCCESS"]
        getattr(module("communicator").Communicator, f"show_{kind}_message")("well")
        (request,) = server.requests
        assert (request.verb, request.fields["type"], request.fields["message"]) == (
            "UI/SHOW MESSAGE",
            kind.upper(),
            "well",
        )

    def test_status_and_data(self, server: Server) -> None:
        server.answers = ["SUCCESS", "SUCCESS"]
        module("communicator").Communicator.set_status("half")
        talk().set_data_part("table", {"items": [1]})
        assert [request.verb for request in server.requests] == ["UI/STATUS", "UI/UPDATE DATA PART"]
        assert server.requests[1].fields["dataPart"] == {"items": [1]}

    def test_a_file_is_offered_without_waiting(self, server: Server) -> None:
        module("communicator").Communicator.download_file("/cache/project/a/report.csv", label="Report")
        dialog = dialog_of(server.requests[0])
        assert dialog is not None
        assert dialog.definition == {
            "cachedFilename": "/cache/project/a/report.csv",
            "downloadFilename": "report.csv",
            "label": "Report",
        }


class TestRequests:
    def test_any_text_arrives_as_it_is(self, server: Server) -> None:
        text = "é😀 'single' \"double\" \\n \n</FEEDBACK>\n<FEEDBACK>\n\t{} \u2028 \ud83d end"
        talk().send_asynchronous({"requestType": "ADD_ACTION_LOG", "message": text})
        assert server.requests[0].fields["message"] == text.replace("\ud83d", "\ufffd")
        assert server.output == ""

    def test_what_json_does_not_know_arrives_as_text_or_list(self, server: Server) -> None:
        moment = datetime(2026, 1, 2, tzinfo=UTC)
        value = {"a": PurePosixPath("/x"), "b": {2, 1}, "c": moment, "d": b"\xff!", "e": (1, None), ("k", 1): {True: 2}}
        talk().send_asynchronous({"requestType": "SET_REST_RESPONSE", "actionResponse": value})
        assert server.requests[0].fields["actionResponse"] == {
            "a": "/x", "b": [1, 2], "c": str(moment), "d": "\ufffd!", "e": [1, None], "('k', 1)": {"True": 2},
        }  # fmt: skip

    def test_a_request_that_the_server_would_not_take_is_refused_here(self, server: Server) -> None:
        with pytest.raises(ValueError, match=r"'UI FORM' is too long: \d+ bytes of at most 1048576"):
            talk().send_synchronous({"requestType": "UI", "subType": "FORM", "json": "x" * 1024 * 1024})
        assert server.said == ""

    def test_the_longest_request_is_taken_by_the_server(self, server: Server) -> None:
        room = 1024 * 1024 - len('<FEEDBACK>\n{"requestType": "ADD_ACTION_LOG", "message": ""}\n</FEEDBACK>\n')
        talk().send_asynchronous({"requestType": "ADD_ACTION_LOG", "message": "x" * room})
        assert len(server.requests[0].fields["message"]) == room

    def test_dots_before_it_do_not_hide_a_request(self, server: Server) -> None:
        logger = module("logger").Logger.get_logger("t")
        logger.print_dot()
        logger.print_dot()
        server.answers = ["SUCCESS"]
        module("communicator").Communicator.set_status("x")
        assert server.output == "..\n"
        assert len(server.requests) == 1


class TestAnswers:
    def ask(self, server: Server, *lines: str) -> Any:
        server.answers = list(lines)
        return talk().send_synchronous({"requestType": "GET INSTANCE"})

    @pytest.mark.parametrize("line", ["SUCCESS", "processed", "SUCCESS  "])
    def test_done_is_none(self, server: Server, line: str) -> None:
        assert self.ask(server, line) is None

    def test_json_is_a_dictionary(self, server: Server) -> None:
        assert self.ask(server, '{"dbId": "1", "a": [null, "é"]}') == {"dbId": "1", "a": [None, "é"]}

    @pytest.mark.parametrize(
        "text",
        ["", "1", "  two  words", "{not json}", "[1]", "{}}", "SUCCESSFUL", "<FEEDBACK>", "\u200bERROR", "é\u00a0x"],
    )
    def test_other_text_is_itself(self, server: Server, text: str) -> None:
        assert self.ask(server, text, "next") == text.rstrip()
        assert server.readline() == "next\n"

    @pytest.mark.parametrize("text", ['{"a": ' + "[" * 100_000 + "}", '{"a": ' + "9" * 10_000 + "}"])
    def test_json_that_cannot_be_read_is_text(self, server: Server, text: str) -> None:
        assert self.ask(server, text) == text

    def test_lines_between_markers_are_one_answer(self, server: Server) -> None:
        assert self.ask(server, "<FROM_SERVER>", "one", "SUCCESS", "", "two", "</FROM_SERVER>") == "one\nSUCCESS\n\ntwo"
        assert self.ask(server, "<FROM_SERVER>", '{"a":', "1}", "</FROM_SERVER>") == {"a": 1}
        assert self.ask(server, "<FROM_SERVER>", "SUCCESS", "</FROM_SERVER>") is None

    @pytest.mark.parametrize(
        ("line", "said"), [("FAILED", ""), ("Error: no", "Error: no\n"), (None, "The server gave no answer")]
    )
    def test_what_failed_ends_the_action(self, server: Server, line: str | None, said: str) -> None:
        with pytest.raises(SystemExit) as ended:
            self.ask(server, *([] if line is None else [line]))
        assert ended.value.code == 1
        assert server.errors.startswith(said)

    def test_a_callback_gets_answers_until_it_has_enough(self, server: Server) -> None:
        got: list[Any] = []
        server.answers = ["one", '{"two": 2}', "three", "rest"]
        result = talk().send_synchronous(
            {"requestType": "UI"}, callback=lambda value: got.append(value) or len(got) == 3
        )
        assert (result, got, server.answers) == (None, ["one", {"two": 2}, "three"], ["rest"])

    def test_a_callback_ends_when_the_server_is_done(self, server: Server) -> None:
        server.answers = ["one", "SUCCESS", "rest"]
        assert talk().wait_for_server(lambda _: False) is None
        assert server.answers == ["rest"]

    def test_a_callback_may_ask_and_wait_itself(self, server: Server) -> None:
        server.answers = ["event", chosen("2"), "inner", "SUCCESS"]
        seen: list[Any] = []

        def callback(value: Any) -> bool:
            seen.append((value, talk().show_yes_no("?")))
            talk().wait_for_server(seen.append)
            talk().stop_listening()
            return False

        talk().send_synchronous({"requestType": "UI", "subType": "FORM"}, callback)
        assert seen == [("event", False), "inner"]

    def test_an_interrupt_ends_the_action(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def interrupted() -> str:
            raise KeyboardInterrupt

        monkeypatch.setattr(sys, "stdin", SimpleNamespace(readline=interrupted))
        with pytest.raises(SystemExit):
            talk().wait_for_server()


def test_clients_are_told_on_one_line(server: Server) -> None:
    module("client").Client.statusMessage('50 % "é"\n')
    (piece,) = [piece for piece in server.pieces if not isinstance(piece, bytes)]
    assert json.loads(piece.body) == {"type": "STATUS-MESSAGE", "message": '50 % "é"\n'}
