"""A server as it is right after it was installed, looked at from outside (field.md G48)."""

import socket
import ssl
import warnings
from collections.abc import Iterator
from contextlib import suppress
from urllib.parse import urlsplit

import httpx
import pytest

from infraxys import __version__
from infraxys.server.api import routers
from infraxys.server.app import api_routes
from infraxys.server.auth.permissions import Public, declared
from plugins.accounts import AccountServer, account_server

OPEN = {
    "GET /", "GET /health", "GET /login", "GET /setup", "GET /pages/account.css", "GET /pages/account.js",
    "GET /api/v1/health/live", "GET /api/v1/health/ready",
    "GET /api/v1/login", "GET /api/v1/login/openid", "GET /api/v1/login/openid/callback",
    "POST /api/v1/session", "POST /api/v1/setup",
}  # fmt: skip
ROUTES = [(route, method) for router in routers for route in api_routes(router) for method in sorted(route.methods)]


@pytest.fixture(scope="module")
def installed() -> Iterator[AccountServer]:
    yield from account_server({}, is_set_up=False)


def test_g48_nothing_is_open_but_health_and_the_way_in() -> None:
    assert {f"{method} {route.path_format}" for route, method in ROUTES if isinstance(declared(route), Public)} == OPEN


def test_g48_every_other_call_needs_credentials(installed: AccountServer) -> None:
    for route, method in ROUTES:
        path = route.path_format.replace("{", "").replace("}", "")
        if f"{method} {route.path_format}" not in OPEN:
            answer = installed.client.request(method, path)
            assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized"), path
            assert answer.headers["www-authenticate"]


def test_g48_there_is_no_password_that_everybody_knows(installed: AccountServer) -> None:
    for name in ("admin", "root", "infraxys", "administrator"):
        for password in (name, "admin", "password", "infraxys", "changeme", ""):
            answer = installed.browser().sign_in(name, password)
            assert answer.status_code in {401, 422, 429}


@pytest.mark.parametrize(
    "path", ["/pages", "/pages/", "/pages/../api.py", "/static/", "/.git/config", "/.env", "/metrics", "/data", "/docs"]
)
def test_g48_no_folder_is_listed_and_no_file_is_given(installed: AccountServer, path: str) -> None:
    assert installed.client.get(path).status_code == 404


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/"), ("GET", "/health"), ("GET", "/api/v1/me"), ("GET", "/no"), ("PUT", "/api/v1/me"), ("GET", "/%zz")],
)
def test_g48_every_answer_is_guarded_and_tells_no_version(installed: AccountServer, method: str, path: str) -> None:
    answer = installed.client.request(method, path)
    headers = answer.headers
    assert headers["strict-transport-security"].startswith("max-age=31536000")
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    expected = {
        "x-frame-options": "DENY", "x-content-type-options": "nosniff", "referrer-policy": "no-referrer",
        "cross-origin-opener-policy": "same-origin", "cross-origin-resource-policy": "same-origin",
        "cache-control": "no-store",
    }  # fmt: skip
    assert expected.items() <= headers.items()
    assert not {"server", "x-powered-by", "access-control-allow-origin"} & headers.keys()
    told = (answer.text + str(headers)).lower()
    assert __version__ not in told
    assert not any(word in told for word in ("uvicorn", "python", "fastapi", "starlette"))


def test_g48_there_is_nothing_but_tls_and_no_old_one(installed: AccountServer) -> None:
    parts = urlsplit(installed.url)
    with pytest.raises(httpx.HTTPError):
        httpx.get(f"http://{parts.hostname}:{parts.port}/health")
    context = ssl._create_unverified_context()
    context.set_ciphers("ALL:@SECLEVEL=0")
    with suppress(ValueError), warnings.catch_warnings():  # a library that knows it no more cannot try it
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
        with (
            socket.create_connection(("127.0.0.1", parts.port or 443), timeout=20) as plain,
            pytest.raises(ssl.SSLError),
        ):
            context.wrap_socket(plain, server_hostname="localhost")
