"""Actions that ask, written as both kinds of readers in the wild work, and the people who answer them."""

import time
from collections.abc import Callable
from typing import Any

from factories.modules import INSTANCE
from plugins.server import ServerProcess

# Collects lines up to SUCCESS; gives 1 at FAILED. `answer` holds what was collected.
BASH = r"""
wait_for_answer() {
    local line
    answer=
    while read -r line; do
        case $line in
            SUCCESS) return 0 ;;
            FAILED) echo "the answer is FAILED"; return 1 ;;
            *) answer+=${answer:+|}$line ;;
        esac
    done
    echo "the input has ended"
    return 1
}
ask() { echo "<FEEDBACK>"; echo "$1"; echo "</FEEDBACK>"; wait_for_answer; }
"""
# Prints a dictionary; the first line is the answer, unless it is SUCCESS; FAILED and errors end the action.
PYTHON = """
import sys
def send(request):
    print("<FEEDBACK>", flush=True)
    print(request, flush=True)
    print("</FEEDBACK>", flush=True)
def receive():
    line = sys.stdin.readline().rstrip()
    if line == "FAILED" or line.upper().startswith("ERROR"):
        print("the answer is", line)
        sys.exit(1)
    return None if line in ("SUCCESS", "processed") else line
def ask(request):
    send(request)
    return receive()
"""
QUESTION = """ui interaction
type=BUTTON_DIALOG
width=450
height=300
title=Remove it?
default_button=Yes
style_name=warning
is_html=true
button caption="Yes" location=LEFT
button caption="No, thanks" location=RIGHT
<p>Everything in <b>here</b> goes.</p>"""


def bash(script: str) -> dict[str, Any]:
    """Give the argument with which `code.py` executes a bash script that can `ask`."""
    return {"code": f"import subprocess, sys\nsys.exit(subprocess.run(['bash', '-c', {BASH + script!r}]).returncode)"}


def python(code: str) -> dict[str, Any]:
    """Give the argument with which `code.py` executes Python that can `ask`."""
    return {"code": PYTHON + code}


def start(server: ServerProcess, argument: dict[str, Any], *, interactive: bool = True) -> str:
    """Start an action that asks; gives the id of its run."""
    run = server.execute(INSTANCE, "code.py", argument=argument, asynchronous=True, interactive=interactive)
    return str(run["id"])


def run_of(server: ServerProcess, run_id: str) -> dict[str, Any]:
    """Give a run."""
    run: dict[str, Any] = server.client.get(f"/api/v1/runs/{run_id}").json()
    return run


def wait_until(
    server: ServerProcess, run_id: str, condition: Callable[[dict[str, Any]], bool], seconds: float = 30
) -> dict[str, Any]:
    """Give the run as soon as it is as wanted."""
    deadline = time.monotonic() + seconds
    while not condition(run := run_of(server, run_id)):
        assert time.monotonic() < deadline, run
        time.sleep(0.02)
    return run


def question(server: ServerProcess, run_id: str, number: int = 1) -> dict[str, Any]:
    """Wait for the question with a number, and give it."""

    def asked(run: dict[str, Any]) -> bool:
        assert not run["finishedAt"], (run["message"], log_of(server, run_id))
        return len(run["dialogs"]) >= number and run["dialogs"][-1]["state"] == "open"

    dialog: dict[str, Any] = wait_until(server, run_id, asked)["dialogs"][-1]
    return dialog


def answer(
    server: ServerProcess, run_id: str, dialog: dict[str, Any], status: int = 200, **body: Any
) -> dict[str, Any]:
    """Answer a dialog and insist on a status."""
    given = server.client.post(f"/api/v1/runs/{run_id}/answers", json={"dialogId": dialog["id"], **body})
    assert given.status_code == status, given.text
    said: dict[str, Any] = given.json()
    return said


def end(server: ServerProcess, run_id: str) -> dict[str, Any]:
    """Wait for the end of a run."""
    return wait_until(server, run_id, lambda run: run["finishedAt"] is not None)


def log_of(server: ServerProcess, run_id: str) -> str:
    """Give the log of a run."""
    return server.client.get(f"/api/v1/runs/{run_id}/log").text
