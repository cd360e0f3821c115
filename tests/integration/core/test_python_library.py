"""Actions in real sandboxes that import the Python library: they ask, answer, and call the API."""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from factories.asking import answer, end, log_of, question, start, wait_until
from factories.bootstrap import Bootstrap
from factories.modules import ENVIRONMENT, INSTANCE, WORKFLOW
from infraxys.engine.run_tree import ROOT
from plugins.server import ServerProcess

GUIDE = Path(__file__).resolve().parents[3] / "docs" / "guide" / "python-library.md"


def lines(log: str) -> list[str]:
    """Give what the action itself has printed."""
    return [line for line in log.splitlines() if not line.startswith("[")]


def said(server: ServerProcess, code: str, *, interactive: bool = False, **argument: Any) -> Any:
    """Run Python in an action; gives the JSON that is its last line."""
    run = server.execute(INSTANCE, "code.py", argument={"code": code, **argument}, interactive=interactive)
    assert run["status"] == "SUCCESS", run["message"] + run["log"]
    return json.loads(run["log"].splitlines()[-1])


def test_who_develops_has_every_grant_by_its_name(server: ServerProcess) -> None:
    made = server.client.post("/api/v1/grants", json={"projectId": "root", "name": "Paint it red"})
    code = "import json; user = json.load(open('/tmp/infraxys/system/current_user.json')); print(json.dumps(user))"
    assert {"run.cancel", "Paint it red", made.json()["id"], "*"} <= set(said(server, code)["grants"])


class TestPeople:
    def test_an_action_asks_and_goes_on_with_the_answers(self, server: ServerProcess) -> None:
        code = """
import infraxys
from infraxys.communicator import Communicator
from infraxys.logger import Logger
from infraxys.model.current_user import CurrentUser
from infraxys.services.infraxys_service import InfraxysService
names = infraxys.get_argument()["names"]
logger = Logger.get_logger("remover")
logger.print_dot()
Communicator.set_status("asking")
talk = Communicator.get_instance()
if talk.show_yes_no(f"Remove <b>{names[0]}</b>?", title="Sure?"):
    logger.info(f"removing {names}")
buttons = [{"label": "Now", "id": "now"}, {"label": "Never", "id": "never"}]
when = talk.show_dialog("When?", is_html=False, buttons=buttons)
Communicator.show_warning_message("It takes a while")
logger.audit("removed", ticket="T-1")
InfraxysService.add_action_error("E-7", f"{names[1]} is kept")
InfraxysService.add_action_log_entry("half of it", level="WARN")
InfraxysService.set_rest_response({"when": when, "user": CurrentUser().username, "names": names})
print("done", when)
"""
        names = ["web é", 'it\'s "db"']
        run_id = start(server, {"code": code, "names": names})
        first = question(server, run_id)
        assert (first["title"], first["message"], first["isHtml"]) == ("Sure?", "Remove <b>web é</b>?", True)
        answer(server, run_id, first, button="1")
        second = question(server, run_id, 2)
        assert (second["message"], second["isHtml"]) == ("When?", False)
        answer(server, run_id, second, button="never")
        run = end(server, run_id)
        log = log_of(server, run_id)
        assert run["status"] == "SUCCESS", log
        user = server.client.get("/api/v1/me").json()["name"]
        assert run["actionResponse"] == {"message": {"when": "never", "user": user, "names": names}}
        assert run["errors"] == [{"code": "E-7", "message": 'it\'s "db" is kept'}]
        assert lines(log) == [".", "done never"]
        assert "[remover] removing ['web é', 'it\\'s \"db\"']" in log
        assert "[infraxys] status: asking" in log
        assert "[WARN] half of it" in log
        assert "FEEDBACK" not in log

    def test_a_form_is_filled_in(self, server: ServerProcess) -> None:
        code = """
from infraxys.json.json_form import JsonForm
from infraxys.json.json_window import JsonWindow
window = JsonWindow.get_instance()
class Sizes(JsonForm):
    def __init__(self):
        self.set_status("Loading form")
        JsonForm.__init__(self, json_window=window, form_json={"form": {"id": "f", "header": "Sizes"}})
        self.add_data_part("rows", data_part_json={"items": [{"name": "small"}]})
        self.add_button_click_listener("OK", self.check)
    def loaded(self, event):
        self.set_object_enabled("size", False)
    def check(self, event):
        if not event.get_boolean("sure"):
            self.set_object_value("hint", "be sure")
            return False
        print(event.get_selected_item("rows")["name"], event.get("size"))
form = Sizes()
window.set_form(form, form_loaded_listener=form.loaded, auto_close=True)
print("canceled", window.canceled)
"""
        run_id = start(server, {"code": code})
        shown = question(server, run_id, 2)
        assert shown["definition"]["json"]["dataParts"][0]["data"] == {"items": [{"name": "small"}]}
        answer(server, run_id, shown, event={"eventType": "FORM_LOADED"})
        wait_until(server, run_id, lambda run: "size" in run["dialogs"][-1]["updates"])
        results = [
            {"id": "sure", "value": "false"},
            {"id": "size", "value": "5 </FEEDBACK>"},
            {"id": "rows", "selectedItemList": [{"name": "small"}]},
        ]
        click = {"eventType": "BUTTON_CLICK", "eventDetails": "OK"}
        answer(server, run_id, shown, event={**click, "results": results})
        wait_until(server, run_id, lambda run: "hint" in run["dialogs"][-1]["updates"])
        results[0]["value"] = "true"
        answer(server, run_id, shown, event={**click, "results": results})
        run = end(server, run_id)
        assert run["status"] == "SUCCESS", log_of(server, run_id)
        assert lines(log_of(server, run_id)) == ["small 5 </FEEDBACK>", "canceled False"]
        assert {item["state"] for item in run["dialogs"]} == {"closed"}

    def test_where_nobody_is_there_nothing_is_confirmed(self, server: ServerProcess) -> None:
        code = """
import json, infraxys
from infraxys.communicator import Communicator
print(json.dumps([infraxys.is_interactive(), Communicator.get_instance().show_yes_no("Remove it?")]))
"""
        assert said(server, code) == [False, False]
        window = "from infraxys.json.json_window import JsonWindow\nJsonWindow.get_instance().show()\nprint('no')"
        run = server.execute(INSTANCE, "code.py", argument={"code": window})
        assert (run["status"], run["steps"][0]["exitCode"]) == ("FAILED", 1)
        assert "nobody is there to answer this window" in run["log"]
        assert lines(run["log"]) == []

    def test_a_script_of_the_shell_uses_it_as_well(self, server: ServerProcess) -> None:
        script = "python3 -c 'from infraxys.communicator import Communicator as C; C.set_status(\"from the shell\")'"
        run = server.execute(INSTANCE, "shell.sh", argument={"code": script})
        assert run["status"] == "SUCCESS"
        assert "[infraxys] status: from the shell" in run["log"]

    def test_it_asks_from_a_terminal_as_well(self, server: ServerProcess) -> None:
        script = "python3 -c 'from infraxys.communicator import Communicator as C; print(C.show_yes_no(\"Go on?\"))'"
        run = server.execute(INSTANCE, "terminal.sh", argument={"code": script}, asynchronous=True, interactive=True)
        answer(server, run["id"], question(server, run["id"]), button="1")
        assert end(server, run["id"])["status"] == "SUCCESS"
        assert lines(log_of(server, run["id"])) == ["True"]


