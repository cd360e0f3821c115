"""The functions that ask the server: what they print, and what they make of the answers on their standard input."""

import json
import re
from pathlib import Path

import pytest

from factories.bootstrap import Bootstrap

BUTTON = "button caption=\"%s\" location=%s\n"


def dialog(style: str = "", buttons: str = "", extra: str = "", title: str = "Message") -> str:
    """What show_dialog asks for."""
    return (
        f"ui interaction\ntype=BUTTON_DIALOG\nwidth=450\nheight=300\ntitle={title}\n{extra}"
        f"{f'style_name={style}' + chr(10) if style else ''}is_html=true\n{buttons}<p>Hello</p>\n"
    )


LIST = (
    "ui interaction\ntype=selection_list\nis_name_value_list=false\ntitle=Pick\nwidth=700\nheight=450\n"
    "min_selected_items_count=%s\nmax_selected_items_count=%s\ncolumn_1_visible=true\ncolumn_1_title=\n"
    "column_2_title=\n\n%s\n"
)
TWO = BUTTON % ("Yes", "LEFT") + BUTTON % ("No", "RIGHT")
# name: (call, what is between the markers, the answer, what is said afterwards)
TEXT_REQUESTS: dict[str, tuple[str, str, str, str]] = {
    "show_dialog": ("unset BUTTONS; BUTTONS=('A b' C); show_dialog --message Hello --title 'T x' --default C --input_label 'Your name'; unset BUTTONS; echo \"[$LAST_DIALOG_RESULT]\"", dialog(title="T x", extra="string_input_label=Your name\ndefault_button=C\n", buttons=BUTTON % ("A b", "MIDDLE") + BUTTON % ("C", "MIDDLE")), "C\nan input\nSUCCESS\n", "[C\nan input]\n"),
    "show_dialog_v2": ("show_dialog_v2 --message Hello", dialog(), "x\nSUCCESS\n", ""),
    "ask_yes_no": ("ask_yes_no --message Hello; echo $LAST_DIALOG_RESULT", dialog(buttons=TWO), "Yes\r\n SUCCESS \r\n", "Yes\n"),
    "ask_yes_no_cancel": ("ask_yes_no_cancel --message Hello; echo $LAST_DIALOG_RESULT", dialog(buttons=BUTTON % ("Yes", "LEFT") + BUTTON % ("No", "MIDDLE") + BUTTON % ("Cancel", "RIGHT")), "No\nSUCCESS\n", "No\n"),
    "ask_ok_cancel": ("ask_ok_cancel --message Hello; echo $LAST_DIALOG_RESULT", dialog(buttons=BUTTON % ("OK", "LEFT") + BUTTON % ("Cancel", "RIGHT")), "OK\nSUCCESS\n", "OK\n"),
    "get_user_input": ("get_user_input --target_variable_name answer --message Hello; echo \"$answer\"", dialog(buttons=BUTTON % ("Ok", "LEFT") + BUTTON % ("Cancel", "RIGHT")), "it's $(id)\nSUCCESS\n", "it's $(id)\n"),
    "get_user_input_v1": ("get_user_input_v1 --message Hello; echo \"$LAST_DIALOG_RESULT\"", dialog(buttons=BUTTON % ("Ok", "LEFT") + BUTTON % ("Cancel", "RIGHT")), "v\nSUCCESS\n", "v\n"),
    "show_info": ("show_info --message Hello", dialog("info"), "SUCCESS\n", ""),
    "show_warning": ("show_warning --message Hello", dialog("warning"), "SUCCESS\n", ""),
    "show_warn": ("show_warn --message Hello", dialog("warning"), "SUCCESS\n", ""),
    "show_error": ("show_error --message Hello", dialog("error"), "SUCCESS\n", ""),
    "show_message_dialog": ("show_message_dialog --message Hello --async true; echo on", dialog(title="").replace("450", "400").replace("300", "200"), "", "on\n"),
    "show_selection_list": ("show_selection_list -t Pick -m 1 -n 2 -s $'a\\nb'; echo \"$LAST_DIALOG_RESULT\"", LIST % (1, 2, "a\nb"), "a\nb\nSUCCESS\n", "a\nb\n"),
    "show_selection_list by name": ("show_selection_list --title Pick --list_type PROJECTS", LIST % (0, 0, "list_type=PROJECTS"), "SUCCESS\n", ""),
    "create_infraxys_container": ("create_infraxys_container --environment_id e --name n --description 'd d' --ssh_host h", "create container\nset container_type=SERVER\nset name=n\nset environment_id=e\nset domain=\nset description=d d\nset connect_name=h\nset private_ip=\n", "c-1\nSUCCESS\n", "Container id: c-1\n"),
    "create_instance": ("create_instance --parent_instance_id i --guid g", "create instance\nguid=g\nparentInstanceId=i\n", "i-1\nSUCCESS\n", "Instance id: i-1\n"),
    "show_create_instance": ("show_create_instance --parent_instance_id i --guid g; echo $new_instance_id", "set instanceid=i\nui interaction\ntype=CREATE INSTANCE\nguid=g\n", "i-2\nSUCCESS\n", "i-2\n"),
    "execute_infraxys_action": ("execute_infraxys_action --instance_id i --filename f.sh; echo $LAST_DIALOG_RESULT", "ui interaction\ntype=EXECUTE_ACTION\ninstance_id=i\nfilename=f.sh\n", "done\nSUCCESS\n", "done\n"),
}  # fmt: skip
JSON_REQUESTS: dict[str, tuple[str, object, str]] = {
    "update_status": ("update_status --message $'50 % \"done\" \\\\\\n\\x01'", {"requestType": "SYSTEM", "subType": "STATUS", "message": '50 % "done" \\\n\x01'}, "SUCCESS\n"),
    "log_audit": ("log_audit --json '{\"a\": 1}'", {"requestType": "SYSTEM", "subType": "AUDIT", "json": {"a": 1}}, "SUCCESS\n"),
    "audit_action": ("GLOBAL_TICKET=T-1; audit_action --action stop --details 'a \"b\"' --json '\"label\": \"x\"'", {"requestType": "SYSTEM", "subType": "AUDIT", "json": {"audit_type": "action", "ticket": "T-1", "action": "stop", "details": 'a "b"', "label": "x"}}, "SUCCESS\n"),
    "audit_start_action": ("environment_name=e container_name=c instance_label='l \"x\"'; audit_start_action", {"requestType": "SYSTEM", "subType": "AUDIT", "json": {"audit_type": "action", "ticket": "", "action": "START ACTION", "project_name": "Shop", "environment_name": "e", "container_name": "c", "instance_label": 'l "x"'}}, "SUCCESS\n"),
    "update_instance_attribute": ("update_instance_attribute --instance_id 7 --attribute_name out --attribute_value $'{\"a\": \"b\\\\c\"}\\nx' --compile_instance true", {"requestType": "UPDATE INSTANCE", "dbId": "7", "compileInstance": True, "compileContainer": False, "compileEnvironment": False, "fields": {"out": '{"a": "b\\c"}\nx'}}, "SUCCESS\n"),
    "answer_form_interaction": ("answer_form_interaction --json '{\"requestType\": \"UI\", \"subType\": \"ACTION\", \"action\": \"close\"}'", {"requestType": "UI", "subType": "ACTION", "action": "close"}, ""),
}  # fmt: skip
FORM = """
callback() { local json_from_server; import_args "$@"; echo "$last_json_event_type $last_json_object_id $jsonResult_name";
    [[ $last_json_event_details != OK ]] || STOP_WAITING=true; }
show_json_form --json_file form.json --callback_function callback; echo closed; read -r rest; echo "$rest"
"""
EVENTS = [
    {"eventType": "FORM_LOADED", "objectId": None, "results": []},
    {"eventType": "VALUE CHANGE", "objectId": "name", "results": [{"id": "name", "value": "Ann \"B\""}, {"id": "a;b", "value": 1}]},
    {"eventType": "BUTTON_CLICK", "eventDetails": "OK", "results": [{"id": "name", "value": "last"}]},
]  # fmt: skip


