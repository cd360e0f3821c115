"""Containers that an action makes."""

from __future__ import annotations

from .environment import Ensured

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Container(Ensured):
    """A container of an environment."""

    def __init__(self, environment_id: str, name: str | None = None) -> None:
        super().__init__()
        self.environment_id = environment_id
        self.name = name

    def ensure_instance(self, *_: Any, **__: Any) -> None:
        """Find it, or make it."""
        label = f"Create container '{self.name}' under environment '{self.environment_id}'"
        self._ensure(self.generate_request_json("ENSURE CONTAINER"), label)

    def clone_instance(self, source_container_id: str) -> None:
        """Find it, or make it as a copy of another; its name is then the server's."""
        label = f"Clone container '{source_container_id}' under environment '{self.environment_id}'"
        request = {**self.generate_request_json("CLONE CONTAINER"), "sourceContainerId": source_container_id}
        self.name = self._ensure(request, label)["containerName"]

    def generate_request_json(self, request_type: str) -> dict[str, Any]:
        """Give a request about it."""
        named = {"containerName": self.name} if self.name else {}
        return {"requestType": request_type, "targetEnvironmentId": self.environment_id, **named}
