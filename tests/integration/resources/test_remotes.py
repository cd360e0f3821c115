"""Fetching over the network: what the host's configuration does, what servers answer, what is never contacted."""

import asyncio
import datetime as dt
import ipaddress
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from factories.remotes import HttpRemote, SilentRemote, http_remote, publish
from factories.repositories import GitRepository, module_files
from infraxys.resources.errors import ResourceError
from infraxys.resources.store import Closure, ModuleStore


@pytest.fixture(autouse=True)
def _own_git_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "GIT_SSH_COMMAND",
                 "GIT_SSL_CAINFO", "SSL_CERT_FILE", "SSL_CERT_DIR"):  # fmt: skip
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "gitconfig").write_text("")


@pytest.fixture
def remote(tmp_path: Path) -> Iterator[HttpRemote]:
    with http_remote(tmp_path / "www") as server:
        yield server


@pytest.fixture
def repository(tmp_path: Path) -> GitRepository:
    repository = GitRepository(tmp_path / "www" / "org" / "main.git")
    repository.commit(module_files())
    publish(repository)
    return repository


def make_store(tmp_path: Path, *, allow_private: bool = True, timeout: float = 60) -> ModuleStore:
    return ModuleStore(tmp_path / "mirrors", tmp_path / "exports", allow_private=allow_private, timeout=timeout)


def fetch(store: ModuleStore, url: str) -> Closure:
    return asyncio.run(store.fetch_closure(store.parse_url(url)))


def failure(closure: Closure) -> ResourceError:
    (found,) = closure.failures.values()
    assert not closure.modules
    return found


def branches(closure: Closure) -> dict[str, str]:
    assert not closure.failures
    (fetched,) = closure.modules.values()
    return fetched.branches


def test_a_repository_is_fetched_over_http(tmp_path: Path, remote: HttpRemote, repository: GitRepository) -> None:
    url = f"http://127.0.0.1:{remote.port}/org/main.git"
    assert branches(fetch(make_store(tmp_path), url)) == {"master": repository.head()}


def test_an_unchanged_remote_is_only_asked_for_its_branches(
    tmp_path: Path, remote: HttpRemote, repository: GitRepository
) -> None:
    store, url = make_store(tmp_path), f"http://127.0.0.1:{remote.port}/org/main.git"
    first = branches(fetch(store, url))
    remote.asked.clear()
    assert branches(fetch(store, url)) == first
    assert not [path for path in remote.asked if "objects" in path]


def test_private_addresses_are_not_contacted_when_they_are_not_allowed(
    tmp_path: Path, remote: HttpRemote, repository: GitRepository
) -> None:
    store = make_store(tmp_path, allow_private=False)
    assert failure(fetch(store, f"http://127.0.0.1:{remote.port}/org/main.git")).code == "invalid_url"
    assert not remote.asked


