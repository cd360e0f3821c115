"""The settings of secrets. Documented in docs/operate/secrets.md."""

from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings


class SecretOptions(BaseSettings):
    """Where the master key is, and a Vault or OpenBao to read values from; none while there is no address."""

    secrets_key: SecretStr | None = None
    secrets_key_file: Path | None = None
    vault_url: str | None = None
    vault_namespace: str | None = None
    vault_mount: str = "secret"
    vault_auth: Literal["approle", "jwt"] = "approle"
    vault_auth_mount: str | None = None
    vault_role: str = ""
    vault_credential_file: Path | None = None
    vault_ca: Path | None = None
    vault_timeout: float = Field(default=5.0, gt=0, le=60)

    @field_validator("vault_url")
    @classmethod
    def _is_url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        is_local = parts.hostname in {"localhost", "127.0.0.1", "::1"}
        if parts.scheme not in ({"http", "https"} if is_local else {"https"}) or not parts.hostname or parts.username:
            raise ValueError(f"'{value}' is no URL of the form https://host[:port] (http on this machine only)")
        return value.rstrip("/")

    @model_validator(mode="after")
    def _is_complete(self) -> "SecretOptions":
        if self.vault_url is not None and (not self.vault_role or self.vault_credential_file is None):
            raise ValueError(
                "vault_role (the role id for approle, the role for jwt) and vault_credential_file (with the secret id "
                "or the JWT) are needed with vault_url"
            )
        return self
