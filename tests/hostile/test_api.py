"""What attackers send to the API (hostile.md A, field.md G)."""

import socket
import ssl
from urllib.parse import urlsplit

import pytest

from factories.modules import INSTANCE
from plugins.server import ServerProcess

ACTION = f"/api/v1/instance/main/{INSTANCE}/files"


def raw_request(server: ServerProcess, data: bytes) -> bytes:
    """Send bytes as they are and give the answer."""
    parts = urlsplit(server.url)
    context = ssl._create_unverified_context()
    with (
        socket.create_connection(("127.0.0.1", parts.port or 443), timeout=20) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        connection.sendall(data)
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
        return answer


@pytest.mark.parametrize(
    "segment",
    [
        "..",
        "%2e%2e",
        "%2e%2e%2f",
        "..%2f..%2fetc%2fpasswd",
        "%252e%252e",
        "%00",
        "a%00b",
        "%ff",
        "%c0%af",
        "%",
        "%zz",
        "a%0ab",
    ],
)
def test_a4_odd_segments_are_refused_and_reach_no_file(server: ServerProcess, segment: str) -> None:
    request = (
        f"POST {ACTION}/{segment}/execute HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    )
    answer = raw_request(server, request.encode())
    status = int(answer.split(b" ", 2)[1])
    assert status in {400, 404}, answer[:300]
    assert b"root:" not in answer


@pytest.mark.parametrize(
    "path", ["//api/v1/runs", "/api/v1//runs", "/api/v1/./runs", "/api/v1/x/../runs", "/api/v1/runs/"]
)
def test_g17_a_path_means_one_thing(server: ServerProcess, path: str) -> None:
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    assert int(raw_request(server, request.encode()).split(b" ", 2)[1]) == 404


def test_a4_a_long_path_is_refused(server: ServerProcess) -> None:
    request = f"GET /api/v1/runs/{'a' * 9000} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    assert int(raw_request(server, request.encode()).split(b" ", 2)[1]) == 400


def test_a3_a_chunked_body_over_the_limit_is_413(server: ServerProcess) -> None:
    head = (
        f"POST {ACTION}/ok.sh/execute HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    )
    chunk = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
    answer = raw_request(server, head.encode() + chunk * 2 + b"0\r\n\r\n")
    assert int(answer.split(b" ", 2)[1]) == 413


def test_a5_no_header_is_echoed_that_could_split_the_answer(server: ServerProcess) -> None:
    request = (
        "GET /api/v1/runs HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: a\tSet-Cookie: x=1\r\nConnection: close\r\n\r\n"
    )
    answer = raw_request(server, request.encode())
    assert b"Set-Cookie" not in answer


@pytest.mark.parametrize("field", ["id", "status", "ownerId", "createdAt", "grants", "__proto__"])
def test_a9_fields_that_are_not_the_callers_are_refused(server: ServerProcess, field: str) -> None:
    answer = server.client.post(f"{ACTION}/ok.sh/execute", json={field: "x"})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["loc"] == field


@pytest.mark.parametrize(
    "url",
    [
        "--upload-pack=touch /tmp/x",
        "ext::sh -c touch% /tmp/x",
        "ssh://-oProxyCommand=touch/x/y",
        "http://169.254.169.254/latest/meta-data",
        "gopher://localhost/a/b",
        "https://user:secret@localhost/a/b",
        "file://elsewhere/a/b",
        "https://localhost/a/b\nx",
    ],
)
def test_a10_hostile_module_urls_are_refused(server: ServerProcess, url: str) -> None:
    answer = server.client.post("/api/v1/modules", json={"url": url})
    assert answer.status_code == 422, answer.text
    assert "secret" not in answer.text


@pytest.mark.parametrize("text", ["' OR 1=1 --", "%", "_", "\x00", "x" * 200, "\u202e", "';DROP TABLE runs;--"])
def test_g20_filters_are_data(server: ServerProcess, text: str) -> None:
    for name in ("text", "module", "branch", "instanceId", "requestedBy"):
        answer = server.client.get("/api/v1/runs", params={name: text})
        assert answer.status_code in ({400} if "\0" in text else {200, 422}), answer.text


def test_g18_errors_tell_nothing_of_the_inside(server: ServerProcess) -> None:
    for path in ("/api/v1/nothing", "/api/v1/runs/x", "/api/v1/instance/a/b/files/c/execute"):
        text = server.client.post(path, json={}).text
        assert "Traceback" not in text
        assert str(server.data) not in text
        assert ".py" not in text


def test_a3_half_a_surrogate_pair_as_a_name_is_refused(server: ServerProcess) -> None:
    headers = {"Content-Type": "application/json"}
    answer = server.client.post(f"{ACTION}/ok.sh/execute", content=b'{"\\ud83d": 1}', headers=headers)
    assert answer.status_code == 422, answer.text
    twice = server.client.post(f"{ACTION}/ok.sh/execute", content=b'{"\\ud83d": 1, "\\ud83d": 2}', headers=headers)
    assert twice.status_code == 422, twice.text


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "", "application/jsonp"])
def test_b7_json_under_another_name_is_400(server: ServerProcess, content_type: str) -> None:
    answer = server.client.post(f"{ACTION}/ok.sh/execute", content=b"{}", headers={"Content-Type": content_type})
    assert (answer.status_code, answer.json()["code"]) == (400, "unsupported_content_type")


def test_g9_a_token_in_the_address_is_no_token(team_server: ServerProcess) -> None:
    token = team_server.admin_token  # type: ignore[attr-defined]
    for name in ("token", "access_token", "authorization"):
        answer = team_server.client.get("/api/v1/runs", params={name: token})
        assert answer.status_code == 401
        assert token not in answer.text
    assert token not in (team_server.folder / "errors").read_text()


@pytest.mark.parametrize(
    "lines",
    [
        ["Content-Length: 2", "Transfer-Encoding: chunked"],
        ["Content-Length: 2", "Content-Length: 3"],
        ["Content-Length: -1"],
        ["Transfer-Encoding: chunked, identity"],
    ],
)
def test_a12_a_body_with_two_lengths_is_refused_or_ends_the_connection(server: ServerProcess, lines: list[str]) -> None:
    head = "\r\n".join(
        [f"POST {ACTION}/nothing.sh/execute HTTP/1.1", "Host: localhost", "Content-Type: application/json", *lines]
    )
    smuggled = "GET /api/v1/server HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    answer = raw_request(server, f"{head}\r\n\r\n0\r\n\r\n{smuggled}".encode())
    assert answer.split(b" ", 2)[1].startswith(b"4"), answer[:200]
    assert b'"backends"' not in answer


@pytest.mark.parametrize("name", ["X-HTTP-Method-Override", "X-Method-Override"])
def test_b7_the_method_cannot_be_overridden(server: ServerProcess, name: str) -> None:
    assert server.client.get(f"{ACTION}/ok.sh/execute", headers={name: "POST"}).status_code == 405


@pytest.mark.parametrize(
    "forged",
    [
        {"X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "http", "Forwarded": "host=evil.example"},
        {"Host": "evil.example"},
        {"X-Original-URL": "/evil.example", "X-Rewrite-URL": "/evil.example", "X-Host": "evil.example"},
    ],
)
def test_a5_forged_hosts_change_no_link(team_server: ServerProcess, forged: dict[str, str]) -> None:
    forged["Authorization"] = f"token {team_server.admin_token}"  # type: ignore[attr-defined]
    answer = team_server.client.post(f"{ACTION}/ok.sh/execute", json={"asynchronous": True}, headers=forged)
    assert answer.status_code == 200
    assert answer.headers["location"].startswith("/api/v1/runs/")
    assert "evil.example" not in answer.text + str(answer.headers)


def test_a5_two_authorization_headers_are_refused(team_server: ServerProcess) -> None:
    token = f"token {team_server.admin_token}"  # type: ignore[attr-defined]
    for second in (token, "token wrong", ""):
        answer = team_server.client.get("/api/v1/me", headers=[("Authorization", token), ("Authorization", second)])
        assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")


@pytest.mark.parametrize("header", ["X-Forwarded-For", "X-Forwarded-Host", "Forwarded", "Via", "X-Real-IP"])
def test_b11_developer_mode_answers_nothing_that_a_proxy_passes_on(server: ServerProcess, header: str) -> None:
    answer = server.client.get("/api/v1/me", headers={header: "for=203.0.113.9"})
    assert (answer.status_code, answer.json()["code"]) == (421, "misdirected_request")
