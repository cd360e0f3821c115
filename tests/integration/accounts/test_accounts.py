"""Signing in, sessions, tokens and users through a real server."""

import json
from datetime import timedelta

import httpx
import pytest

from factories.modules import INSTANCE
from infraxys.kit.clock import timestamp, utc_now
from plugins.accounts import OTHER_PASSWORD, PASSWORD, AccountServer, set_up, with_token

EXECUTE = f"/instance/main/{INSTANCE}/files/ok.sh/execute"


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


class TestSession:
    def test_signing_in_gives_a_cookie_that_is_the_user(self, accounts: AccountServer) -> None:
        user = accounts.new_user()
        browser = accounts.browser(user["name"])
        me = browser.get("/me").json()
        assert (me["id"], me["name"], me["isAdministrator"]) == (user["id"], user["name"], False)
        assert "cookie" not in browser.get("/me").headers.get("set-cookie", "")
        assert browser.post(EXECUTE, json={}).status_code == 403

    def test_the_administrators_session_runs_actions_as_a_user(self, accounts: AccountServer) -> None:
        run = accounts.admin.post(EXECUTE, json={})
        assert run.status_code == 200, run.text
        assert (run.json()["trigger"], run.json()["requestedBy"]["name"]) == ("user", "root")

    def test_b7_signing_out_ends_the_session_also_for_a_copy_of_the_cookie(self, accounts: AccountServer) -> None:
        browser = accounts.browser(accounts.new_user()["name"])
        copy = accounts.browser()
        copy.headers["Cookie"] = f"__Host-infraxys={browser.cookie}"
        assert copy.get("/me").status_code == 200
        answer = browser.delete("/session")
        assert answer.status_code == 204
        assert '__Host-infraxys=""' in answer.headers["set-cookie"]
        assert (copy.get("/me").status_code, browser.get("/me").status_code) == (401, 401)

    def test_sessions_are_listed_and_ended_one_by_one_and_all_others(self, accounts: AccountServer) -> None:
        user = accounts.new_user()
        browsers = [accounts.browser(user["name"]) for _ in range(4)]
        first, second, third, last = browsers
        items = last.get("/sessions").json()["items"]
        assert len(items) == 4
        assert [item["isCurrent"] for item in items].count(True) == 1
        assert all(item["userAgent"] == "test browser" and item["address"] == "127.0.0.1" for item in items)
        assert first.cookie.split(".")[1] not in json.dumps(items)
        assert last.get(f"/sessions/{first.cookie.split('.')[0]}").json()["isCurrent"] is False
        assert last.delete(f"/sessions/{first.cookie.split('.')[0]}").status_code == 204
        assert [browser.get("/me").status_code for browser in browsers] == [401, 200, 200, 200]
        assert last.delete("/sessions").status_code == 204
        assert [browser.get("/me").status_code for browser in (second, third, last)] == [401, 401, 200]

    def test_one_neither_sees_nor_ends_the_sessions_of_others(self, accounts: AccountServer) -> None:
        browser = accounts.browser(accounts.new_user()["name"])
        foreign = accounts.admin.cookie.split(".")[0]
        assert code(browser.get(f"/sessions/{foreign}")) == (404, "unknown_session")
        assert code(browser.delete(f"/sessions/{foreign}")) == (404, "unknown_session")
        assert accounts.admin.get("/me").status_code == 200

    def test_changing_the_password_ends_every_other_session(self, accounts: AccountServer) -> None:
        user = accounts.new_user()
        browser, elsewhere = accounts.browser(user["name"]), accounts.browser(user["name"])
        old = browser.cookie
        body = {"currentPassword": PASSWORD, "newPassword": OTHER_PASSWORD}
        assert browser.put("/me/password", json=body).status_code == 204
        assert browser.cookie != old
        assert (browser.get("/me").status_code, elsewhere.get("/me").status_code) == (200, 401)
        stale = accounts.browser()
        stale.headers["Cookie"] = f"__Host-infraxys={old}"
        assert stale.get("/me").status_code == 401
        assert accounts.browser().sign_in(user["name"], PASSWORD).status_code == 401
        assert accounts.browser().sign_in(user["name"], OTHER_PASSWORD).status_code == 204

    def test_it_takes_the_current_password_and_a_good_new_one(self, accounts: AccountServer) -> None:
        user = accounts.new_user()
        browser = accounts.browser(user["name"])
        wrong = browser.put("/me/password", json={"currentPassword": OTHER_PASSWORD, "newPassword": OTHER_PASSWORD})
        assert (*code(wrong), wrong.json()["errors"][0]["loc"]) == (422, "wrong_password", "currentPassword")
        weak = browser.put("/me/password", json={"currentPassword": PASSWORD, "newPassword": "password1234"})
        assert (*code(weak), weak.json()["errors"][0]["loc"]) == (422, "weak_password", "newPassword")
        assert browser.get("/me").status_code == 200

    def test_names_are_taken_in_any_case_and_form(self, accounts: AccountServer) -> None:
        user = accounts.new_user()
        assert accounts.browser().sign_in(f" {user['name'].upper()} ", PASSWORD).status_code == 204

    def test_sessions_survive_a_restart(self, own_accounts: AccountServer) -> None:
        assert set_up(own_accounts).status_code == 201
        cookie = own_accounts.admin.cookie
        own_accounts.stop()
        own_accounts.start()
        browser = own_accounts.browser()
        browser.headers["Cookie"] = f"__Host-infraxys={cookie}"
        assert browser.get("/me").json()["name"] == "root"

    def test_developer_mode_has_nobody_to_sign_in(self, server: AccountServer) -> None:
        answer = server.client.post("/api/v1/session", json={"name": "ada", "password": PASSWORD})
        assert code(answer) == (409, "no_account")
        assert server.client.get("/api/v1/sessions").json()["items"] == []
        assert code(server.client.post("/api/v1/tokens", json={"name": "x"})) == (409, "no_account")


