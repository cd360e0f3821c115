"""Attacks with access tokens of the OpenID provider (hostile.md B8, field.md G8, G9, G11)."""

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest
from joserfc.jwk import ECKey, OKPKey, RSAKey

from infraxys.server.auth.openid.provider import Provider as Client
from infraxys.server.auth.openid.provider import ProviderUnavailable
from plugins.oidc import (
    AUDIENCE,
    CLI_CLIENT_ID,
    CLIENT_ID,
    Browser,
    Provider,
    encoded,
    new_key,
    start_openid_server,
    stop_openid_server,
    wait_until,
)
from plugins.server import ServerProcess

pytestmark = pytest.mark.filterwarnings("ignore::joserfc.errors.SecurityWarning")  # signing with what nobody should
JWKS, DISCOVERY = "/jwks", "/.well-known/openid-configuration"


def call(server: ServerProcess, token: str, scheme: str = "Bearer") -> httpx2.Response:
    with httpx2.Client(verify=False, timeout=30) as client:
        return client.get(f"{server.url}/api/v1/me", headers={"Authorization": f"{scheme} {token}"})


@pytest.fixture(autouse=True)
def _honest_provider(provider: Provider) -> Iterator[None]:
    yield
    for path in (JWKS, DISCOVERY):
        provider.override(path)


def test_an_access_token_is_as_good_as_its_owner(openid_server: ServerProcess, provider: Provider) -> None:
    answer = call(openid_server, provider.access_token("tom", preferred_username="tom", name="Tom"))
    assert answer.status_code == 200, answer.text
    assert answer.json()["name"] == "tom"
    again = call(openid_server, provider.access_token("tom"), "bearer")
    assert again.json()["id"] == answer.json()["id"]


@pytest.mark.parametrize("algorithm", ["PS256", "RS256"])
def test_algorithms_of_the_list_are_accepted(openid_server: ServerProcess, provider: Provider, algorithm: str) -> None:
    assert call(openid_server, provider.access_token("tom", header={"alg": algorithm})).status_code == 200


def now(seconds: float = 0) -> int:
    return int(time.time() + seconds)


BAD: dict[str, Callable[[Provider], dict[str, Any]]] = {
    "issuer": lambda _: {"iss": "https://evil.test"},
    "issuer with a slash more": lambda provider: {"iss": provider.issuer + "/"},
    "no issuer": lambda _: {"iss": None},
    "audience of another service": lambda _: {"aud": "https://other.test"},
    "audience is the client": lambda _: {"aud": CLIENT_ID},
    "audience as a prefix": lambda _: {"aud": AUDIENCE + "/x"},
    "no audience": lambda _: {"aud": None},
    "empty audience": lambda _: {"aud": []},
    "audience of the wrong type": lambda _: {"aud": {AUDIENCE: 1}},
    "expired": lambda _: {"exp": now(-60)},
    "never expires": lambda _: {"exp": None},
    "end of the wrong type": lambda _: {"exp": "never"},
    "not yet": lambda _: {"nbf": now(600)},
    "issued in the future": lambda _: {"iat": now(600)},
    "without a time": lambda _: {"iat": None},
    "no subject": lambda _: {"sub": None},
    "empty subject": lambda _: {"sub": ""},
    "subject of the wrong type": lambda _: {"sub": ["admin"]},
    "long subject": lambda _: {"sub": "x" * 300},
    "subject with a line break": lambda _: {"sub": "a\nb"},
    "typ of an ID token": lambda _: {"header": {"typ": "JWT"}},
    "no typ": lambda _: {"header": {"typ": None}},
    "typ of a logout token": lambda _: {"header": {"typ": "logout+jwt"}},
    "nonce, as in ID tokens": lambda _: {"nonce": "x"},
    "groups are a text": lambda _: {"groups": "infraxys-admins"},
    "groups are an object": lambda _: {"groups": {"infraxys-admins": True}},
    "alg none": lambda _: {"header": {"alg": "none"}},
    "HS256 with the public key": lambda provider: {"header": {"alg": "HS256"}, "key": provider.confused_key()},
    "signed by somebody else": lambda _: {"key": new_key("first")},
    "unknown key": lambda _: {"header": {"kid": "../../../../dev/null"}},
    "key id as SQL": lambda _: {"header": {"kid": "' OR 1=1 --"}},
    "critical header": lambda _: {"header": {"crit": ["exp"], "exp": 1}},
}


