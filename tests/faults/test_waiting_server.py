"""A server that ends while an action waits for a person: the question stays readable, and nobody can answer it."""

import pytest

from factories.asking import QUESTION, answer, bash, end, question, run_of, start
from infraxys.engine.backends.bubblewrap import find_sandboxes
from plugins.server import ServerProcess


@pytest.mark.parametrize("ending", ["killed", "stopped"])
def test_a_question_outlives_its_server(own_server: ServerProcess, ending: str) -> None:
    if ending == "stopped":
        own_server.stop()
        own_server.options += ("--grace", "0")
        own_server.start()
    run_id = start(own_server, bash(f"ask '{QUESTION}'"))
    asked = question(own_server, run_id)
    assert run_of(own_server, run_id)["status"] == "WAITING"
    if ending == "killed":
        own_server.kill()
    else:
        assert own_server.stop() == 0
    own_server.start()
    run = end(own_server, run_id)
    assert run["status"] == ("LOST" if ending == "killed" else "CANCELLED")
    assert run["steps"][0]["status"] == run["status"]
    left = run["dialogs"][0]
    assert (left["id"], left["state"], left["answeredAt"]) == (asked["id"], "abandoned", None)
    assert (left["title"], left["message"]) == (asked["title"], asked["message"])
    assert answer(own_server, run_id, asked, 409, button="Yes")["code"] == "already_finished"
    assert find_sandboxes(own_server.data / "work") == []
