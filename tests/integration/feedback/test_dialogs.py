"""Actions in real sandboxes that ask, answered over HTTP."""

import json
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from factories.asking import QUESTION, answer, bash, end, log_of, python, question, run_of, start, wait_until
from factories.modules import INSTANCE
from infraxys.engine.feedback.idle import NOTE
from plugins.server import ServerProcess


def dialog(**more: Any) -> dict[str, Any]:
    buttons = [{"label": "Yes", "id": 1}, {"label": "No", "id": 2}]
    return {"requestType": "UI", "subType": "SHOW DIALOG", "isHtml": True, "message": "Go on?", "title": "Sure",
            "width": "90%", "height": 450, "buttons": buttons, **more}  # fmt: skip


class TestQuestions:
    def test_a_bash_action_waits_for_the_button_that_a_person_chooses(self, server: ServerProcess) -> None:
        run_id = start(server, bash(f"ask '{QUESTION}'; echo \"chosen: $answer\""))
        asked = question(server, run_id)
        assert run_of(server, run_id)["status"] == "WAITING"
        assert [step["status"] for step in run_of(server, run_id)["steps"]] == ["WAITING"]
        assert (asked["kind"], asked["title"], asked["isHtml"]) == ("buttons", "Remove it?", True)
        assert asked["message"] == "<p>Everything in <b>here</b> goes.</p>"
        assert asked["definition"] == {
            "width": "450",
            "height": "300",
            "buttons": [
                {"id": "Yes", "label": "Yes", "location": "LEFT"},
                {"id": "No, thanks", "label": "No, thanks", "location": "RIGHT"},
            ],
            "style": "warning",
            "defaultButton": "Yes",
        }
        said = answer(server, run_id, asked, button="No, thanks")
        assert (said["state"], said["answer"]) == ("answered", {"button": "No, thanks"})
        run = end(server, run_id)
        assert run["status"] == "SUCCESS"
        assert [item["state"] for item in run["dialogs"]] == ["answered"]
        log = log_of(server, run_id)
        assert "chosen: No, thanks\n" in log
        assert "[infraxys] question: Remove it?" in log
        assert "FEEDBACK" not in log

    def test_a_python_action_gets_the_id_and_asks_again(self, server: ServerProcess) -> None:
        code = f"print('first', ask({dialog()!r}))\nprint('second', ask({dialog(title='Again')!r}))\n"
        run_id = start(server, python(code))
        answer(server, run_id, question(server, run_id), button="1")
        second = question(server, run_id, 2)
        assert second["title"] == "Again"
        answer(server, run_id, second, button="2")
        assert end(server, run_id)["status"] == "SUCCESS"
        assert [line for line in log_of(server, run_id).splitlines() if not line.startswith("[")] == [
            "first 1",
            "second 2",
        ]

    def test_a_text_that_is_asked_for_reaches_the_action_and_nothing_else(self, server: ServerProcess) -> None:
        asked = """ui interaction
type=BUTTON_DIALOG
title=Name
string_input_label=User
button caption="Ok" location=LEFT
button caption="Cancel" location=RIGHT
Who?"""
        run_id = start(server, bash(f"ask '{asked}'; echo \"${{#answer}} characters\""))
        waiting = question(server, run_id)
        assert waiting["definition"]["input"] == {"label": "User"}
        for refused in ({}, {"value": "two\nlines"}, {"value": "SUCCESS"}, {"value": " FAILED "}, {"value": "\x1b[2J"}):
            body = answer(server, run_id, waiting, 422, button="Ok", **refused)
            assert body["errors"][0]["loc"] == "value"
        said = answer(server, run_id, waiting, button="Ok", value="a secret é")
        assert said["answer"] == {"button": "Ok"}
        assert end(server, run_id)["status"] == "SUCCESS"
        assert "10 characters" in log_of(server, run_id)
        assert "a secret" not in json.dumps(run_of(server, run_id))

    def test_items_are_chosen_from_a_list(self, server: ServerProcess) -> None:
        asked = """ui interaction
type=selection_list
is_name_value_list=true
title=Choose
min_selected_items_count=1
max_selected_items_count=2
column_1_visible=false
column_2_title=Name:

a=First
b=Second
c=Third"""
        run_id = start(server, bash(f"ask '{asked}'; echo \"chosen: $answer\""))
        waiting = question(server, run_id)
        assert waiting["definition"]["items"][1] == {"name": "b", "value": "Second"}
        for refused in ([], ["a", "b", "c"], ["x"], ["a", "a"]):
            answer(server, run_id, waiting, 422, values=refused)
        answer(server, run_id, waiting, values=["c", "a"])
        end(server, run_id)
        assert "chosen: c|a\n" in log_of(server, run_id)

    def test_a_form_tells_what_happens_until_it_is_closed(self, server: ServerProcess) -> None:
        form = {"form": {"version": "2.0", "id": "f", "header": "Details", "canvas": {"columns": []}}}
        code = f"""
import json
assert ask({{"requestType": "UI", "subType": "WINDOW", "css": "LmEge30="}}) is None
send({{"requestType": "UI", "subType": "FORM", "json": {form!r}}})
loaded = json.loads(receive())
assert ask({{"requestType": "UI", "subType": "SET ENABLED", "objectId": "size", "value": False}}) is None
part = {{"items": [1]}}
assert ask({{"requestType": "UI", "subType": "UPDATE DATA PART", "objectId": "t", "dataPart": part}}) is None
event = json.loads(receive())
print(loaded["eventType"], event["eventDetails"], event["results"][0]["value"])
assert ask({{"requestType": "UI", "subType": "ACTION", "action": "close"}}) is None
"""
        run_id = start(server, python(code))
        waiting = question(server, run_id, 2)
        assert (waiting["kind"], waiting["title"], waiting["definition"]["json"]) == ("form", "Details", form)
        answer(server, run_id, waiting, event={"eventType": "FORM_LOADED"})
        changed = wait_until(server, run_id, lambda run: "t" in run["dialogs"][-1]["updates"])
        assert changed["status"] == "WAITING"
        assert changed["dialogs"][-1]["updates"] == {"size": {"enabled": False}, "t": {"data": {"items": [1]}}}
        results = [{"id": "size", "value": "true", "selectedItemList": []}]
        event = {"eventType": "BUTTON_CLICK", "eventDetails": "OK", "results": results}
        answer(server, run_id, waiting, event=event)
        run = end(server, run_id)
        assert run["status"] == "SUCCESS", log_of(server, run_id)
        assert "FORM_LOADED OK true" in log_of(server, run_id)
        assert {item["state"] for item in run["dialogs"]} == {"closed"}

    def test_a_form_without_a_window_ends_with_its_button(self, server: ServerProcess) -> None:
        script = """
        ask '{"requestType": "UI", "subType": "FORM", "json": {"form": {"id": "x"}}}'
        echo "got: $answer"
        """
        run_id = start(server, bash(script))
        waiting = question(server, run_id)
        answer(server, run_id, waiting, event={"eventType": "BUTTON_CLICK", "eventDetails": "OK", "results": []})
        assert end(server, run_id)["status"] == "SUCCESS"
        assert 'got: {"eventDetails": "OK"' in log_of(server, run_id)

    def test_rows_that_were_chosen_are_in_a_file(self, server: ServerProcess) -> None:
        request = {"requestType": "UI", "subType": "STORE SELECTED ITEMS", "objectId": "t", "selectedRowsOnly": True}
        run_id = start(server, python(f"print(open(ask({request!r})).read())"))
        answer(server, run_id, question(server, run_id), values=[{"id": 1}, {"id": 2}])
        assert end(server, run_id)["status"] == "SUCCESS"
        assert '[{"id": 1}, {"id": 2}]' in log_of(server, run_id)

    def test_what_needs_no_answer_is_shown_and_acknowledged(self, server: ServerProcess) -> None:
        code = """
for kind in ("INFO", "TRAY"):
    assert ask({"requestType": "UI", "subType": "SHOW MESSAGE", "message": "it's <b>here</b>", "type": kind}) is None
assert ask({"requestType": "UI", "subType": "STATUS", "message": "half way"}) is None
assert ask({"requestType": "SYSTEM", "subType": "AUDIT", "json": {"action": "REMOVE", "ticket": "T-1"}}) is None
send({"requestType": "UI", "subType": "DOWNLOAD FILE", "cachedFilename": "/cache/a.csv", "downloadFilename": "a.csv"})
print("all")
"""
        run_id = start(server, python(code))
        run = end(server, run_id)
        assert run["status"] == "SUCCESS", log_of(server, run_id)
        assert [(item["kind"], item["state"]) for item in run["dialogs"]] == [
            ("message", "shown"),
            ("message", "shown"),
            ("download", "shown"),
        ]
        assert run["dialogs"][2]["definition"]["cachedFilename"] == "/cache/a.csv"
        assert "[infraxys] status: half way" in log_of(server, run_id)
        records = server.client.get("/api/v1/audit", params={"target": f"run/{run_id}"}).json()["items"]
        said = [record for record in records if record["action"] == "action.audit"]
        assert said[0]["details"]["said"] == {"action": "REMOVE", "ticket": "T-1"}


