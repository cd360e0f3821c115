"""`infraxys login`: with the device flow of a real OpenID provider, and with a password."""

import base64
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from infraxys.cli.api import Api
from plugins.oidc import Browser, Provider, start_openid_server, stop_openid_server
from plugins.server import ROOT, ServerProcess


class Terminal:
    """A person's command line, with settings of its own."""

    def __init__(self, home: Path, server: ServerProcess, provider: Provider) -> None:
        self.home, self.server = home, server
        kept = {name: value for name, value in os.environ.items() if not name.startswith("INFRAXYS")}
        self.environment = {**kept, "XDG_CONFIG_HOME": str(home), "SSL_CERT_FILE": str(provider.ca)}
        self.file = home / "infraxys" / "credentials.json"

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "infraxys", *arguments], env=self.environment, cwd=ROOT, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def run(self, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
        process = self.start(*arguments)
        out, err = process.communicate(given, timeout=60)
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def login(self, browser: Browser, name: str) -> str:
        """Sign in with the browser while the command waits; gives what it printed."""
        process = self.start("login", "--server", self.server.url)
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"open (\S+) and enter the code (\S+)", line)
        assert found is not None, line + process.communicate(timeout=30)[1]
        browser.enter_code(found[1], found[2], name)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        return out

    def entry(self) -> dict[str, object]:
        entry: dict[str, object] = json.loads(self.file.read_text())["servers"][self.server.url]
        return entry

    def change(self, **changes: object) -> None:
        value = json.loads(self.file.read_text())
        value["servers"][self.server.url].update(changes)
        self.file.write_text(json.dumps(value))


@pytest.fixture
def terminal(tmp_path: Path, openid_server: ServerProcess, provider: Provider) -> Terminal:
    return Terminal(tmp_path, openid_server, provider)


@pytest.fixture
def signed_in(terminal: Terminal, provider: Provider, browser: Browser) -> Terminal:
    name = f"cli-{time.time_ns()}"
    provider.set_person(name, groups=["infraxys-admins"])
    assert f"as {name}." in terminal.login(browser, name)
    return terminal


def test_commands_use_the_sign_in_and_the_server_of_it(signed_in: Terminal) -> None:
    assert signed_in.run("module", "list", "--json").stdout.strip() == "[]"
    assert signed_in.run("module", "list", "--server", signed_in.server.url).returncode == 0


def test_the_file_is_for_its_owner_only(signed_in: Terminal) -> None:
    assert signed_in.file.stat().st_mode & 0o777 == 0o600
    assert signed_in.file.parent.stat().st_mode & 0o777 == 0o700
    signed_in.file.chmod(0o644)
    refused = signed_in.run("module", "list")
    assert refused.returncode == 1
    assert "open to others" in refused.stderr


def test_an_access_token_near_its_end_is_refreshed_once(signed_in: Terminal) -> None:
    before = signed_in.entry()
    began = time.time()
    signed_in.change(expiresAt=began + 5)
    commands = [signed_in.start("module", "list") for _ in range(3)]
    for command in commands:
        _, err = command.communicate(timeout=60)
        assert command.returncode == 0, err
    after = signed_in.entry()
    assert after["accessToken"] != before["accessToken"]
    assert after["refreshToken"] != before["refreshToken"]  # the provider gives a new one each time
    # The server takes none that is older than a minute (field.md G2); it is exchanged half a minute before.
    assert began + 30 < float(str(after["expiresAt"])) <= time.time() + 60


def test_an_access_token_that_the_server_refuses_is_exchanged(signed_in: Terminal) -> None:
    signed_in.change(accessToken="a.b.c")
    done = signed_in.run("module", "list")
    assert done.returncode == 0, done.stderr
    assert signed_in.entry()["accessToken"] != "a.b.c"


