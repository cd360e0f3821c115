"""Where commands connect to."""

import socket
from typing import Any, NoReturn

import pytest

from infraxys.cli.api import address_of


def test_a_system_that_knows_no_localhost_has_one_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: Any) -> NoReturn:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert address_of("localhost") == "127.0.0.1"
    assert address_of("infraxys.example") == "infraxys.example"
