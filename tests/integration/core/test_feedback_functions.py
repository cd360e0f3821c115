"""The functions that ask the server: what they print, and what they make of the answers on their standard input."""

import json
import re
import shutil
from pathlib import Path

import pytest

from factories.bootstrap import Bootstrap

needs_jq = pytest.mark.skipif(shutil.which("jq") is None, reason="no jq")
# Cases are `=== name`, the call, `--- request`, what is between the markers, `--- answer`, `--- said` (afterwards).
VALUE = '--attribute_value $\'{"a": "b\\\\c"}\\nx\''
FILE = Path(__file__).with_name("requests.txt")
JSON_REQUESTS: dict[str, tuple[str, object, str]] = {
    "update_status": (
        "update_status --message $'50 % \"done\" \\\\\\n\\x01'",
        {"requestType": "SYSTEM", "subType": "STATUS", "message": '50 % "done" \\\n\x01'},
        "SUCCESS\n",
    ),
    "log_audit": (
        "log_audit --json '{\"a\": 1}'",
        {"requestType": "SYSTEM", "subType": "AUDIT", "json": {"a": 1}},
        "SUCCESS\n",
    ),
    "audit_action": (
        'GLOBAL_TICKET=T-1; audit_action --action stop --details \'a "b"\' --json \'"label": "x"\'',
        {
            "requestType": "SYSTEM",
            "subType": "AUDIT",
            "json": {"audit_type": "action", "ticket": "T-1", "action": "stop", "details": 'a "b"', "label": "x"},
        },
        "SUCCESS\n",
    ),
    "audit_start_action": (
        "environment_name=e container_name=c instance_label='l \"x\"'; audit_start_action",
        {
            "requestType": "SYSTEM",
            "subType": "AUDIT",
            "json": {
                "audit_type": "action",
                "ticket": "",
                "action": "START ACTION",
                "project_name": "Shop",
                "environment_name": "e",
                "container_name": "c",
                "instance_label": 'l "x"',
            },
        },
        "SUCCESS\n",
    ),
    "update_instance_attribute": (
        f"update_instance_attribute --instance_id 7 --attribute_name out {VALUE} --compile_instance true",
        {
            "requestType": "UPDATE INSTANCE",
            "dbId": "7",
            "compileInstance": True,
            "compileContainer": False,
            "compileEnvironment": False,
            "fields": {"out": '{"a": "b\\c"}\nx'},
        },
        "SUCCESS\n",
    ),
    "answer_form_interaction": (
        'answer_form_interaction --json \'{"requestType": "UI", "subType": "ACTION", "action": "close"}\'',
        {"requestType": "UI", "subType": "ACTION", "action": "close"},
        "",
    ),
}
FORM = """
callback() {
    local json_from_server; import_args "$@"; echo "$last_json_event_type $last_json_object_id $jsonResult_name"
    [[ $last_json_event_details != OK ]] || STOP_WAITING=true; }
show_json_form --json_file form.json --callback_function callback; echo closed; read -r rest; echo "$rest"
"""
EVENTS = [
    {"eventType": "FORM_LOADED", "objectId": None, "results": []},
    {
        "eventType": "VALUE CHANGE",
        "objectId": "name",
        "results": [{"id": "name", "value": 'Ann "B"'}, {"id": "a;b", "value": 1}],
    },
    {"eventType": "BUTTON_CLICK", "eventDetails": "OK", "results": [{"id": "name", "value": "last"}]},
]


@pytest.fixture
def bootstrap(tmp_path: Path) -> Bootstrap:
    return Bootstrap(tmp_path)


def ask(bootstrap: Bootstrap, script: str, answers: str, *, is_interactive: bool = True) -> tuple[str, str, int]:
    """Run an action with the answers of a server; give what it says, what it says on errors, and its status."""
    bootstrap.lay_out(
        {"run.sh": script, "form.json": '{"form": {"id": "f"}}'}, is_interactive=is_interactive, project_name="Shop"
    )
    ended = bootstrap.run(answers=answers)
    return ended.stdout, ended.stderr, ended.returncode


def test_requests_in_lines_are_as_the_server_reads_them(bootstrap: Bootstrap) -> None:
    cases = [case.partition("\n") for case in FILE.read_text().replace("<CR>", "\r").split("=== ")[1:]]
    parts = {name: re.split(r"^--- \w+\n", case, flags=re.MULTILINE) for name, _, case in cases}
    assert len(parts) > 15
    script = "\n".join(f"echo '== {name}'\n{part[0]}" for name, part in parts.items())
    text, errors, status = ask(bootstrap, script, "".join(part[2] for part in parts.values()))
    assert (errors, status) == ("", 0)
    said = dict(part.split("\n", 1) for part in text.split("== ")[1:])
    for name, (_, request, _, after) in parts.items():
        assert said[name] == f"<FEEDBACK>\n{request}</FEEDBACK>\n{after}", name


