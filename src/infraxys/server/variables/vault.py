"""Values that stay in a Vault or OpenBao (KV version 2) and are read when a run needs them."""

import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from infraxys.server.secret_options import SecretOptions
from infraxys.server.variables.errors import CannotResolve
from infraxys.server.variables.schemas import Reference

STORE = "vault"
UNAVAILABLE, UNKNOWN, REFUSED = "secret_store_unavailable", "secret_not_found", "secret_store_refused"


class Vault:
    """Reads secrets with a token that it signs in for when it has none or the one it has is refused. Threads share it.

    The role of the server should allow reading, and nothing but what actions may have.
    """

    def __init__(self, options: SecretOptions) -> None:
        import hvac  # noqa: PLC0415 - slow to import, and most servers have no Vault

        self._options = options
        self._client: Any = hvac.Client(
            url=options.vault_url,
            namespace=options.vault_namespace,
            verify=str(options.vault_ca) if options.vault_ca else True,
            timeout=options.vault_timeout,
            token="",  # none from the environment or the home folder
        )
        self._lock = threading.Lock()
        self._signed_in = 0  # how often

    def read(self, references: Iterable[Reference]) -> dict[tuple[str, str], str]:
        """Give values by (path, field), each path read once. Blocks. Raises CannotResolve."""
        fields: dict[str, list[str]] = {}
        for reference in references:
            fields.setdefault(reference.path, []).append(reference.field)
        found = {}
        for path, wanted in fields.items():
            data = self._secret(path)
            for field in wanted:
                value = data.get(field)
                if value is None:
                    raise CannotResolve(UNKNOWN, f"the secret '{path}' in the store '{STORE}' has no field '{field}'")
                found[path, field] = value if isinstance(value, str) else str(value)
        return found

    def _secret(self, path: str) -> dict[str, Any]:
        import hvac.exceptions  # noqa: PLC0415 - see above
        import requests  # noqa: PLC0415 - see above

        attempt = self._signed_in
        try:
            if attempt == 0:
                attempt = self._sign_in(0)
            try:
                return self._read(path)
            except (hvac.exceptions.Forbidden, hvac.exceptions.Unauthorized):
                self._sign_in(attempt)  # the token has run out
                return self._read(path)
        except hvac.exceptions.InvalidPath:
            raise CannotResolve(UNKNOWN, f"there is no secret '{path}' in the store '{STORE}'") from None
        except (hvac.exceptions.Forbidden, hvac.exceptions.Unauthorized):
            raise CannotResolve(
                REFUSED, f"the store '{STORE}' does not let this server read the secret '{path}'"
            ) from None
        except (hvac.exceptions.VaultError, requests.RequestException, OSError) as error:
            kind = type(error).__name__
            raise CannotResolve(UNAVAILABLE, f"the store '{STORE}' cannot be asked for a secret: {kind}") from None

    def _read(self, path: str) -> dict[str, Any]:
        mount = self._options.vault_mount
        answer = self._client.secrets.kv.v2.read_secret_version(
            path=path, mount_point=mount, raise_on_deleted_version=True
        )
        data: dict[str, Any] = answer["data"]["data"] or {}
        return data

    def _sign_in(self, attempt: int) -> int:
        """Get a token, unless another thread has since this attempt."""
        import hvac.exceptions  # noqa: PLC0415 - see above

        with self._lock:
            if self._signed_in == attempt:
                try:
                    self._log_in(read_credential(self._options.vault_credential_file))
                except (
                    hvac.exceptions.InvalidRequest,
                    hvac.exceptions.InvalidPath,
                    hvac.exceptions.Forbidden,
                    hvac.exceptions.Unauthorized,
                ):
                    message = f"the store '{STORE}' does not let this server sign in: look at its vault_ settings"
                    raise CannotResolve(REFUSED, message) from None
                self._signed_in += 1
            return self._signed_in

    def _log_in(self, credential: str) -> None:
        auth, role = self._client.auth, self._options.vault_role
        mount = self._options.vault_auth_mount or self._options.vault_auth
        if self._options.vault_auth == "approle":
            auth.approle.login(role_id=role, secret_id=credential, mount_point=mount)
        else:
            auth.jwt.jwt_login(role=role, jwt=credential, path=mount)


def read_credential(file: Path | None) -> str:
    """Read a secret id or JWT, each time anew: whoever made it also renews it. Raises OSError."""
    return "" if file is None else file.read_text().strip()
