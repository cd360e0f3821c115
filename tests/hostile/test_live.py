"""What attackers and bad luck try with the live connection (hostile.md A2, B3, B7, field.md G1, G4, G12, G31, G44)."""

import contextlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from factories.live import Live, live
from factories.modules import INSTANCE
from plugins.access import AccessServer
from plugins.accounts import COOKIE, PASSWORD, AccountServer, Browser
from plugins.server import ServerProcess

AT_ONCE = 1.5  # seconds; the timer alone takes 3
RUN = f"/api/v1/instance/main/{INSTANCE}/files/code.py/execute"


def refusal(url: str, token: str | None = None, **parts: Any) -> tuple[int, str]:
    """Give status and code with which a handshake is refused."""
    with pytest.raises(InvalidStatus) as caught, live(url, token, **parts):
        pass
    response = caught.value.response
    return response.status_code, json.loads(response.body)["code"]


class TestHandshake:
    def test_a1_without_credentials_there_is_none(self, access_server: AccessServer) -> None:
        assert refusal(access_server.url) == (401, "unauthorized")
        assert refusal(access_server.url, "ifx_wrong") == (401, "unauthorized")

    def test_a2_who_may_see_no_run_anywhere_is_refused(self, access_server: AccessServer) -> None:
        assert refusal(access_server.url, access_server.holder("root", "module.list")) == (403, "forbidden")

    def test_g9_a_token_in_the_address_counts_for_nothing(self, access_server: AccessServer) -> None:
        assert refusal(access_server.url, query=f"token={access_server.everything}") == (401, "unauthorized")

    @pytest.mark.parametrize("origin", ["https://evil.example", "null", "https://localhost:1", "http://localhost"])
    def test_g12_pages_of_others_do_not_get_one_in_developer_mode(self, server: ServerProcess, origin: str) -> None:
        assert refusal(server.url, origin=origin) == (403, "cross_site")
        with live(server.url, origin=server.url) as connection:
            assert connection.ask("ping")["type"] == "pong"

    @pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "169.254.169.254", ""])
    def test_b11_a_name_that_somebody_made_point_here_does_not_get_one(self, server: ServerProcess, host: str) -> None:
        request = httpx.Request("GET", f"{server.url}/api/v1/live")
        handshake = {
            "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==", "Host": host,
        }  # fmt: skip
        answer = server.client.get(request.url, headers=handshake)
        assert answer.status_code == 421

    def test_b7_a_session_opens_one_from_pages_of_the_server_only(self, accounts: AccountServer) -> None:
        cookie = f"{COOKIE}={accounts.admin.cookie}"
        with live(accounts.url, origin=accounts.url, Cookie=cookie) as connection:
            assert connection.ask("ping")["type"] == "pong"
        for origin in ("https://evil.example", "null"):
            assert refusal(accounts.url, origin=origin, Cookie=cookie) == (403, "cross_site")

    def test_an_account_has_a_bounded_number_of_them(self, access_server: AccessServer) -> None:
        token = access_server.holder("root", "run.read")
        with contextlib.ExitStack() as stack:
            for _ in range(20):
                stack.enter_context(live(access_server.url, token))
            assert refusal(access_server.url, token) == (429, "too_many_requests")
            with live(access_server.url, access_server.everything) as other:
                assert other.ask("ping")["type"] == "pong"
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with contextlib.suppress(InvalidStatus), live(access_server.url, token) as again:
                assert again.ask("ping")["type"] == "pong"
                return
        pytest.fail("connections that have ended still count")


