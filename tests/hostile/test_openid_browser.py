"""Attacks on sign-in in the browser by OpenID (hostile.md B7-B9, field.md G11)."""

import json
import time
from collections.abc import Callable, Iterator
from urllib.parse import urlencode

import httpx2
import pytest
from joserfc.jwk import Key

from plugins.oidc import CALLBACK, CLIENT_ID, Browser, Provider, new_key, query_of, sign, without_none
from plugins.server import ServerProcess

SESSION = "__Host-infraxys"
CALLBACK_COOKIE = "__Host-infraxys-openid-"


@pytest.fixture
def other_browser() -> Iterator[Browser]:
    made = Browser()
    yield made
    made.close()


@pytest.fixture
def _honest_again(provider: Provider) -> Iterator[None]:
    """Answers of the provider that a test put in place are taken away again."""
    yield
    for path in ("/token", "/.well-known/openid-configuration", "/jwks", "/me"):
        provider.override(path)


def callback(server: ServerProcess, browser: Browser, **query: str) -> httpx2.Response:
    return browser.http.get(f"{server.url}{CALLBACK}?{urlencode(query)}")


def own_cookies(browser: Browser) -> dict[str, str]:
    """Give the cookies of sign-ins under way."""
    return {
        cookie.name: cookie.value or ""
        for cookie in browser.http.cookies.jar
        if cookie.name.startswith(CALLBACK_COOKIE)
    }


def is_signed_in(server: ServerProcess, browser: Browser) -> bool:
    return browser.me(server).status_code == 200


def test_a_person_signs_in_and_has_an_account(openid_server: ServerProcess, browser: Browser) -> None:
    answer = browser.sign_in(openid_server, "grace")
    assert answer.status_code == 303, answer.text
    assert answer.headers["location"] == "/api/v1/me"
    me = browser.me(openid_server)
    assert me.status_code == 200, me.text
    assert me.json()["name"] == "grace"
    assert me.json()["isAdministrator"] is False


def test_b7_cookies_are_bound_to_this_host_and_unreadable_for_scripts(
    openid_server: ServerProcess, browser: Browser
) -> None:
    begun = browser.begin(openid_server)
    done = browser.http.get(browser.authorize(begun.headers["location"], "cookie"))
    for answer, prefix in ((begun, CALLBACK_COOKIE), (done, f"{SESSION}=")):
        cookie = next(text for text in answer.headers.get_list("set-cookie") if text.startswith(prefix))
        parts = {part.strip().lower() for part in cookie.split(";")[1:]}
        assert {"httponly", "secure", "path=/", "samesite=lax"} <= parts
        assert not any(part.startswith("domain") for part in parts)


def test_b8_the_request_has_pkce_state_and_nonce_that_nobody_can_guess(
    openid_server: ServerProcess, browser: Browser
) -> None:
    queries = [query_of(browser.begin(openid_server).headers["location"]) for _ in range(2)]
    for query in queries:
        assert query["code_challenge_method"] == "S256"
        assert query["response_type"] == "code"
        assert all(len(query[name]) >= 43 for name in ("state", "nonce", "code_challenge"))
    assert all(queries[0][name] != queries[1][name] for name in ("state", "nonce", "code_challenge"))


def test_b8_the_code_challenge_holds_at_the_provider(
    openid_server: ServerProcess, provider: Provider, browser: Browser
) -> None:
    """A code that was begun elsewhere, without our verifier, is of no use here (code injection)."""
    stolen = query_of(browser.authorize(browser.begin(openid_server).headers["location"], "victim"))["code"]
    own = query_of(browser.authorize(browser.begin(openid_server).headers["location"], "mallory"))
    answer = callback(openid_server, browser, **{**own, "code": stolen})
    assert answer.status_code == 400
    assert answer.json()["code"] == "sign_in_failed"
    assert not is_signed_in(openid_server, browser)


def test_b8_a_missing_or_invented_state_is_refused(openid_server: ServerProcess, browser: Browser) -> None:
    good = query_of(browser.authorize(browser.begin(openid_server).headers["location"], "ada"))
    for state in (None, "", "x", "A" * 43, good["state"][:-1], "é" * 43, "A" * 5000):
        query = without_none(good, {"state": state})
        assert callback(openid_server, browser, **query).status_code == 400
    assert not is_signed_in(openid_server, browser)
    assert callback(openid_server, browser, **good).status_code == 303


def test_b8_a_foreign_browser_cannot_finish_a_sign_in(
    openid_server: ServerProcess, browser: Browser, other_browser: Browser
) -> None:
    """Sign-in CSRF: the attacker's link signs the victim in to the attacker's account."""
    link = browser.authorize(browser.begin(openid_server).headers["location"], "mallory")
    other_browser.begin(openid_server)
    answer = other_browser.http.get(link)
    assert answer.status_code == 400
    assert SESSION not in other_browser.http.cookies
    assert not is_signed_in(openid_server, other_browser)


