"""Values that stay in a real OpenBao: read when a step starts, kept nowhere, and a clear end where they cannot be."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from factories.modules import INSTANCE
from plugins.openbao import OpenBao
from plugins.server import ServerProcess, make_folder, make_library

ROOT_LEVEL = "/api/v1/projects/root/variables"
SHOW = "import os\nprint(sorted(os.environ.get('V_bao', 'none')))"


class BaoServer(ServerProcess):
    """A server with a store."""

    credential: Path

    def refer(self, path: str, field: str = "password", variable: str = "V_bao") -> None:
        """Make a variable whose value is in the store."""
        body = {"reference": {"store": "vault", "path": path, "field": field}, "export": True}
        answer = self.client.put(f"{ROOT_LEVEL}/{variable}", json=body)
        assert answer.status_code in {200, 201}, answer.text
        assert answer.json()["protect"] is True
        assert answer.json()["value"] is None

    def seen(self) -> str:
        """Give the letters of the value that an action got, which are no secret."""
        run = self.execute(INSTANCE, "code.py", argument={"code": SHOW})
        assert run["status"] == "SUCCESS", run["message"]
        log: str = run["log"]
        return log.strip()


def letters(value: str) -> str:
    return str(sorted(value))


@pytest.fixture(scope="module")
def bao_server(openbao: OpenBao) -> Iterator[BaoServer]:
    folder = make_folder()
    credential = folder / "credential"
    running = BaoServer(folder, "--no-examples", environment=openbao.settings(credential))
    running.credential = credential
    try:
        running.add_module(make_library(folder).path)
        yield running
    finally:
        running.stop()
        shutil.rmtree(folder, ignore_errors=True)


def test_a_step_gets_what_is_in_the_store_at_that_moment(openbao: OpenBao, bao_server: BaoServer) -> None:
    openbao.write("apps/shop", password="canary-bao-1")
    bao_server.refer("apps/shop")
    assert bao_server.seen() == letters("canary-bao-1")
    openbao.write("apps/shop", password="canary-bao-two")
    assert bao_server.seen() == letters("canary-bao-two")


def test_it_is_masked_and_in_no_file_of_the_server(openbao: OpenBao, bao_server: BaoServer) -> None:
    openbao.write("apps/shop", password="canary-bao-3")
    bao_server.refer("apps/shop")
    code = "import os\nprint(os.environ['V_bao'])"
    assert bao_server.execute(INSTANCE, "code.py", argument={"code": code})["log"] == "********\n"
    for path in bao_server.folder.rglob("*"):
        if path.is_file():
            assert b"canary-bao" not in path.read_bytes(), path


def test_a_token_that_was_revoked_is_replaced(openbao: OpenBao, bao_server: BaoServer) -> None:
    openbao.write("apps/shop", password="value-4")
    bao_server.refer("apps/shop")
    bao_server.seen()
    openbao.call("PUT", "sys/leases/revoke-prefix/auth/approle/login")
    assert bao_server.seen() == letters("value-4")


@pytest.mark.parametrize(
    ("path", "field", "code"),
    [
        ("apps/nothing", "password", "secret_not_found"),
        ("apps/shop", "nothing", "secret_not_found"),
        ("closed/secret", "password", "secret_store_refused"),
    ],
)
def test_what_cannot_be_read_ends_the_run_before_it_starts(
    openbao: OpenBao, bao_server: BaoServer, path: str, field: str, code: str
) -> None:
    openbao.write("apps/shop", password="value-5")
    bao_server.refer(path, field)
    run = bao_server.execute(INSTANCE, "ok.sh")
    assert (run["status"], run["log"]) == ("FAILED", "")
    assert code in run["message"]
    assert path in run["message"]


def test_a_server_signs_in_with_a_jwt(openbao: OpenBao) -> None:
    folder = make_folder()
    running = BaoServer(folder, "--no-examples", environment=openbao.settings(folder / "jwt", "jwt"))
    try:
        running.add_module(make_library(folder).path)
        openbao.write("apps/jwt", password="by-jwt")
        running.refer("apps/jwt")
        assert running.seen() == letters("by-jwt")
        # The token of before is revoked, and the credential is none any more.
        openbao.call("PUT", "sys/leases/revoke-prefix/auth/jwt/login")
        (folder / "jwt").write_text("e30.e30.c2ln")
        run = running.execute(INSTANCE, "ok.sh")
        assert run["status"] == "FAILED"
        assert "does not let this server sign in" in run["message"]
        assert "secret_store_refused" in run["message"]
        assert "c2ln" not in run["message"]
    finally:
        running.stop()
        shutil.rmtree(folder, ignore_errors=True)


def test_e9_a_store_that_is_away_fails_only_what_needs_it_and_soon(openbao: OpenBao) -> None:
    folder = make_folder()
    away = {**openbao.settings(folder / "credential"), "INFRAXYS_VAULT_URL": "http://127.0.0.1:9"}
    running = BaoServer(folder, "--no-examples", environment=away)
    try:
        running.add_module(make_library(folder).path)
        assert running.execute(INSTANCE, "ok.sh")["status"] == "SUCCESS"
        running.refer("apps/shop")
        run = running.execute(INSTANCE, "ok.sh")
        assert run["status"] == "FAILED"
        assert "secret_store_unavailable" in run["message"]
        assert "127.0.0.1" not in run["message"]
        assert running.client.delete(f"{ROOT_LEVEL}/V_bao").status_code == 204
        assert running.execute(INSTANCE, "ok.sh")["status"] == "SUCCESS"
    finally:
        running.stop()
        shutil.rmtree(folder, ignore_errors=True)