class TestApi:
    def test_the_api_is_called_as_who_started_the_run(self, server: ServerProcess) -> None:
        code = """
import json
from infraxys.exceptions import NotFoundException
from infraxys.infraxys_rest_client import InfraxysRestClient
from infraxys.rest_client import RestClient
client = InfraxysRestClient.get_instance()
found = [client.execute_get("me").json()["name"], RestClient().execute_get("/me?x=1").json()["name"]]
try:
    client.execute_get("runs/none such")
except NotFoundException as problem:
    found.append(str(problem))
print(json.dumps(found))
"""
        name = server.client.get("/api/v1/me").json()["name"]
        *names, problem = said(server, code)
        assert names == [name, name]
        assert problem.startswith("NotFoundException: 404: ")

    def test_an_action_starts_another_and_a_workflow(self, server: ServerProcess) -> None:
        code = f"""
import json
from infraxys.exceptions import BadRequestException
from infraxys.infraxys_rest_client import InfraxysRestClient
client = InfraxysRestClient.get_instance()
body = {{"argument": {{"é": [1]}}}}
run = client.execute_post("instance/main/{INSTANCE}/files/argument.sh/execute", body).json()
workflow = client.execute_post("environment/main/{ENVIRONMENT}/workflow/{WORKFLOW}/execute", {{}}).json()
print(json.dumps([run["log"], run["trigger"], workflow["status"]]))
"""
        log, trigger, status = said(server, code)
        assert (json.loads(log), trigger, status) == ({"é": [1]}, "run", "SUCCESS")


