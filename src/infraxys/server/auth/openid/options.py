"""The settings of the OpenID provider. Documented in docs/operate/settings.md and single-sign-on.md."""

from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode

ALGORITHMS = ("RS256", "ES256", "PS256", "EdDSA", "Ed25519")
# Signatures with a public key only: with a shared secret whoever can check a token can also make one.
SAFE_ALGORITHMS = frozenset({*ALGORITHMS, "RS384", "RS512", "PS384", "PS512", "ES384", "ES512"})


def _split(value: object) -> object:
    return tuple(value.replace(",", " ").split()) if isinstance(value, str) else value


Words = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]


class OpenIdOptions(BaseSettings):
    """What an installation can choose about sign-in with an OpenID provider; off while there is no issuer."""

    public_url: str | None = None
    oidc_issuer: str | None = None
    oidc_client_id: str = ""
    oidc_client_secret: SecretStr | None = None
    oidc_client_secret_file: Path | None = None
    oidc_scopes: Words = ("openid", "profile", "email", "offline_access")
    oidc_prompt: Literal["", "login", "consent", "select_account"] = ""
    oidc_ca: Path | None = None
    oidc_algorithms: Words = ALGORITHMS
    oidc_groups_claim: str = "groups"
    oidc_admin_group: str | None = None
    oidc_create_users: bool = True
    oidc_audiences: Words = ()
    oidc_token_types: Words = ("at+jwt",)
    oidc_cli_client_id: str | None = None
    oidc_resource: str | None = None
    oidc_refresh_seconds: float = Field(default=30.0, ge=0.1, le=3600)
    oidc_outage_seconds: float = Field(default=900.0, ge=0)
    oidc_keys_seconds: float = Field(default=60.0, ge=0.1)

    @field_validator("public_url", "oidc_issuer")
    @classmethod
    def _is_plain_url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        if parts.scheme != "https" or not parts.hostname or parts.query or parts.fragment or parts.username:
            raise ValueError(f"'{value}' is no URL of the form https://host[:port][/path]")
        return value

    @field_validator("oidc_algorithms")
    @classmethod
    def _are_safe(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        bad = [name for name in value if name not in SAFE_ALGORITHMS]
        if bad or not value:
            raise ValueError(f"{', '.join(bad) or 'nothing'}: choose from {', '.join(sorted(SAFE_ALGORITHMS))}")
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> "OpenIdOptions":
        if self.oidc_issuer is None:
            return self
        if not self.oidc_client_id:
            raise ValueError("oidc_issuer needs oidc_client_id as well")
        if "openid" not in self.oidc_scopes:
            raise ValueError("oidc_scopes has to name 'openid'")
        if self.oidc_client_id in self.oidc_audiences:
            raise ValueError("oidc_audiences may not name the client id: ID tokens would pass for access tokens")
        return self

    def read_client_secret(self) -> str | None:
        """Give the client's secret, from the setting or its file. Raises OSError when the file cannot be read."""
        if self.oidc_client_secret is not None:
            return self.oidc_client_secret.get_secret_value()
        file = self.oidc_client_secret_file
        try:
            return file.read_text().strip() if file is not None else None
        except (OSError, UnicodeDecodeError) as error:
            raise OSError(f"the file '{file}' of the setting oidc_client_secret_file cannot be read") from error