@pytest.fixture
def bootstrap(tmp_path: Path) -> Bootstrap:
    return Bootstrap(tmp_path)


def ask(bootstrap: Bootstrap, script: str, answers: str, *, is_interactive: bool = True) -> tuple[str, str, int]:
    """Run an action with the answers of a server; give what it says, what it says on errors, and its status."""
    bootstrap.lay_out({"run.sh": script, "form.json": '{"form": {"id": "f"}}'}, is_interactive=is_interactive, project_name="Shop")
    ended = bootstrap.run(answers=answers)
    return ended.stdout, ended.stderr, ended.returncode


def test_requests_in_lines_are_as_the_server_reads_them(bootstrap: Bootstrap) -> None:
    script = "\n".join(f"echo '== {name}'\n{call}" for name, (call, _, _, _) in TEXT_REQUESTS.items())
    answers = "".join(answer for _, _, answer, _ in TEXT_REQUESTS.values())
    said, errors, status = ask(bootstrap, script, answers)
    assert (errors, status) == ("", 0)
    parts = dict(part.split("\n", 1) for part in said.split("== ")[1:])
    for name, (_, request, _, after) in TEXT_REQUESTS.items():
        assert parts[name] == f"<FEEDBACK>\n{request}</FEEDBACK>\n{after}", name


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


