"""The settings of what actions may use. Documented in docs/operate/limits.md."""

from dataclasses import replace
from typing import Annotated

from pydantic import BeforeValidator, Field, model_validator
from pydantic_settings import BaseSettings

from infraxys.engine.backends.base import Limits
from infraxys.engine.limits import NETWORKS, Allowance, Network

MIB = 1024**2
_YES, _NO = ("true", "1", "yes"), ("false", "0", "no")


def _read_network(value: object) -> object:
    """Read how the setting was written before there was a third value."""
    text = str(value).lower()
    return "on" if text in _YES else "off" if text in _NO else value


NetworkSetting = Annotated[Network, BeforeValidator(_read_network)]


class LimitOptions(BaseSettings):
    """What an action gets that asks for nothing (`…_limit`), and the most that one can ask for (`…_max`).

    Without a maximum, what an action gets by itself is the most.
    """

    network: NetworkSetting = "on"
    network_max: NetworkSetting | None = None
    memory_limit: int = Field(default=2 * 1024**3, ge=16 * MIB)
    memory_max: int | None = Field(default=None, ge=16 * MIB)
    process_limit: int = Field(default=512, ge=4)
    process_max: int | None = Field(default=None, ge=4)
    cpu_limit: float | None = Field(default=None, ge=0.01, allow_inf_nan=False)
    cpu_max: float | None = Field(default=None, ge=0.01, allow_inf_nan=False)
    tmp_limit: int = Field(default=1024**3, ge=MIB)
    tmp_max: int | None = Field(default=None, ge=MIB)
    file_limit: int | None = Field(default=None, ge=1024)
    file_max: int | None = Field(default=None, ge=1024)
    open_files_limit: int = Field(default=4096, ge=32)
    open_files_max: int | None = Field(default=None, ge=32)

    @model_validator(mode="after")
    def _usual_is_possible(self) -> "LimitOptions":
        for name in ("memory", "process", "cpu", "tmp", "file", "open_files"):
            usual, most = getattr(self, f"{name}_limit"), getattr(self, f"{name}_max")
            if most is not None and (usual is None or usual > most):
                raise ValueError(f"{name}_limit has to be a number that is at most {name}_max")
        if self.network_max is not None and NETWORKS.index(self.network) < NETWORKS.index(self.network_max):
            raise ValueError("network cannot allow more than network_max")
        return self

    @property
    def usual_allowance(self) -> Allowance:
        """What an action gets that asks for nothing."""
        limits = Limits(
            memory_bytes=self.memory_limit,
            processes=self.process_limit,
            cpus=self.cpu_limit,
            tmp_bytes=self.tmp_limit,
            home_bytes=self.tmp_limit,
            file_bytes=self.file_limit,
            open_files=self.open_files_limit,
        )
        return Allowance(limits, self.network)

    @property
    def most_allowed(self) -> Allowance:
        """The most that an action can ask for."""
        usual = self.usual_allowance
        limits = replace(
            usual.limits,
            memory_bytes=self.memory_max or self.memory_limit,
            processes=self.process_max or self.process_limit,
            cpus=self.cpu_max or self.cpu_limit,
            tmp_bytes=self.tmp_max or self.tmp_limit,
            home_bytes=self.tmp_max or self.tmp_limit,
            file_bytes=self.file_max or self.file_limit,
            open_files=self.open_files_max or self.open_files_limit,
        )
        return Allowance(limits, self.network_max or self.network)
