"""How a Kubernetes cluster is reached: the account of the pod that this runs in, or a part of a kubeconfig file."""

import base64
import os
import ssl
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import yaml

from infraxys.engine.backends.base import BackendUnavailable

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
MAX_CONFIG = 1024 * 1024

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Access:
    """Where a cluster is, and as whom. `tokens` gives the token for a request; it may change while this runs."""

    server: str
    namespace: str
    tls: ssl.SSLContext | None = field(repr=False, default=None)
    token: str | None = field(repr=False, default=None)
    token_file: Path | None = None

    def current_token(self) -> str | None:
        """Give the token as it is now: files of tokens are renewed. Raises OSError."""
        return self.token_file.read_text().strip() if self.token_file else self.token


class TokenAuth(httpx2.Auth):
    """Puts the token into requests."""

    def __init__(self, access: Access) -> None:
        self._access = access

    def auth_flow(self, request: httpx2.Request) -> Iterator[httpx2.Request]:  # type: ignore[override] # answers are not looked at
        """Add the token."""
        if token := self._access.current_token():
            request.headers["Authorization"] = f"Bearer {token}"
        yield request


def find_access(kubeconfig: Path | None, namespace: str | None) -> Access:
    """Find the cluster: the file that is named, else the pod's own account, else what kubectl would use.

    Blocks. Raises BackendUnavailable.
    """
    host = os.environ.get("KUBERNETES_SERVICE_HOST")
    if kubeconfig is None and host and (ACCOUNT / "token").exists():
        port = os.environ.get("KUBERNETES_SERVICE_PORT", "443")
        own = (ACCOUNT / "namespace").read_text().strip()
        server = f"https://{f'[{host}]' if ':' in host else host}:{port}"
        tls = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))
        return Access(server, namespace or own, tls, token_file=ACCOUNT / "token")
    path = kubeconfig or Path(os.environ.get("KUBECONFIG") or Path.home() / ".kube" / "config")
    try:
        if path.stat().st_size > MAX_CONFIG:
            raise BackendUnavailable(f"the kubeconfig file {path} is larger than {MAX_CONFIG} bytes")
        return read_kubeconfig(yaml.safe_load(path.read_text()), path.parent, namespace)
    except OSError as error:
        message = (
            f"there is no cluster: this is not a pod, and {path} cannot be read ({error.strerror}); set kubeconfig"
        )
        raise BackendUnavailable(message) from error
    except (yaml.YAMLError, RecursionError, KeyError, TypeError, ValueError) as error:
        raise BackendUnavailable(f"the kubeconfig file {path} is not possible: {error!r}") from error


def read_kubeconfig(config: Json, folder: Path, namespace: str | None) -> Access:
    """Read the current context of a kubeconfig. Raises BackendUnavailable, KeyError, TypeError, ValueError, OSError."""
    context = named(config, "contexts", config["current-context"])["context"]
    cluster = named(config, "clusters", context["cluster"])["cluster"]
    user = named(config, "users", context["user"])["user"] if context.get("user") else {}
    for unknown in ("exec", "auth-provider", "username"):
        if unknown in user:
            message = f"the kubeconfig's user signs in by '{unknown}'; only tokens and certificates are possible here"
            raise BackendUnavailable(message)
    tls = None
    if str(cluster["server"]).startswith("https"):
        authority = content(cluster, "certificate-authority", folder)
        tls = ssl.create_default_context(cadata=authority.decode() if authority else None)
        load_certificate(tls, user, folder)
    token_file = user.get("tokenFile")
    return Access(
        str(cluster["server"]).rstrip("/"),
        namespace or str(context.get("namespace") or "default"),
        tls,
        token=user.get("token"),
        token_file=folder / token_file if token_file else None,
    )


def named(config: Json, kind: str, name: str) -> Json:
    """Give the entry of a name. Raises ValueError."""
    for entry in config.get(kind) or []:
        if entry["name"] == name:
            found: Json = entry
            return found
    raise ValueError(f"it has no {kind.removesuffix('s')} '{name}'")


def content(entry: Json, name: str, folder: Path) -> bytes | None:
    """Give what an entry has as `name-data`, in base64, or in the file that `name` tells."""
    if f"{name}-data" in entry:
        return base64.b64decode(entry[f"{name}-data"])
    return (folder / entry[name]).read_bytes() if name in entry else None


def load_certificate(tls: ssl.SSLContext, user: Json, folder: Path) -> None:
    """Load the client's certificate and key, which the library takes from files only."""
    certificate, key = content(user, "client-certificate", folder), content(user, "client-key", folder)
    if certificate is None or key is None:
        return
    with tempfile.NamedTemporaryFile(dir=tempfile.gettempdir()) as file:  # closed to others, removed at once
        file.write(certificate + b"\n" + key)
        file.flush()
        tls.load_cert_chain(file.name)