def test_a_command_that_takes_long_exchanges_its_token_on_the_way(
    signed_in: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("XDG_CONFIG_HOME", "SSL_CERT_FILE"):
        monkeypatch.setenv(name, signed_in.environment[name])
    api = Api(None, None)
    with closing(api._connection):
        me, before = api.call("GET", "/me"), signed_in.entry()["accessToken"]
        signed_in.change(expiresAt=time.time() + 5)
        assert api.call("GET", "/me") == me
    assert signed_in.entry()["accessToken"] != before


def test_who_is_revoked_at_the_provider_gets_no_new_token(signed_in: Terminal, provider: Provider) -> None:
    subject = str(claims_of(str(signed_in.entry()["accessToken"]))["sub"])
    provider.set_person(subject, disabled=True)
    signed_in.change(expiresAt=time.time())
    refused = signed_in.run("module", "list")
    assert refused.returncode == 1
    assert "infraxys login" in refused.stderr


def claims_of(token: str) -> dict[str, object]:
    payload = token.split(".")[1]
    claims: dict[str, object] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return claims


def test_signing_out_forgets_and_revokes(signed_in: Terminal) -> None:
    entry = signed_in.entry()
    assert signed_in.run("logout").returncode == 0
    assert signed_in.server.url not in signed_in.file.read_text()
    bearer = {"Authorization": f"Bearer {entry['accessToken']}"}
    assert signed_in.server.client.get("/api/v1/me", headers=bearer).status_code == 401
    assert signed_in.run("module", "list", "--server", signed_in.server.url).returncode == 1
    value = {"last": signed_in.server.url, "servers": {signed_in.server.url: {**entry, "expiresAt": 0}}}
    signed_in.file.write_text(json.dumps(value))
    refused = signed_in.run("module", "list")
    assert "has ended" in refused.stderr


def test_the_credentials_of_one_server_go_to_no_other(signed_in: Terminal, team_server: ServerProcess) -> None:
    refused = signed_in.run("module", "list", "--server", team_server.url)
    assert refused.returncode == 1
    assert "unauthorized" in refused.stderr


def test_who_does_not_agree_is_not_signed_in(terminal: Terminal, provider: Provider, browser: Browser) -> None:
    process = terminal.start("login", "--server", terminal.server.url)
    assert process.stdout is not None
    found = re.search(r"open (\S+) and enter the code (\S+)", process.stdout.readline())
    assert found is not None
    browser.enter_code(found[1], found[2], "ada", agree=False)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "nobody was signed in" in err
    assert not terminal.file.exists()


@pytest.mark.parametrize(
    "answer",
    [
        {"verification_uri": "javascript:alert(1)"},
        {"verification_uri": "http://evil.test"},
        {"verification_uri": None},
        {"user_code": ""},
        {"device_code": 7},
        {"interval": "soon"},
    ],
)
def test_b8_a_provider_that_makes_no_sense_is_not_followed(
    terminal: Terminal, provider: Provider, answer: dict[str, object]
) -> None:
    good = {"verification_uri": "https://localhost/device", "user_code": "ABCD", "device_code": "x"}
    provider.override("/device/auth", body=json.dumps({**good, **answer}))
    try:
        refused = terminal.run("login", "--server", terminal.server.url)
    finally:
        provider.override("/device/auth")
    assert refused.returncode == 1
    assert "cannot be used" in refused.stderr
    assert not terminal.file.exists()


def test_d4_what_a_provider_says_cannot_steer_the_terminal(terminal: Terminal, provider: Provider) -> None:
    code = "A\x1b]52;c;eA==\x07B\u202eC"
    body = {
        "verification_uri": "https://localhost/\x1b[2Jdevice",
        "user_code": code,
        "device_code": "x",
        "expires_in": 0,
    }
    provider.override("/device/auth", body=json.dumps(body))
    try:
        refused = terminal.run("login", "--server", terminal.server.url)
    finally:
        provider.override("/device/auth")
    assert "enter the code" in refused.stdout
    assert refused.stdout.rstrip("\n").isprintable()
    assert refused.stdout.isascii()


def test_sign_in_with_a_password_makes_a_personal_token_and_takes_it_back(
    terminal: Terminal, openid_server: ServerProcess
) -> None:
    password = "correct horse battery staple 42"
    made = subprocess.run(
        [sys.executable, "-m", "infraxys", "user", "create", "paula", "--admin", "--password-stdin",
         "--data-dir", str(openid_server.data)],
        input=password, text=True, capture_output=True, cwd=ROOT, env=terminal.environment, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    arguments = ("login", "--server", openid_server.url, "--user", "paula", "--password-stdin")
    refused = terminal.run(*arguments, given="wrong\n")
    assert refused.returncode == 1
    assert "sign_in_failed" in refused.stderr
    done = terminal.run(*arguments, given=password + "\n")
    assert done.returncode == 0, done.stderr
    assert password not in terminal.file.read_text()
    assert terminal.run("module", "list").returncode == 0
    token = str(terminal.entry()["token"])
    assert terminal.run("logout").returncode == 0
    assert terminal.run("module", "list", "--server", openid_server.url, "--token", token).returncode == 1


def test_a_server_in_developer_mode_needs_no_sign_in(terminal: Terminal, server: ServerProcess) -> None:
    refused = terminal.run("login", "--server", server.url)
    assert refused.returncode == 1
    assert "developer mode" in refused.stderr


@pytest.fixture
def plain_server(provider: Provider) -> Iterator[ServerProcess]:
    made = start_openid_server(provider, oidc_audiences="")
    yield made
    stop_openid_server(made)


def test_the_device_flow_is_offered_only_where_its_tokens_are_accepted(plain_server: ServerProcess) -> None:
    offered = plain_server.client.get("/api/v1/login").json()
    assert offered["openid"]["device"] is None
    assert "secret" not in json.dumps(offered)
