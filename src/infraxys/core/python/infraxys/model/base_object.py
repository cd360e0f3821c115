"""What classes for instances inherit."""

from __future__ import annotations

import os

from ..communicator import Communicator
from ..logger import Logger

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from ..json.instance_reference import InstanceReference


class BaseObject:
    """An instance of a packet.

    The packet is that of its class: `packet_name` for a packet of the class's own module, `packet_guid` or the type
    given for one that `packets.json` of the environment describes.
    """

    packet_guid: str | None = None
    packet_name: str | None = None

    def __init__(
        self,
        instance_reference: InstanceReference | None = None,
        parent_instance_reference: InstanceReference | None = None,
        parent_instance: BaseObject | None = None,
        *,
        rest_client: Any = None,
        db_id: Any = None,
        container_db_id: Any = None,
        environment_db_id: Any = None,
        parent_instance_id: str | None = None,
        audit_json: Mapping[str, Any] | None = None,
        packet_type: str | None = None,
        parent_instance_guid: str | None = None,
    ) -> None:
        self.instance_reference = instance_reference
        self.parent_instance_reference = parent_instance_reference
        self.parent_instance = parent_instance
        self.rest_client = rest_client
        self.db_id = db_id
        self.container_db_id = container_db_id
        self.environment_db_id = environment_db_id
        self.parent_instance_id = parent_instance_id
        self.parent_instance_guid = parent_instance_guid
        self.audit_json = dict(audit_json or {})
        self.packet_type = packet_type
        self.instance_id: Any = None
        self._packet: Any = None
        self.logger = Logger.get_logger(type(self).__name__)

    def get_packet(self) -> Any:
        """Give its packet; None where nothing says which."""
        if self._packet is None:
            if self.packet_type or self.packet_guid:
                from ..json.packets import Packets

                self._packet = Packets.get_instance().get_packet(self.packet_guid, self.packet_type)
            elif self.packet_name:
                from ..services.packet_service import PacketService

                self._packet = PacketService.get_instance().get_packet(for_instance=self)
        return self._packet

    def get_attributes(self) -> Any:
        """Give the attributes of its packet."""
        return self.get_packet().get_attributes()

    def from_environment(self) -> Any:
        """Take the values of all attributes from the environment of the action; gives itself."""
        for attribute in self.get_attributes():
            setattr(self, attribute.name, os.environ.get(attribute.name, ""))
        self._loaded()
        return self

    def _loaded(self) -> None:
        """Do what has to be done when all values are there; for classes to override."""

    def get_parent_instance_guid(self) -> str | None:
        """Give the id of its parent."""
        return self.parent_instance_guid

    def set_parent_instance_guid(self, parent_instance_guid: str) -> None:
        """Say what its parent is."""
        self.parent_instance_guid = parent_instance_guid

    def set_status(self, message: object) -> None:
        """Show a text beside the run until the next one."""
        Communicator.set_status(message)

    # -- the audit trail --

    def audit_action_start(self, label: str) -> None:
        """Put on record that something begins."""
        self.logger.audit_action_start(label, self.audit_json)

    def audit_action_complete(self, label: str) -> None:
        """Put on record that something is done."""
        self.logger.audit_action_complete(label, self.audit_json)

    def audit_action(self, label: str, status: str | None = None) -> None:
        """Put on record what the action does."""
        self.logger.audit_action(label, status, self.audit_json)

    # -- the answer of the run --

    def add_action_error(self, code: object, message: object) -> None:
        """Add an error to the run."""
        _service().add_action_error(code, message)

    def add_action_log_entry(self, message: object, level: str = "INFO") -> None:
        """Add a line to the log."""
        _service().add_action_log_entry(message, level)

    def set_rest_response(self, code: object, message: object) -> None:
        """Set what the caller of the run gets."""
        request = {"requestType": "SET_REST_RESPONSE", "actionResponse": {"code": code, "message": message}}
        Communicator.get_instance().send_asynchronous(request)

    # -- the instance on the server --

    def load_instance_from_server(self, server_instance_json: Mapping[str, Any]) -> None:
        """Take the values of attributes from the server; `JsonInstance` does."""
        raise NotImplementedError(f"{type(self).__name__} does not say how it is loaded; JsonInstance does")

    def load_instance_form_response(self, server_response: Any) -> None:
        """Take the values of attributes from a form; `JsonInstance` does."""
        raise NotImplementedError(f"{type(self).__name__} does not say how it is loaded; JsonInstance does")

    def to_json_fields(self) -> dict[str, Any]:
        """Give the values by the names of attributes; `JsonInstance` does."""
        raise NotImplementedError(f"{type(self).__name__} does not say which values it has; JsonInstance does")

    def get_from_db_by_velocity_name(
        self, velocity_name: str, container_id: Any = None, environment_id: Any = None
    ) -> None:
        """Take the values from the instance with a velocity name. Raises ValueError without a place to look."""
        if not (container_id or environment_id):
            raise ValueError("get_from_db_by_velocity_name needs a container_id or an environment_id")
        place = {"containerId": container_id} if container_id else {"environmentId": environment_id}
        self.load_instance_from_server(_ask({"requestType": "GET INSTANCE", "velocityName": velocity_name, **place}))

    def ensure_instance(
        self, compile_container: bool = False, compile_instance: bool = False, compile_environment: bool = False
    ) -> Any:
        """Find the instance that has its key attributes below its parent, or make it."""
        answer = _ask(
            {
                "requestType": "ENSURE INSTANCE",
                "packetGuid": self.packet_guid,
                "parentInstanceId": self.parent_instance_id,
                "compileInstance": compile_instance,
                "compileContainer": compile_container,
                "compileEnvironment": compile_environment,
                "fields": self.to_json_fields(),
            }
        )
        self.instance_id = answer["dbId"]
        return answer

    def update_instance(
        self, compile_container: bool = False, compile_instance: bool = False, compile_environment: bool = False
    ) -> Any:
        """Write its values to the server. Raises ValueError before it was loaded from there."""
        if not self.db_id:
            raise ValueError("update_instance needs an instance that was loaded from the server")
        return _ask(
            {
                "requestType": "UPDATE INSTANCE",
                "dbId": self.db_id,
                "compileInstance": compile_instance,
                "compileContainer": compile_container,
                "compileEnvironment": compile_environment,
                "fields": self.to_json_fields(),
            }
        )

    def create_new(self, server_response: Any) -> None:
        """Make the instance with the values of a form."""
        self.load_instance_form_response(server_response)
        self.ensure_instance(compile_instance=True)

    def execute_pipeline(self, pipeline_type: str = "INSTALL", scope: str = "ENVIRONMENT") -> Any:
        """Withdrawn: actions and workflows are started by the API."""
        raise Exception("Use REST-API to execute actions.")

    def execute_action(self, filename: str, instance_id: Any = None, label: str | None = None) -> Any:
        """Withdrawn: actions and workflows are started by the API."""
        raise Exception("Use REST-API to execute actions.")


def _ask(request: Mapping[str, Any]) -> Any:
    return Communicator.get_instance().send_synchronous(request)


def _service() -> Any:
    from ..services.infraxys_service import InfraxysService

    return InfraxysService
