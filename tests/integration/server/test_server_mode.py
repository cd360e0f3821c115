"""Accounts and tokens in server mode."""

import hashlib
import json
import os
import subprocess
from pathlib import Path

import httpx
import pytest

from factories.modules import ENVIRONMENT, FAILING_WORKFLOW, INSTANCE
from infraxys.server.auth import tokens
from plugins.server import ServerProcess

EXECUTE = f"/api/v1/instance/main/{INSTANCE}/files/ok.sh/execute"


def post(server: ServerProcess, *headers: tuple[str, str]) -> httpx.Response:
    return server.client.post(EXECUTE, json={}, headers=list(headers))


class TestTokens:
    @pytest.mark.parametrize("scheme", ["token", "Bearer", "TOKEN", "bearer"])
    def test_the_documented_header_executes(self, team_server: ServerProcess, scheme: str) -> None:
        run = post(team_server, ("Authorization", f"{scheme} {team_server.admin_token}"))  # type: ignore[attr-defined]
        assert run.status_code == 200, run.text
        assert run.json()["trigger"] == "token"
        assert run.json()["requestedBy"]["name"] == "root"

    def test_every_kind_of_bad_credentials_is_the_same_401(self, team_server: ServerProcess) -> None:
        good = team_server.admin_token  # type: ignore[attr-defined]
        body, _, _ = good.rpartition("_")
        unknown = f"ifx_{'0' * 16}_{'0' * 43}"
        bad = [
            "nonsense",
            good[:-1],
            good[:-1] + ("a" if good[-1] != "a" else "b"),
            f"{unknown}_{tokens.checksum(unknown)}",
            good + "x",
            "x" * 10_000,
        ]
        answers = [post(team_server), *(post(team_server, ("Authorization", f"token {text}")) for text in bad)]
        answers.append(post(team_server, ("Authorization", f"Basic {good}")))
        assert {answer.status_code for answer in answers} == {401}
        assert len({answer.json()["detail"] for answer in answers}) == 1
        assert all("www-authenticate" in answer.headers for answer in answers)
        assert body not in "".join(answer.text for answer in answers)

    def test_two_headers_are_refused(self, team_server: ServerProcess) -> None:
        good = team_server.admin_token  # type: ignore[attr-defined]
        answer = post(team_server, ("Authorization", f"token {good}"), ("Authorization", "token other"))
        assert answer.status_code == 400

    def test_a_user_without_grants_is_told_which_one_is_missing(self, team_server: ServerProcess) -> None:
        answer = post(team_server, ("Authorization", f"token {team_server.user_token}"))  # type: ignore[attr-defined]
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
        assert answer.json()["grant"] == "action.execute"

    def test_revoking_and_disabling_work_with_the_next_request(self, team_server: ServerProcess) -> None:
        assert team_server.command("user", "create", "gone", "--admin").returncode == 0
        made = [
            team_server.command("token", "create", "--name", f"t{n}", "--user", "gone").stdout.strip() for n in range(2)
        ]
        headers = [("Authorization", f"token {text}") for text in made]
        assert [post(team_server, header).status_code for header in headers] == [200, 200]
        assert team_server.command("token", "revoke", made[0].split("_")[1]).returncode == 0
        assert [post(team_server, header).status_code for header in headers] == [401, 200]
        assert team_server.command("user", "disable", "gone").returncode == 0
        assert [post(team_server, header).status_code for header in headers] == [401, 401]

    def test_a_user_sees_and_deletes_own_tokens_only_and_never_a_secret(self, team_server: ServerProcess) -> None:
        headers = {"Authorization": f"token {team_server.user_token}"}  # type: ignore[attr-defined]
        items = team_server.client.get("/api/v1/tokens", headers=headers).json()["items"]
        assert [item["name"] for item in items] == ["test"]
        secret = team_server.user_token.split("_")[2]  # type: ignore[attr-defined]
        assert secret not in str(items)
        other = team_server.admin_token.split("_")[1]  # type: ignore[attr-defined]
        assert team_server.client.delete(f"/api/v1/tokens/{other}", headers=headers).status_code == 404

    def test_the_secret_is_nowhere_in_the_data_folder(self, team_server: ServerProcess) -> None:
        secret = team_server.admin_token.split("_")[2]  # type: ignore[attr-defined]
        found = subprocess.run(
            ["grep", "-rlaF", secret, str(team_server.folder)], capture_output=True, text=True, check=False
        )
        assert found.stdout == ""

    def test_keys_and_databases_are_closed_to_others(self, team_server: ServerProcess) -> None:
        for name in ("keys", "db", "tls", "logs", "modules"):
            assert (team_server.data / name).stat().st_mode & 0o077 == 0
        assert (team_server.data / "keys" / "tokens.key").stat().st_mode & 0o777 == 0o600


