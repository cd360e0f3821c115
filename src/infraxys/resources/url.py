"""Repository URLs: which are accepted, how they are written, and which module they mean."""

import ipaddress
import re
import socket
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from infraxys.resources.errors import InvalidUrl
from infraxys.spec.identity import ModuleId

ALL_SCHEMES = ("https", "ssh", "http", "file")
MAX_LENGTH = 2000
MAX_PART = 200
_PORTS = {"https": 443, "http": 80}
_HELPER = re.compile(r"[A-Za-z0-9+.-]*::")  # `ext::command` and the like run programs
_SCP = re.compile(r"(?:(?P<user>[A-Za-z0-9._-]+)@)?(?P<host>[A-Za-z0-9][A-Za-z0-9.-]*):(?P<path>[^/:].*)\Z")
_HOST = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9._-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?\Z")
# No `%`, because Git decodes it; nothing that starts with a dash.
_PART = re.compile(r"[\w.~@+][\w.~@+ ,=-]*\Z")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\Z")
# Where clouds answer questions about a machine, besides the link-local addresses.
_METADATA = frozenset(
    ipaddress.ip_address(text) for text in ("fd00:ec2::254", "100.100.100.200", "168.63.129.16", "192.0.0.192")
)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class GitUrl:
    """A repository's URL as given to Git, and the module it is. It never holds a password."""

    text: str
    scheme: str
    module: ModuleId

    @classmethod
    def parse(cls, text: str, schemes: tuple[str, ...] = ALL_SCHEMES) -> "GitUrl":
        """Read a URL. Raises InvalidUrl for anything that is not a plain repository of an allowed scheme."""
        text = text.strip().rstrip("/")
        if not text or len(text) > MAX_LENGTH or not text.isprintable() or text.startswith("-") or _HELPER.match(text):
            raise InvalidUrl("this is not a repository URL; examples: https://host/org/repo, git@host:org/repo.git")
        if text.startswith("/"):
            text = f"file://{text}"
        scp = None if "://" in text else _SCP.match(text)
        if scp is not None:
            return cls._build(text, "ssh", scp["host"], scp["path"], schemes)
        try:
            parts = urlsplit(text)
            _refuse_credentials(parts)
        except ValueError as error:
            raise InvalidUrl("this is not a repository URL; an example: https://host/org/repo") from error
        if "?" in text or "#" in text:
            raise InvalidUrl("the URL of a repository has no query and no fragment")
        if parts.scheme == "file":
            if parts.netloc not in {"", "localhost"}:
                raise InvalidUrl("a file URL names a folder of this machine: file:///folder/repository")
            return cls._build(f"file://{parts.path}", "file", "localhost", parts.path, schemes)
        return cls._build(text, parts.scheme, parts.netloc.rpartition("@")[2], parts.path, schemes)

    @classmethod
    def _build(cls, text: str, scheme: str, host: str, path: str, schemes: tuple[str, ...]) -> "GitUrl":
        if scheme not in schemes:
            kind = f"URLs of the kind '{scheme[:20]}'" if scheme else "URLs without a kind"
            raise InvalidUrl(f"{kind} are not accepted here; allowed are: {', '.join(schemes)}")
        if not _HOST.match(host) or ".." in host:
            raise InvalidUrl("the URL has no acceptable host name")
        parts = [part for part in path.split("/") if part]
        if not all(_PART.match(part) and len(part) <= MAX_PART and part.strip(".") for part in parts):
            raise InvalidUrl("the path of the URL holds a part that no repository can have, such as '..', '%' or '-x'")
        if scheme == "file":
            parts = parts[-2:] if len(parts) > 1 else ["files", *parts]
        repo = parts[-1].removesuffix(".git") if len(parts) > 1 else ""
        if not repo:
            raise InvalidUrl("the URL does not name a repository as host/organisation/repository")
        return cls(text, scheme, ModuleId(host.lower(), "/".join(parts[:-1]), repo))

    def with_git_suffix(self) -> "GitUrl | None":
        """Give the same repository's URL with `.git` at its end; None when it has that already."""
        return None if self.text.endswith(".git") else GitUrl(f"{self.text}.git", self.scheme, self.module)

    def check_address(self, *, allow_private: bool = True) -> str:
        """Refuse hosts whose address a repository cannot have, whatever its spelling. Resolves the name; blocks.

        Link-local and cloud metadata addresses are always refused, loopback and private ones unless `allow_private`.
        Gives, for http(s), the checked addresses as curl's `host:port:address,...`, so that no later answer of the
        name server is used; else an empty text.
        """
        if self.scheme == "file":
            return ""
        host, _, port = self.module.host.rpartition(":") if self._has_port else (self.module.host, "", "")
        try:
            found = socket.getaddrinfo(host.strip("[]"), None, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            return ""  # Git may know the host by a rewrite or a proxy; it will say what is wrong.
        addresses = list(dict.fromkeys(str(address[0]).partition("%")[0] for *_, address in found))
        for address in addresses:
            ip = ipaddress.ip_address(address)
            if not is_allowed_address(ip, allow_private=True):
                raise InvalidUrl(f"the host '{self.module.host}' has an address that no repository can have")
            if not is_allowed_address(ip, allow_private=allow_private):
                message = f"host '{self.module.host}' has a private address; the setting git_private_hosts allows it"
                raise InvalidUrl(message)
        if self.scheme not in _PORTS or host.startswith("["):
            return ""
        written = ",".join(f"[{address}]" if ":" in address else address for address in addresses)
        return f"{host}:{port or _PORTS[self.scheme]}:{written}"

    @property
    def _has_port(self) -> bool:
        host = self.module.host
        return ":" in host.rpartition("]")[2]


def is_allowed_address(ip: Address, *, allow_private: bool) -> bool:
    """Whether a repository may be at an address; IPv4 addresses inside IPv6 ones count as what they are."""
    candidates: list[Address] = [ip]
    if isinstance(ip, ipaddress.IPv6Address):
        low = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if ip in _NAT64 or ip.ipv4_mapped is not None or (int(ip) >> 32 == 0 and int(ip) > 1):
            candidates = [low]
        elif ip.sixtofour is not None:
            candidates = [ip.sixtofour]
    return not any(
        one.is_link_local
        or one.is_multicast
        or one.is_unspecified
        or one in _METADATA
        or (not allow_private and not one.is_global)
        for one in candidates
    )


def _refuse_credentials(parts: SplitResult) -> None:
    """Refuse passwords and tokens in a URL: it is stored, shown and logged. The message does not repeat them."""
    if parts.password is not None or (parts.scheme in _PORTS and parts.username is not None):
        message = "the URL holds credentials; use a Git credential helper or an SSH key of the server's account instead"
        raise InvalidUrl(message)
    if parts.username is not None and not _USER.match(parts.username):
        raise InvalidUrl("the user name of the URL is not acceptable")
    if parts.port is not None and parts.port == 0:
        raise InvalidUrl("the URL has no acceptable port")
