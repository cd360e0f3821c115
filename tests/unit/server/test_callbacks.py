"""Where actions find the API, and what they check its certificate by."""

from pathlib import Path
from typing import Any

import pytest

from infraxys.server.data_folder import DataFolder
from infraxys.server.services import certificates, rest_endpoint
from infraxys.server.settings import Settings
from infraxys.server.tls import self_signed


@pytest.mark.parametrize(
    ("given", "endpoint"),
    [
        ({}, "https://localhost:8444/api/v1"),
        ({"host": "0.0.0.0", "mode": "server"}, "https://localhost:8444/api/v1"),
        ({"host": "::", "no_tls": True, "port": 80}, "http://localhost:80/api/v1"),
        ({"host": "192.0.2.1"}, "https://192.0.2.1:8444/api/v1"),
        ({"host": "2001:db8::1"}, "https://[2001:db8::1]:8444/api/v1"),
        (
            {"tls_cert": "/c.pem", "tls_key": "/k.pem", "public_url": "https://ops.example.com/"},
            "https://ops.example.com/api/v1",
        ),
    ],
)
def test_the_endpoint_is_where_the_server_listens(given: dict[str, Any], endpoint: str) -> None:
    assert rest_endpoint(Settings(**given)) == endpoint


def test_the_certificate_is_our_own_unless_another_was_given(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path, None, 1)
    assert certificates(Settings(), folder) is None
    own, _ = self_signed(folder.tls)
    assert certificates(Settings(), folder) == own.read_bytes()
    assert certificates(Settings(no_tls=True), folder) is None
    given = certificates(Settings(tls_cert=tmp_path / "server.crt", tls_key=tmp_path / "server.key"), folder)
    assert given is None or given.count(b"BEGIN CERTIFICATE") > 1
