"""Whether a browser sent a request because a page of ours asked it to.

A browser adds credentials that it has by itself (a cookie; in developer mode: being on this machine) to requests that
pages of others make it send. It says where they come from in Sec-Fetch-Site, older ones in Origin; what sends neither
is no browser. (W3C Fetch Metadata.)
"""

from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

from infraxys.server.errors import CrossSite

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
DEFAULT_PORTS = {"http": 80, "https": 443}


def check_origin(connection: HTTPConnection) -> None:
    """Refuse what a page of another origin sends to change something. Raises CrossSite."""
    is_handshake = connection.scope["type"] == "websocket"
    if not is_handshake and connection.scope["method"] in SAFE_METHODS:
        return
    site = connection.headers.get("sec-fetch-site")
    origin = connection.headers.get("origin")
    if site is not None and site not in {"same-origin", "none"}:
        raise CrossSite
    # A handshake is no fetch with a preflight or a blocked answer: its Origin is looked at in any case.
    if origin is not None and (site is None or is_handshake) and not is_own(origin, connection):
        raise CrossSite


def is_own(origin: str, connection: HTTPConnection) -> bool:
    """Tell whether an Origin header names the server as the caller called it. "null" does not."""
    try:
        parts = urlsplit(origin)
        asked = urlsplit(f"//{connection.headers.get('host', '')}")
        default = DEFAULT_PORTS.get(parts.scheme)
        same_host = parts.hostname is not None and parts.hostname == asked.hostname
        same_port = (parts.port or default) == (asked.port or default)
    except ValueError:
        return False
    # Behind a proxy that does TLS we are called by http, the browser by https; the other way round is nobody of ours.
    is_secure = connection.scope["scheme"] in {"https", "wss"}
    return default is not None and same_host and same_port and (parts.scheme == "https" or not is_secure)