def test_git_connects_to_the_address_that_was_checked_and_asks_no_name_server_again(
    tmp_path: Path, remote: HttpRemote, repository: GitRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def getaddrinfo(host: str, *_: object, **__: object) -> list[tuple[object, ...]]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    url = f"http://git.example.invalid:{remote.port}/org/main.git"
    assert branches(fetch(make_store(tmp_path), url)) == {"master": repository.head()}
    assert asked == ["git.example.invalid"]


def test_a_redirect_to_another_place_is_not_followed(
    tmp_path: Path, remote: HttpRemote, repository: GitRepository
) -> None:
    with SilentRemote() as inner:
        remote.redirects = {"/org/": f"http://127.0.0.1:{inner.port}/latest/"}
        found = failure(fetch(make_store(tmp_path), f"http://127.0.0.1:{remote.port}/org/main.git"))
        assert found.code == "redirected"
        assert not inner.accepted.is_set()


def test_a_server_that_wants_the_dot_git_gets_it(tmp_path: Path, remote: HttpRemote, repository: GitRepository) -> None:
    remote.redirects = {"/org/main/": "/org/main.git/"}
    url = f"http://127.0.0.1:{remote.port}/org/main"
    assert branches(fetch(make_store(tmp_path), url)) == {"master": repository.head()}


def test_a_server_that_asks_for_credentials_gets_a_clear_refusal_and_no_prompt(
    tmp_path: Path, remote: HttpRemote, repository: GitRepository
) -> None:
    remote.password = "c4n4ry"
    found = failure(fetch(make_store(tmp_path), f"http://127.0.0.1:{remote.port}/org/main.git"))
    assert found.code == "authentication_required"
    assert "credential helper" in str(found)


def test_the_hosts_credential_helper_is_used(tmp_path: Path, remote: HttpRemote, repository: GitRepository) -> None:
    remote.password = "c4n4ry"
    helper = '!f() { test "$1" = get && echo username=ci && echo password=c4n4ry; }; f'
    (tmp_path / "gitconfig").write_text(f"[credential]\n\thelper = {json_quote(helper)}\n")
    store = make_store(tmp_path)
    assert branches(fetch(store, f"http://127.0.0.1:{remote.port}/org/main.git")) == {"master": repository.head()}
    assert not [path for path in (tmp_path / "mirrors").rglob("*") if path.is_file() and b"c4n4ry" in path.read_bytes()]


def json_quote(text: str) -> str:
    """Quote a value for a Git configuration file."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def test_the_hosts_rewriting_of_urls_is_used(tmp_path: Path, repository: GitRepository) -> None:
    (tmp_path / "gitconfig").write_text(
        f'[url "file://{tmp_path}/www/"]\n\tinsteadOf = https://git.example.invalid/\n'
        "\tinsteadOf = git@git.example.invalid:\n"
    )
    store = make_store(tmp_path)
    for url in ("https://git.example.invalid/org/main.git", "git@git.example.invalid:org/main.git"):
        assert branches(fetch(store, url)) == {"master": repository.head()}
    assert [str(module) for module in store._mirrors] == ["git.example.invalid/org/main"]


def test_rewriting_to_a_program_is_refused_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "gitconfig").write_text(
        f'[url "ext::touch {tmp_path}/pwned "]\n\tinsteadOf = https://git.example.invalid/\n'
        '[protocol "ext"]\n\tallow = always\n'
    )
    assert failure(fetch(make_store(tmp_path), "https://git.example.invalid/org/main")).code == "git_failed"
    assert not (tmp_path / "pwned").exists()


def test_the_hosts_ssh_command_is_used(tmp_path: Path, repository: GitRepository) -> None:
    script = tmp_path / "ssh"
    script.write_text(
        f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\nfor last; do :; done\ncd {tmp_path}/www && eval "exec $last"\n'
    )
    script.chmod(0o755)
    (tmp_path / "gitconfig").write_text(f"[core]\n\tsshCommand = {script}\n[ssh]\n\tvariant = ssh\n")
    assert branches(fetch(make_store(tmp_path), "git@127.0.0.1:org/main.git")) == {"master": repository.head()}
    assert "git@127.0.0.1 git-upload-pack 'org/main.git'" in (tmp_path / "calls").read_text()


def test_a_repository_that_is_not_there_is_named(tmp_path: Path, remote: HttpRemote) -> None:
    (tmp_path / "www").mkdir(exist_ok=True)
    found = failure(fetch(make_store(tmp_path), f"http://127.0.0.1:{remote.port}/org/none.git"))
    assert found.code == "unknown_repository"
    assert f"module 127.0.0.1:{remote.port}/org/none" in str(found)


@pytest.mark.parametrize(
    ("status", "code"), [(403, "authentication_required"), (500, "unreachable"), (503, "unreachable")]
)
def test_what_a_server_answers_becomes_a_code(tmp_path: Path, remote: HttpRemote, status: int, code: str) -> None:
    remote.answer = status
    assert failure(fetch(make_store(tmp_path), f"http://127.0.0.1:{remote.port}/org/main.git")).code == code


def test_a_port_where_nobody_listens_is_unreachable(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert failure(fetch(make_store(tmp_path), f"http://127.0.0.1:{port}/org/main.git")).code == "unreachable"


def test_a_certificate_of_nobody_is_not_trusted(tmp_path: Path, repository: GitRepository) -> None:
    with http_remote(tmp_path / "www", certificate=_certificate(tmp_path)) as remote:
        found = failure(fetch(make_store(tmp_path), f"https://127.0.0.1:{remote.port}/org/main.git"))
        assert found.code == "untrusted_certificate"
        assert not remote.asked
        (tmp_path / "gitconfig").write_text(f"[http]\n\tsslCAInfo = {tmp_path}/cert.pem\n")
        fetched = fetch(make_store(tmp_path), f"https://127.0.0.1:{remote.port}/org/main.git")
        assert branches(fetched) == {"master": repository.head()}


def _certificate(folder: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + dt.timedelta(1))
        .add_extension(address, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "key.pem").write_bytes(private)
    return folder / "cert.pem", folder / "key.pem"