class TestAnswers:
    def test_the_first_one_counts(self, server: ServerProcess) -> None:
        run_id = start(server, bash(f"ask '{QUESTION}'; echo \"chosen: $answer\""))
        waiting = question(server, run_id)
        codes: list[int] = []

        def click(button: str) -> None:
            with httpx.Client(base_url=server.url, verify=False) as client:
                body = {"dialogId": waiting["id"], "button": button}
                codes.append(client.post(f"/api/v1/runs/{run_id}/answers", json=body).status_code)

        threads = [threading.Thread(target=click, args=[button]) for button in ["Yes", "No, thanks"] * 4]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(codes) == [200] + [409] * 7
        end(server, run_id)
        assert answer(server, run_id, waiting, 409, button="Yes")["code"] == "already_finished"
        assert log_of(server, run_id).count("chosen: ") == 1

    def test_one_that_was_given_is_409_and_names_who_was_faster(self, server: ServerProcess) -> None:
        run_id = start(server, bash(f"ask '{QUESTION}'; sleep 60"))
        waiting = question(server, run_id)
        answer(server, run_id, waiting, button="Yes")
        assert wait_until(server, run_id, lambda run: run["status"] == "RUNNING")["steps"][0]["status"] == "RUNNING"
        refused = answer(server, run_id, waiting, 409, button="Yes")
        assert refused["code"] == "already_answered"
        unknown = answer(server, run_id, {"id": "nothing"}, 404, button="Yes")
        assert unknown["code"] == "unknown_dialog"
        server.client.post(f"/api/v1/runs/{run_id}/cancel", json={})
        end(server, run_id)

    @pytest.mark.parametrize("body", [{}, {"button": "Maybe"}, {"button": "1"}, {"button": 1}, {"values": ["Yes"]},
                                      {"event": {"eventType": "OK"}}, {"button": "Yes", "value": "x"},
                                      {"button": "Yes", "more": 1}])  # fmt: skip
    def test_one_that_does_not_fit_is_422_and_changes_nothing(
        self, server: ServerProcess, body: dict[str, Any]
    ) -> None:
        run_id = start(server, bash(f"ask '{QUESTION}'"))
        waiting = question(server, run_id)
        answer(server, run_id, waiting, 422, **body)
        assert run_of(server, run_id)["status"] == "WAITING"
        answer(server, run_id, waiting, button="Yes")
        assert end(server, run_id)["status"] == "SUCCESS"

    def test_they_are_on_record(self, server: ServerProcess) -> None:
        run_id = start(server, bash(f"ask '{QUESTION}'"))
        answer(server, run_id, question(server, run_id), button="Yes")
        end(server, run_id)
        records = server.client.get("/api/v1/audit", params={"target": f"run/{run_id}"}).json()["items"]
        assert [record["details"]["button"] for record in records if record["action"] == "run.answer"] == ["Yes"]

    def test_the_time_limit_of_the_step_goes_on(self, server: ServerProcess) -> None:
        run = server.execute(
            INSTANCE, "code.py", argument=bash(f"ask '{QUESTION}'"), interactive=True, timeoutSeconds=1
        )
        assert run["status"] == "TIMEOUT"
        assert [item["state"] for item in run_of(server, run["id"])["dialogs"]] == ["abandoned"]

    def test_cancelling_ends_the_waiting(self, server: ServerProcess) -> None:
        run_id = start(server, bash(f"ask '{QUESTION}'"))
        waiting = question(server, run_id)
        server.client.post(f"/api/v1/runs/{run_id}/cancel", json={})
        run = end(server, run_id)
        assert (run["status"], run["dialogs"][0]["state"]) == ("CANCELLED", "abandoned")
        assert run["dialogs"][0]["message"] == waiting["message"]


