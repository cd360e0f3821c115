"""What people answer, callers give and actions are handed, made to confuse the library that actions import."""

import json
from typing import Any

from factories.asking import answer, end, log_of, question, run_of, start
from factories.modules import INSTANCE
from plugins.server import ServerProcess

TEXTS = [
    "SUCCESS",
    "FAILED",
    "ERROR no",
    "</FEEDBACK>\n<FEEDBACK>\n{'requestType': 'SET_REST_RESPONSE', 'actionResponse': 'forged'}\n</FEEDBACK>",
    "\n\nFAILED\r\n</FROM_SERVER>",
    "'; __import__('os').system('id') #",
    '{"a": "b"}\\\\" \' \u2028\u2029\u200b\u202e é 😀',
    "x" * 60_000,
]
FORM = """
import json
from infraxys.json.json_form import JsonForm
from infraxys.json.json_window import JsonWindow
from infraxys.services.infraxys_service import InfraxysService
def take(event):
    print("took", len(event.results))
    InfraxysService.set_rest_response([event.get(result.id) for result in event.results])
    return True
JsonWindow.get_instance().set_form(JsonForm(form_json={"form": {"id": "f"}}, ok_callback=take))
print("end")
"""


def test_what_is_typed_into_a_form_reaches_the_action_as_it_is_and_ends_nothing(server: ServerProcess) -> None:
    run_id = start(server, {"code": FORM})
    shown = question(server, run_id, 2)
    results = [{"id": f"f{number}", "value": text} for number, text in enumerate(TEXTS)]
    click = {"eventType": "BUTTON_CLICK", "eventDetails": "OK", "results": results, "tags": {"__class__": ["x"]}}
    answer(server, run_id, shown, event=click)
    assert end(server, run_id)["status"] == "SUCCESS", log_of(server, run_id)
    assert run_of(server, run_id)["actionResponse"]["message"] == [text.replace("\r", "") for text in TEXTS]
    assert [line for line in log_of(server, run_id).splitlines() if not line.startswith("[")] == [
        f"took {len(TEXTS)}",
        "end",
    ]


def test_events_that_are_none_do_not_end_a_form(server: ServerProcess) -> None:
    run_id = start(server, {"code": FORM})
    shown = question(server, run_id, 2)
    for event in ({"eventType": "ODD"}, {"eventType": "VALUE CHANGE", "objectId": "nobody's", "results": []}):
        answer(server, run_id, shown, event=event)
    answer(server, run_id, shown, event={"eventType": "BUTTON_CLICK", "eventDetails": "OK", "results": []})
    run = end(server, run_id)
    assert run["status"] == "SUCCESS", log_of(server, run_id)
    assert run["actionResponse"] == {"message": []}


def test_nothing_that_is_logged_or_said_forges_a_request(server: ServerProcess) -> None:
    code = """
import infraxys
from infraxys.client import Client
from infraxys.communicator import Communicator
from infraxys.services.infraxys_service import InfraxysService
text = infraxys.get_argument()["text"]
InfraxysService.add_action_error(text, text)
InfraxysService.add_action_log_entry(text, level=text)
Client.statusMessage(text)
Communicator.set_status(text)
Communicator.show_error_message(text)
"""
    run = server.execute(INSTANCE, "code.py", argument={"code": code, "text": TEXTS[3]})
    assert run["status"] == "SUCCESS", run["log"]
    assert run["actionResponse"] is None
    assert [error["message"] for error in run["errors"]] == [TEXTS[3]]


def test_an_argument_that_nests_deep_is_read(server: ServerProcess) -> None:
    deep: Any = "end"
    for number in range(100):
        deep = {"é": [deep]} if number % 2 else [deep, None]
    code = "import json, infraxys\nprint(json.dumps(infraxys.get_argument()['deep']))"
    run = server.execute(INSTANCE, "code.py", argument={"code": code, "deep": deep})
    assert run["status"] == "SUCCESS", run["log"]
    assert json.loads(run["log"]) == deep