class TestStart:
    def test_a_second_server_on_the_folder_is_refused(self, server: ServerProcess) -> None:
        second = server.command("serve", "--port", "0", "--data-dir", str(server.data))
        assert second.returncode == 1
        assert "another Infraxys server" in second.stderr
        assert len(second.stderr.strip().splitlines()) == 1

    def test_developer_mode_binds_to_this_machine_only(self, tmp_path: Path, server: ServerProcess) -> None:
        refused = server.command("serve", "--host", "0.0.0.0", "--data-dir", str(tmp_path / "data"))
        assert refused.returncode == 1
        assert "developer mode" in refused.stderr

    @pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:8444", "10.0.0.1"])
    def test_developer_mode_answers_loopback_names_only(self, server: ServerProcess, host: str) -> None:
        assert server.client.get("/api/v1/runs", headers={"Host": host}).status_code == 421

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            (["--database-url", "postgresql://nobody@127.0.0.1:1/none"], "the database"),
            (["--tls-cert", "none.pem", "--tls-key", "none.pem"], "none.pem"),
            (["--host", "192.0.2.1", "--mode", "server"], "cannot listen on 192.0.2.1"),
            ([], "the token key"),
        ],
    )
    def test_what_keeps_it_from_starting_is_one_clear_line(
        self, tmp_path: Path, server: ServerProcess, options: list[str], said: str
    ) -> None:
        (tmp_path / "data" / "keys").mkdir(parents=True)
        (tmp_path / "data" / "keys" / "tokens.key").write_bytes(b"torn")
        refused = server.command("serve", "--port", "0", "--data-dir", str(tmp_path / "data"), *options)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert len(refused.stderr.strip().splitlines()) == 1, refused.stderr
        assert said in refused.stderr

    def test_it_stops_well_on_sigterm(self, own_server: ServerProcess) -> None:
        assert own_server.execute(INSTANCE, "ok.sh")["status"] == "SUCCESS"
        name = hashlib.sha256(os.fsencode(own_server.data / "work")).hexdigest()[:16]
        in_memory = Path(f"/dev/shm/infraxys-{os.geteuid()}-{name}")
        runs = [folder for folder in (own_server.data / "work" / "runs", in_memory) if folder.exists()]
        assert runs
        assert own_server.stop() == 0
        assert not any(folder.exists() for folder in runs)

    def test_runs_and_modules_survive_a_restart(self, own_server: ServerProcess) -> None:
        run = own_server.execute(INSTANCE, "ok.sh")
        own_server.stop()
        own_server.start()
        again = own_server.client.get(f"/api/v1/runs/{run['id']}").json()
        assert (again["status"], again["logSha256"]) == ("SUCCESS", run["logSha256"])
        assert own_server.execute(INSTANCE, "ok.sh")["status"] == "SUCCESS"


class TestCommandLine:
    def test_run_action_follows_the_log_and_has_the_exit_code(self, server: ServerProcess) -> None:
        done = server.command("run", "action", "main", INSTANCE, "fail.sh")
        assert (done.returncode, done.stdout) == (3, "before\n")
        argument = server.command("run", "action", "main", INSTANCE, "argument.sh", "--argument", '{"x": 1e400}')
        assert (argument.returncode, argument.stdout) == (0, '{"x": 1e400}')

    def test_a_time_out_is_124(self, server: ServerProcess) -> None:
        done = server.command("run", "action", "main", INSTANCE, "sleep.sh", "--timeout", "0.5")
        assert done.returncode == 124

    def test_async_prints_the_id_that_log_and_show_take(self, server: ServerProcess) -> None:
        run_id = server.command("run", "action", "main", INSTANCE, "ok.sh", "--async").stdout.strip()
        assert "hello from web" in server.command("run", "log", run_id).stdout
        shown = server.command("run", "show", run_id).stdout
        assert shown.startswith(f"{run_id}  SUCCESS\naction 'ok.sh' of localhost/tests/library, branch main, commit ")
        assert json.loads(server.command("run", "show", run_id, "--json").stdout)["status"] == "SUCCESS"
        assert run_id in server.command("run", "list", "--json").stdout

    def test_a_run_is_repeated_from_a_step_on(self, server: ServerProcess) -> None:
        first = server.command("run", "workflow", "main", ENVIRONMENT, FAILING_WORKFLOW, "--json")
        run = json.loads(first.stdout)
        assert (first.returncode, run["status"]) == (3, "FAILED")
        again = server.command("run", "rerun", run["id"], "--from-step", "2")
        assert (again.returncode, again.stdout) == (3, "before\n")
        assert again.stderr == f"FAILED: {run['message']}\n"
        cancelled = server.command("run", "cancel", run["id"])
        assert (cancelled.returncode, "already_finished" in cancelled.stderr) == (1, True)

    @pytest.mark.parametrize("arguments", [["run", "action", "main"], ["run", "list", "--limit", "0"], ["nothing"]])
    def test_wrong_usage_is_2_and_names_the_command_as_it_is_typed(
        self, server: ServerProcess, arguments: list[str]
    ) -> None:
        refused = server.command(*arguments)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert refused.stderr.startswith("Usage: infraxys ")

    def test_module_list_shows_the_branches(self, server: ServerProcess) -> None:
        listed = server.command("module", "list", "--json").stdout
        assert "localhost/tests/library" in listed
        assert "feature/a/b" in listed

    def test_a_refusal_is_one_line_and_exit_code_1(self, server: ServerProcess) -> None:
        refused = server.command("run", "action", "main", "nothing", "ok.sh")
        assert (refused.returncode, refused.stdout) == (1, "")
        assert len(refused.stderr.strip().splitlines()) == 1
        assert "unknown_instance" in refused.stderr

    def test_doctor_finds_a_working_machine(self, server: ServerProcess, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delitem(server.environment, "INFRAXYS_CONTAINER_SOCKET")  # it names none, for other tests
        looked = server.command("doctor")
        assert looked.returncode == 0, looked.stdout
        assert "bubblewrap works" in looked.stdout