def test_b8_the_cookie_of_another_sign_in_does_not_help(openid_server: ServerProcess, browser: Browser) -> None:
    first, second = (browser.begin(openid_server) for _ in range(2))
    url = browser.authorize(first.headers["location"], "ada")
    values = own_cookies(browser)
    names = list(values)
    assert len(names) == 2
    swapped = {names[0]: values[names[1]], names[1]: values[names[0]]}
    with httpx2.Client(verify=False, cookies=swapped) as client:
        assert client.get(url).status_code == 400
    assert second.status_code == 303
    assert browser.http.get(url).status_code == 303  # several tabs are no problem


def test_b8_code_and_state_are_good_once(openid_server: ServerProcess, browser: Browser) -> None:
    begun = browser.begin(openid_server)
    kept = own_cookies(browser)
    url = browser.authorize(begun.headers["location"], "replay")
    assert browser.http.get(url).status_code == 303
    with httpx2.Client(verify=False, cookies=kept) as client:
        again = client.get(url)
    assert again.status_code == 400
    assert "finished already" in again.json()["detail"]
    assert SESSION not in again.headers.get("set-cookie", "")


def test_b8_a_state_is_used_up_also_by_an_attempt_that_fails(openid_server: ServerProcess, browser: Browser) -> None:
    good = query_of(browser.authorize(browser.begin(openid_server).headers["location"], "ada"))
    assert callback(openid_server, browser, **{**good, "code": "guess"}).status_code == 400
    assert callback(openid_server, browser, **good).status_code == 400
    assert not is_signed_in(openid_server, browser)


def test_b8_the_answer_of_another_issuer_is_refused(openid_server: ServerProcess, browser: Browser) -> None:
    """Mix-up (RFC 9207): the provider says that it names itself, so an answer without a name is none of its."""
    for issuer in ("https://evil.test", None, ""):
        good = query_of(browser.authorize(browser.begin(openid_server).headers["location"], "ada"))
        answer = callback(openid_server, browser, **without_none(good, {"iss": issuer}))
        assert answer.status_code == 400
        assert not is_signed_in(openid_server, browser)


def test_b8_an_error_of_the_provider_is_told_without_its_text(openid_server: ServerProcess, browser: Browser) -> None:
    good = query_of(browser.begin(openid_server).headers["location"])
    query = {"state": good["state"], "error": "access_denied", "error_description": "<script>alert(1)</script>"}
    metadata_issuer = browser.http.get(f"{openid_server.url}/api/v1/login").json()["openid"]["issuer"]
    answer = callback(openid_server, browser, **query, iss=metadata_issuer)
    assert answer.status_code == 403
    assert "script" not in answer.text


# What is wrong with an ID token: changed claims, changed header, and another key than the provider's.
Wrong = tuple[dict[str, object], dict[str, object], Key | bytes | None]
BAD: dict[str, Callable[[Provider], Wrong]] = {
    "nonce of another sign-in": lambda _: ({"nonce": "A" * 43}, {}, None),
    "no nonce": lambda _: ({"nonce": None}, {}, None),
    "issuer": lambda _: ({"iss": "https://evil.test"}, {}, None),
    "audience": lambda _: ({"aud": "other-client"}, {}, None),
    "authorized party": lambda _: ({"aud": [CLIENT_ID, "x"], "azp": "x"}, {}, None),
    "several audiences and no authorized party": lambda _: ({"aud": [CLIENT_ID, "x"]}, {}, None),
    "no audience": lambda _: ({"aud": None}, {}, None),
    "expired": lambda _: ({"exp": int(time.time()) - 60}, {}, None),
    "no end": lambda _: ({"exp": None}, {}, None),
    "issued in the future": lambda _: ({"iat": int(time.time()) + 600}, {}, None),
    "not yet": lambda _: ({"nbf": int(time.time()) + 600}, {}, None),
    "of another access token": lambda _: ({"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"}, {}, None),
    "empty subject": lambda _: ({"sub": ""}, {}, None),
    "number as subject": lambda _: ({"sub": 7}, {}, None),
    "not who the user info is about": lambda _: ({"sub": "else"}, {}, None),
    "groups are no list": lambda _: ({"groups": "infraxys-admins"}, {}, None),
    "nested groups": lambda _: ({"groups": [["infraxys-admins"]]}, {}, None),
    "signed by somebody else": lambda _: ({}, {}, new_key("first")),
    "unknown key": lambda _: ({}, {"kid": "unknown"}, None),
    "alg none": lambda _: ({}, {"alg": "none"}, None),
    "public key as shared secret": lambda provider: ({}, {"alg": "HS256"}, provider.confused_key()),
}


