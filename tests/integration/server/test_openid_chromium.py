"""Sign-in as a person does it: a real browser, a real OpenID provider, a real server."""

from plugins.chromium import Page
from plugins.oidc import Provider
from plugins.server import ServerProcess

SUBMIT = "document.querySelector('form [type=submit], form button').click()"


def test_a_person_signs_in_works_and_signs_out_everywhere(
    openid_server: ServerProcess, provider: Provider, page: Page
) -> None:
    provider.set_person("hopper", name="Grace Hopper", groups=["infraxys-admins"])
    page.go(f"{openid_server.url}/api/v1/login/openid?next=/api/v1/me")
    page.wait_for("document.querySelector('input[name=login]') !== null")
    page.run("document.querySelector('input[name=login]').value = 'hopper'")
    page.run("document.querySelector('input[name=password]').value = 'x'")
    page.run(SUBMIT)
    page.wait_for("document.querySelector('input[name=prompt][value=consent]') !== null")
    page.run(SUBMIT)
    page.wait_for(f"location.href === '{openid_server.url}/api/v1/me'")
    me = page.run("fetch('/api/v1/me').then((answer) => answer.json())")
    assert me["name"] == "hopper"
    assert me["displayName"] == "Grace Hopper"
    assert me["isAdministrator"] is True
    assert "infraxys" not in page.run("document.cookie")
    # What changes something works from our own page, and is refused from another one.
    made = page.run(
        "fetch('/api/v1/tokens', {method: 'POST', headers: {'content-type': 'application/json'}, "
        "body: JSON.stringify({name: 'made in the browser'})}).then((answer) => answer.status)"
    )
    assert made == 201
    gone = page.run("fetch('/api/v1/session', {method: 'DELETE'}).then((answer) => answer.json())")
    assert page.run("fetch('/api/v1/me').then((answer) => answer.status)") == 401
    page.go(gone["logoutUrl"])
    page.wait_for("document.querySelector('button[name=logout]') !== null")
    page.run("document.querySelector('button[name=logout]').click()")
    page.wait_for(f"location.href === '{openid_server.url}/'")
    # The provider has forgotten the person as well: it asks again.
    page.go(f"{openid_server.url}/api/v1/login/openid")
    page.wait_for("document.querySelector('input[name=login]') !== null")
