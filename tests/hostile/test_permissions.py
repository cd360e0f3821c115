"""What callers find who may do little (field.md G4, G10)."""

import uuid

import pytest

from factories.modules import ENVIRONMENT, INSTANCE
from infraxys.server.auth import tokens
from infraxys.server.auth.grants import GRANTS, is_server_wide
from plugins.access import AccessServer
from plugins.accounts import account_server, with_token

LISTS = ["/runs", "/caches", "/projects", "/teams", "/grants", "/tokens", "/sessions", "/users", "/modules", "/audit"]


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