class TestTokens:
    def test_b2_a_token_is_shown_once_and_works_as_its_owner(self, accounts: AccountServer) -> None:
        user = accounts.new_user()
        browser = accounts.browser(user["name"])
        answer = browser.post("/tokens", json={"name": "ci", "description": "for the pipeline"})
        assert (answer.status_code, answer.headers["cache-control"]) == (201, "no-store")
        made = answer.json()
        with with_token(accounts, made["token"]) as client:
            me = client.get("/me").json()
            assert (me["id"], me["tokenId"]) == (user["id"], made["id"])
            shown = client.get("/tokens").json()["items"]
        assert [item["id"] for item in shown] == [made["id"]]
        secret = made["token"].split("_")[2]
        paths = ["/tokens", f"/tokens/{made['id']}", "/me", f"/users/{user['id']}", f"/users/{user['id']}/tokens"]
        shown = [who.get(path) for who in (browser, accounts.admin) for path in (*paths, "/audit", "/audit/export")]
        assert {answer.status_code for answer in shown} == {200, 403, 404}
        assert made["id"] in shown[0].text
        assert not any(secret in answer.text or "digest" in answer.text for answer in shown)

    def test_b4_scopes_may_be_what_one_has_in_a_project_only(self, accounts: AccountServer) -> None:
        user = accounts.new_user()
        project = accounts.admin.post("/projects", json={"name": user["name"]}).json()["id"]
        team = accounts.admin.post("/teams", json={"name": "t", "projectId": project}).json()["id"]
        custom = accounts.admin.post("/grants", json={"name": user["name"], "projectId": project}).json()["id"]
        given = {"projectId": project, "grants": ["project.list", "team.list", custom]}
        assert accounts.admin.post(f"/teams/{team}/grants", json=given).status_code == 204
        assert accounts.admin.put(f"/teams/{team}/members/{user['id']}").status_code == 204
        browser = accounts.browser(user["name"])
        client = with_token(accounts, browser.token(scopes=["project.list", custom])["token"])
        assert [item["id"] for item in client.get("/projects").json()["items"]] == [project]
        assert client.get("/teams").json()["grant"] == "team.list"
        wider = browser.post("/tokens", json={"name": "x", "scopes": ["project.list", "run.list"]})
        assert (wider.status_code, wider.json()["grant"]) == (403, "run.list")

    def test_g6_a_token_makes_rotates_and_widens_none_and_touches_no_session(self, accounts: AccountServer) -> None:
        made = accounts.admin.token()
        client = with_token(accounts, made["token"])
        body = {"currentPassword": PASSWORD, "newPassword": OTHER_PASSWORD}
        refused = [
            client.post("/tokens", json={"name": "more"}),
            client.post(f"/tokens/{made['id']}/rotate", json={}),
            client.put("/me/password", json=body),
            client.get("/sessions"),
            client.delete("/sessions"),
            client.delete(f"/sessions/{accounts.admin.cookie.split('.')[0]}"),
            client.delete("/session"),
            client.post("/users", json={"name": "escalated", "password": PASSWORD, "isAdministrator": True}),
        ]
        assert {code(answer) for answer in refused} == {(403, "session_required")}
        assert client.patch(f"/tokens/{made['id']}", json={"scopes": None}).status_code == 405
        assert accounts.admin.get("/me").status_code == 200

    def test_a_token_lists_and_deletes_its_owners_tokens(self, accounts: AccountServer) -> None:
        browser = accounts.browser(accounts.new_user()["name"])
        first, second = browser.token(), browser.token()
        client = with_token(accounts, first["token"])
        assert len(client.get("/tokens").json()["items"]) == 2
        assert client.delete(f"/tokens/{second['id']}").status_code == 204
        assert with_token(accounts, second["token"]).get("/me").status_code == 401
        assert client.delete(f"/tokens/{first['id']}").status_code == 204
        assert client.get("/me").status_code == 401

    def test_a2_tokens_of_others_do_not_exist(self, accounts: AccountServer) -> None:
        browser = accounts.browser(accounts.new_user()["name"])
        foreign = accounts.admin.token()["id"]
        answers = [
            call(path)
            for token_id in (foreign, "0" * 16)
            for call, path in (
                (browser.get, f"/tokens/{token_id}"),
                (browser.delete, f"/tokens/{token_id}"),
                (browser.post, f"/tokens/{token_id}/rotate"),
            )
        ]
        assert {code(answer) for answer in answers} == {(404, "unknown_token")}

    def test_scopes_hold_and_are_never_wider_than_the_owner(self, accounts: AccountServer) -> None:
        narrow = with_token(accounts, accounts.admin.token(scopes=["run.list", "server.read"])["token"])
        assert narrow.get("/runs").status_code == narrow.get("/server").status_code == 200
        assert narrow.get("/me").json()["grants"] == ["run.list", "server.read"]
        refused = [narrow.get("/modules"), narrow.post(EXECUTE, json={}), narrow.get("/users"), narrow.get("/tokens")]
        assert [answer.status_code for answer in refused] == [403] * 4
        assert [answer.json()["grant"] for answer in refused[:2]] == ["module.list", "action.execute"]
        browser = accounts.browser(accounts.new_user()["name"])
        assert browser.post("/tokens", json={"name": "x", "scopes": ["run.list"]}).status_code == 403
        own = browser.token(scopes=["token.list"])
        client = with_token(accounts, own["token"])
        assert client.get("/tokens").status_code == 200
        assert client.delete(f"/tokens/{browser.token()['id']}").status_code == 403
        assert client.delete(f"/tokens/{own['id']}").status_code == 204

    def test_b4_a_token_loses_what_its_owner_loses(self, accounts: AccountServer) -> None:
        user = accounts.new_user(isAdministrator=True)
        browser = accounts.browser(user["name"])
        wide, narrow = browser.token(), browser.token(scopes=["run.list"])
        clients = [with_token(accounts, item["token"]) for item in (wide, narrow)]
        assert [client.get("/runs").status_code for client in clients] == [200, 200]
        assert accounts.admin.patch(f"/users/{user['id']}", json={"isAdministrator": False}).status_code == 200
        assert [client.get("/runs").status_code for client in clients] == [403, 403]

    @pytest.mark.parametrize(
        "body",
        [
            {},
            {"name": ""},
            {"name": "x" * 201},
            {"name": "x", "scopes": []},
            {"name": "x", "scopes": ["run.everything"]},
            {"name": "x", "scopes": ["*"]},
            {"name": "x", "scopes": "run.list"},
            {"name": "x", "expiresAt": "2020-01-01T00:00:00Z"},
            {"name": "x", "expiresAt": "2099-01-01T00:00:00"},
            {"name": "x", "expiresAt": "soon"},
            {"name": "x", "id": "mine"},
            {"name": "x", "userId": "other"},
            {"name": "x", "createdAt": "2020-01-01T00:00:00Z"},
            {"name": "\ud83d"},
            {"name": "\x1b]0;terminal\x07"},
            {"name": 1},
        ],
    )
    def test_a9_what_does_not_fit_is_422(self, accounts: AccountServer, body: dict[str, object]) -> None:
        answer = accounts.admin.post("/tokens", content=json.dumps(body), headers={"Content-Type": "application/json"})
        assert answer.status_code == 422, answer.text

    def test_an_expired_token_is_refused(self, accounts: AccountServer) -> None:
        soon = timestamp(utc_now() + timedelta(seconds=2))
        client = with_token(accounts, accounts.admin.token(expiresAt=soon)["token"])
        assert client.get("/me").status_code == 200
        deadline = utc_now() + timedelta(seconds=10)
        while (answer := client.get("/me")).status_code == 200:
            assert utc_now() < deadline
        assert code(answer) == (401, "unauthorized")

    def test_rotation_exchanges_the_secret_and_keeps_the_rest(self, accounts: AccountServer) -> None:
        made = accounts.admin.token(scopes=["run.list"])
        rotated = accounts.admin.post(f"/tokens/{made['id']}/rotate")
        assert rotated.status_code == 200
        assert rotated.headers["cache-control"] == "no-store"
        assert (rotated.json()["id"], rotated.json()["scopes"]) == (made["id"], ["run.list"])
        assert with_token(accounts, made["token"]).get("/runs").status_code == 401
        assert with_token(accounts, rotated.json()["token"]).get("/runs").status_code == 200
        again = accounts.admin.post(f"/tokens/{made['id']}/rotate", json={"overlapSeconds": 600}).json()
        for text in (rotated.json()["token"], again["token"]):
            assert with_token(accounts, text).get("/runs").status_code == 200

    def test_the_use_is_noted_with_time_and_address(self, accounts: AccountServer) -> None:
        made = accounts.admin.token()
        assert made["lastUsedAt"] is None
        with_token(accounts, made["token"]).get("/me")
        shown = made
        deadline = utc_now() + timedelta(seconds=10)
        while shown["lastUsedAt"] is None:  # noted behind the answer
            assert utc_now() < deadline
            shown = accounts.admin.get(f"/tokens/{made['id']}").json()
        assert shown["lastUsedAddress"] == "127.0.0.1"


