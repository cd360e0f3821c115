"""A real OpenBao in memory, with an AppRole and a JWT role that may read what the server may."""

import base64
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from joserfc import jwt
from joserfc.jwk import ECKey

POLICY = 'path "secret/data/*" { capabilities = ["read"] }\npath "secret/data/closed/*" { capabilities = ["deny"] }'


ALGORITHM = {"jwt_supported_algs": ["ES256"]}


@dataclass
class OpenBao:
    """A running server; `url` is where. `write` puts a secret in, `settings` are those of a server that reads it."""

    process: subprocess.Popen[bytes]
    url: str
    token: str
    folder: Path
    role_id: str = ""

    def call(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """Call it as root."""
        answer = httpx.request(
            method, f"{self.url}/v1/{path}", json=body, headers={"X-Vault-Token": self.token}, timeout=20
        )
        assert answer.is_success, answer.text
        found: dict[str, Any] = answer.json() if answer.content else {}
        return found

    def write(self, path: str, **fields: Any) -> None:
        """Write a secret."""
        self.call("POST", f"secret/data/{path}", {"data": fields})

    def new_secret_id(self) -> str:
        """Make another secret id of the AppRole."""
        secret_id: str = self.call("POST", "auth/approle/role/infraxys/secret-id")["data"]["secret_id"]
        return secret_id

    def settings(self, credential: Path, auth: str = "approle") -> dict[str, str]:
        """Give environment variables of a server; writes the credential."""
        credential.write_text((self.new_secret_id() if auth == "approle" else self.jwt()) + "\n")
        return {
            "INFRAXYS_VAULT_URL": self.url,
            "INFRAXYS_VAULT_AUTH": auth,
            "INFRAXYS_VAULT_ROLE": self.role_id if auth == "approle" else "infraxys",
            "INFRAXYS_VAULT_CREDENTIAL_FILE": str(credential),
            "INFRAXYS_VAULT_TIMEOUT": "2",
        }

    def jwt(self) -> str:
        """Sign a token that says who the server is."""
        key = ECKey.import_key((self.folder / "jwt.pem").read_bytes())
        now = int(time.time())
        claims = {"iss": "tests", "sub": "infraxys", "aud": "openbao", "iat": now, "nbf": now - 5, "exp": now + 600}
        return jwt.encode({"alg": "ES256"}, claims, key)

    def prepare(self) -> None:
        """Set up the roles."""
        self.call("PUT", "sys/policies/acl/infraxys", {"policy": POLICY})
        self.call("POST", "sys/auth/approle", {"type": "approle"})
        role = {"token_policies": ["infraxys"], "token_ttl": "5m"}
        self.call("POST", "auth/approle/role/infraxys", role)
        self.role_id = self.call("GET", "auth/approle/role/infraxys/role-id")["data"]["role_id"]
        key = ec.generate_private_key(ec.SECP256R1())
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        (self.folder / "jwt.pem").write_bytes(pem)
        public = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self.call("POST", "sys/auth/jwt", {"type": "jwt"})
        self.call(
            "POST",
            "auth/jwt/config",
            {"jwt_validation_pubkeys": [public.decode()], "bound_issuer": "tests", **ALGORITHM},
        )
        jwt_role = {
            "role_type": "jwt",
            "user_claim": "sub",
            "bound_audiences": ["openbao"],
            "bound_subject": "infraxys",
        }
        self.call("POST", "auth/jwt/role/infraxys", {**jwt_role, **role})


def find_bao() -> str | None:
    """Find the program: that of the test environment, else the machine's."""
    return shutil.which("bao", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}")


@pytest.fixture(scope="session")
def openbao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenBao]:
    """A server of its own, on loopback, whose secrets are in memory."""
    program = find_bao()
    if program is None:
        pytest.skip("there is no OpenBao for this machine")
    folder = tmp_path_factory.mktemp("openbao")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = base64.b32encode(secrets.token_bytes(15)).decode()
    # The token of root comes by the environment: nothing secret stands in a command line, in tests either.
    process = subprocess.Popen(
        [program, "server", "-dev", "-dev-no-store-token", f"-dev-listen-address=127.0.0.1:{port}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={"PATH": os.environ.get("PATH", ""), "HOME": str(folder), "BAO_DEV_ROOT_TOKEN_ID": token},
        cwd=folder,
    )
    bao = OpenBao(process, f"http://127.0.0.1:{port}", token, folder)
    try:
        wait_for(bao)
        bao.prepare()
        yield bao
    finally:
        process.terminate()
        process.wait(30)


def wait_for(bao: OpenBao) -> None:
    """Wait until it answers."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        assert bao.process.poll() is None, "OpenBao ended"
        try:
            if httpx.get(f"{bao.url}/v1/sys/health", timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise AssertionError("OpenBao does not answer")
