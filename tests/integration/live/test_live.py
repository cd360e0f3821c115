"""The live connection of a running server: what it tells, and what is typed over it."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from factories.live import Live, live
from factories.modules import INSTANCE
from plugins.access import AccessServer
from plugins.server import ServerProcess


def start(
    server: ServerProcess, filename: str, token: str | None = None, *, interactive: bool = False, **argument: Any
) -> str:
    """Start an action of the test module; gives the id of the run."""
    answer = server.client.post(
        f"/api/v1/instance/main/{INSTANCE}/files/{filename}/execute",
        json={"asynchronous": True, "interactive": interactive, "argument": argument},
        headers={"Authorization": f"token {token}"} if token else {},
    )
    assert answer.status_code == 200, answer.text
    run_id: str = answer.json()["id"]
    return run_id


def follow(connection: Live, run_id: str, offset: int = 0) -> None:
    assert connection.ask("follow", runId=run_id, offset=offset)["type"] == "done"


class TestFollowing:
    def test_it_says_what_speaks(self, server: ServerProcess) -> None:
        with live(server.url) as connection:
            assert connection.hello["version"] == 1
            assert connection.ask("ping") == {"type": "pong", "id": "ping"}

    def test_a_run_is_told_from_its_state_to_its_end_with_every_byte_of_its_log(self, server: ServerProcess) -> None:
        with live(server.url) as connection:
            run_id = start(server, "lines.sh")
            follow(connection, run_id)
            end = connection.next("end", run_id)
            assert connection.next("run", run_id)["run"]["kind"] == "action"
            log = server.client.get(f"/api/v1/runs/{run_id}/log").text
            assert connection.text[run_id] == log
            assert (end["status"], end["exitCode"], end["logBytes"]) == ("SUCCESS", 0, len(log.encode()))

    def test_it_goes_on_from_an_offset(self, server: ServerProcess) -> None:
        run_id = server.execute(INSTANCE, "lines.sh")["id"]
        log = server.client.get(f"/api/v1/runs/{run_id}/log").content
        with live(server.url) as connection:
            follow(connection, run_id, 1000)
            connection.next("end", run_id)
            assert connection.text[run_id].encode() == log[1000:]
            refused = connection.ask("follow", runId=run_id, offset=len(log) + 1)
            assert (refused["type"], refused["code"]) == ("error", "not_found")

    def test_several_runs_share_a_connection_and_one_can_be_left(self, server: ServerProcess) -> None:
        code = "echo begun; while read -r line; do echo got $line; done"
        with live(server.url) as connection:
            one, other = (start(server, "terminal.sh", code=code) for _ in range(2))
            follow(connection, one)
            follow(connection, other)
            connection.until(one, "begun")
            connection.until(other, "begun")
            assert connection.ask("unfollow", runId=one)["type"] == "done"
            for run_id in (one, other):
                connection.type(run_id, "x\n")
            connection.until(other, "got x")
            assert "got" not in connection.text[one]
            for run_id in (one, other):
                server.client.post(f"/api/v1/runs/{run_id}/cancel")

    def test_the_list_tells_of_every_run_from_queued_to_its_end(self, server: ServerProcess) -> None:
        with live(server.url) as connection:
            assert connection.ask("followRuns")["type"] == "done"
            run_id = start(server, "ok.sh")
            states = []
            while "SUCCESS" not in states:
                states.append(connection.next("run", run_id)["run"]["status"])
            assert states[-1] == "SUCCESS"
            assert set(states) <= {"QUEUED", "RUNNING", "SUCCESS"}
            assert connection.ask("unfollowRuns")["type"] == "done"
            after = server.execute(INSTANCE, "ok.sh")["id"]
            assert connection.ask("ping")["type"] == "pong"
            assert not [item for item in connection.kept if item["type"] == "run" and item["run"]["id"] == after]

    def test_who_is_far_behind_skips_a_piece_and_is_told_which(self, server: ServerProcess) -> None:
        code = "import sys\nfor n in range(9 * 1024):\n    sys.stdout.write('%01023d\\n' % n)"
        run_id = server.execute(INSTANCE, "code.py", argument={"code": code})["id"]
        with live(server.url) as connection:
            follow(connection, run_id)
            end = connection.next("end", run_id)
            gap = connection.next("gap", run_id)
            assert (gap["offset"], gap["next"]) == (0, end["logBytes"] - 1024**2)
            rest = server.client.get(f"/api/v1/runs/{run_id}/log", headers={"Range": f"bytes={gap['next']}-"})
            assert connection.text[run_id] == rest.text


class TestDialogs:
    def test_what_an_action_asks_at_its_terminal_is_told_and_its_answer_not_shown(self, server: ServerProcess) -> None:
        code = """
            ask_yes_no --title 'Sure?' --message 'Go on?'
            echo "chosen: $LAST_DIALOG_RESULT"
            echo '<CLIENT-FEEDBACK>{"type": "STATUS-MESSAGE", "message": "half"}</CLIENT-FEEDBACK>'
            read -r -p 'And? ' typed
            echo "typed: $typed"
        """
        run_id = start(server, "terminal.sh", interactive=True, code=code)
        with live(server.url) as connection:
            follow(connection, run_id)
            dialog = connection.next("dialog", run_id)["dialog"]
            assert (dialog["title"], dialog["state"]) == ("Sure?", "open")
            with live(server.url) as late:  # who comes later is told what is open
                follow(late, run_id)
                assert late.next("dialog", run_id)["dialog"] == dialog
            given = {"dialogId": dialog["id"], "button": dialog["definition"]["buttons"][0]["id"]}
            assert server.client.post(f"/api/v1/runs/{run_id}/answers", json=given).status_code == 200
            assert connection.next("dialog", run_id)["dialog"]["state"] == "answered"
            said = connection.next("client", run_id)["client"]["feedback"]
            assert said == {"type": "STATUS-MESSAGE", "message": "half"}
            connection.until(run_id, "And? ")
            connection.type(run_id, "this\n")
            assert connection.next("end", run_id)["status"] == "SUCCESS"
        assert "chosen: Yes\r\n" in connection.text[run_id]
        assert connection.text[run_id].endswith("And? this\r\ntyped: this\r\n")
        assert not re.search("^(SUCCESS|Yes|</?FEEDBACK)", connection.text[run_id], re.MULTILINE)


class TestTerminal:
    def test_the_action_has_a_terminal_of_the_size_that_is_asked_for(self, server: ServerProcess) -> None:
        run_id = start(
            server, "terminal.sh", code="stty size; read -r _; stty size; tput cols; test -t 1 && echo $TERM"
        )
        with live(server.url) as connection:
            follow(connection, run_id)
            connection.until(run_id, "40 120")
            assert connection.ask("resize", runId=run_id, columns=133, rows=51)["type"] == "done"
            connection.type(run_id, "\n")
            connection.next("end", run_id)
            assert re.findall(r"[\w-]+(?: \d+)?", connection.text[run_id]) == [
                "40 120", "51 133", "133", "xterm-256color",
            ]  # fmt: skip

    def test_what_is_typed_is_read_and_shown(self, server: ServerProcess) -> None:
        run_id = start(
            server, "terminal.sh", code="read -r -p 'Who? ' who; read -r -s -p 'Secret? ' it; echo $who ${#it}"
        )
        with live(server.url) as connection:
            follow(connection, run_id)
            connection.until(run_id, "Who? ")
            connection.type(run_id, "Ada Zoë\n")
            connection.until(run_id, "Secret? ")
            connection.type(run_id, "hidden\n")
            end = connection.next("end", run_id)
            assert end["status"] == "SUCCESS"
            assert connection.text[run_id] == "Who? Ada Zoë\r\nSecret? Ada Zoë 6\r\n"

    def test_an_interrupt_reaches_what_is_in_the_foreground(self, server: ServerProcess) -> None:
        code = "trap 'echo caught; exit 7' INT; echo ready; sleep 100"
        run_id = start(server, "terminal.sh", code=code)
        with live(server.url) as connection:
            follow(connection, run_id)
            connection.until(run_id, "ready")
            connection.type(run_id, "\x03")
            end = connection.next("end", run_id)
            assert (end["status"], end["exitCode"]) == ("FAILED", 7)
            assert "caught" in connection.text[run_id]

    def test_one_that_ignores_the_request_to_end_gives_in_when_its_terminal_goes(self, server: ServerProcess) -> None:
        run_id = start(server, "terminal.sh", code="bash --norc --noprofile -i")
        with live(server.url) as connection:
            follow(connection, run_id)
            connection.until(run_id, "# ")
            server.client.post(f"/api/v1/runs/{run_id}/cancel")
            end = connection.next("end", run_id)
            assert end["status"] == "CANCELLED"

    def test_an_action_without_a_terminal_has_no_size(self, server: ServerProcess) -> None:
        run_id = start(server, "sleep.sh")
        with live(server.url) as connection:
            follow(connection, run_id)
            connection.until(run_id, "started")
            refused = connection.ask("resize", runId=run_id, columns=80, rows=24)
            assert refused["code"] == "no_terminal"
            server.client.post(f"/api/v1/runs/{run_id}/cancel")
            connection.next("end", run_id)

    def test_who_types_into_what_does_not_read_is_told_and_nobody_waits(self, server: ServerProcess) -> None:
        run_id = start(server, "terminal.sh", code="stty raw -echo; echo begun; sleep 100")
        with live(server.url) as connection:
            follow(connection, run_id)
            connection.until(run_id, "begun")
            answers = [connection.type(run_id, "x" * 16000)["type"] for _ in range(30)]
            assert answers[0] == "done"
            assert answers[-1] == "error"
            assert connection.ask("ping")["type"] == "pong"
            server.client.post(f"/api/v1/runs/{run_id}/cancel")
            connection.next("end", run_id)
            assert connection.type(run_id, "late")["code"] == "not_running"

    def test_the_trail_says_that_somebody_typed_and_not_what(self, access_server: AccessServer) -> None:
        server, token = access_server, access_server.everything
        run_id = start(server, "terminal.sh", token, code="read -r _; read -r _")
        with live(server.url, token) as connection:
            follow(connection, run_id)
            while connection.type(run_id, "canary-of-input\n")["type"] == "error":  # it has not started yet
                pass
            connection.type(run_id, "more\n")
            connection.next("end", run_id)
        found = server.ask("GET", f"/audit?target=run/{run_id}", token).json()["items"]
        [typed] = [item for item in found if item["action"] == "run.input"]
        assert typed["user"]["id"] is not None
        assert "canary" not in str(found)


class TestRights:
    @pytest.fixture
    def runs(self, access_server: AccessServer) -> Iterator[tuple[str, str]]:
        """A run that has ended and one that goes on."""
        token = access_server.everything
        ended = start(access_server, "true.sh", token)
        access_server.ask("GET", f"/runs/{ended}?wait=30", token)
        goes_on = start(access_server, "sleep.sh", token)
        yield ended, goes_on
        access_server.ask("POST", f"/runs/{goes_on}/cancel", token)

    def test_a_run_that_one_may_not_see_is_as_one_that_is_not_there(
        self, access_server: AccessServer, runs: tuple[str, str]
    ) -> None:
        make = access_server.make
        stranger = access_server.holder(make.project(), "run.read", "run.list", "action.execute")
        with live(access_server.url, stranger) as connection:
            connection.ask("followRuns")
            for run_id in runs:
                for kind, parts in (
                    ("follow", {}),
                    ("input", {"text": "x"}),
                    ("resize", {"columns": 80, "rows": 24}),
                ):
                    answer = connection.ask(kind, runId=run_id, **parts)
                    unknown = connection.ask(kind, runId="nothing", **parts)
                    assert answer["code"] == unknown["code"] == "unknown_run"
                    assert answer["message"].replace(run_id, "nothing") == unknown["message"]
            start(access_server, "true.sh", access_server.everything)
            assert connection.ask("ping")["type"] == "pong"
            assert connection.kept == []

    def test_who_may_only_look_cannot_type(self, access_server: AccessServer, runs: tuple[str, str]) -> None:
        viewer = access_server.holder("root", "run.read", "run.list")
        with live(access_server.url, viewer) as connection:
            follow(connection, runs[1])
            for kind, parts in (("input", {"text": "x"}), ("resize", {"columns": 80, "rows": 24})):
                answer = connection.ask(kind, runId=runs[1], **parts)
                assert (answer["code"], "action.execute" in answer["message"]) == ("forbidden", True)

    def test_a_run_that_one_may_see_no_longer_is_dropped_at_once(
        self, access_server: AccessServer, runs: tuple[str, str]
    ) -> None:
        make, elsewhere = access_server.make, access_server.make.project()
        team = make.team("root", ["run.read", "run.list"])
        user = make.user(team, make.team(elsewhere, ["run.read"]))
        with live(access_server.url, make.token(user)) as connection:
            follow(connection, runs[1])
            connection.next("run", runs[1])
            assert access_server.ask("DELETE", f"/teams/{team}", access_server.everything).status_code == 204
            dropped = connection.where(lambda message: message["type"] == "dropped")
            assert (dropped["runId"], dropped["code"]) == (runs[1], "unknown_run")
            assert connection.ask("ping")["type"] == "pong"
