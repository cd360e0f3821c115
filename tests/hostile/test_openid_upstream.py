"""What the provider takes back is taken back here (hostile.md B1, B3, E9; field.md G2, G8)."""

import json
import sqlite3
import time
from collections.abc import Iterator

import httpx2
import pytest

from factories.contents import contents
from plugins.oidc import Browser, Provider, start_openid_server, stop_openid_server, wait_until
from plugins.server import ServerProcess

SECONDS = 20  # each is asked about once a second here


@pytest.fixture(autouse=True)
def _honest_again(provider: Provider) -> Iterator[None]:
    yield
    for path in ("/token", "/me"):
        provider.override(path)


@pytest.fixture
def name() -> str:
    return f"person-{time.time_ns()}"


def status(server: ServerProcess, browser: Browser) -> int:
    return browser.me(server).status_code


def confirmations(server: ServerProcess, user: str) -> set[str]:
    with sqlite3.connect(server.data / "db" / "infraxys.db") as connection:
        rows = connection.execute(
            "SELECT confirmed_at FROM openid_sessions JOIN sessions ON sessions.id = session_id "
            "JOIN users ON users.id = user_id WHERE oidc_subject = ?",
            (user,),
        ).fetchall()
    connection.close()
    return {row[0] for row in rows}


def test_g2_who_is_revoked_at_the_provider_is_out_within_a_minute(
    openid_server: ServerProcess, provider: Provider, browser: Browser, name: str
) -> None:
    browser.sign_in(openid_server, name)
    token = provider.access_token(name)
    headers = {"Authorization": f"Bearer {token}"}
    with httpx2.Client(verify=False) as client:
        assert client.get(f"{openid_server.url}/api/v1/me", headers=headers).status_code == 200
        provider.set_person(name, disabled=True)
        wait_until(lambda: status(openid_server, browser) == 401, SECONDS)
        # What the provider had issued until then is worth nothing either, though it is not expired.
        wait_until(lambda: client.get(f"{openid_server.url}/api/v1/me", headers=headers).status_code == 401, SECONDS)


def test_a_session_goes_on_with_new_refresh_tokens(openid_server: ServerProcess, browser: Browser, name: str) -> None:
    browser.sign_in(openid_server, name)
    first = confirmations(openid_server, name)
    wait_until(lambda: confirmations(openid_server, name) != first, SECONDS)
    assert status(openid_server, browser) == 200  # the refresh token, new each time, is kept
    second = confirmations(openid_server, name)
    wait_until(lambda: confirmations(openid_server, name) != second, SECONDS)
    assert status(openid_server, browser) == 200


def test_g8_groups_are_read_again_at_each_refresh(
    openid_server: ServerProcess, provider: Provider, browser: Browser, name: str
) -> None:
    provider.set_person(name, groups=["infraxys-admins", "x"])
    browser.sign_in(openid_server, name)
    assert browser.me(openid_server).json()["isAdministrator"] is True
    provider.set_person(name, groups=["x"])
    wait_until(lambda: browser.me(openid_server).json()["isAdministrator"] is False, SECONDS)
    provider.set_person(name, groups=["infraxys-admins"])
    wait_until(lambda: browser.me(openid_server).json()["isAdministrator"] is True, SECONDS)
    provider.set_person(name)  # no claim at all: no group
    wait_until(lambda: browser.me(openid_server).json()["isAdministrator"] is False, SECONDS)


@pytest.mark.parametrize(
    "groups",
    [pytest.param("infraxys-admins", id="text"), pytest.param({"a": 1}, id="object"), pytest.param([7], id="number")],
)
def test_b8_groups_of_the_wrong_type_end_the_session(
    openid_server: ServerProcess, provider: Provider, browser: Browser, name: str, groups: object
) -> None:
    browser.sign_in(openid_server, name)
    provider.set_person(name, groups=groups)
    wait_until(lambda: status(openid_server, browser) == 401, SECONDS)


def test_b8_user_info_about_somebody_else_ends_the_session(
    openid_server: ServerProcess, provider: Provider, browser: Browser, name: str
) -> None:
    browser.sign_in(openid_server, name)
    provider.override("/me", body=json.dumps({"sub": "somebody", "groups": ["infraxys-admins"]}))
    wait_until(lambda: status(openid_server, browser) == 401, SECONDS)


def test_e9_a_provider_that_is_away_is_endured_for_a_while(provider: Provider, browser: Browser, name: str) -> None:
    server = start_openid_server(provider, oidc_outage_seconds="6")
    try:
        provider.register(server.url)
        browser.sign_in(server, name)
        provider.override("/token", status=503, body="{}")
        asked = provider.count("/token")
        wait_until(lambda: provider.count("/token") >= asked + 2, SECONDS)
        assert status(server, browser) == 200
        provider.override("/token")
        before = confirmations(server, name)
        wait_until(lambda: confirmations(server, name) != before, SECONDS)
        # About our client, not about the person: like an outage. It ends when it lasts too long.
        provider.override("/token", status=401, body='{"error": "invalid_client"}')
        asked = provider.count("/token")
        wait_until(lambda: provider.count("/token") >= asked + 2, SECONDS)
        assert status(server, browser) == 200
        wait_until(lambda: status(server, browser) == 401, SECONDS)
    finally:
        browser.close()
        stop_openid_server(server)


def test_b1_tokens_of_the_provider_are_nowhere_in_plain_text(provider: Provider, browser: Browser, name: str) -> None:
    server = start_openid_server(provider)
    try:
        provider.register(server.url)
        wait_until(lambda: browser.begin(server).status_code == 303, SECONDS)
        answer = browser.sign_in(server, name)
        assert answer.status_code == 303
        canary = "canary-of-a-refresh-token"
        provider.override(
            "/token",
            body=json.dumps({"access_token": "canary-access", "token_type": "Bearer", "refresh_token": canary}),
        )
        provider.override("/me", body=json.dumps({"sub": name}))
        before = confirmations(server, name)
        wait_until(lambda: confirmations(server, name) != before, SECONDS)
        asked = provider.count("/token")
        wait_until(lambda: provider.count("/token") > asked, SECONDS)
        assert (server.data / "keys" / "openid.key").stat().st_mode & 0o777 == 0o600
        secrets = [
            canary,
            "canary-access",
            "secret-of-infraxys-for-tests",
            browser.http.cookies["__Host-infraxys"].partition(".")[2],
        ]
        browser.close()
        server.stop()
        for file, data in contents(server.folder):
            assert not [secret for secret in secrets if secret.encode() in data], file
    finally:
        browser.close()
        stop_openid_server(server)