def test_a_form_gives_its_events_to_a_function(bootstrap: Bootstrap) -> None:
    answers = "".join(f"{json.dumps(event)}\n" for event in EVENTS) + "for others\n"
    said, errors, status = ask(bootstrap, FORM, answers)
    request, _, after = said.partition("</FEEDBACK>\n")
    assert json.loads(request.removeprefix("<FEEDBACK>\n")) == {"requestType": "UI", "subType": "FORM", "json": {"form": {"id": "f"}}}
    assert (errors, status) == ("", 0)
    assert after.splitlines() == [
        "FORM_LOADED null ", 'VALUE CHANGE name {"id":"name","value":"Ann \\"B\\""}',
        'BUTTON_CLICK null {"id":"name","value":"last"}', "closed", "for others",
    ]  # fmt: skip


def test_a_form_without_a_function_leaves_its_events(bootstrap: Bootstrap) -> None:
    script = "show_json_form --json '{}'; get_json_result --object_id t --property name; echo $LAST_STATUS"
    event = {"eventType": "BUTTON_CLICK", "results": [{"id": "t", "selectedItemList": [{"name": "one"}]}]}
    said, _, _ = ask(bootstrap, script, f"{json.dumps(event)}\nSUCCESS\n")
    assert said.splitlines()[-2:] == ["one", "SUCCESS"]
    said, errors, status = ask(bootstrap_again(bootstrap), "show_json_form --json '{}' --exit_code_on_cancel 4", '{"eventType": "BUTTON_CLICK", "eventDetails": "CANCEL"}\n')
    assert status == 4


def bootstrap_again(bootstrap: Bootstrap) -> Bootstrap:
    """The same at another place."""
    return Bootstrap(bootstrap.root / "again")


def test_an_answer_can_say_that_it_failed(bootstrap: Bootstrap) -> None:
    script = "wait_for_feedback --exit_on_error false || echo \"refused: $LAST_STATUS $LAST_RESULTS\"; wait_for_feedback; echo on"
    said, errors, status = ask(bootstrap, script, "no right\nFAILED\nother\nFAILED\n")
    assert said == "refused: FAILED no right\n"
    assert "[ERROR] [root] no right" in errors
    assert "[ERROR] [root] other" in errors
    assert status == 1


def test_what_is_in_an_answer_is_text(bootstrap: Bootstrap) -> None:
    script = 'wait_for_feedback; printf "[%s]" "$LAST_RESULTS"; wait_for_feedback --any_response true; echo "[$LAST_RESULTS]"'
    said, _, status = ask(bootstrap, script, '  $(touch x) \\n `id`\n--message y\nSUCCESS\nany line\n')
    assert said == "[  $(touch x) \\n `id`\n--message y][any line]\n"
    assert status == 0


@pytest.mark.parametrize("is_interactive", [True, False])
def test_no_answer_ends_the_action_with_the_reason(bootstrap: Bootstrap, is_interactive: bool) -> None:  # noqa: FBT001 - a parameter of the test
    _, errors, status = ask(bootstrap, "ask_yes_no --message Sure; echo on", "", is_interactive=is_interactive)
    assert status == 1
    assert ("not interactive" in errors) is not is_interactive
    assert "run.sh: line 1" in errors


def test_the_server_answers_functions_where_nobody_is_and_programs_find_the_end(bootstrap: Bootstrap) -> None:
    script = "cat; read -r line || echo nothing to read; ask_yes_no --message Sure; echo $LAST_DIALOG_RESULT"
    said, errors, status = ask(bootstrap, script, "No\nSUCCESS\n", is_interactive=False)
    assert (errors, status) == ("", 0)
    assert said.startswith("nothing to read\n<FEEDBACK>")
    assert said.endswith("</FEEDBACK>\nNo\n")