@pytest.mark.parametrize("how", BAD)
def test_b8_bad_access_tokens_are_refused_with_one_text(
    openid_server: ServerProcess, provider: Provider, how: str
) -> None:
    arguments = BAD[how](provider)
    answer = call(openid_server, provider.access_token("eve", **arguments))
    assert answer.status_code == 401, answer.text
    assert answer.json() == call(openid_server, "nonsense").json()
    assert "WWW-Authenticate" in answer.headers


@pytest.mark.parametrize("header", ["jwk", "jku", "x5u", "x5c"])
def test_b8_keys_that_a_token_brings_along_are_ignored(
    openid_server: ServerProcess, provider: Provider, header: str
) -> None:
    own = new_key("first")
    value: Any = {"jwk": own.as_dict(private=False), "x5c": ["MII="]}.get(header, f"{provider.issuer}/evil-{header}")
    token = provider.access_token("eve", key=own, header={header: value})
    assert call(openid_server, token).status_code == 401
    assert provider.count(f"/evil-{header}") == 0


def test_b8_an_id_token_is_no_access_token(openid_server: ServerProcess, provider: Provider, browser: Browser) -> None:
    """Signed by the same provider, for the same person: still not for the API."""
    token = provider.access_token("ida", header={"typ": None}, aud=CLIENT_ID, nonce="n")
    assert call(openid_server, token).status_code == 401
    disguised = provider.access_token("ida", aud=[CLIENT_ID, AUDIENCE], nonce="n")
    assert call(openid_server, disguised).status_code == 401


def segment(value: object) -> str:
    return encoded(value if isinstance(value, bytes) else json.dumps(value).encode())


MALFORMED = {
    "two parts": "eyJhbGciOiJSUzI1NiJ9.e30",
    "four parts": "a.b.c.d",
    "five parts, encrypted": "a.b.c.d.e",
    "empty": "..",
    "not base64": "!!!.!!!.!!!",
    "header is a list": f"{segment([])}.{segment({})}.AAAA",
    "header is deep": f"{segment(b'[' * 9000)}.{segment({})}.AAAA",
    "no algorithm": f"{segment({'typ': 'at+jwt'})}.{segment({})}.AAAA",
    "algorithm is a list": f"{segment({'alg': ['RS256'], 'kid': 'first'})}.{segment({})}.AAAA",
    "algorithm is null": f"{segment({'alg': None})}.{segment({})}.AAAA",
    "key id is a number": f"{segment({'alg': 'RS256', 'kid': 7})}.{segment({})}.AAAA",
    "key id is an object": f"{segment({'alg': 'RS256', 'kid': {'a': 1}})}.{segment({})}.AAAA",
    "not UTF-8": f"{segment(bytes([255, 254]))}.{segment({})}.AAAA",
    "no signature": f"{segment({'alg': 'RS256', 'kid': 'first', 'typ': 'at+jwt'})}.{segment({})}.",
    "huge": f"{segment({'alg': 'RS256', 'kid': 'first'})}.{'A' * 40_000}.AAAA",
    "huge header": f"{segment({'alg': 'RS256', 'x': 'A' * 8000})}.{segment({})}.AAAA",
}


@pytest.mark.parametrize("how", MALFORMED)
def test_b8_what_only_looks_like_a_token_is_refused(openid_server: ServerProcess, how: str) -> None:
    assert call(openid_server, MALFORMED[how]).status_code in {400, 401, 431}


def test_g9_access_tokens_are_taken_from_one_bearer_header_only(
    openid_server: ServerProcess, provider: Provider
) -> None:
    token = provider.access_token("tom")
    assert call(openid_server, token, "Basic").status_code == 401
    assert call(openid_server, token, "token").status_code == 401
    assert call(openid_server, f"{token}, Bearer {token}").status_code == 401
    with httpx2.Client(verify=False) as client:
        url = f"{openid_server.url}/api/v1/me"
        assert client.get(url, params={"access_token": token}).status_code == 401
        twice = [("Authorization", f"Bearer {token}")] * 2
        assert client.get(url, headers=twice).status_code == 400
        assert client.get(url, headers={"Cookie": f"__Host-infraxys={token}"}).status_code == 401


def test_b8_a_known_key_asks_the_provider_nothing(openid_server: ServerProcess, provider: Provider) -> None:
    call(openid_server, provider.access_token("tom"))
    before = len(provider.tell("requests", None))
    for _ in range(5):
        assert call(openid_server, provider.access_token("tom")).status_code == 200
    asked = [path for path in provider.tell("requests", None)[before:] if path in {JWKS, DISCOVERY, "/me"}]
    assert asked == []