def test_requests_in_json_are_json(bootstrap: Bootstrap) -> None:
    script = "\n".join(f"echo '== {name}'\n({call})" for name, (call, _, _) in JSON_REQUESTS.items())
    answers = "".join(answer for _, _, answer in JSON_REQUESTS.values())
    said, errors, status = ask(bootstrap, script, answers)
    assert (errors, status) == ("", 0)
    parts = dict(part.split("\n", 1) for part in said.split("== ")[1:])
    for name, (_, expected, _) in JSON_REQUESTS.items():
        match = re.fullmatch(r"<FEEDBACK>\n(.*)</FEEDBACK>\n", parts[name], re.DOTALL)
        assert match, name
        assert json.loads(match[1]) == expected, name


@needs_jq
def test_a_form_gives_its_events_to_a_function(bootstrap: Bootstrap) -> None:
    answers = "".join(f"{json.dumps(event)}\n" for event in EVENTS) + "for others\n"
    said, errors, status = ask(bootstrap, FORM, answers)
    request, _, after = said.partition("</FEEDBACK>\n")
    assert json.loads(request.removeprefix("<FEEDBACK>\n")) == {
        "requestType": "UI",
        "subType": "FORM",
        "json": {"form": {"id": "f"}},
    }
    assert (errors, status) == ("", 0)
    assert after.splitlines() == [
        "FORM_LOADED null ",
        'VALUE CHANGE name {"id":"name","value":"Ann \\"B\\""}',
        'BUTTON_CLICK null {"id":"name","value":"last"}',
        "closed",
        "for others",
    ]


@needs_jq
def test_a_form_without_a_function_leaves_its_events(bootstrap: Bootstrap) -> None:
    script = "show_json_form --json '{}'; get_json_result --object_id t --property name; echo $LAST_STATUS"
    event = {"eventType": "BUTTON_CLICK", "results": [{"id": "t", "selectedItemList": [{"name": "one"}]}]}
    said, _, _ = ask(bootstrap, script, f"{json.dumps(event)}\nSUCCESS\n")
    assert said.splitlines()[-2:] == ["one", "SUCCESS"]
    _, _, status = ask(
        bootstrap_again(bootstrap),
        "show_json_form --json '{}' --exit_code_on_cancel 4",
        '{"eventType": "BUTTON_CLICK", "eventDetails": "CANCEL"}\n',
    )
    assert status == 4


def bootstrap_again(bootstrap: Bootstrap) -> Bootstrap:
    """The same at another place."""
    return Bootstrap(bootstrap.root / "again")


def test_an_answer_can_say_that_it_failed(bootstrap: Bootstrap) -> None:
    script = 'wait_for_feedback --exit_on_error false || echo "refused: $LAST_STATUS $LAST_RESULTS"\n'
    script += "wait_for_feedback; echo on"
    said, errors, status = ask(bootstrap, script, "no right\nFAILED\nother\nFAILED\n")
    assert said == "refused: FAILED no right\n"
    assert "[ERROR] [root] no right" in errors
    assert "[ERROR] [root] other" in errors
    assert status == 1


def test_what_is_in_an_answer_is_text(bootstrap: Bootstrap) -> None:
    script = 'wait_for_feedback; printf "[%s]" "$LAST_RESULTS"\n'
    script += 'wait_for_feedback --any_response true; echo "[$LAST_RESULTS]"'
    said, _, status = ask(bootstrap, script, "  $(touch x) \\n `id`\n--message y\nSUCCESS\nany line\n")
    assert said == "[  $(touch x) \\n `id`\n--message y][any line]\n"
    assert status == 0


@pytest.mark.parametrize("is_interactive", [True, False])
def test_no_answer_ends_the_action_with_the_reason(bootstrap: Bootstrap, is_interactive: bool) -> None:  # noqa: FBT001 - a parameter of the test
    _, errors, status = ask(bootstrap, "ask_yes_no --message Sure; echo on", "", is_interactive=is_interactive)
    assert status == 1
    assert ("not interactive" in errors) is not is_interactive
    assert "run.sh: line 1" in errors


def test_the_server_answers_functions_and_programs_where_nobody_is(bootstrap: Bootstrap) -> None:
    script = "ask_yes_no --message Sure; echo $LAST_DIALOG_RESULT; python3 -c 'print(input())'; cat; echo end"
    said, errors, status = ask(bootstrap, script, "No\nSUCCESS\nmore\n", is_interactive=False)
    assert (errors, status) == ("", 0)
    assert said.endswith("</FEEDBACK>\nNo\nmore\nend\n")
