"""Values that stay in a real OpenBao: read when a step starts, kept nowhere, and a clear end where they cannot be."""

import shutil
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from factories.contents import contents
from factories.modules import INSTANCE
from infraxys.server.secret_options import SecretOptions
from infraxys.server.variables.errors import CannotResolve
from infraxys.server.variables.schemas import Reference
from infraxys.server.variables.vault import Vault
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
    assert [path for path, data in contents(bao_server.folder) if b"canary-bao" in data] == []


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


def vault_of(openbao: OpenBao, folder: Path, auth: str = "approle", **more: str) -> Vault:
    """Make a reader of the store with settings of its own."""
    settings = {**openbao.settings(folder / "credential", auth), **more}
    options = {name.removeprefix("INFRAXYS_").lower(): value for name, value in settings.items()}
    return Vault(SecretOptions.model_validate(options))


def reference(path: str, field: str = "password") -> Reference:
    return Reference.model_validate({"path": path, "field": field})


def test_a_jwt_signs_in_and_one_that_is_none_is_refused_without_being_shown(openbao: OpenBao, tmp_path: Path) -> None:
    openbao.write("apps/jwt", password="by-jwt")
    vault = vault_of(openbao, tmp_path, "jwt")
    assert vault.read([reference("apps/jwt")]) == {("apps/jwt", "password"): "by-jwt"}
    openbao.call("PUT", "sys/leases/revoke-prefix/auth/jwt/login")
    (tmp_path / "credential").write_text("e30.e30.c2ln")
    with pytest.raises(CannotResolve, match="does not let this server sign in") as refused:
        vault.read([reference("apps/jwt")])
    assert refused.value.code == "secret_store_refused"
    assert "c2ln" not in str(refused.value)


def test_a_store_that_is_not_there_is_said_without_its_address(openbao: OpenBao, tmp_path: Path) -> None:
    vault = vault_of(openbao, tmp_path, INFRAXYS_VAULT_URL="http://127.0.0.1:9")
    with pytest.raises(CannotResolve, match="secret_store_unavailable") as refused:
        vault.read([reference("apps/shop")])
    assert "127.0.0.1" not in str(refused.value)


def test_threads_that_find_the_token_revoked_sign_in_once(openbao: OpenBao, tmp_path: Path) -> None:
    openbao.write("apps/shop", password="value-6")
    vault = vault_of(openbao, tmp_path)
    vault.read([reference("apps/shop")])
    openbao.call("PUT", "sys/leases/revoke-prefix/auth/approle/login")
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: vault.read([reference("apps/shop")]), range(8)))
    assert found == [{("apps/shop", "password"): "value-6"}] * 8
    assert vault._signed_in == 2


def test_e9_a_store_that_hangs_fails_only_what_needs_it_and_works_again(
    openbao: OpenBao, bao_server: BaoServer
) -> None:
    openbao.write("apps/shop", password="value-7")
    bao_server.refer("apps/shop")
    openbao.process.send_signal(signal.SIGSTOP)
    try:
        run = bao_server.execute(INSTANCE, "ok.sh")
        assert (run["status"], run["log"]) == ("FAILED", "")
        assert "secret_store_unavailable" in run["message"]
        assert bao_server.client.delete(f"{ROOT_LEVEL}/V_bao").status_code == 204
        assert bao_server.execute(INSTANCE, "ok.sh")["status"] == "SUCCESS"
        bao_server.refer("apps/shop")
        path = f"/api/v1/instance/main/{INSTANCE}/files/ok.sh/execute"
        waiting = bao_server.client.post(path, json={"asynchronous": True}).json()["id"]
        began = time.monotonic()
        bao_server.client.post(f"/api/v1/runs/{waiting}/cancel")
        with bao_server.client.stream("GET", f"/api/v1/runs/{waiting}/events") as events:
            list(events.iter_lines())
        assert bao_server.client.get(f"/api/v1/runs/{waiting}").json()["status"] == "CANCELLED"
        assert time.monotonic() - began < 30
    finally:
        openbao.process.send_signal(signal.SIGCONT)
    assert bao_server.seen() == letters("value-7")
