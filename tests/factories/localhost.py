"""`localhost` on a bare system, which has no /etc/hosts: libcurl and browsers know it all the same, Python does not."""

import socket
from typing import Any


def _is_known() -> bool:
    try:
        socket.getaddrinfo("localhost", None)
    except OSError:
        return False
    return True


IS_KNOWN = _is_known()
_system = socket.getaddrinfo


def know_localhost() -> None:
    """Let this process know it."""
    if not IS_KNOWN:
        socket.getaddrinfo = _with_localhost


def _with_localhost(host: Any, *arguments: Any, **options: Any) -> Any:
    return _system("127.0.0.1" if host in {"localhost", b"localhost"} else host, *arguments, **options)
