"""Where an instance is."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class InstanceReference:
    """Names an instance. There is no environment for those of roles."""

    def __init__(
        self,
        module_branch_path: str,
        container_id: str,
        instance_id: str,
        environment_id: str | None = None,
        name: str | None = None,
    ) -> None:
        self.module_branch_path = module_branch_path
        self.container_id = container_id
        self.instance_id = instance_id
        self.environment_id = environment_id
        self.name = name

    def to_rest_get_json(self) -> dict[str, Any]:
        """Give it as the API reads it."""
        return {
            "moduleBranchPath": self.module_branch_path,
            "environmentId": self.environment_id,
            "containerId": self.container_id,
            "instanceId": self.instance_id,
        }