def walk(client: httpx.Client, path: str, **query: object) -> list[dict[str, object]]:
    """Read a list to its end, two items at a time."""
    found: list[dict[str, object]] = []
    while True:
        page = client.get(path, params={**query, "limit": 2}).json()
        assert len(page["items"]) <= 2
        found += page["items"]
        if page["nextCursor"] is None:
            return found
        query["cursor"] = page["nextCursor"]


class TestPages:
    def test_tokens_come_in_pages_in_either_order(self, accounts: AccountServer) -> None:
        user = accounts.new_user()
        browser = accounts.browser(user["name"])
        made = [browser.token(name=name)["id"] for name in ("b", "c", "a", "b", "d")]
        for client, path in ((browser, "/tokens"), (accounts.admin, f"/users/{user['id']}/tokens")):
            assert [item["id"] for item in walk(client, path)] == made[::-1]
            assert [item["id"] for item in walk(client, path, sort="createdAt")] == made
            assert [item["name"] for item in walk(client, path, sort="name")] == list("abbcd")
            assert [item["name"] for item in walk(client, path, sort="-name")] == list("dcbba")

    def test_a_page_goes_on_where_the_one_before_ended_whatever_is_deleted(self, accounts: AccountServer) -> None:
        browser = accounts.browser(accounts.new_user()["name"])
        made = [browser.token()["id"] for _ in range(4)][::-1]
        first = browser.get("/tokens?limit=2").json()
        assert browser.delete(f"/tokens/{made[1]}").status_code == 204
        rest = browser.get("/tokens", params={"cursor": first["nextCursor"]}).json()
        assert [item["id"] for item in rest["items"]] == made[2:]

    def test_sessions_and_accounts_come_in_pages(self, accounts: AccountServer) -> None:
        user = accounts.new_user()
        browsers = [accounts.browser(user["name"]) for _ in range(3)]
        ids = [browser.cookie.partition(".")[0] for browser in browsers]
        assert [item["id"] for item in walk(browsers[0], "/sessions", sort="createdAt")] == ids
        mark = user["name"][-6:]
        names = [accounts.new_user(name=f"{letter}-{mark}")["name"] for letter in "cab"]
        found = {sort: [item["name"] for item in walk(accounts.admin, "/users", text=f"-{mark}", sort=sort)]
                 for sort in ("name", "-name", "createdAt", "-createdAt")}  # fmt: skip
        assert found["createdAt"] == names == found["-createdAt"][::-1]
        assert found["name"] == sorted(names) == found["-name"][::-1]

    def test_a8_a_cursor_is_good_for_its_own_list_and_order(self, accounts: AccountServer) -> None:
        browser = accounts.browser(accounts.new_user()["name"])
        for _ in range(2):
            browser.token()
        cursor = browser.get("/tokens?limit=1").json()["nextCursor"]
        for path in ("/sessions", "/tokens?sort=name", "/grants"):
            assert browser.get(path, params={**httpx.URL(path).params, "cursor": cursor}).status_code == 400
        other = accounts.browser(accounts.new_user()["name"])
        assert other.get("/tokens", params={"cursor": cursor}).json()["items"] == []  # nobody else's


