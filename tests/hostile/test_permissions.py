"""What callers find who may do little, or nothing (hostile.md A1, A11; field.md G4, G9, G10, G20)."""

import socket
import ssl
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from urllib.parse import urlencode, urlsplit

import pytest

from factories.modules import ENVIRONMENT, INSTANCE
from infraxys.kit.clock import utc_now
from infraxys.server.auth import tokens
from infraxys.server.auth.grants import GRANTS, is_server_wide
from infraxys.server.auth.users import set_disabled
from infraxys.server.db.tables import tokens as token_table
from plugins.access import AccessServer
from plugins.accounts import account_server, with_token

LISTS = ["/runs", "/caches", "/projects", "/teams", "/grants", "/tokens", "/sessions", "/users", "/modules", "/audit"]


@contextmanager
def connection_to(server: AccessServer) -> Iterator[ssl.SSLSocket]:
    """Open a connection on which anything can be sent."""
    context = ssl._create_unverified_context()
    port = urlsplit(server.url).port or 443
    with (
        socket.create_connection(("127.0.0.1", port), timeout=20) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        yield connection


class World:
    """A project of the caller's, and another one with one of everything in it, all called `name`."""

    def __init__(self, server: AccessServer) -> None:
        make, self.name = server.make, f"hidden{uuid.uuid4().hex}"
        hidden, own = make.project(name=self.name), make.project()
        make.attach(hidden, ENVIRONMENT)
        execute = f"/instance/main/{INSTANCE}/files/true.sh/execute"
        run = server.ask("POST", execute, server.everything, {}).json()["id"]
        cached = f"/caches/project/{hidden}/{self.name}"
        assert server.ask("PUT", cached, server.everything).is_success
        team, grant = make.team(hidden), make.custom(hidden, name=self.name)
        self.hidden = {"projects": hidden, "runs": run, "teams": team, "grants": grant, "caches": hidden}
        grants = [name for name in GRANTS if not is_server_wide(name)]
        mine = make.user(make.team(own, grants))
        self.token = make.token(mine)
        self.narrow = make.token(make.user(is_administrator=True), ["user.read"])


@pytest.fixture(scope="module")
def world(access_server: AccessServer) -> World:
    return World(access_server)


@pytest.mark.parametrize("path", LISTS)
def test_g4_lists_hold_what_one_may_see_and_count_nothing_else(
    access_server: AccessServer, world: World, path: str
) -> None:
    everything = access_server.ask("GET", f"{path}?limit=500", access_server.everything)
    noun = path.strip("/")
    if noun in world.hidden:
        assert world.hidden[noun] in everything.text
    for token in (world.token, world.narrow):
        for query in ("", "?limit=500", f"?text={world.name}", f"?projectId={world.hidden['projects']}&limit=500"):
            answer = access_server.ask("GET", path + query, token)
            told = answer.text.replace(world.hidden["projects"], "") if answer.is_error else answer.text
            assert world.name not in told
            assert not any(item in told for item in world.hidden.values())
            if answer.status_code == 200:
                assert answer.json().keys() == {"items", "nextCursor"}  # no total


def test_g10_guessing_tokens_is_slowed_down_and_locks_nobody_out() -> None:
    limits = {"INFRAXYS_RATE_LIMIT_ADDRESS": "60", "INFRAXYS_TRUSTED_PROXIES": "127.0.0.0/8"}
    for server in account_server(limits):
        text = server.admin.token()["token"]
        guesser, owner = with_token(server, ""), with_token(server, text)
        guesser.headers["X-Forwarded-For"], owner.headers["X-Forwarded-For"] = "203.0.113.9", "198.51.100.7"
        prefix, token_id, _, _ = text.split("_")
        statuses = []
        for _ in range(80):
            body = f"{prefix}_{token_id}_{tokens.new_secret()[1]}"
            answer = guesser.get("/me", headers={"Authorization": f"token {body}_{tokens.checksum(body)}"})
            statuses.append(answer.status_code)
        assert statuses[:60] == [401] * 60
        assert 429 in statuses[60:]
        assert int(answer.headers["Retry-After"]) >= 1
        assert owner.get("/me").status_code == 200


NASTY = ["'; DROP TABLE users; --", "%", "_", "\\", '"', "(a+)+$" * 20, "\u202e", "é" * 100, "x" * 5000, "0 OR 1=1"]


def test_a11_g20_what_lists_are_asked_for_is_data_and_bounded(access_server: AccessServer) -> None:
    token = access_server.everything
    document = access_server.ask("GET", "/openapi.json", token).json()
    asked = 0
    for path, operations in document["paths"].items():
        parameters = operations.get("get", {}).get("parameters", [])
        names = [item["name"] for item in parameters if item["in"] == "query"]
        if "{" in path or "limit" not in names:
            continue
        for limit in ("0", "501", "-1", "1.5", "9" * 400, ""):
            assert access_server.ask("GET", f"{path}?limit={limit}", token).status_code == 422
        for name in names:
            for text in NASTY:
                answer = access_server.ask("GET", f"{path}?{urlencode({name: text})}", token)
                assert answer.status_code in {200, 400, 403, 404, 422}, (path, name, text, answer.text)
                assert "sqlalchemy" not in answer.text.lower()
                asked += 1
    assert asked > 300


class TestCredentials:
    def test_a1_whatever_is_wrong_with_credentials_the_answer_is_the_same(self, access_server: AccessServer) -> None:
        make = access_server.make
        user = make.user()
        good, gone, expired = make.token(user), make.token(user), make.token(user)
        parts = {text: tokens.parse(text) for text in (gone, expired)}
        database, ids = make.database, {text: found[0] for text, found in parts.items() if found}
        database.write_now(lambda connection: tokens.delete_token(connection, ids[gone]))
        past = utc_now() - timedelta(seconds=1)
        query = token_table.update().where(token_table.c.id == ids[expired]).values(expires_at=past)
        database.write_now(lambda connection: connection.execute(query))
        disabled = make.user()
        of_disabled = make.token(disabled)
        database.write_now(lambda connection: set_disabled(connection, disabled, is_disabled=True))
        bad = [
            "x", "ifx_", good[:-1], good[:40], good + "0", good[:-1] + ("0" if good[-1] != "0" else "1"),
            good.swapcase(), good.replace("ifx_", "ifr_"), f"{good} {good}", f"{good},{good}", gone, expired,
            of_disabled, good.replace("_", "-"), "e30.e30.e30", "a" * 8000,
        ]  # fmt: skip
        answers = [access_server.ask("GET", "/me", text) for text in bad]
        answers.append(access_server.ask("GET", "/me", None))
        assert {answer.status_code for answer in answers} == {401}
        assert len({answer.text for answer in answers}) == 1
        assert len({answer.headers["www-authenticate"] for answer in answers}) == 1
        assert access_server.ask("GET", "/me", good).status_code == 200

    @pytest.mark.parametrize("middle", [b"\x00", b"\n", b"\r", b"\r\n ", b"\x0b"])
    def test_g9_a_token_with_control_characters_is_refused(self, access_server: AccessServer, middle: bytes) -> None:
        token = access_server.everything.encode()
        with connection_to(access_server) as connection:
            broken = token[:20] + middle + token[20:]
            connection.sendall(
                b"GET /api/v1/me HTTP/1.1\r\nHost: localhost\r\nAuthorization: token " + broken + b"\r\n\r\n"
            )
            assert connection.recv(4096).split(b" ")[1] in {b"400", b"401"}
