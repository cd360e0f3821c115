"""Attacks on sign-in in the browser by OpenID (hostile.md B7-B9, field.md G11)."""

from plugins.oidc import Browser, Provider
from plugins.server import ServerProcess


def test_a_person_signs_in_and_has_an_account(openid_server: ServerProcess, browser: Browser) -> None:
    answer = browser.sign_in(openid_server, "grace")
    assert answer.status_code == 303, answer.text
    assert answer.headers["location"] == "/api/v1/me"
    me = browser.me(openid_server)
    assert me.status_code == 200, me.text
    assert me.json()["name"] == "grace"
