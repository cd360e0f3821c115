"""Repository URLs: which are accepted, how they are written, and which module they mean."""

import ipaddress
import re
import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

from infraxys.resources.errors import InvalidUrl
from infraxys.spec.identity import ModuleId

ALL_SCHEMES = ("https", "ssh", "http", "file")
_SCP = re.compile(r"(?:(?P<user>[A-Za-z0-9._-]+)@)?(?P<host>[A-Za-z0-9][A-Za-z0-9.-]*):(?P<path>[^/].*)\Z")
_HOST = re.compile(r"[A-Za-z0-9\[][A-Za-z0-9.:\]-]*\Z")
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+ ~-]*\Z")
MAX_LENGTH = 2000


@dataclass(frozen=True, slots=True)
class GitUrl:
    """A repository's URL as given to Git, and the module it is."""

    text: str
    scheme: str
    module: ModuleId

    @classmethod
    def parse(cls, text: str, schemes: tuple[str, ...] = ALL_SCHEMES) -> "GitUrl":
        """Read a URL. Raises InvalidUrl for anything that is not a plain repository of an allowed scheme."""
        text = text.strip()
        if not text or len(text) > MAX_LENGTH or not text.isprintable() or text.startswith("-") or "::" in text:
            raise InvalidUrl("this is not a repository URL; examples: https://host/org/repo, git@host:org/repo.git")
        if text.startswith("/"):
            text = f"file://{text}"
        scp = None if "://" in text else _SCP.match(text)
        if scp is not None:
            return cls._build(text, "ssh", scp["host"], scp["path"], schemes)
        parts = urlsplit(text)
        if parts.password is not None or (parts.scheme in {"http", "https"} and parts.username is not None):
            raise InvalidUrl("the URL holds credentials; use a Git credential helper or an SSH key of the server instead")
        if parts.username is not None and not _PART.match(parts.username):
            raise InvalidUrl("the user name of the URL is not acceptable")
        if parts.query or parts.fragment:
            raise InvalidUrl("the URL of a repository has no query and no fragment")
        if parts.scheme == "file":
            if parts.netloc not in {"", "localhost"}:
                raise InvalidUrl("a file URL names a folder of this machine: file:///folder/repository")
            return cls._build(text, "file", "localhost", parts.path, schemes)
        return cls._build(text, parts.scheme, parts.netloc.rpartition("@")[2], parts.path, schemes)

    @classmethod
    def _build(cls, text: str, scheme: str, host: str, path: str, schemes: tuple[str, ...]) -> "GitUrl":
        if scheme not in schemes:
            allowed = ", ".join(schemes)
            raise InvalidUrl(f"URLs of the kind '{scheme[:20] or text[:20]}' are not accepted here (allowed: {allowed})")
        if not _HOST.match(host):
            raise InvalidUrl("the URL has no acceptable host name")
        parts = [part for part in path.strip("/").split("/") if part]
        if scheme == "file":
            parts = parts[-2:] if len(parts) > 1 else ["files", *parts]
        if len(parts) < 2 or not all(_PART.match(part) and part not in {".", ".."} for part in parts):
            raise InvalidUrl("the URL does not name a repository as host/organisation/repository")
        repo = parts[-1].removesuffix(".git")
        if not repo:
            raise InvalidUrl("the URL does not name a repository")
        return cls(text, scheme, ModuleId(host.lower(), "/".join(parts[:-1]), repo))

    def check_address(self) -> None:
        """Refuse hosts that are link-local (cloud metadata) whatever their spelling. Resolves the name; blocks."""
        if self.scheme == "file":
            return
        host = self.module.host.strip("[]").partition(":")[0] if self.module.host.count(":") < 2 else self.module.host
        try:
            found = socket.getaddrinfo(host.strip("[]"), None, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            return  # Git may know the host by a rewrite or a proxy; it will say what is wrong.
        for *_, address in found:
            ip = ipaddress.ip_address(str(address[0]).partition("%")[0])
            mapped = getattr(ip, "ipv4_mapped", None) or ip
            if mapped.is_link_local or mapped.is_multicast or mapped.is_unspecified:
                raise InvalidUrl(f"the host '{self.module.host}' has an address that repositories cannot have")