class TestNobodyThere:
    def test_a_question_is_answered_by_what_cancels(self, server: ServerProcess) -> None:
        asked = QUESTION.replace("No, thanks", "No")
        run_id = start(server, bash(f"ask '{asked}'; echo \"chosen: $answer\""), interactive=False)
        assert end(server, run_id)["status"] == "SUCCESS"
        assert "chosen: No\n" in log_of(server, run_id)
        assert run_of(server, run_id)["dialogs"] == []

    def test_a_question_without_such_an_answer_fails_and_says_so(self, server: ServerProcess) -> None:
        run_id = start(server, bash(f"ask '{QUESTION}'; exit 5"), interactive=False)
        assert end(server, run_id)["exitCode"] == 5
        log = log_of(server, run_id)
        assert "nobody is there to answer this question" in log
        assert "the answer is FAILED" in log

    def test_a_python_window_fails(self, server: ServerProcess) -> None:
        run_id = start(server, python('ask({"requestType": "UI", "subType": "WINDOW"})'), interactive=False)
        assert end(server, run_id)["status"] == "FAILED"
        assert "nobody is there to answer this window" in log_of(server, run_id)

    def test_a_prompt_finds_the_end_of_its_input(self, server: ServerProcess) -> None:
        run = server.execute(INSTANCE, "code.py", argument={"code": "print('begin', flush=True)\ninput('Sure? ')"})
        assert run["status"] == "FAILED"
        assert "nobody is there to give any" in run["log"]
        assert "EOFError" in run["log"]

    @pytest.mark.parametrize(
        "wait",
        [
            "ends = select.poll(); ends.register(0, select.POLLIN); ends.poll()",
            "ends = select.poll(); ends.register(0, select.POLLIN); ends.poll(-1)",
        ],
    )
    def test_so_does_one_that_polls_before_it_reads(self, server: ServerProcess, wait: str) -> None:
        code = f"import select, sys\n{wait}\nprint(repr(sys.stdin.read()))"
        run = server.execute(INSTANCE, "code.py", argument={"code": code})
        assert run["log"] == f"{NOTE}''\n"

    @pytest.mark.parametrize(
        "wait",
        [
            "time.sleep(2.5)",
            "select.select([0], [], [], 2.5)",
            "ends = select.poll(); ends.register(0, select.POLLIN); ends.poll(2500)",
            "a, b = socket.socketpair(); select.select([0, a], [], [], 2.5)",
            "ends = select.poll(); ends.poll(2500)",
        ],
    )
    def test_one_that_waits_for_something_else_keeps_its_input(self, server: ServerProcess, wait: str) -> None:
        code = f"import select, socket, time\n{wait}\nprint('on')"
        run = server.execute(INSTANCE, "code.py", argument={"code": code})
        assert run["log"] == "on\n"

    def test_requests_about_instances_are_answered_until_then(self, server: ServerProcess) -> None:
        request = {"requestType": "GET INSTANCE", "velocityName": "x", "containerId": "y"}
        run_id = start(server, python(f"import time\ntime.sleep(2.5)\nask({request!r})"), interactive=False)
        run = end(server, run_id)
        assert run["status"] == "FAILED"
        assert "no instance 'y' on a branch 'main'" in log_of(server, run_id)
        assert "its input ends here" not in log_of(server, run_id)


