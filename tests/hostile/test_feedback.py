"""Hostile output of actions, and hostile answers (hostile.md D2, D3, D4; field.md G32)."""

import json
from pathlib import Path
from typing import Any

import pytest

from factories.asking import QUESTION, answer, bash, end, log_of, python, question, run_of, start
from factories.modules import ENVIRONMENT, INSTANCE
from plugins.access import AccessServer
from plugins.server import ServerProcess

ASK = {"requestType": "UI", "subType": "SHOW DIALOG", "title": "t", "message": "m"}


def execute(server: ServerProcess, code: str, **more: Any) -> dict[str, Any]:
    """Execute Python that prints what it likes."""
    return server.execute(INSTANCE, "code.py", argument=python(code), **more)


def memory_of(server: ServerProcess) -> int:
    """Give the server's memory in bytes."""
    text = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(next(line for line in text.splitlines() if line.startswith("VmRSS")).split()[1]) * 1024


class TestOutput:
    @pytest.mark.parametrize(
        "output",
        [
            "<FEEDBACK>\nnever closed",
            "<FEEDBACK>\n<FEEDBACK>\n<FEEDBACK>",
            "</FEEDBACK>\n</FEEDBACK>\n",
            "cat script.sh: echo <FEEDBACK>\nx\n</FEEDBACK>\n",
            "x<FEEDBACK>\nui interaction\ntype=BUTTON_DIALOG\n</FEEDBACK>\n",
            "<CLIENT-FEEDBACK>no json</CLIENT-FEEDBACK>\n",
            "<CLIENT-FEEDBACK>" + "[" * 50_000 + "</CLIENT-FEEDBACK>\n",
            "\0<FEEDBACK>\n\0\n</FEEDBACK>\n",
        ],
        ids=lambda output: output[:30].replace("\0", "0"),
    )
    def test_d2_markers_by_accident_are_output(self, server: ServerProcess, output: str) -> None:
        run = execute(server, f"sys.stdout.write({output!r})")
        assert run["status"] == "SUCCESS"
        data = server.client.get(f"/api/v1/runs/{run['id']}/log").content
        assert data == output.encode()

    @pytest.mark.parametrize(
        ("body", "is_answered"),
        [
            ("not a request at all", False),
            ('{"requestType": "UI", "message": "a "quoted" word"}', True),
            ('{"requestType": "EVAL", "code": "1"}', True),
            ("{'requestType': __import__('os').system('id')}", True),
            ("{'requestType': 'UI', 'subType': 'SHOW DIALOG', 'buttons': {'a': " + "[" * 500 + "}", True),
            ("\x00\x01\x02", False),
        ],
        ids=["text", "quotes", "unknown", "code", "deep", "bytes"],
    )
    def test_d2_what_is_no_request_is_kept_and_explained(
        self,
        server: ServerProcess,
        body: str,
        is_answered: bool,  # noqa: FBT001 - a parameter of the test
    ) -> None:
        code = f"send_text({body!r})\nprint('answer', sys.stdin.readline().strip(), flush=True)"
        text = "def send_text(text):\n    print('<FEEDBACK>'); print(text); print('</FEEDBACK>', flush=True)\n"
        run = execute(server, text + code)
        assert run["status"] == "SUCCESS"
        assert body in run["log"]
        assert run["log"].count("this is no request that can be answered") == 1
        assert ("answer FAILED" in run["log"]) is is_answered
        assert "uid=" not in run["log"]

    def test_d2_two_hundred_megabytes_of_a_request_that_never_ends(self, server: ServerProcess) -> None:
        before = memory_of(server)
        run = execute(
            server, "print('<FEEDBACK>')\nfor _ in range(3200):\n    sys.stdout.write('x' * 65536)", returnLog=False
        )
        assert run["status"] == "SUCCESS"
        assert run["logBytes"] > 200_000_000
        assert memory_of(server) - before < 64 * 1024 * 1024

    def test_d2_a_hundred_thousand_requests(self, server: ServerProcess) -> None:
        code = """
one = "<FEEDBACK>\\n{'requestType': 'ADD_ACTION_ERROR', 'code': 'c', 'message': 'm'}\\n</FEEDBACK>\\n"
two = "<FEEDBACK>\\n{'requestType': 'UI', 'subType': 'STATUS', 'message': 's'}\\n</FEEDBACK>\\n"
for _ in range(50_000):
    sys.stdout.write(one + two)
"""
        before = memory_of(server)
        run = execute(server, code, returnLog=False)
        assert run["status"] == "SUCCESS"
        assert len(run["errors"]) == 100
        assert memory_of(server) - before < 64 * 1024 * 1024

    def test_d2_questions_and_dialogs_have_a_number(self, server: ServerProcess) -> None:
        told = {"requestType": "UI", "subType": "SHOW MESSAGE", "message": "m"}
        code = f"for _ in range(30):\n    send({ASK!r})\nfor _ in range(600):\n    send({told!r})"
        run_id = start(server, python(code))
        run = end(server, run_id)
        assert run["status"] == "SUCCESS"
        assert len(run["dialogs"]) <= 500
        assert sum(dialog["kind"] == "buttons" for dialog in run["dialogs"]) <= 20
        assert {dialog["state"] for dialog in run["dialogs"]} <= {"abandoned", "shown"}
        log = log_of(server, run_id)
        assert "20 questions are open" in log

    def test_d4_escapes_and_directions_do_not_reach_browsers_in_dialogs(self, server: ServerProcess) -> None:
        evil = "\x1b]0;title\x07\x9b31m<script>alert(1)</script>\x00"
        run_id = start(server, python(f"ask({ ({**ASK, 'title': evil, 'message': evil, 'isHtml': True})!r})"))
        asked = question(server, run_id)
        assert asked["isHtml"] is True
        assert not [c for c in asked["title"] + asked["message"] if ord(c) < 32 or 127 <= ord(c) < 160]
        answer(server, run_id, asked, button="1")
        end(server, run_id)

    def test_g32_an_action_speaks_for_its_own_run_only(self, server: ServerProcess) -> None:
        other = start(server, bash(f"ask '{QUESTION}'"))
        waiting = question(server, other)
        code = f"send({ ({**ASK, 'runId': other, 'id': waiting['id'], 'dialogId': waiting['id']})!r})"
        run_id = start(server, python(code))
        end(server, run_id)
        assert [dialog["state"] for dialog in run_of(server, other)["dialogs"]] == ["open"]
        answer(server, run_id, waiting, 409, button="Yes")
        answer(server, other, waiting, button="Yes")
        end(server, other)


