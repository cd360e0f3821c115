"""Give the wheel the dependencies that stand in run.in, so that they are written once."""

from pathlib import Path

from hatchling.metadata.plugin.interface import MetadataHookInterface


class DependenciesFromFile(MetadataHookInterface):
    """Reads `requirements/run.in` when the wheel is built."""

    def update(self, metadata: dict[str, object]) -> None:
        """Set `dependencies`; called by hatchling."""
        lines = (Path(self.root) / "requirements" / "run.in").read_text().splitlines()
        metadata["dependencies"] = [line for line in lines if line and not line.startswith("#")]
