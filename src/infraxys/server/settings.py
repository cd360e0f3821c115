"""All settings, read once at start: command line, then environment (`INFRAXYS_…`), then a TOML file, then defaults."""

import os
import tomllib
from functools import cached_property
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from infraxys.server.auth.openid.options import OpenIdOptions
from infraxys.server.limit_options import LimitOptions
from infraxys.server.secret_options import SecretOptions

SCHEMES = ("https", "ssh", "http", "file")


def default_data_dir() -> Path:
    """Give /var/lib/infraxys for root, the user's data folder for others."""
    if os.geteuid() == 0:
        return Path("/var/lib/infraxys")
    base = os.environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "infraxys"


def default_slots() -> int:
    """Give the number of actions that run at once: they mostly wait for others."""
    return max(16, 8 * (os.cpu_count() or 1))


class Settings(OpenIdOptions, SecretOptions, LimitOptions):
    """What an installation can choose. Documented in docs/operate/settings.md."""

    model_config = SettingsConfigDict(env_prefix="INFRAXYS_", frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    port: int = Field(default=8444, ge=0, le=65535)
    data_dir: Path = Field(default_factory=default_data_dir)
    work_dir: Path | None = None
    mode: Literal["developer", "server"] = "developer"
    tls_cert: Path | None = None
    tls_key: Path | None = None
    no_tls: bool = False
    database_url: str | None = None
    engine_url: str | None = None
    git_schemes: str | None = None
    git_private_hosts: bool | None = None
    git_timeout: float = Field(default=300.0, ge=1, le=86400)
    no_examples: bool = False
    edits: bool = True
    grace: float = Field(default=30.0, ge=0)
    slots: int = Field(default_factory=default_slots, ge=1, le=2000)
    backend: Literal["bubblewrap", "container", "kubernetes", "dummy"] = "bubblewrap"
    container_socket: Path | None = None
    container_network: str = "bridge"
    default_image: str = ""
    allow_custom_images: bool | None = None
    allowed_images: str = ""
    pull_policy: Literal["always", "missing", "never"] = "missing"
    kubeconfig: Path | None = None
    kubernetes_namespace: str | None = None
    kubernetes_helper_image: str = "docker.io/library/busybox:stable"
    kill_grace: float = Field(default=8.0, ge=0, le=600)
    body_limit: int = Field(default=1024**2, ge=1024)
    body_seconds: float = Field(default=30.0, gt=0)
    log_limit: int = Field(default=2 * 1024**3, ge=1024)
    extra_read_only: str = ""
    host_mounts: str = ""
    cache_quota: int = Field(default=10 * 1024**3, ge=4096)
    cache_upload_limit: int = Field(default=100 * 1024**2, ge=1024)
    artefact_limit: int = Field(default=1024**3, ge=4096)
    requires_team: bool = False
    session_idle: float = Field(default=12 * 3600, ge=60, le=365 * 86400)
    session_lifetime: float = Field(default=7 * 86400, ge=60, le=365 * 86400)
    trusted_proxies: str = ""
    rate_limits: bool | None = None
    rate_limit_address: int = Field(default=12_000, ge=1)
    rate_limit_token: int = Field(default=6_000, ge=1)
    rate_limit_actions: int = Field(default=3_000, ge=1)
    rate_limit_sign_in: int = Field(default=20, ge=1)
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @field_validator("data_dir", "work_dir")
    @classmethod
    def expand(cls, path: Path | None) -> Path | None:
        """Take `~` for the home folder, also where no shell has."""
        return None if path is None else path.expanduser().absolute()

    @field_validator("git_schemes")
    @classmethod
    def check_schemes(cls, text: str | None) -> str | None:
        """Refuse kinds of URL that no repository can be had by."""
        unknown = sorted({part.strip() for part in (text or "").split(",")} - {"", *SCHEMES})
        if unknown:
            raise ValueError(f"'{unknown[0]}' is none of {', '.join(SCHEMES)}")
        return text

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read the file that INFRAXYS_CONFIG names last. Raises FileNotFoundError and ValueError."""
        del dotenv_settings, file_secret_settings
        file = os.environ.get("INFRAXYS_CONFIG")
        if file and not Path(file).is_file():
            raise FileNotFoundError(f"there is no settings file '{file}' (INFRAXYS_CONFIG)")
        try:
            files = (TomlConfigSettingsSource(settings_cls, Path(file)),) if file else ()
        except tomllib.TOMLDecodeError as error:
            raise ValueError(f"'{file}' is not TOML: {error}") from error
        return (init_settings, env_settings, *files)

    @property
    def schemes(self) -> tuple[str, ...]:
        """The kinds of repository URL that are accepted."""
        if self.git_schemes is not None:
            return tuple(part.strip() for part in self.git_schemes.split(",") if part.strip())
        return ("https", "ssh") if self.mode == "server" else SCHEMES

    @property
    def allows_private_hosts(self) -> bool:
        """Whether repositories may be at loopback and private addresses."""
        return self.mode == "developer" if self.git_private_hosts is None else self.git_private_hosts

    @cached_property
    def database(self) -> str:
        """The URL of the server's database."""
        return self.database_url or f"sqlite:///{self.data_dir / 'db' / 'infraxys.db'}"

    @cached_property
    def engine(self) -> str:
        """The URL of the durable engine's database."""
        return self.engine_url or f"sqlite:///{self.data_dir / 'db' / 'engine.db'}"