class TestMessages:
    @pytest.mark.parametrize(
        "text",
        [
            "",
            "{",
            "[]",
            "null",
            "1e400",
            '"ping"',
            '{"type": "shutdown"}',
            '{"type": ["ping"]}',
            '{"type": "ping", "admin": true}',
            '{"type": "ping", "id": 1}',
            '{"type": "follow"}',
            '{"type": "follow", "runId": "x", "offset": -1}',
            '{"type": "follow", "runId": "x", "offset": 1.5}',
            '{"type": "follow", "runId": "x", "offset": 99999999999999999999}',
            '{"type": "follow", "runId": {"$ne": ""}}',
            '{"type": "resize", "runId": "x", "columns": 0, "rows": 10}',
            '{"type": "resize", "runId": "x", "columns": 65536, "rows": 10}',
            '{"type": "input", "runId": "x", "text": "\\ud83d"}',
            '{"type": "input", "runId": "x", "text": ""}',
            "[" * 60_000,
            '{"a":' * 10_000,
            "x" * 60_000,
        ],
        ids=lambda text: text[:30],
    )
    def test_what_is_no_message_is_refused_and_the_connection_goes_on(self, server: ServerProcess, text: str) -> None:
        with live(server.url) as connection:
            connection.socket.send(text)
            refused = connection.next("error")
            assert refused["code"] == "bad_message"
            assert len(refused["message"]) < 1000
            assert connection.ask("ping")["type"] == "pong"

    @pytest.mark.parametrize("run_id", ["../../etc/passwd", "x\x00y", "'; --", "é" * 100, "%2e%2e"])
    def test_ids_that_nobody_has_lead_nowhere(self, server: ServerProcess, run_id: str) -> None:
        with live(server.url) as connection:
            for kind, parts in (("follow", {}), ("input", {"text": "x"}), ("resize", {"columns": 9, "rows": 9})):
                assert connection.ask(kind, runId=run_id, **parts)["code"] == "unknown_run"

    def test_bytes_and_what_is_too_large_end_the_connection(self, server: ServerProcess) -> None:
        with live(server.url) as connection:
            connection.socket.send(b"\x00\xff")
            assert connection.closed() == (1003, "text_only")
        for parts in ([("x" * 70_000)], ["x" * 40_000, "x" * 40_000]):  # in one frame and in several
            with live(server.url) as connection:
                with contextlib.suppress(ConnectionClosed):
                    connection.socket.send(parts[0] if len(parts) == 1 else parts)
                assert connection.closed()[0] == 1009

    def test_who_makes_nothing_but_mistakes_is_sent_away(self, server: ServerProcess) -> None:
        with live(server.url) as connection:
            with contextlib.suppress(ConnectionClosed):
                for _ in range(200):
                    connection.socket.send("{}")
            assert connection.closed() == (1008, "too_many_mistakes")

    def test_a_connection_follows_a_bounded_number_of_runs(self, server: ServerProcess) -> None:
        runs = [server.execute(INSTANCE, "sleep.sh", asynchronous=True)["id"] for _ in range(51)]
        try:
            with live(server.url) as connection:
                answers = [connection.ask("follow", runId=run_id) for run_id in runs]
                assert [answer["type"] for answer in answers] == ["done"] * 50 + ["error"]
                assert answers[-1]["code"] == "too_many_runs"
        finally:
            for run_id in runs:
                server.client.post(f"/api/v1/runs/{run_id}/cancel")


class TestRevocation:
    """B3, G1, G8: what is taken away ends what is open, and at once where this server took it away."""

    def ended(self, connection: Live, take_away: Callable[[], httpx.Response]) -> None:
        assert connection.ask("ping")["type"] == "pong"
        assert take_away().status_code in {200, 204}
        began = time.monotonic()
        assert connection.closed() == (1008, "unauthorized")
        assert time.monotonic() - began < AT_ONCE

    def test_a_deleted_token(self, accounts: AccountServer) -> None:
        made = accounts.admin.token()
        with live(accounts.url, made["token"]) as connection:
            self.ended(connection, lambda: accounts.admin.delete(f"/tokens/{made['id']}"))

    def test_a_session_that_signs_out(self, accounts: AccountServer) -> None:
        browser = accounts.browser(accounts.new_user(isAdministrator=True)["name"])
        with live(accounts.url, origin=accounts.url, Cookie=f"{COOKIE}={browser.cookie}") as connection:
            self.ended(connection, lambda: browser.delete("/session"))

    def test_an_account_that_is_disabled(self, accounts: AccountServer) -> None:
        user = accounts.new_user(isAdministrator=True)
        browser = Browser(accounts.url)
        assert browser.sign_in(user["name"], PASSWORD).status_code == 204
        with live(accounts.url, origin=accounts.url, Cookie=f"{COOKIE}={browser.cookie}") as connection:
            self.ended(connection, lambda: accounts.admin.patch(f"/users/{user['id']}", json={"isDisabled": True}))


def pss_mib(server: ServerProcess) -> float:
    """Give the server's own memory."""
    text = Path(f"/proc/{server.process.pid}/smaps_rollup").read_text()
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")) / 1024


def test_g31_a_reader_that_does_not_read_costs_no_memory_and_stops_nobody(own_server: ServerProcess) -> None:
    code = "import sys\nline = b'x' * 1023 + b'\\n'\nfor _ in range(96 * 1024):\n    sys.stdout.buffer.write(line)"
    with live(own_server.url) as connection, live(own_server.url) as reader:
        before = pss_mib(own_server)
        run_id = own_server.client.post(RUN, json={"asynchronous": True, "argument": {"code": code}}).json()["id"]
        for one in (connection, reader):
            one.send("follow", runId=run_id)
        ended = own_server.client.get(f"/api/v1/runs/{run_id}?wait=60").json()
        assert (ended["status"], pss_mib(own_server) - before < 24) == ("SUCCESS", True), pss_mib(own_server) - before
        for one in (connection, reader):
            end = one.next("end", run_id)
            assert end["offset"] == end["logBytes"] == 96 * 1024**2
            assert one.next("gap", run_id)["next"] > 0