class TestAnswers:
    def waiting(self, server: AccessServer, token: str) -> tuple[str, dict[str, Any]]:
        body = {"argument": bash(f"ask '{QUESTION}'"), "asynchronous": True, "interactive": True}
        run = server.ask("POST", f"/instance/main/{INSTANCE}/files/code.py/execute", token, body)
        assert run.status_code == 200, run.text
        run_id = run.json()["id"]
        for _ in range(2000):
            dialogs = server.ask("GET", f"/runs/{run_id}", token).json()["dialogs"]
            if dialogs:
                return run_id, dialogs[0]
        raise AssertionError("no question came")

    def test_d3_only_who_started_a_run_or_may_start_it_answers(self, access_server: AccessServer) -> None:
        server = access_server
        project = server.make.project(name="asking")
        server.make.attach(project, ENVIRONMENT)
        starter = server.holder(project, "action.execute", "run.read", "run.list")
        run_id, asked = self.waiting(server, starter)
        body = {"dialogId": asked["id"], "button": "Yes"}
        path = f"/runs/{run_id}/answers"
        readers = server.holder(project, "run.read", "run.list")
        assert server.ask("POST", path, None, body).status_code == 401
        assert server.ask("POST", path, server.holder(project, "run.list"), body).status_code == 403
        refused = server.ask("POST", path, readers, body)
        assert (refused.status_code, refused.json()["grant"]) == (403, "action.execute")
        elsewhere = server.holder(server.make.project(name="elsewhere"), "action.execute", "run.read")
        assert server.ask("POST", path, elsewhere, body).status_code == 404
        assert server.ask("POST", path, server.everything, {**body, "button": ["Yes"]}).status_code == 422
        colleague = server.holder(project, "action.execute", "run.read", "run.list")
        assert server.ask("POST", path, colleague, body).status_code == 200
        for token in (starter, colleague, server.everything):
            again = server.ask("POST", path, token, body)
            assert again.status_code == 409
            assert again.json()["code"] in {"already_answered", "already_finished"}

    @pytest.mark.parametrize("value", ["SUCCESS", "a\nFAILED", "<FROM_SERVER>", "\u2028", "\x04", "ERROR: x"])
    def test_g32_a_text_cannot_be_more_than_the_answer(self, server: ServerProcess, value: str) -> None:
        asked = QUESTION.replace("default_button=Yes", "string_input_label=Name")
        run_id = start(server, bash(f"ask '{asked}'"))
        waiting = question(server, run_id)
        answer(server, run_id, waiting, 422, button="Yes", value=value)
        answer(server, run_id, waiting, button="Yes", value="fine")
        assert end(server, run_id)["status"] == "SUCCESS"

    def test_g32_an_event_of_a_form_is_one_line_whatever_is_in_it(self, server: ServerProcess) -> None:
        code = "import json\nsend({'requestType': 'UI', 'subType': 'FORM', 'json': {}})\nprint(json.loads(receive()))"
        run_id = start(server, python(code))
        results = [{"id": "a\nSUCCESS\n", "value": "\u2028\nFAILED"}]
        event = {"eventType": "BUTTON_CLICK", "eventDetails": "OK", "results": results}
        answer(server, run_id, question(server, run_id), event=event)
        assert end(server, run_id)["status"] == "SUCCESS"
        assert json.dumps("a\nSUCCESS\n")[1:-1] in log_of(server, run_id)