class TestUsers:
    def test_accounts_are_made_read_changed_and_deleted(self, accounts: AccountServer) -> None:
        user = accounts.new_user(displayName="Ada Lovelace")
        path = f"/users/{user['id']}"
        assert accounts.admin.get(path).json() == user
        assert user["displayName"] == "Ada Lovelace"
        changed = accounts.admin.patch(path, json={"displayName": "Countess"})
        assert (changed.status_code, changed.json()["displayName"]) == (200, "Countess")
        browser = accounts.browser(user["name"])
        token = browser.token()["token"]
        assert accounts.admin.delete(path).status_code == 204
        assert (browser.get("/me").status_code, with_token(accounts, token).get("/me").status_code) == (401, 401)
        assert code(accounts.admin.get(path)) == (404, "unknown_user")

    def test_disabling_takes_sessions_and_tokens_at_once_and_for_good(self, accounts: AccountServer) -> None:
        user = accounts.new_user()
        browser = accounts.browser(user["name"])
        token = with_token(accounts, browser.token()["token"])
        path = f"/users/{user['id']}"
        assert accounts.admin.patch(path, json={"isDisabled": True}).json()["isDisabled"] is True
        assert (browser.get("/me").status_code, token.get("/me").status_code) == (401, 401)
        assert code(accounts.browser().sign_in(user["name"], PASSWORD)) == (401, "sign_in_failed")
        assert accounts.admin.patch(path, json={"isDisabled": False}).json()["isDisabled"] is False
        assert (browser.get("/me").status_code, token.get("/me").status_code) == (401, 401)
        assert accounts.browser().sign_in(user["name"], PASSWORD).status_code == 204

    def test_a_service_account_has_tokens_and_cannot_sign_in(self, accounts: AccountServer) -> None:
        service = accounts.new_user(kind="service", password=None)
        path = f"/users/{service['id']}"
        made = accounts.admin.post(f"{path}/tokens", json={"name": "deploy"})
        assert made.status_code == 201
        assert with_token(accounts, made.json()["token"]).get("/me").json()["name"] == service["name"]
        assert accounts.browser().sign_in(service["name"], PASSWORD).status_code == 401
        assert code(accounts.admin.patch(path, json={"password": PASSWORD})) == (422, "weak_password")
        with_password = {"name": "svc", "kind": "service", "password": PASSWORD}
        assert accounts.admin.post("/users", json=with_password).status_code == 422
        with with_token(accounts, accounts.admin.token()["token"]) as client:
            assert code(client.post(f"{path}/tokens", json={"name": "x"})) == (403, "session_required")

    def test_administrators_see_and_delete_tokens_of_others_and_make_none(self, accounts: AccountServer) -> None:
        user = accounts.new_user()
        made = accounts.browser(user["name"]).token()
        path = f"/users/{user['id']}/tokens"
        assert [item["id"] for item in accounts.admin.get(path).json()["items"]] == [made["id"]]
        assert accounts.admin.post(path, json={"name": "x"}).status_code == 409
        assert accounts.admin.delete(f"{path}/{made['id']}").status_code == 204
        assert accounts.admin.delete(f"{path}/{made['id']}").status_code == 404
        assert with_token(accounts, made["token"]).get("/me").status_code == 401

    def test_the_last_administrator_can_be_neither_disabled_demoted_nor_deleted(
        self, own_accounts: AccountServer
    ) -> None:
        set_up(own_accounts)
        admin = own_accounts.admin
        path = f"/users/{admin.get('/me').json()['id']}"
        refused = [
            admin.patch(path, json={"isDisabled": True}),
            admin.patch(path, json={"isAdministrator": False}),
            admin.delete(path),
        ]
        assert {code(answer) for answer in refused} == {(409, "last_administrator")}

    def test_setting_a_password_ends_the_sessions(self, accounts: AccountServer) -> None:
        user = accounts.new_user()
        browser = accounts.browser(user["name"])
        path = f"/users/{user['id']}"
        assert code(accounts.admin.patch(path, json={"password": "aaaaaaaaaaaa"})) == (422, "weak_password")
        assert accounts.admin.patch(path, json={"password": OTHER_PASSWORD}).status_code == 200
        assert browser.get("/me").status_code == 401
        assert accounts.browser(user["name"], OTHER_PASSWORD).get("/me").status_code == 200
        own = f"/users/{accounts.admin.get('/me').json()['id']}"
        assert accounts.admin.patch(own, json={"password": OTHER_PASSWORD}).status_code == 409

    def test_the_list_comes_a_page_at_a_time(self, accounts: AccountServer) -> None:
        made = {accounts.new_user(name=f"paged-{number}")["name"] for number in range(5)}
        names, cursor = [], ""
        while True:
            page = accounts.admin.get(f"/users?limit=2&text=paged-{cursor}").json()
            assert len(page["items"]) <= 2
            names += [item["name"] for item in page["items"]]
            if page["nextCursor"] is None:
                break
            cursor = f"&cursor={page['nextCursor']}"
        assert names == sorted(made)

    @pytest.mark.parametrize("cursor", ["x", "WyJydW5zIiwgImEiXQ", "'", "W10", "e30", "bnVsbA", "a" * 900])
    def test_a8_a_forged_cursor_is_400(self, accounts: AccountServer, cursor: str) -> None:
        assert accounts.admin.get(f"/users?cursor={cursor}").status_code == 400

    def test_others_have_no_part_in_it(self, accounts: AccountServer) -> None:
        browser = accounts.browser(accounts.new_user()["name"])
        root = accounts.admin.get("/me").json()["id"]
        answers = [
            browser.get("/users"),
            browser.get(f"/users/{root}"),
            browser.get("/users/unknown"),
            browser.post("/users", json={"name": "x"}),
            browser.patch(f"/users/{root}", json={"isDisabled": True}),
            browser.delete(f"/users/{root}"),
            browser.get(f"/users/{root}/tokens"),
            browser.post(f"/users/{root}/tokens", json={"name": "x"}),
            browser.delete(f"/users/{root}/tokens/x"),
        ]
        assert {code(answer) for answer in answers} == {(403, "forbidden")}

    @pytest.mark.parametrize(
        "body",
        [
            {"name": "a b"},
            {"name": "x", "kind": "oidc"},
            {"name": "x", "id": "1"},
            {"name": "x", "passwordHash": "y"},
            {"name": "x", "isAdministrator": 1},
            {"name": "x", "password": "short"},
            {"name": "x", "password": "a" * 1001},
        ],
    )
    def test_a9_what_does_not_fit_is_422(self, accounts: AccountServer, body: dict[str, object]) -> None:
        assert accounts.admin.post("/users", json=body).status_code == 422

    def test_a_name_that_looks_like_another_is_taken(self, accounts: AccountServer) -> None:
        name = accounts.new_user()["name"]
        assert code(accounts.admin.post("/users", json={"name": name.upper()})) == (409, "user_exists")


