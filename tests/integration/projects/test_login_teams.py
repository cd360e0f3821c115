"""A server that only some teams may use."""

import shutil
from contextlib import closing

import pytest

from factories.access import AccessFactory
from plugins.access import AccessServer
from plugins.accounts import PASSWORD, Browser
from plugins.server import make_folder


@pytest.fixture
def closed_server():
    folder = make_folder()
    options = ("--mode", "server", "--no-examples")
    running = AccessServer(folder, *options, environment={"INFRAXYS_REQUIRES_TEAM": "true"})
    try:
        running.make = AccessFactory.of_server(running.data)
        yield running
        running.make.database.close()
    finally:
        running.stop()
        shutil.rmtree(folder, ignore_errors=True)


def test_lets_in_administrators_and_teams_with_the_grant_at_each_request(closed_server: AccessServer) -> None:
    make, ask = closed_server.make, closed_server.ask
    administrator = make.token(make.user(is_administrator=True))
    team = make.team("root", ["run.list"])
    token = make.token(make.user(team))
    scoped = make.token(make.user(is_administrator=True), scopes=["run.list"])
    assert ask("GET", "/runs", administrator).status_code == 200
    assert ask("GET", "/runs", scoped).status_code == 200

    refused = ask("GET", "/runs", token)
    assert (refused.status_code, refused.json()["grant"]) == (403, "server.login")
    assert ask("GET", "/me", token).status_code == 403
    assert ask("GET", "/api/v1/health/live", None).status_code == 200

    given = ask("POST", f"/teams/{team}/grants", administrator, {"projectId": "root", "grants": ["server.login"]})
    assert given.status_code == 204, given.text
    assert ask("GET", "/runs", token).status_code == 200
    gone = ask("DELETE", f"/teams/{team}/grants/server.login?projectId=root", administrator)
    assert gone.status_code == 204, gone.text
    assert ask("GET", "/runs", token).status_code == 403


def test_g8_who_may_not_use_the_server_can_sign_out_of_it(closed_server: AccessServer) -> None:
    administrator = closed_server.make.token(closed_server.make.user(is_administrator=True))
    body = {"name": "ada", "password": PASSWORD}
    assert closed_server.ask("POST", "/users", administrator, body).status_code == 201
    with closing(Browser(closed_server.url)) as browser:
        assert browser.sign_in("ada", PASSWORD).status_code == 204
        assert browser.get("/me").json()["grant"] == "server.login"
        assert browser.delete("/session", headers={"Sec-Fetch-Site": "cross-site"}).json()["code"] == "cross_site"
        assert browser.delete("/session").status_code == 204
        assert browser.get("/me").status_code == 401