class TestAnswerOfTheAction:
    def test_response_and_errors_are_in_the_answer_of_the_call(self, server: ServerProcess) -> None:
        code = """
send({"requestType": "SET_REST_RESPONSE", "actionResponse": {"message": "first"}})
send({"requestType": "ADD_ACTION_ERROR", "code": "E-1", "message": "it's not there"})
send({"requestType": "ADD_ACTION_LOG", "level": "warn", "message": "be careful"})
send({"requestType": "SET_REST_RESPONSE", "actionResponse": {"message": "done", "n": [1, 2.5, None, True]}})
"""
        run = server.execute(INSTANCE, "code.py", argument=python(code))
        assert run["status"] == "SUCCESS"
        assert run["actionResponse"] == {"message": "done", "n": [1, 2.5, None, True]}
        assert run["errors"] == [{"code": "E-1", "message": "it's not there"}]
        assert run["logEntries"] == [{"level": "WARN", "message": "be careful"}]
        assert "[WARN] be careful\n" in run["log"]
        again = run_of(server, run["id"])
        for name in ("actionResponse", "errors", "logEntries"):
            assert again[name] == run[name]

    def test_they_can_be_read_while_the_action_goes_on(self, server: ServerProcess) -> None:
        code = 'import time\nsend({"requestType": "ADD_ACTION_ERROR", "code": 1, "message": "early"})\ntime.sleep(60)'
        run_id = start(server, python(code), interactive=False)
        assert wait_until(server, run_id, lambda run: run["errors"])["errors"] == [{"code": "1", "message": "early"}]
        server.client.post(f"/api/v1/runs/{run_id}/cancel", json={})
        assert end(server, run_id)["errors"] == [{"code": "1", "message": "early"}]

    def test_they_are_bounded(self, server: ServerProcess) -> None:
        code = """
for number in range(300):
    send({"requestType": "ADD_ACTION_ERROR", "code": "c" * 500, "message": "m" * (12000 if number < 3 else 9)})
    send({"requestType": "ADD_ACTION_LOG", "level": "l" * 500, "message": "m" * (12000 if number < 3 else 9)})
send({"requestType": "SET_REST_RESPONSE", "actionResponse": "x" * 300000})
"""
        run = server.execute(INSTANCE, "code.py", argument=python(code))
        assert run["status"] == "SUCCESS"
        assert len(run["errors"]) == 100
        assert {(len(error["code"]), len(error["message"])) for error in run["errors"]} == {(200, 10000), (200, 9)}
        assert len(run["logEntries"]) == 100
        assert {(len(entry["level"]), len(entry["message"])) for entry in run["logEntries"]} == {(20, 10000), (20, 9)}
        assert run["actionResponse"] is None
        assert "may have 262144 characters" in run["log"]

    def test_together_they_fit_into_a_list_of_runs(self, server: ServerProcess) -> None:
        code = """
for number in range(50):
    send({"requestType": "ADD_ACTION_ERROR", "code": "c", "message": "m" * 9999})
    send({"requestType": "ADD_ACTION_LOG", "level": "info", "message": "m" * 9996})
"""
        run = server.execute(INSTANCE, "code.py", argument=python(code))
        assert (len(run["errors"]), len(run["logEntries"])) == (7, 6)
        assert log_of(server, run["id"]).count("[INFO] mmm") == 50  # the log has them all