def test_b8_a_new_key_is_found_and_an_old_one_forgotten(openid_server: ServerProcess, provider: Provider) -> None:
    old_key = provider.key
    assert call(openid_server, provider.access_token("tom")).status_code == 200
    provider.rotate(f"key-{time.time_ns()}")
    wait_until(lambda: call(openid_server, provider.access_token("tom")).status_code == 200)
    assert call(openid_server, provider.access_token("tom", key=old_key)).status_code == 401


def test_b8_a_flood_of_unknown_keys_asks_the_provider_once_a_minute(provider: Provider) -> None:
    server = start_openid_server(provider, oidc_keys_seconds="60")
    try:
        assert call(server, provider.access_token("tom")).status_code == 200
        before = provider.count(JWKS)
        for number in range(30):
            assert call(server, provider.access_token("eve", header={"kid": f"k{number}"})).status_code == 401
        assert provider.count(JWKS) - before <= 1
    finally:
        stop_openid_server(server)


def test_b8_published_secrets_short_keys_and_keys_for_encryption_are_not_used(provider: Provider) -> None:
    """Each is in the key set under a name of its own; only the last key is one to sign with."""
    shared = b"a secret that everybody can read in the key set"
    short = RSAKey.generate_key(1024, {"kid": "short"}, private=True)
    encrypting = RSAKey.generate_key(2048, {"kid": "enc", "use": "enc"}, private=True)
    curve = ECKey.generate_key("P-256", {"kid": "curve", "use": "sig"}, private=True)
    edwards = OKPKey.generate_key("Ed25519", {"kid": "edwards"}, private=True)
    published = [key.as_dict(private=False) for key in (short, encrypting, curve, edwards)]
    junk: list[Any] = [None, 7, {}, {"kty": "RSA", "kid": "x"}, {"kty": "EC", "crv": "P-9", "x": "AA", "y": "AA"}]
    secret = {"kty": "oct", "k": encoded(shared), "kid": "shared"}
    provider.override(JWKS, body=json.dumps({"keys": [*junk, secret, *published]}))
    server = start_openid_server(provider)
    try:
        good = [(curve, "ES256"), (edwards, "EdDSA")]
        bad = [(short, "RS256", "short"), (encrypting, "RS256", "enc"), (shared, "HS256", "shared")]
        for key, algorithm in good:
            token = signed(provider, key, algorithm, key.kid)
            assert call(server, token).status_code == 200, algorithm
        for other, algorithm, name in bad:
            assert call(server, signed(provider, other, algorithm, name)).status_code == 401, name
    finally:
        stop_openid_server(server)


def signed(provider: Provider, key: Any, algorithm: str, name: str) -> str:
    return provider.access_token("tom", key=key, header={"alg": algorithm, "kid": name})


# What the provider answers, or somebody who can answer for it.
ANSWERS: dict[str, tuple[str, dict[str, Any]]] = {
    "redirect": (DISCOVERY, {"status": 302, "headers": {"location": "https://evil.test/"}}),
    "not JSON": (DISCOVERY, {"body": "<html>"}),
    "not an object": (DISCOVERY, {"body": "[]"}),
    "deep": (DISCOVERY, {"body": "[" * 100_000}),
    "incomplete": (DISCOVERY, {"body": '{"issuer": "https://evil.test"}'}),
    "failing": (DISCOVERY, {"status": 500}),
    "no keys": (JWKS, {"body": '{"keys": []}'}),
    "keys of the wrong type": (JWKS, {"body": '{"keys": 7}'}),
    "huge": (JWKS, {"body": '{"keys": [], "x": "' + "A" * 600_000 + '"}'}),
    "compressed": (JWKS, {"headers": {"content-encoding": "gzip"}, "body": "x"}),
    "forbidden": (JWKS, {"status": 403}),
}


@pytest.mark.parametrize("how", ANSWERS)
def test_e9_an_answer_that_is_none_is_reported_as_such(provider: Provider, how: str) -> None:
    path, answer = ANSWERS[how]
    asked = Client(provider.issuer, provider.ca)
    provider.override(path, **answer)
    with pytest.raises(ProviderUnavailable) as caught:
        asyncio.run(asked.keys())
    assert "OpenID provider" in str(caught.value)


METADATA: dict[str, dict[str, Any]] = {
    "another issuer": {"issuer": "https://evil.test"},
    "keys without TLS": {"jwks_uri": "http://localhost/jwks"},
    "keys from a file": {"jwks_uri": "file:///etc/passwd"},
    "no scheme": {"token_endpoint": "//evil.test/token"},
    "PKCE downgrade": {"code_challenge_methods_supported": ["plain"]},
}