class TestCommandLine:
    def test_users_and_tokens_of_the_data_folder(self, accounts: AccountServer) -> None:
        def command(*arguments: str, said: str = "", ok: bool = True) -> str:
            done = accounts.command(*arguments)
            assert (done.returncode == 0) is ok, done.stderr
            assert said in (done.stdout if ok else done.stderr)
            assert len(done.stderr.strip().splitlines()) <= 1
            return done.stdout

        command("user", "create", "cli-svc", "--service", said="was created")
        command("user", "create", "cli-svc", said="exists already", ok=False)
        listed = json.loads(command("user", "list", "--json"))
        assert next(row for row in listed if row["name"] == "cli-svc")["kind"] == "service"
        assert "password" not in str(listed)
        text = command("token", "create", "--user", "cli-svc", "--name", "t", "--scope", "run.list").strip()
        assert text.count("\n") == 0
        assert with_token(accounts, text).get("/me").json()["grants"] == []
        command("token", "create", "--user", "cli-svc", "--name", "t", "--scope", "no.such", said="no scope", ok=False)
        token_id = text.split("_")[1]
        rows = json.loads(command("token", "list", "--user", "cli-svc", "--json"))
        assert [row["id"] for row in rows] == [token_id]
        command("token", "delete", token_id, said="deleted")
        assert with_token(accounts, text).get("/me").status_code == 401
        command("user", "disable", "cli-svc", said="is disabled")
        command("token", "create", "--user", "cli-svc", "--name", "t", said="is disabled", ok=False)
        command("user", "enable", "cli-svc", said="is enabled")
        command("user", "disable", "cli-nobody", said="no user", ok=False)
        command("user", "password", "cli-svc", said="no password here", ok=False)

    def test_a_password_is_set_from_stdin_and_ends_the_sessions(self, accounts: AccountServer) -> None:
        user = accounts.new_user()
        browser = accounts.browser(user["name"])
        for password, said in (("short", "10 to 1000"), (user["name"] + "1", "too easy"), (OTHER_PASSWORD, "")):
            done = accounts.command("user", "password", user["name"], "--password-stdin", stdin=f"{password}\n")
            assert (done.returncode == 0) is (not said), done.stderr
            assert said in done.stderr
            assert password not in done.stderr + done.stdout
        assert browser.get("/me").status_code == 401
        assert accounts.browser(user["name"], OTHER_PASSWORD).get("/me").status_code == 200

    def test_through_a_server(self, accounts: AccountServer) -> None:
        token = accounts.admin.token()["token"]
        reach = ("--server", accounts.url, "--token", token)
        name = accounts.new_user()["name"]
        assert name in accounts.command("user", "list", *reach, "--json").stdout
        assert accounts.command("user", "disable", name, *reach).returncode == 0
        assert accounts.browser().sign_in(name, PASSWORD).status_code == 401
        assert accounts.command("user", "enable", name, *reach).returncode == 0
        assert accounts.browser().sign_in(name, PASSWORD).status_code == 204
        other = accounts.admin.token()["id"]
        assert other in accounts.command("token", "list", *reach, "--json").stdout
        assert accounts.command("token", "revoke", other, *reach).returncode == 0
        assert accounts.admin.get(f"/tokens/{other}").status_code == 404