class TestEvents:
    def events(self, server: ServerProcess, run_id: str) -> Iterator[tuple[str, dict[str, Any]]]:
        with server.client.stream("GET", f"/api/v1/runs/{run_id}/events") as stream:
            name = ""
            for line in stream.iter_lines():
                if line.startswith("event: "):
                    name = line[7:]
                elif line.startswith("data: "):
                    yield name, json.loads(line[6:])

    def test_followers_learn_of_questions_and_answers(self, server: ServerProcess) -> None:
        told = '<CLIENT-FEEDBACK>{"type": "STATUS-MESSAGE", "message": "hi"}</CLIENT-FEEDBACK>'
        code = f"print({told!r}, flush=True)\nprint(ask({dialog()!r}))"
        run_id = start(server, python("import time; time.sleep(0.5)\n" + code))
        seen: list[tuple[str, Any]] = []
        for name, data in self.events(server, run_id):
            if name == "dialog":
                seen.append((name, data["state"]))
                if data["state"] == "open":
                    answer(server, run_id, data, button="1")
            elif name == "client":
                seen.append((name, data["feedback"]))
            elif name in {"status", "end"}:
                seen.append((name, data["status"]))
        feedback = {"type": "STATUS-MESSAGE", "message": "hi"}
        assert [item for item in seen if item[0] in {"dialog", "client"}] == [
            ("client", feedback),
            ("dialog", "open"),
            ("dialog", "answered"),
        ]
        statuses = [item[1] for item in seen if item[0] in {"status", "end"}]
        assert [status for index, status in enumerate(statuses) if index == 0 or statuses[index - 1] != status][
            -4:
        ] == [
            "RUNNING",
            "WAITING",
            "RUNNING",
            "SUCCESS",
        ]
        assert "<CLIENT-FEEDBACK>" in log_of(server, run_id)

    def test_who_comes_later_gets_the_open_question_first(self, server: ServerProcess) -> None:
        run_id = start(server, bash(f"ask '{QUESTION}'"))
        waiting = question(server, run_id)
        names = []
        for name, data in self.events(server, run_id):
            names.append(name)
            if name == "dialog" and data["state"] == "open":
                assert data["id"] == waiting["id"]
                answer(server, run_id, waiting, button="Yes")
        assert names[:2] == ["status", "dialog"]
        assert names[-1] == "end"
