"""Environments that an action makes."""

from __future__ import annotations

from ..communicator import Communicator
from .base_object import BaseObject

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Ensured(BaseObject):
    """Something that is found or made. `is_new` says which, `reason` why nothing was made, `db_id` is its id."""

    is_new: bool | None = None
    reason: str | None = None
    name: str | None = None

    def _ensure(self, request: dict[str, Any], label: str) -> Any:
        """Ask for it; gives the server's answer."""
        self.audit_action_start(label)
        answer = Communicator.get_instance().send_synchronous(request)
        self.is_new = answer["actionTaken"] != "none"
        if self.is_new:
            self.set_status(f"Finished: {label}")
            self.audit_action_complete(label)
        else:
            self.set_status(f"{type(self).__name__} '{self.name}' already exists!")
            self.reason = answer["reason"]
        self.db_id = answer["dbId"]
        return answer


class Environment(Ensured):
    """An environment of a project."""

    def __init__(self, project_id: str, name: str) -> None:
        super().__init__()
        self.project_id = project_id
        self.name = name

    def ensure_instance(self, *_: Any, **__: Any) -> None:
        """Find it by its name, or make it."""
        label = f"Create environment '{self.name}' under project '{self.project_id}'"
        self._ensure(self.generate_request_json("ENSURE ENVIRONMENT"), label)

    def clone_instance(self, source_environment_id: str) -> None:
        """Find it by its name, or make it as a copy of another."""
        label = f"Create environment '{self.name}' under project '{self.project_id}' as {source_environment_id}"
        request = {**self.generate_request_json("CLONE ENVIRONMENT"), "sourceEnvironmentId": source_environment_id}
        self._ensure(request, label)

    def generate_request_json(self, request_type: str) -> dict[str, Any]:
        """Give a request about it."""
        return {"requestType": request_type, "projectId": self.project_id, "environmentName": self.name}
