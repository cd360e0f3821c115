"""The settings of templates and of generation. Documented in docs/operate/settings.md."""

from dataclasses import replace

from pydantic import Field
from pydantic_settings import BaseSettings

from infraxys.engine.evaluate import LIMITS, Rules


class TemplateOptions(BaseSettings):
    """Whether references are strict where module.json does not say, and what a template and a generation may use."""

    template_strict: bool = True
    template_steps: int = Field(default=1_000_000, ge=10_000)
    template_seconds: float = Field(default=1.5, ge=0.1, le=600, allow_inf_nan=False)
    template_output: int = Field(default=8_000_000, ge=1024)
    template_depth: int = Field(default=20, ge=1, le=20)
    generation_seconds: float = Field(default=60.0, ge=1, le=86400, allow_inf_nan=False)

    @property
    def template_rules(self) -> Rules:
        """How the templates of all modules are rendered."""
        limits = replace(
            LIMITS,
            steps=self.template_steps,
            seconds=self.template_seconds,
            output=self.template_output,
            characters=max(LIMITS.characters, 3 * self.template_output),
            macro_depth=self.template_depth,
        )
        return Rules(strict=self.template_strict, limits=limits, seconds=self.generation_seconds)
