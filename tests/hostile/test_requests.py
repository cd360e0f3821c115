"""Requests that attackers and bad networks make of a running server (hostile.md A, D4, F2; field.md G15, G19, G44)."""

import gzip
import hashlib
import json
import os
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from factories.modules import ENVIRONMENT, INSTANCE, WORKFLOW
from plugins.server import ROOT, ServerProcess

ACTION = f"/api/v1/instance/main/{INSTANCE}/files"
JSON = {"Content-Type": "application/json"}


@contextmanager
def connection_to(server: ServerProcess) -> Iterator[ssl.SSLSocket]:
    """Open a connection on which anything can be sent."""
    parts = urlsplit(server.url)
    context = ssl._create_unverified_context()
    with (
        socket.create_connection(("127.0.0.1", parts.port or 443), timeout=20) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        yield connection


def head(method: str, path: str, *lines: str) -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: localhost", *lines, "", ""]).encode()


def read_all(connection: ssl.SSLSocket) -> bytes:
    answer = b""
    while chunk := connection.recv(65536):
        answer += chunk
    return answer


def descriptors(server: ServerProcess) -> int:
    """Count the connections and pipes that are open. Of files, the pools of the database keep some."""
    targets = []
    for entry in Path(f"/proc/{server.process.pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            targets.append(str(entry.readlink()))
    return sum(target.startswith(("socket:", "pipe:", "anon_inode:[pidfd]")) for target in targets)


def resident_bytes(server: ServerProcess) -> int:
    return int(Path(f"/proc/{server.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class TestBodies:
    def test_a3_a_body_of_50_megabytes_is_413_and_never_in_memory(self, own_server: ServerProcess) -> None:
        before = resident_bytes(own_server)
        parts = (b" " * 2**20 for _ in range(50))
        with suppress(httpx.WriteError, httpx.ReadError):  # it may hang up while the body is being sent
            assert own_server.client.post(f"{ACTION}/ok.sh/execute", content=parts, headers=JSON).status_code == 413
        assert resident_bytes(own_server) - before < 30 * 2**20
        assert own_server.execute(INSTANCE, "ok.sh")["status"] == "SUCCESS"

    @pytest.mark.parametrize("encoding", ["gzip", "deflate", "br"])
    def test_g18_a_compressed_body_is_not_expanded(self, server: ServerProcess, encoding: str) -> None:
        bomb = gzip.compress(b" " * 2**24)
        headers = {**JSON, "Content-Encoding": encoding}
        answer = server.client.post(f"{ACTION}/ok.sh/execute", content=bomb, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (400, "not_json")

    @pytest.mark.parametrize("codec", ["utf-16", "utf-16-le", "utf-32", "utf-8-sig"])
    def test_a3_only_utf_8_is_read(self, server: ServerProcess, codec: str) -> None:
        content = '{"argument": 1}'.encode(codec)
        answer = server.client.post(f"{ACTION}/ok.sh/execute", content=content, headers=JSON)
        assert (answer.status_code, answer.json()["code"]) == (400, "not_json")

    def test_a3_slow_senders_do_not_hold_up_the_others(self, server: ServerProcess) -> None:
        with connection_to(server) as one, connection_to(server) as two:
            for connection in (one, two):
                connection.sendall(head("POST", f"{ACTION}/ok.sh/execute", *(f"{k}: {v}" for k, v in JSON.items()),
                                        "Content-Length: 100") + b"{")  # fmt: skip
            assert server.execute(INSTANCE, "ok.sh")["status"] == "SUCCESS"
        assert server.execute(INSTANCE, "ok.sh")["status"] == "SUCCESS"

    @pytest.mark.parametrize("size", [64 * 1024, 1024 * 1024 - 200])
    def test_g19_a_large_argument_arrives_as_it_is(self, server: ServerProcess, size: int) -> None:
        argument = json.dumps("x" * size)
        run = server.client.post(
            f"{ACTION}/argument.sh/execute", content=f'{{"argument": {argument}}}'.encode(), headers=JSON
        ).json()
        log = server.client.get(f"/api/v1/runs/{run['id']}/log").text
        assert run["status"] == "SUCCESS"
        assert log == argument


class TestConnections:
    @pytest.mark.parametrize("line", [b"FOO /api/v1/runs HTTP/1.1", b"GET /api/v1/runs HTTP/9.x", b"\x16\x03\x01"])
    def test_g18_what_is_no_http_is_refused_as_everything_else_is(self, server: ServerProcess, line: bytes) -> None:
        with connection_to(server) as connection:
            connection.sendall(line + b"\r\nHost: localhost\r\n\r\n")
            said, body = read_all(connection).split(b"\r\n\r\n", 1)
        assert said.startswith(b"HTTP/1.1 400 Bad Request\r\n")
        assert b"content-type: application/problem+json" in said
        assert b"x-content-type-options: nosniff" in said
        assert json.loads(body)["code"] == "bad_request"

    def test_a5_headers_without_end_cost_no_memory(self, own_server: ServerProcess) -> None:
        before = resident_bytes(own_server)
        with connection_to(own_server) as connection, suppress(OSError):
            connection.sendall(b"GET /api/v1/me HTTP/1.1\r\nHost: localhost\r\nX: ")
            for _ in range(64):
                connection.sendall(b"a" * 2**20)
        assert resident_bytes(own_server) - before < 16 * 2**20
        assert own_server.client.get("/api/v1/me").status_code == 200

    def test_a12_requests_sent_together_are_answered_in_order(self, server: ServerProcess) -> None:
        with connection_to(server) as connection:
            first = head("GET", "/api/v1/runs/first")
            last = head("GET", "/api/v1/runs/last", "Connection: close")
            connection.sendall(first + head("GET", "/api/v1/me") + last)
            answers = read_all(connection)
        assert [int(status) for status in re.findall(rb"HTTP/1.1 (\d+)", answers)] == [404, 200, 404]
        assert answers.index(b"/runs/first") < answers.index(b"/runs/last")

    def test_a12_a_client_may_ask_before_it_sends_the_body(self, server: ServerProcess) -> None:
        lines = (*(f"{k}: {v}" for k, v in JSON.items()), "Content-Length: 2", "Expect: 100-continue")
        with connection_to(server) as connection:
            connection.sendall(head("POST", f"{ACTION}/nothing.sh/execute", *lines, "Connection: close"))
            assert connection.recv(1000).startswith(b"HTTP/1.1 100 ")
            connection.sendall(b"{}")
            assert read_all(connection).startswith(b"HTTP/1.1 404 ")

    def test_a12_a_request_that_breaks_off_starts_nothing(self, own_server: ServerProcess) -> None:
        lines = (*(f"{k}: {v}" for k, v in JSON.items()), "Content-Length: 1000")
        for _ in range(20):
            with connection_to(own_server) as connection:
                connection.sendall(head("POST", f"{ACTION}/ok.sh/execute", *lines) + b'{"argument": {}')
        assert own_server.client.get("/api/v1/me").status_code == 200
        assert own_server.client.get("/api/v1/runs").json()["items"] == []

    def test_a7_clients_that_vanish_leave_no_descriptor_and_every_run_ends(self, own_server: ServerProcess) -> None:
        body = b'{"timeoutSeconds": 1}'
        lines = (*(f"{k}: {v}" for k, v in JSON.items()), f"Content-Length: {len(body)}")
        own_server.execute(INSTANCE, "ok.sh")
        before = descriptors(own_server)
        for _ in range(40):
            with connection_to(own_server) as connection:
                connection.sendall(head("POST", f"{ACTION}/sleep.sh/execute", *lines) + body)
        deadline = time.monotonic() + 60
        while True:  # what was sent before the client vanished may be accepted a moment later
            runs = own_server.client.get("/api/v1/runs", params={"limit": 100}).json()["items"]
            running = [run for run in runs if run["status"] in {"QUEUED", "RUNNING"}]
            if not running and descriptors(own_server) <= before + 1:
                break
            assert time.monotonic() < deadline, (running, before, descriptors(own_server))
            for run in running[:1]:
                own_server.client.get(f"/api/v1/runs/{run['id']}", params={"wait": 20})
        assert {run["status"] for run in runs} <= {"SUCCESS", "TIMEOUT"}


class TestKeys:
    def test_a6_a_key_stands_for_one_route(self, server: ServerProcess) -> None:
        headers = {"Idempotency-Key": "a6-route"}
        assert server.client.post(f"{ACTION}/ok.sh/execute", json={}, headers=headers).status_code == 200
        for path in (
            f"{ACTION}/true.sh/execute",
            f"{ACTION}/ok.sh/execute?module=localhost/tests/library",
            f"/api/v1/environment/main/{ENVIRONMENT}/workflow/{WORKFLOW}/execute",
        ):
            answer = server.client.post(path, json={}, headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")

    def test_a6_a_key_is_its_callers_own(self, team_server: ServerProcess) -> None:
        assert team_server.command("user", "create", "other", "--admin").returncode == 0
        other = team_server.command("token", "create", "--name", "a6", "--user", "other").stdout.strip()
        mine = team_server.admin_token  # type: ignore[attr-defined]
        runs = []
        for token in (mine, other, mine):
            headers = {"Idempotency-Key": "a6-caller", "Authorization": f"token {token}"}
            runs.append(team_server.client.post(f"{ACTION}/ok.sh/execute", json={}, headers=headers).json()["id"])
        assert runs[0] == runs[2] != runs[1]

    def test_a6_a_thousand_equal_requests_at_once_start_one_run(self, own_server: ServerProcess) -> None:
        found: list[str] = []

        def post_many() -> None:
            with httpx.Client(base_url=own_server.url, verify=False, timeout=120) as client:
                for _ in range(20):
                    answer = client.post(f"{ACTION}/ok.sh/execute", json={}, headers={"Idempotency-Key": "a6-many"})
                    found.append(answer.json()["id"])

        threads = [threading.Thread(target=post_many) for _ in range(50)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 1000
        assert {item["id"] for item in own_server.client.get("/api/v1/runs").json()["items"]} == set(found)
        assert len(set(found)) == 1

    @pytest.mark.parametrize("key", ["", "x" * 256, '""'])
    def test_a6_odd_keys_are_400(self, server: ServerProcess, key: str) -> None:
        answer = server.client.post(f"{ACTION}/ok.sh/execute", json={}, headers={"Idempotency-Key": key})
        assert answer.status_code == 400


class TestQuestions:
    @pytest.mark.parametrize(
        ("query", "status"),
        [
            ({"limit": "501"}, 422),
            ({"limit": "0"}, 422),
            ({"limit": "9" * 400}, 422),
            ({"limit": "-1"}, 422),
            ({"sort": "id; DROP TABLE runs"}, 422),
            ({"since": "yesterday"}, 422),
            ({"text": "(a+)+$" * 30}, 200),
            ({"text": "%" * 190}, 200),
        ],
    )
    def test_a11_no_question_is_more_work_than_a_page(
        self, server: ServerProcess, query: dict[str, str], status: int
    ) -> None:
        began = time.monotonic()
        assert server.client.get("/api/v1/runs", params=query).status_code in {status, 400}
        assert time.monotonic() - began < 5

    @pytest.mark.parametrize(
        ("value", "status"),
        [
            ("bytes=99999999999999999999-", 416),
            ("bytes=1000-", 416),
            ("bytes=-0", 416),
            ("bytes=0-99999999999999999999", 206),
            ("bytes=-1000", 206),
            ("bytes=5-2", 200),
            ("bytes=--5", 200),
            ("bytes=0-1,3-4", 200),
            ("bytes=" + "9" * 5000 + "-", 200),
            ("lines=0-1", 200),
        ],
    )
    def test_a8_odd_ranges_are_ignored_or_refused_and_never_give_something_else(
        self, server: ServerProcess, value: str, status: int
    ) -> None:
        run = server.execute(INSTANCE, "ok.sh")
        answer = server.client.get(f"/api/v1/runs/{run['id']}/log", headers={"Range": value})
        assert answer.status_code == status
        assert status == 416 or answer.text == run["log"]
        assert (status == 200) == ("content-range" not in answer.headers)

    @pytest.mark.parametrize("event_id", ["-1", "x", "99999999999", "1e3", "\xb2", "1 2", "9" * 5000])
    def test_a8_a_forged_event_id_is_refused(self, server: ServerProcess, event_id: str) -> None:
        run = server.execute(INSTANCE, "ok.sh")
        headers = {"Last-Event-ID": event_id.encode("latin-1")}
        answer = server.client.get(f"/api/v1/runs/{run['id']}/events", headers=headers)
        assert answer.status_code in {400, 404, 416}, answer.text

    @pytest.mark.parametrize(
        "name", ["OK.SH", "ok.sh%20", "ok.sh.", "..%252fok.sh", "files%2Fok.sh", "%2Fetc%2Fpasswd", "packet.json", "-"]
    )
    def test_g15_only_the_declared_name_of_a_file_executes_it(self, server: ServerProcess, name: str) -> None:
        answer = server.client.post(f"{ACTION}/{name}/execute", json={})
        assert answer.status_code == 404, answer.text


class TestLogs:
    def test_d4_g34_a_log_is_text_that_no_browser_runs(self, server: ServerProcess) -> None:
        run = server.execute(INSTANCE, "argument.sh", argument="<script>alert(1)</script>")
        for query in ({}, {"format": "ndjson"}, {"strip": "ansi"}):
            answer = server.client.get(f"/api/v1/runs/{run['id']}/log", params=query)
            assert "<script>" in answer.text
            assert not answer.headers["content-type"].startswith("text/html")
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert "unsafe" not in answer.headers["content-security-policy"]

    def test_g44_a_follower_that_is_cut_off_all_the_time_gets_every_byte_once(self, server: ServerProcess) -> None:
        run = server.execute(INSTANCE, "lines.sh", asynchronous=True)
        path, received, ended = f"/api/v1/runs/{run['id']}/events", b"", None
        for _ in range(400):
            if ended:
                break
            headers = {"Last-Event-ID": str(len(received))}
            with server.client.stream("GET", path, headers=headers) as answer:
                kind = ""
                for line in answer.iter_lines():  # one piece of the log, then away
                    name, _, value = line.partition(": ")
                    kind = value if name == "event" else kind
                    if name == "data" and kind == "log":
                        received += json.loads(value)["text"].encode()
                        break
                    if name == "data" and kind == "end":
                        ended = json.loads(value)
        assert ended
        assert ended["logSha256"] == hashlib.sha256(received).hexdigest()


def test_f2_everything_that_is_installed_is_pinned_and_hashed() -> None:
    for path in (ROOT / "requirements").glob("*.txt"):
        lines = re.sub(r"\\\n", " ", path.read_text()).splitlines()
        entries = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
        assert entries
        for entry in entries:
            assert re.match(r"[A-Za-z0-9._-]+(\[[a-z,]+\])?==\S+ ", entry), entry
            assert "--hash=sha256:" in entry, entry
