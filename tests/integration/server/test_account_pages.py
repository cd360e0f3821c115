"""The pages behind the link of the first administrator and behind signing in, in a real browser."""

import re

import pytest

from plugins.accounts import PASSWORD, AccountServer, set_up, with_token
from plugins.chromium import Page
from plugins.oidc import Provider
from plugins.server import ServerProcess

MARKUP = "<img src=x onerror=window.hacked=1>"


def fill(page: Page, form: str, **fields: str) -> None:
    for name, value in fields.items():
        page.run(f"document.querySelector('#{form} [name={name}]').value = {value!r}")
    page.run(f"document.querySelector('#{form} button').click()")


def is_shown(page: Page, part: str) -> bool:
    return bool(page.run(f"document.getElementById('{part}').checkVisibility()"))


def wait_for_part(page: Page, part: str) -> None:
    page.wait_for(f"document.getElementById('{part}')?.checkVisibility() === true")


def rows(page: Page, table: str) -> list[str]:
    found: list[str] = page.run(f"[...document.getElementById('{table}').rows].map((row) => row.innerText)")
    return found


def test_b10_the_link_leads_to_an_administrator_with_tokens_and_sessions(
    own_accounts: AccountServer, page: Page
) -> None:
    page.go(f"{own_accounts.url}/setup#token={own_accounts.setup_secret}")
    wait_for_part(page, "setup")
    assert page.run("location.hash") == ""
    fill(page, "setup", name="root", password="password123")
    wait_for_part(page, "problem")
    assert "too easy to guess" in page.run("document.getElementById('problem').innerText")
    fill(page, "setup", name="root", password=PASSWORD)
    wait_for_part(page, "own")
    assert page.run("document.getElementById('who').innerText") == "root"

    fill(page, "new-token", name=MARKUP, scopes="run.list, server.read", days="30")
    wait_for_part(page, "made")
    made = page.run("document.getElementById('secret').value")
    (line,) = rows(page, "tokens")
    assert line.startswith(f"{MARKUP}\trun.list server.read\t")
    assert with_token(own_accounts, made).get("/me").json()["grants"] == ["run.list", "server.read"]
    page.go(f"{own_accounts.url}/")
    wait_for_part(page, "own")
    page.wait_for("document.getElementById('tokens').rows.length === 1")
    assert made not in page.run("document.documentElement.outerHTML")
    page.run("document.querySelector('#tokens button').click()")
    page.wait_for("document.getElementById('tokens').rows.length === 0")
    assert with_token(own_accounts, made).get("/me").status_code == 401

    elsewhere = own_accounts.browser("root")
    page.go(f"{own_accounts.url}/")
    page.wait_for("document.getElementById('sessions').rows.length === 1")
    page.run("document.querySelector('#sessions button').click()")
    page.wait_for("document.getElementById('sessions').rows.length === 0")
    assert elsewhere.get("/me").status_code == 401

    page.run("document.getElementById('sign-out').click()")
    wait_for_part(page, "sign-in")
    fill(page, "sign-in", name="root", password="another one than that")
    wait_for_part(page, "problem")
    fill(page, "sign-in", name="root", password=PASSWORD)
    wait_for_part(page, "own")
    page.go(f"{own_accounts.url}/setup#token={own_accounts.setup_secret}")
    wait_for_part(page, "setup")
    fill(page, "setup", name="evil", password=PASSWORD)
    wait_for_part(page, "problem")
    assert "this link was used" in page.run("document.getElementById('problem').innerText")


def test_d7_no_script_runs_but_that_of_the_page(own_accounts: AccountServer, page: Page) -> None:
    assert set_up(own_accounts).status_code == 201
    own_accounts.new_user(name="ada", displayName=MARKUP)
    page.go(f"{own_accounts.url}/login")
    wait_for_part(page, "sign-in")
    fill(page, "sign-in", name="ada", password=PASSWORD)
    wait_for_part(page, "own")
    assert page.run("document.getElementById('who').innerText") == f"{MARKUP} (ada)"
    # Even what got into the page as HTML in spite of that does nothing.
    page.run(f"document.body.insertAdjacentHTML('beforeend', {MARKUP!r})")
    page.run("document.body.append(Object.assign(document.createElement('script'), {text: 'window.hacked = 1'}))")
    far = "Object.assign(document.createElement('script'), {src: 'https://127.0.0.1:1/x.js'})"
    page.run(f"window.refused = new Promise((done) => document.addEventListener('securitypolicyviolation', "
             f"(event) => event.blockedURI.startsWith('https') && done(event.effectiveDirective))); "
             f"document.body.append({far})")  # fmt: skip
    assert page.run("window.refused") == "script-src-elem"
    assert page.run("window.hacked === undefined")


def test_one_signs_in_with_the_provider_from_the_page(
    openid_server: ServerProcess, provider: Provider, page: Page
) -> None:
    provider.set_person("lovelace", name="Ada Lovelace")
    page.go(f"{openid_server.url}/")
    wait_for_part(page, "openid")
    page.run("document.querySelector('#openid a').click()")
    page.wait_for("document.querySelector('input[name=login]') !== null")
    page.run("document.querySelector('input[name=login]').value = 'lovelace'")
    page.run("document.querySelector('input[name=password]').value = 'x'")
    page.run("document.querySelector('form [type=submit], form button').click()")
    page.wait_for("document.querySelector('input[name=prompt][value=consent]') !== null")
    page.run("document.querySelector('form [type=submit], form button').click()")
    wait_for_part(page, "own")
    assert page.run("document.getElementById('who').innerText") == "Ada Lovelace (lovelace)"
    fill(page, "new-token", name="mine")
    wait_for_part(page, "made")
    assert page.run("document.getElementById('secret').value").startswith("ifx_")


def test_developer_mode_says_who_one_is(server: ServerProcess, page: Page) -> None:
    page.go(f"{server.url}/")
    wait_for_part(page, "account")
    assert not is_shown(page, "own")


@pytest.mark.parametrize("path", ["/", "/login", "/setup", "/pages/account.js", "/pages/account.css"])
def test_the_pages_are_the_same_for_everybody_and_have_no_inline_script(team_server: ServerProcess, path: str) -> None:
    answer = team_server.client.get(path)
    assert answer.status_code == 200
    assert answer.headers["x-frame-options"] == "DENY"
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert re.search(r"<script>| on\w+=|style=|javascript:|https?://", answer.text) is None
