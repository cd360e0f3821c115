"""A file of references by name."""

from __future__ import annotations

from .instance_reference import InstanceReference
from .json_utils import JsonUtils

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import ClassVar


class InstanceReferences:
    """Knows the references of the files that were loaded."""

    _references_by_name: ClassVar[dict[str, InstanceReference]] = {}

    @staticmethod
    def load(instance_references_file: str) -> None:
        """Read a file: an object with `moduleBranchPath`, `environmentId`, `containerId`, `instanceId` by name."""
        for name, found in JsonUtils.get_instance().load_from_file(instance_references_file).items():
            InstanceReferences._references_by_name[name] = InstanceReference(
                found["moduleBranchPath"], found["containerId"], found["instanceId"], found.get("environmentId"), name
            )

    @staticmethod
    def get_instance_reference(reference_name: str) -> InstanceReference | None:
        """Give the one with a name, or None."""
        return InstanceReferences._references_by_name.get(reference_name)
