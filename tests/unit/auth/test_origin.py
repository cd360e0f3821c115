"""Which pages may change something."""

import pytest
from starlette.requests import HTTPConnection

from infraxys.server.auth.origin import check_origin
from infraxys.server.errors import CrossSite


def connection(method: str = "POST", kind: str = "http", scheme: str = "https", **headers: str) -> HTTPConnection:
    """Make a request to https://ifx.example:8444."""
    given = {"host": "ifx.example:8444", **{name.replace("_", "-"): value for name, value in headers.items()}}
    raw = [(name.encode(), value.encode()) for name, value in given.items()]
    scheme = {"https": "wss", "http": "ws"}[scheme] if kind == "websocket" else scheme
    scope = {"type": kind, "method": method, "scheme": scheme, "path": "/", "headers": raw}
    return HTTPConnection(scope)


OWN = "https://ifx.example:8444"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"sec_fetch_site": "same-origin"},
        {"sec_fetch_site": "none"},
        {"sec_fetch_site": "same-origin", "origin": OWN},
        {"origin": OWN},
        {"origin": "https://IFX.example:8444"},
    ],
)
def test_pages_of_the_server_and_programs_may(headers: dict[str, str]) -> None:
    check_origin(connection(**headers))


FOREIGN = [
    {"sec_fetch_site": "cross-site"},
    {"sec_fetch_site": "same-site"},
    {"sec_fetch_site": "cross-site", "origin": OWN},
    {"sec_fetch_site": "nonsense"},
    {"sec_fetch_site": ""},
    {"origin": "null"},
    {"origin": ""},
    {"origin": "https://evil.example"},
    {"origin": "https://ifx.example"},
    {"origin": "https://ifx.example:8445"},
    {"origin": "http://ifx.example:8444"},
    {"origin": "https://ifx.example:8444.evil.example"},
    {"origin": "https://ifx.example:8444@evil.example"},
    {"origin": "https://ifx.example:99999"},
    {"origin": "https://[::1"},
    {"origin": "file://"},
    {"origin": "ftp://ifx.example:8444"},
]


@pytest.mark.parametrize("headers", FOREIGN)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "post", "PROPFIND"])
def test_g12_others_may_not(headers: dict[str, str], method: str) -> None:
    with pytest.raises(CrossSite):
        check_origin(connection(method, **headers))


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_reading_is_not_refused_here(method: str) -> None:
    check_origin(connection(method, sec_fetch_site="cross-site", origin="https://evil.example"))


@pytest.mark.parametrize("headers", FOREIGN)
def test_b7_a_handshake_is_never_safe(headers: dict[str, str]) -> None:
    with pytest.raises(CrossSite):
        check_origin(connection("GET", "websocket", **headers))


def test_b7_a_handshake_from_elsewhere_is_refused_whatever_else_it_says() -> None:
    with pytest.raises(CrossSite):
        check_origin(connection(kind="websocket", sec_fetch_site="same-origin", origin="https://evil.example"))
    check_origin(connection(kind="websocket", origin=OWN))
    check_origin(connection(kind="websocket"))


def test_behind_a_proxy_that_does_tls_the_browser_says_https() -> None:
    check_origin(connection(scheme="http", origin=OWN))
    check_origin(connection(scheme="http", origin="http://ifx.example:8444"))


def test_the_default_port_may_be_left_out() -> None:
    check_origin(connection(host="ifx.example", origin="https://ifx.example"))
    check_origin(connection(host="ifx.example:443", origin="https://ifx.example"))
    check_origin(connection(host="[::1]:8444", origin="https://[::1]:8444"))
