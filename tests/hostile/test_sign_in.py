"""What attackers try with sessions, passwords and the first administrator's link (hostile.md B, field.md G)."""

import http.client
import json
import ssl
import statistics
import subprocess
import threading
import time
from urllib.parse import urlsplit

import httpx
import pytest

from factories.modules import INSTANCE
from plugins.accounts import (
    COOKIE,
    NO_KEEPING,
    OTHER_PASSWORD,
    PASSWORD,
    AccountServer,
    Browser,
    account_server,
    set_up,
    with_token,
)
from plugins.server import ServerProcess

FOREIGN = [
    {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"},
    {"Sec-Fetch-Site": "same-site", "Origin": "https://localhost:1"},
    {"Sec-Fetch-Site": "", "Origin": "null"},
    {"Sec-Fetch-Site": "", "Origin": "https://evil.example"},
]


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


class TestSessions:
    def test_b7_a_session_that_somebody_planted_is_not_taken_over(self, accounts: AccountServer) -> None:
        attacker, user = accounts.new_user(), accounts.new_user()
        planted = accounts.browser(attacker["name"]).cookie
        for cookie in (planted, "chosen.value", "x" * 4000):
            victim = Browser(accounts.url)
            answer = victim.post(
                "/session",
                json={"name": user["name"], "password": PASSWORD},
                headers={"Cookie": f"{COOKIE}={cookie}"},
            )
            assert answer.status_code == 204
            assert victim.cookie not in {planted, cookie}
            assert victim.get("/me").json()["id"] == user["id"]
            old = Browser(accounts.url)
            old.headers["Cookie"] = f"{COOKIE}={cookie}"
            assert old.get("/me").status_code == 401

    def test_b7_signing_in_again_ends_the_session_before_it(self, accounts: AccountServer) -> None:
        name = accounts.new_user()["name"]
        browser = accounts.browser(name)
        first = browser.cookie
        assert browser.sign_in(name, PASSWORD).status_code == 204
        assert browser.cookie != first
        copy = Browser(accounts.url)
        copy.headers["Cookie"] = f"{COOKIE}={first}"
        assert copy.get("/me").status_code == 401

    def test_b7_the_cookie_cannot_be_read_planted_or_sent_in_the_clear(self, accounts: AccountServer) -> None:
        answer = accounts.browser().sign_in(accounts.new_user()["name"], PASSWORD)
        attributes = {part.strip().lower() for part in answer.headers["set-cookie"].split(";")[1:]}
        assert {"secure", "httponly", "samesite=lax", "path=/"} <= attributes
        assert not any(part.startswith("domain") for part in attributes)
        assert answer.headers["set-cookie"].startswith("__Host-")
        assert answer.headers["cache-control"] == "no-store"
        assert answer.content == b""

    @pytest.mark.parametrize("headers", FOREIGN)
    def test_g12_pages_of_others_change_nothing(self, accounts: AccountServer, headers: dict[str, str]) -> None:
        browser = accounts.admin
        headers = {name: value for name, value in headers.items() if value} | (
            {} if headers["Sec-Fetch-Site"] else {"Sec-Fetch-Site": "cross-site"}
        )
        calls = [
            browser.post("/tokens", json={"name": "csrf"}, headers=headers),
            browser.post(f"/instance/main/{INSTANCE}/files/ok.sh/execute", headers=headers),
            browser.post("/tokens", content="a=b", headers={**headers, "Content-Type": "text/plain"}),
            browser.put("/me/password", json={}, headers=headers),
            browser.delete("/session", headers=headers),
            browser.patch("/users/x", json={}, headers=headers),
        ]
        assert {code(answer) for answer in calls} == {(403, "cross_site")}
        assert browser.get("/me").status_code == 200
        assert "csrf" not in browser.get("/tokens").text

    @pytest.mark.parametrize("headers", FOREIGN)
    def test_g12_nobody_is_signed_in_by_the_page_of_another(
        self, accounts: AccountServer, headers: dict[str, str]
    ) -> None:
        client = httpx.Client(base_url=f"{accounts.url}/api/v1", verify=False, limits=NO_KEEPING)
        given = {name: value for name, value in headers.items() if value}
        body = {"name": accounts.new_user()["name"], "password": PASSWORD}
        assert code(client.post("/session", json=body, headers=given)) == (403, "cross_site")
        setup = {"token": "x", "name": "x", "password": PASSWORD}
        assert code(client.post("/setup", json=setup, headers=given)) == (403, "cross_site")

    @pytest.mark.parametrize("headers", FOREIGN)
    def test_g12_developer_mode_has_no_cookie_and_needs_the_same(
        self, server: ServerProcess, headers: dict[str, str]
    ) -> None:
        given = {name: value for name, value in headers.items() if value}
        answer = server.client.post(f"/api/v1/instance/main/{INSTANCE}/files/ok.sh/execute", headers=given)
        assert code(answer) == (403, "cross_site")
        assert server.client.get("/api/v1/runs", headers=given).headers.get("access-control-allow-origin") is None

    def test_g12_no_preflight_is_granted(self, accounts: AccountServer) -> None:
        headers = {
            "Origin": "https://evil.example",
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "content-type,authorization",
        }
        answer = accounts.browser().options("/tokens", headers=headers)
        assert answer.status_code == 405
        assert not any(name.startswith("access-control") for name in answer.headers)

    @pytest.mark.parametrize(
        "header", ["X-HTTP-Method-Override", "X-Method-Override", "X-HTTP-Method", "X-Original-Method"]
    )
    def test_b7_no_header_changes_the_method(self, accounts: AccountServer, header: str) -> None:
        made = accounts.admin.token()
        path = f"/tokens/{made['id']}"
        assert accounts.admin.get(path, headers={header: "DELETE"}).status_code == 200
        assert accounts.admin.post(path, headers={header: "DELETE"}).status_code == 405
        assert accounts.admin.get(f"{path}?_method=DELETE").status_code == 200

    @pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
    def test_b7_signing_in_takes_json_only(self, accounts: AccountServer, kind: str) -> None:
        body = json.dumps({"name": accounts.new_user()["name"], "password": PASSWORD})
        answer = accounts.browser().post("/session", content=body, headers={"Content-Type": kind})
        assert code(answer) == (400, "unsupported_content_type")

    def test_d7_no_page_may_frame_or_run_what_is_not_ours(self, accounts: AccountServer) -> None:
        for answer in (accounts.admin.get("/me"), accounts.browser().get("/me"), accounts.browser().get("/nothing")):
            policy = answer.headers["content-security-policy"]
            assert "frame-ancestors 'none'" in policy
            assert "unsafe-inline" not in policy
            assert answer.headers["x-frame-options"] == "DENY"

    def test_a_header_counts_and_the_cookie_beside_it_does_not(self, accounts: AccountServer) -> None:
        assert accounts.admin.get("/me", headers={"Authorization": "token wrong"}).status_code == 401
        client = with_token(accounts, accounts.browser(accounts.new_user()["name"]).token()["token"])
        client.headers["Cookie"] = f"{COOKIE}={accounts.admin.cookie}"
        assert client.get("/me").json()["isAdministrator"] is False

    def test_g9_credentials_anywhere_else_are_none(self, accounts: AccountServer) -> None:
        text = accounts.admin.token()["token"]
        client = httpx.Client(base_url=f"{accounts.url}/api/v1", verify=False, limits=NO_KEEPING)
        for query in (f"token={text}", f"access_token={text}", f"private_token={text}"):
            assert client.get(f"/me?{query}").status_code == 401
        for name in ("X-Token", "Private-Token", "Proxy-Authorization", "Cookie"):
            assert client.get("/me", headers={name: f"token {text}"}).status_code == 401
        assert client.get("/me", auth=("root", text)).status_code == 401
        assert client.get("/me", auth=("root", PASSWORD)).status_code == 401
        assert client.get("/me", headers={"Authorization": f"token {text}, token {text}"}).status_code == 401


class TestPasswords:
    def test_b6_every_failure_is_answered_alike(self, accounts: AccountServer) -> None:
        known, disabled = accounts.new_user(), accounts.new_user()
        service = accounts.new_user(kind="service", password=None)
        without = accounts.new_user(password=None)
        accounts.admin.patch(f"/users/{disabled['id']}", json={"isDisabled": True})
        tries = [
            (known["name"], OTHER_PASSWORD),
            (disabled["name"], PASSWORD),
            (service["name"], PASSWORD),
            (without["name"], PASSWORD),
            ("nobody-at-all", PASSWORD),
            ("no name at all!", PASSWORD),
            ("nobody\u202e", PASSWORD),
            (known["name"], PASSWORD + "\x00"),
            (known["name"], PASSWORD[:-1]),
            (known["name"], PASSWORD.lower()),
        ]
        answers = [accounts.browser().sign_in(name, password) for name, password in tries]
        assert {answer.status_code for answer in answers} == {401}
        assert len({answer.text for answer in answers}) == 1
        assert "set-cookie" not in str([answer.headers for answer in answers])

    @pytest.mark.parametrize(
        "body",
        [
            "{}",
            '{"name": "x"}',
            '{"name": "x", "password": "a1!' + "x" * 1000 + '"}',
            '{"name": "x", "password": ["y"]}',
            '{"name": {"$ne": null}, "password": {"$ne": null}}',
            '{"name": "x", "password": "\\ud800"}',
            '{"name": "x", "name": "y", "password": "z"}',
            '{"name": "x", "password": "y", "next": "//evil.example"}',
        ],
    )
    def test_b6_odd_bodies_are_refused_before_any_hash(self, accounts: AccountServer, body: str) -> None:
        begin = time.monotonic()
        answer = accounts.browser().post("/session", content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 422
        assert time.monotonic() - begin < 5

    def test_b6_a_password_of_a_megabyte_is_413_or_422(self, accounts: AccountServer) -> None:
        assert accounts.browser().sign_in("x", "p" * 900_000).status_code == 422
        assert accounts.browser().sign_in("x", "p" * 2_000_000).status_code == 413

    def test_b6_guessing_has_to_wait_and_the_owner_elsewhere_does_not(self, own_accounts: AccountServer) -> None:
        set_up(own_accounts)
        own_accounts.new_user(name="ada")
        guesses = [own_accounts.browser().sign_in("ada", f"{OTHER_PASSWORD}{number}") for number in range(7)]
        assert [answer.status_code for answer in guesses] == [401] * 5 + [429] * 2
        assert int(guesses[-1].headers["Retry-After"]) >= 1
        assert code(guesses[-1])[1] == "too_many_requests"
        assert own_accounts.browser().sign_in("ada", PASSWORD).status_code == 429
        strangers = own_accounts.browser()
        strangers.headers["X-Forwarded-For"] = "203.0.113.9"
        assert strangers.sign_in("ada", PASSWORD).status_code == 429  # nobody's proxy: the header means nothing
        unknown = [own_accounts.browser().sign_in("nobody", OTHER_PASSWORD) for _ in range(7)]
        assert [answer.status_code for answer in unknown] == [401] * 5 + [429] * 2

    def test_a5_the_address_is_the_one_that_a_trusted_proxy_saw(self) -> None:
        for own in account_server({"INFRAXYS_TRUSTED_PROXIES": "127.0.0.0/8"}):
            own.new_user(name="ada")
            for _ in range(7):
                own.browser().sign_in("ada", OTHER_PASSWORD)
            browser = own.browser()
            browser.headers["X-Forwarded-For"] = "10.6.6.6, 203.0.113.9"  # what its client claimed, what it saw
            assert browser.sign_in("ada", PASSWORD).status_code == 204
            assert [item["address"] for item in browser.get("/sessions").json()["items"]] == ["203.0.113.9"]

    def test_b6_sign_ins_of_one_address_are_counted_whatever_the_names(self, own_accounts: AccountServer) -> None:
        browser = own_accounts.browser()
        answers = [browser.sign_in(f"name-{number}", OTHER_PASSWORD) for number in range(25)]
        statuses = [answer.status_code for answer in answers]
        assert statuses[:20] == [401] * 20
        assert 429 in statuses[20:]
        refused = answers[statuses.index(429)]
        assert '"sign-in";q=20;w=60' in refused.headers["RateLimit-Policy"]
        assert '"sign-in";r=0' in refused.headers["RateLimit"]
        assert own_accounts.browser().get("/health/live").status_code == 200

    def test_b1_passwords_are_nowhere_on_disk(self, accounts: AccountServer) -> None:
        canary = "Kanarienvogel-77-singt-im-Wald"
        user = accounts.new_user(password=canary)
        browser = accounts.browser(user["name"], canary)
        accounts.browser().sign_in(canary, canary)
        secrets = [canary, browser.cookie.split(".")[1], browser.token()["token"].split("_")[2]]
        for secret in secrets:
            found = subprocess.run(
                ["grep", "-rlaF", secret, str(accounts.folder)], capture_output=True, text=True, check=False
            )
            assert found.stdout == ""


class TestSetup:
    def test_b10_the_link_makes_one_administrator_once(self, own_accounts: AccountServer) -> None:
        secret = own_accounts.setup_secret
        assert f"{own_accounts.url}/setup#token=" in own_accounts.setup_line
        guess = {"token": secret[:-1] + "x", "name": "evil", "password": PASSWORD}
        assert code(own_accounts.browser().post("/setup", json=guess)) == (403, "setup_link_invalid")
        weak = {"token": secret, "name": "root", "password": "password123"}
        assert code(own_accounts.browser().post("/setup", json=weak)) == (422, "weak_password")
        assert set_up(own_accounts).status_code == 201
        assert own_accounts.admin.get("/me").json()["isAdministrator"] is True
        again = {"token": secret, "name": "evil", "password": PASSWORD}
        assert code(own_accounts.browser().post("/setup", json=again)) == (403, "setup_link_invalid")
        own_accounts.stop()
        own_accounts.start()
        assert code(own_accounts.browser().post("/setup", json=again)) == (403, "setup_link_invalid")
        found = subprocess.run(
            ["grep", "-rlaF", secret, str(own_accounts.folder)], capture_output=True, text=True, check=False
        )
        assert found.stdout == ""

    def test_b10_an_unused_link_survives_a_restart(self, own_accounts: AccountServer) -> None:
        first = own_accounts.setup_line
        own_accounts.stop()
        own_accounts.start()
        assert own_accounts.setup_line != first
        own_accounts.setup_line = first
        assert set_up(own_accounts).status_code == 201

    def test_b10_of_many_at_once_one_wins(self, own_accounts: AccountServer) -> None:
        statuses: list[int] = []

        def attempt(number: int) -> None:
            body = {"token": own_accounts.setup_secret, "name": f"root-{number}", "password": PASSWORD}
            statuses.append(own_accounts.browser().post("/setup", json=body).status_code)

        threads = [threading.Thread(target=attempt, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert sorted(statuses) == [201] + [403] * 5


class TestEndOfRights:
    @pytest.mark.parametrize("how", ["token", "account"])
    def test_b3_open_answers_end_with_the_token_and_with_the_account(self, accounts: AccountServer, how: str) -> None:
        user = accounts.new_user(isAdministrator=True)
        browser = accounts.browser(user["name"])
        made = browser.token()
        client = with_token(accounts, made["token"])
        run = client.post(f"/instance/main/{INSTANCE}/files/sleep.sh/execute", json={"asynchronous": True}).json()
        ended: dict[str, float] = {}
        statuses: dict[str, int] = {}

        def stream() -> None:
            with client.stream("GET", f"/runs/{run['id']}/events") as answer:
                statuses["stream"] = answer.status_code
                is_open.set()
                with pytest.raises(httpx.RemoteProtocolError):
                    answer.read()
            ended["stream"] = time.monotonic()

        def wait() -> None:
            statuses["wait"] = client.get(f"/runs/{run['id']}?wait=60").status_code
            ended["wait"] = time.monotonic()

        def execute() -> None:
            statuses["execute"] = client.post(f"/instance/main/{INSTANCE}/files/sleep.sh/execute", json={}).status_code
            ended["execute"] = time.monotonic()

        is_open = threading.Event()
        threads = [threading.Thread(target=target) for target in (stream, wait, execute)]
        for thread in threads:
            thread.start()
        assert is_open.wait(30)
        mine = f"/runs?status=RUNNING&requestedBy={user['name']}"
        while len(accounts.admin.get(mine).json()["items"]) < 2:
            pass
        begin = time.monotonic()
        if how == "token":
            assert browser.delete(f"/tokens/{made['id']}").status_code == 204
        else:
            assert accounts.admin.patch(f"/users/{user['id']}", json={"isDisabled": True}).status_code == 200
        for thread in threads:
            thread.join(20)
        assert statuses == {"stream": 200, "wait": 401, "execute": 401}
        assert max(ended.values()) - begin < 5
        running = accounts.admin.get(mine).json()["items"]
        assert len(running) == 2  # what was started goes on
        for item in running:
            assert accounts.admin.post(f"/runs/{item['id']}/cancel").status_code == 202

    def test_g1_revoked_between_two_requests_of_one_connection(self, accounts: AccountServer) -> None:
        made = accounts.admin.token()
        parts = urlsplit(accounts.url)
        context = ssl._create_unverified_context()
        connection = http.client.HTTPSConnection(parts.hostname or "", parts.port, context=context, timeout=30)
        statuses = []
        for _ in range(2):
            connection.request("GET", "/api/v1/me", headers={"Authorization": f"token {made['token']}"})
            answer = connection.getresponse()
            answer.read()
            statuses.append(answer.status)
            accounts.admin.delete(f"/tokens/{made['id']}")
        connection.close()
        assert statuses == [200, 401]


class TestTiming:
    """Medians of interleaved samples: what else happens on the machine falls on both sides alike."""

    def test_b6_an_unknown_name_takes_as_long_as_a_wrong_password(self, accounts: AccountServer) -> None:
        names = [accounts.new_user()["name"] for _ in range(8)]
        browser = accounts.browser()
        times: dict[bool, list[float]] = {True: [], False: []}
        for number in range(16):
            for is_known in (True, False) if number % 2 else (False, True):
                name = names[number % 8] if is_known else f"nobody-{number}"
                begin = time.perf_counter()
                assert browser.sign_in(name, OTHER_PASSWORD).status_code == 401
                times[is_known].append(time.perf_counter() - begin)
        known, unknown = statistics.median(times[True]), statistics.median(times[False])
        assert min(*times[True], *times[False]) > 0.02  # a hash was made every time
        assert 0.6 < unknown / known < 1.67
