"""What a real server puts on record, and how one reads and checks it."""

import json
import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from factories.modules import INSTANCE
from plugins.accounts import PASSWORD, AccountServer, Browser, with_token
from plugins.server import ServerProcess

CANARY = "canary-7c1e5f"
ACTION = f"instance/main/{INSTANCE}/files"


def records(browser: Browser, **wanted: Any) -> list[dict[str, Any]]:
    """Give the newest records."""
    answer = browser.get("/audit", params={"limit": 500, **wanted})
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


def wait_for(get: Callable[[], list[dict[str, Any]]]) -> dict[str, Any]:
    """Give the newest of the records that are written behind an answer."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        found = get()
        if found:
            return found[0]
        time.sleep(0.02)
    raise AssertionError("nothing is on record")


class TestPeople:
    def test_signing_in_and_out_is_on_record_with_who_and_from_where(self, accounts: AccountServer) -> None:
        user = accounts.new_user()
        browser = accounts.browser(user["name"])
        assert browser.delete("/session", headers={"X-Request-Id": "sign-out-1"}).status_code == 204
        out, came_in = records(accounts.admin, who=user["name"], what="session")
        assert (came_in["action"], came_in["user"]["id"], came_in["address"]) == (
            "session.create",
            user["id"],
            "127.0.0.1",
        )
        assert (out["action"], out["requestId"], out["sessionId"]) == (
            "session.delete",
            "sign-out-1",
            came_in["sessionId"],
        )

    def test_a_wrong_password_is_on_record_under_the_account(self, accounts: AccountServer) -> None:
        user = accounts.new_user()
        assert accounts.browser().sign_in(user["name"], "wrong password").status_code == 401
        found = wait_for(lambda: records(accounts.admin, who=user["name"], result="refused"))
        assert (found["action"], found["target"], found["details"]["status"]) == (
            "session.create",
            "/api/v1/session",
            401,
        )

    def test_b01_a_password_typed_as_a_name_is_not_on_record(self, accounts: AccountServer) -> None:
        assert accounts.browser().sign_in(CANARY, PASSWORD).status_code == 401
        wait_for(lambda: records(accounts.admin, result="refused"))
        assert CANARY not in json.dumps(records(accounts.admin))

    def test_accounts_are_on_record_without_their_passwords(self, accounts: AccountServer) -> None:
        user = accounts.new_user()
        path = f"/users/{user['id']}"
        for change in (
            {"isAdministrator": True},
            {"isAdministrator": False},
            {"displayName": "X"},
            {"isDisabled": True},
        ):
            assert accounts.admin.patch(path, json=change).status_code == 200
        assert accounts.admin.delete(path).status_code == 204
        found = records(accounts.admin, target=f"user/{user['id']}")[::-1]
        assert [item["action"] for item in found] == ["user.create", *["user.update"] * 4, "user.delete"]
        assert {item["user"]["name"] for item in found} == {"root"}
        assert found[1]["details"] == {"isAdministrator": True}
        assert PASSWORD not in json.dumps(records(accounts.admin))

    def test_every_event_of_a_token_is_on_record_without_its_secret(self, accounts: AccountServer) -> None:
        user = accounts.new_user()
        browser = accounts.browser(user["name"])
        made = browser.token()
        fresh = browser.post(f"/tokens/{made['id']}/rotate").json()
        client = with_token(accounts, fresh["token"])
        assert client.delete(f"/tokens/{made['id']}").status_code == 204
        found = records(accounts.admin, target=f"token/{made['id']}")[::-1]
        assert [item["action"] for item in found] == ["token.create", "token.rotate", "token.delete"]
        assert {item["user"]["name"] for item in found} == {user["name"]}
        assert [item["tokenId"] for item in found] == [None, None, made["id"]]
        whole = accounts.admin.get("/audit/export").text
        for text in (made["token"], fresh["token"]):
            assert text.split("_")[2] not in whole

    def test_changes_of_permissions_say_who_may_do_what_now(self, accounts: AccountServer) -> None:
        user = accounts.new_user()
        name = f"team-{uuid.uuid4().hex[:8]}"
        team = accounts.admin.post("/teams", json={"name": name, "projectId": "root"}).json()["id"]
        assert accounts.admin.put(f"/teams/{team}/members/{user['id']}").status_code == 204
        given = {"projectId": "root", "grants": ["run.read"]}
        answer = accounts.admin.post(f"/teams/{team}/grants", json=given)
        assert answer.status_code == 204, answer.text
        answer = accounts.admin.delete(f"/teams/{team}/grants/run.read", params={"projectId": "root"})
        assert answer.status_code == 204, answer.text
        found = records(accounts.admin, target=f"team/{team}")[::-1]
        assert [item["action"] for item in found] == [
            "team.create",
            "team_member.add",
            "team_grants.add",
            "team_grant.remove",
        ]
        assert found[0]["details"]["name"] == name
        assert found[1]["details"]["user"] == user["id"]
        assert found[2]["details"]["grants"] == ["run.read"]
        assert (found[3]["details"]["grant"], found[3]["details"]["projectId"]) == ("run.read", "root")

    def test_a_change_that_is_refused_is_on_record_as_refused_only(self, accounts: AccountServer) -> None:
        user = accounts.new_user()
        browser = accounts.browser(user["name"])
        assert browser.post("/teams", json={"name": "mine", "projectId": "root"}).status_code == 403
        found = wait_for(lambda: records(accounts.admin, who=user["id"], what="team"))
        assert (found["result"], found["details"]["grant"]) == ("refused", "team.create")
        assert len(records(accounts.admin, who=user["id"], what="team")) == 1

    def test_a_refusal_names_the_path_that_was_asked_for(self, accounts: AccountServer) -> None:
        user, other = accounts.new_user(), accounts.new_user()
        assert accounts.browser(user["name"]).get(f"/users/{other['id']}").status_code == 403
        found = wait_for(lambda: records(accounts.admin, who=user["id"], what="user", result="refused"))
        assert (found["action"], found["target"]) == ("user.get", f"/api/v1/users/{other['id']}")

    def test_the_oldest_come_first_where_that_is_asked_for(self, accounts: AccountServer) -> None:
        seen, query = [], {"limit": 2, "sort": "at", "what": "user"}
        accounts.new_user(), accounts.new_user()
        while len(seen) < 4:
            page = accounts.admin.get("/audit", params=query).json()
            seen += [item["sequence"] for item in page["items"]]
            query["cursor"] = page["nextCursor"]
        assert seen == sorted(set(seen))
        query["sort"] = "-at"
        assert accounts.admin.get("/audit", params=query).status_code == 400


class TestResourcesAndRuns:
    def test_modules_are_on_record(self, own_server: ServerProcess) -> None:
        path = own_server.folder / "tests" / "library.git"
        name = own_server.client.get("/api/v1/modules").json()["items"][0]["name"]
        segment = name.replace("/", "%2F")
        assert own_server.client.post(f"/api/v1/modules/{segment}/fetch").status_code == 200
        moved = path.rename(path.with_name("gone.git"))
        assert own_server.client.post(f"/api/v1/modules/{segment}/fetch").status_code >= 400
        moved.rename(path)
        assert own_server.client.delete(f"/api/v1/modules/{segment}").status_code == 204
        found = own_server.client.get("/api/v1/audit", params={"target": f"module/{name}"}).json()["items"][::-1]
        assert [(item["action"], item["result"]) for item in found] == [
            ("module.add", "ok"),
            ("module.fetch", "ok"),
            ("module.fetch", "failed"),
            ("module.remove", "ok"),
        ]

    @pytest.mark.parametrize(
        ("filename", "status", "result"), [("ok.sh", "SUCCESS", "ok"), ("fail.sh", "FAILED", "failed")]
    )
    def test_b01_a_run_is_on_record_without_its_argument(
        self, server: ServerProcess, filename: str, status: str, result: str
    ) -> None:
        run = server.execute(INSTANCE, filename, argument={"password": CANARY})
        found = server.client.get("/api/v1/audit", params={"target": f"run/{run['id']}"}).json()["items"]
        end, accepted = found
        assert (accepted["action"], accepted["details"]["filename"]) == ("run.accept", filename)
        assert accepted["user"]["name"] == run["requestedBy"]["name"]
        assert accepted["details"]["commit"] == run["commit"]
        assert (end["action"], end["result"], end["details"]["status"]) == ("run.end", result, status)
        assert (end["address"], end["user"]["name"]) == ("server", None)
        assert CANARY not in json.dumps(found)

    def test_cancelling_is_on_record_once_with_who_did_it(self, server: ServerProcess) -> None:
        run = server.execute(INSTANCE, "sleep.sh", asynchronous=True)
        for _ in range(2):
            server.client.post(f"/api/v1/runs/{run['id']}/cancel")
        server.client.get(f"/api/v1/runs/{run['id']}?wait=30")
        found = server.client.get("/api/v1/audit", params={"target": f"run/{run['id']}"}).json()["items"]
        assert [item["action"] for item in found][::-1] == ["run.accept", "run.cancel", "run.end"]
        assert found[1]["user"]["name"] == run["requestedBy"]["name"]
        assert found[0]["details"]["status"] == "CANCELLED"


class TestReading:
    def test_pages_go_on_where_the_one_before_ended(self, accounts: AccountServer) -> None:
        first = accounts.admin.get("/audit", params={"limit": 1}).json()
        second = accounts.admin.get("/audit", params={"limit": 1, "cursor": first["nextCursor"]}).json()
        assert second["items"][0]["sequence"] == first["items"][0]["sequence"] - 1

    @pytest.mark.parametrize(
        ("query", "status"),
        [
            ({"cursor": "nonsense"}, 400),
            ({"cursor": "WyJhdWRpdCIsIC0xXQ"}, 400),
            ({"since": "2026-01-01T00:00:00"}, 400),
            ({"limit": "0"}, 422),
            ({"limit": "501"}, 422),
            ({"result": "x"}, 422),
            ({"what": "x" * 65}, 422),
            ({"who": "\x00"}, 400),
        ],
    )
    def test_a8_odd_questions_are_refused(self, accounts: AccountServer, query: dict[str, str], status: int) -> None:
        assert accounts.admin.get("/audit", params=query).status_code == status

    def test_the_command_line_checks_and_exports_the_same_chain(self, accounts: AccountServer) -> None:
        point = accounts.admin.get("/audit/checkpoint").json()
        assert accounts.command("audit", "verify", "--checkpoint", point["text"]).returncode == 0
        wrong = f"{point['sequence']}:{'0' * 64}"
        broken = accounts.command("audit", "verify", "--checkpoint", wrong)
        assert (broken.returncode, f"record {point['sequence']} is another one" in broken.stderr) == (1, True)
        assert accounts.command("audit", "verify", "--checkpoint", "x").returncode == 2
        checked = json.loads(accounts.command("audit", "verify", "--json").stdout)
        assert (checked["brokenAt"], checked["records"] >= point["sequence"]) == (None, True)
        by_command = accounts.command("audit", "export").stdout.splitlines()
        by_server = accounts.admin.get("/audit/export").text.splitlines()
        assert by_command[: point["sequence"]] == by_server[: point["sequence"]]
        assert json.loads(by_command[point["sequence"] - 1])["hash"] == point["hash"]
        assert accounts.command("audit", "checkpoint").stdout.count(":") == 1
        end = json.loads(accounts.command("audit", "checkpoint", "--json").stdout)
        assert end["text"] == f"{end['sequence']}:{end['hash']}"

    def test_the_command_lines_own_changes_are_on_record(self, accounts: AccountServer) -> None:
        name = f"cli-{uuid.uuid4().hex[:8]}"
        assert accounts.command("user", "create", name).returncode == 0
        assert accounts.command("token", "create", "--name", "x", "--user", name).returncode == 0
        created = [
            item for item in records(accounts.admin, what="user.create", result="ok") if item["details"]["name"] == name
        ]
        assert (created[0]["address"], bool(created[0]["user"]["name"])) == ("cli", True)
        assert records(accounts.admin, what="token.create")[0]["address"] == "cli"
