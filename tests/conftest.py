"""Fixtures that every part may use."""

import socket
from typing import Any

# One that uses another comes behind it.
pytest_plugins = [
    "plugins.postgres",
    "plugins.sandbox",
    "plugins.containers",
    "plugins.server",
    "plugins.shapes",
    "plugins.accounts",
    "plugins.access",
    "plugins.oidc",
    "plugins.openbao",
    "plugins.chromium",
]


def pytest_configure() -> None:
    """Know `localhost` on a bare system as well, which has no /etc/hosts, as libcurl and browsers do."""
    system = socket.getaddrinfo
    try:
        system("localhost", None)
    except OSError:

        def getaddrinfo(host: Any, *arguments: Any, **options: Any) -> Any:
            return system("127.0.0.1" if host in {"localhost", b"localhost"} else host, *arguments, **options)

        socket.getaddrinfo = getaddrinfo