@pytest.mark.parametrize("how", METADATA)
def test_b8_metadata_that_lead_astray_are_refused(provider: Provider, how: str) -> None:
    good = provider.client.get(DISCOVERY).json()
    provider.override(DISCOVERY, body=json.dumps({**good, **METADATA[how]}))
    with pytest.raises(ProviderUnavailable):
        asyncio.run(Client(provider.issuer, provider.ca).metadata())


def test_e9_a_provider_whose_certificate_nobody_trusts_is_not_talked_to(provider: Provider) -> None:
    with pytest.raises(ProviderUnavailable, match="certificate"):
        asyncio.run(Client(provider.issuer).metadata())


def test_e9_a_provider_that_is_away_makes_its_tokens_unusable_and_nothing_else(
    provider: Provider, browser: Browser
) -> None:
    server = start_openid_server(provider)
    try:
        provider.override(DISCOVERY, status=302, headers={"location": "https://evil.test/"})
        for answer in (call(server, provider.access_token("tom")), browser.begin(server)):
            assert answer.status_code == 503, answer.text
            assert answer.headers["retry-after"]
            assert "evil" not in answer.text
        assert server.client.get("/api/v1/health/ready").status_code == 200
    finally:
        browser.close()
        stop_openid_server(server)


def test_g8_administrators_come_and_go_with_their_group(openid_server: ServerProcess, provider: Provider) -> None:
    name = f"chief-{time.time_ns()}"
    with_group = provider.access_token(name, groups=["infraxys-admins"], iat=now(-20))
    assert call(openid_server, with_group).json()["isAdministrator"] is True
    assert call(openid_server, provider.access_token(name, iat=now(-10))).json()["isAdministrator"] is True
    without = provider.access_token(name, groups=["other"], iat=now(-5))
    assert call(openid_server, without).json()["isAdministrator"] is False
    # An older token is still good, but cannot bring back what was taken since.
    assert call(openid_server, with_group).json()["isAdministrator"] is False


def test_g8_signing_out_with_an_access_token_ends_it_and_all_before_it(
    openid_server: ServerProcess, provider: Provider
) -> None:
    name = f"leaver-{time.time_ns()}"
    first, second = (provider.access_token(name, iat=now(age), jti=str(age)) for age in (-5, -1))
    other = provider.access_token(f"{name}-too")
    assert [call(openid_server, token).status_code for token in (first, second, other)] == [200] * 3
    with httpx2.Client(verify=False) as client:
        headers = {"Authorization": f"Bearer {second}"}
        assert client.delete(f"{openid_server.url}/api/v1/session", headers=headers).status_code == 204
    assert [call(openid_server, token).status_code for token in (first, second, other)] == [401, 401, 200]


@pytest.mark.parametrize("claim", ["client_id", "azp"])
def test_g2_the_command_line_has_to_ask_the_provider_each_minute(
    openid_server: ServerProcess, provider: Provider, claim: str
) -> None:
    of_cli: dict[str, Any] = {"client_id": None, claim: CLI_CLIENT_ID}
    assert call(openid_server, provider.access_token("typist", iat=now(-50), **of_cli)).status_code == 200
    assert call(openid_server, provider.access_token("typist", iat=now(-70), **of_cli)).status_code == 401
    assert call(openid_server, provider.access_token("typist", iat=now(-70))).status_code == 200  # a program's


def test_g2_a_disabled_account_is_out_at_once(openid_server: ServerProcess, provider: Provider) -> None:
    token = provider.access_token("banned", preferred_username="banned")
    assert call(openid_server, token).status_code == 200
    assert openid_server.command("user", "disable", "banned").returncode == 0
    assert call(openid_server, token).status_code == 401


def test_g6_an_access_token_makes_no_personal_token(openid_server: ServerProcess, provider: Provider) -> None:
    headers = {"Authorization": f"Bearer {provider.access_token('tom')}"}
    with httpx2.Client(verify=False) as client:
        answer = client.post(f"{openid_server.url}/api/v1/tokens", headers=headers, json={"name": "x"})
    assert answer.status_code == 403


def test_a_server_may_know_its_people_beforehand_only(provider: Provider, browser: Browser) -> None:
    server = start_openid_server(provider, oidc_create_users="false")
    try:
        assert call(server, provider.access_token("stranger")).status_code == 401
        made = server.command("user", "create", "known", "--openid-subject", "subject-7")
        assert made.returncode == 0, made.stderr
        answer = call(server, provider.access_token("subject-7", preferred_username="else"))
        assert answer.json()["name"] == "known"
    finally:
        browser.close()
        stop_openid_server(server)