@pytest.mark.usefixtures("_honest_again")
class TestIdToken:
    """The provider, or somebody between, answers the code with an ID token that is not what it should be."""

    def finish(self, server: ServerProcess, provider: Provider, browser: Browser, wrong: Wrong) -> httpx2.Response:
        nonce = query_of(location := browser.begin(server).headers["location"])["nonce"]
        url = browser.authorize(location, "ida")
        now = int(time.time())
        claims = {
            "iss": provider.issuer, "aud": CLIENT_ID, "sub": "ida", "iat": now, "exp": now + 300, "nonce": nonce
        }  # fmt: skip
        changes, header, key = wrong
        good_header = {"alg": "RS256", "kid": provider.key.kid}
        token = sign(without_none(good_header, header), without_none(claims, changes), key or provider.key)
        body = {"access_token": "opaque", "token_type": "Bearer", "expires_in": 600, "id_token": token}
        provider.override("/token", body=json.dumps(body))
        provider.override("/me", body=json.dumps({"sub": "ida"}))
        return browser.http.get(url)

    def test_a_good_one_is_accepted(self, openid_server: ServerProcess, provider: Provider, browser: Browser) -> None:
        answer = self.finish(openid_server, provider, browser, ({}, {}, None))
        assert answer.status_code == 303, answer.text
        # Without a refresh token nobody can ask the provider later: the session ends when its answer does.
        cookie = next(text for text in answer.headers.get_list("set-cookie") if text.startswith(f"{SESSION}="))
        assert "Max-Age=600" in cookie

    @pytest.mark.parametrize("how", BAD)
    @pytest.mark.filterwarnings("ignore::joserfc.errors.SecurityWarning")  # signing with what nobody should
    def test_b8_a_bad_one_is_refused(
        self, openid_server: ServerProcess, provider: Provider, browser: Browser, how: str
    ) -> None:
        answer = self.finish(openid_server, provider, browser, BAD[how](provider))
        assert answer.status_code in {400, 403}, answer.text
        assert SESSION not in answer.headers.get("set-cookie", "")
        assert not is_signed_in(openid_server, browser)


@pytest.mark.parametrize(
    "path",
    [
        "//evil.test",
        "/\\evil.test",
        "\\\\evil.test",
        "https://evil.test",
        "data:text/html,x",
        "javascript:alert(1)",
        "/%0d%0aSet-Cookie: x=1 y",
        "/a\r\nb",
        "/a b",
        "evil.test",
        "",
        "/" + "a" * 2000,
        "/é",
    ],
)
def test_b9_a_redirect_leads_to_own_paths_only(openid_server: ServerProcess, browser: Browser, path: str) -> None:
    answer = browser.begin(openid_server, path)
    assert answer.status_code == 422
    assert answer.json()["code"] == "unsafe_redirect"
    assert "location" not in answer.headers


def test_b7_the_session_before_the_sign_in_ends_with_it(openid_server: ServerProcess, browser: Browser) -> None:
    """Session fixation: what the browser brought along is worth nothing afterwards."""
    browser.sign_in(openid_server, "ada")
    before = browser.http.cookies[SESSION]
    browser.sign_in(openid_server, "ada")
    assert browser.http.cookies[SESSION] != before
    with httpx2.Client(verify=False, cookies={SESSION: before}) as client:
        assert client.get(f"{openid_server.url}/api/v1/me").status_code == 401


def test_g11_an_account_is_never_taken_over_by_its_name_or_address(
    openid_server: ServerProcess, provider: Provider, browser: Browser, other_browser: Browser
) -> None:
    assert openid_server.command("user", "create", "boss", "--admin").returncode == 0
    provider.set_person("m1", preferred_username="boss", email="boss@example.test", email_verified=False)
    browser.sign_in(openid_server, "m1")
    me = browser.me(openid_server).json()
    assert me["name"] != "boss"
    assert me["isAdministrator"] is False
    provider.set_person("m2", preferred_username="ＢＯＳＳ")
    other_browser.sign_in(openid_server, "m2")
    second = other_browser.me(openid_server).json()
    assert second["name"] not in {"boss", me["name"]}
    assert second["isAdministrator"] is False


def test_g11_signing_out_ends_the_session_here_and_at_the_provider(
    openid_server: ServerProcess, provider: Provider, browser: Browser
) -> None:
    browser.sign_in(openid_server, "leaver")
    cookie = browser.http.cookies[SESSION]
    answer = browser.http.delete(f"{openid_server.url}/api/v1/session")
    assert answer.status_code == 200, answer.text
    url = answer.json()["logoutUrl"]
    assert url.startswith(f"{provider.issuer}/session/end?")
    page = browser.http.get(url)
    assert page.status_code == 200
    assert "logout" in page.text.lower()
    with httpx2.Client(verify=False, cookies={SESSION: cookie}) as client:
        assert client.get(f"{openid_server.url}/api/v1/me").status_code == 401