class TestGuide:
    def example(self, heading: str) -> str:
        found = re.search(rf"## {heading}\n.*?```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
        assert found, heading
        return found[1]

    @pytest.mark.parametrize(
        ("heading", "expected"),
        [
            ("What the run was given", r"\S+ asks for \['a'\] in blue, may deploy: True"),
            ("Calling the API", r"\S+\nno such run: 404: .*"),
            ("Instances as objects", "web in production"),
        ],
    )
    def test_its_examples_do_what_they_say(self, server: ServerProcess, heading: str, expected: str) -> None:
        argument = {"code": self.example(heading), "servers": ["a"]}
        run = server.execute(INSTANCE, "code.py", argument=argument)
        assert run["status"] == "SUCCESS", run["log"]
        assert re.fullmatch(expected, run["log"].strip()), run["log"]

    def test_its_answer_of_the_run(self, server: ServerProcess) -> None:
        run = server.execute(INSTANCE, "code.py", argument={"code": self.example("The log, and the answer of the run")})
        assert (run["status"], run["actionResponse"]) == ("SUCCESS", {"message": {"done": 2}})
        assert run["errors"] == [{"code": "E-12", "message": "orders was locked"}]
        assert "[INFO ]" in run["log"]

    def test_its_question(self, server: ServerProcess) -> None:
        run_id = start(server, {"code": self.example("Asking people")})
        answer(server, run_id, question(server, run_id), button="1")
        assert end(server, run_id)["status"] == "SUCCESS"
        assert "It is being removed" in log_of(server, run_id)

    def test_its_form(self, server: ServerProcess) -> None:
        run_id = start(server, {"code": self.example("Forms")})
        shown = question(server, run_id, 2)
        for size in ("big", "5"):
            click = {"eventType": "BUTTON_CLICK", "eventDetails": "OK", "results": [{"id": "size", "value": size}]}
            answer(server, run_id, shown, event=click)
        assert end(server, run_id)["status"] == "SUCCESS", log_of(server, run_id)
        assert lines(log_of(server, run_id)) == ["size 5"]


class TestPath:
    """Where Python looks, in the order in which it looks."""

    SAY = 'python3 -c \'import sys; print(*[p for p in sys.path if p.startswith("{}")], sep="\\n")\''

    def found(self, bootstrap: Bootstrap, **options: Any) -> list[str]:
        ended = bootstrap.lay_out({"run.sh": self.SAY.format(bootstrap.root)}, **options).run()
        assert ended.returncode == 0, ended.stderr
        return [line.removeprefix(str(bootstrap.root)) for line in ended.stdout.splitlines()]

    def test_ours_is_there_without_modules_and_for_quick_runners(self, tmp_path: Path) -> None:
        assert self.found(Bootstrap(tmp_path / "one")) == ["/core/python"]
        assert self.found(Bootstrap(tmp_path / "two"), is_quick=True) == ["/core/python"]

    def test_the_folders_of_modules_come_first(self, tmp_path: Path) -> None:
        bootstrap = Bootstrap(tmp_path)
        bootstrap.module("host/org/one/main", {"python/mine.py": "answer = 1\n"})
        bootstrap.module("host/org/two/main", {"init.sh": "export PYTHONPATH=$(pwd)/lib:$PYTHONPATH", "lib/a.py": ""})
        bootstrap.module("host/org/three/main", {"python": "a file"})
        assert self.found(bootstrap) == [
            "/modules/host/org/two/main/lib",
            "/modules/host/org/one/main/python",
            "/core/python",
        ]

    def test_a_module_with_a_library_of_that_name_takes_its_place(self, tmp_path: Path) -> None:
        bootstrap = Bootstrap(tmp_path)
        bootstrap.module("host/org/one/main", {"python/infraxys/__init__.py": "print('theirs')\n"})
        ended = bootstrap.lay_out({"run.py": "#!/usr/bin/env python3\nimport infraxys\n"}, action="run.py").run(
            "run.py"
        )
        assert (ended.stdout, ended.returncode) == ("theirs\n", 0)

    def test_what_the_environment_has_is_kept(self, tmp_path: Path) -> None:
        bootstrap = Bootstrap(tmp_path).lay_out({"run.sh": 'echo "$PYTHONPATH"'})
        assert bootstrap.run(PYTHONPATH="/image/lib").stdout == f"/image/lib:{tmp_path}/core/python\n"

    def test_it_is_there_in_images(self, tmp_path: Path) -> None:
        bootstrap = Bootstrap(tmp_path).lay_out({"run.sh": 'echo "$PYTHONPATH"'}, is_quick=True)
        launcher = (tmp_path / "core" / "image.sh").read_text().replace(ROOT, str(tmp_path))
        command = ["/bin/sh", "-c", launcher, "image.sh", "file", "run.sh"]
        for given, expected in (("", ""), ("/image/lib", "/image/lib:")):
            ended = subprocess.run(
                command, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": given}
            )
            assert ended.stdout == f"{expected}{bootstrap.root}/core/python\n"
