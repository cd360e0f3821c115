"""Instances over the API, and what the caller of the run gets."""

from __future__ import annotations

from .. import places
from ..communicator import Communicator
from ..infraxys_rest_client import InfraxysRestClient
from ..json.instance_reference import InstanceReference
from ..rest_client import succeeded
from .base_service import BaseService

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from ..http import Response
    from ..model.attribute import Attribute
    from ..model.base_object import BaseObject
    from ..model.packet import Packet
    from ..model.packet_extend import PacketExtend


class InfraxysService(BaseService):
    """Reads and writes instances of classes that inherit `BaseObject`."""

    _instance: InfraxysService | None = None

    @staticmethod
    def get_instance() -> InfraxysService:
        """Give the one there is."""
        if InfraxysService._instance is None:
            InfraxysService._instance = InfraxysService()
        return InfraxysService._instance

    def get_by_reference(
        self, instance_reference: InstanceReference, target_class: Any = None, target_instance: Any = None
    ) -> Any:
        """Give an instance, as one of a class or with its values in one. Raises NotFoundException."""
        answer = self._get("instances", instance_reference.to_rest_get_json())
        return _loaded(answer["instance"], target_class, target_instance)

    def get_child_by_attribute(
        self,
        parent_instance: BaseObject,
        attribute_name: str,
        attribute_value: Any,
        target_class: Any = None,
        target_instance: Any = None,
    ) -> Any:
        """Give the child that has a value of an attribute, or None."""
        wanted = {"attributeName": attribute_name, "attributeValue": attribute_value}
        answer = self._get("instances/byAttributeNameAndValue", {**_reference(parent_instance), **wanted})
        found = answer.get("instance")
        return None if found is None else _loaded(found, target_class, target_instance)

    def get_instances_by_packet_type(
        self, parent_instance: BaseObject, packet_type: str, target_class: Any, recursive: bool = False
    ) -> list[Any]:
        """Give the children of a type, and their children and so on where that is wanted."""
        wanted = {"packetType": packet_type, "recursive": recursive}
        answer = self._get("instances/byPacketType", {**_reference(parent_instance), **wanted})
        return [_loaded(found, target_class) for found in answer.get("instances") or ()]

    def save(self, instance: BaseObject) -> Response:
        """Write an instance, or make it below its parent. Raises Exception where that fails."""
        packet = instance.get_packet()
        if packet is None:
            raise ValueError(f"{type(instance).__name__} does not say which packet it is of")
        parent = instance.parent_instance_reference
        if parent is None and instance.parent_instance is not None:
            parent = instance.parent_instance.instance_reference
        reference = instance.instance_reference or parent
        if reference is None:
            raise ValueError("save needs an instance_reference, a parent_instance_reference or a parent_instance")
        body = {
            "packetId": packet.id,
            "packetPath": packet.module_branch_path,
            "id" if instance.instance_reference else "parentId": reference.instance_id,
            "moduleBranchPath": reference.module_branch_path,
            "environmentId": reference.environment_id,
            "containerId": reference.container_id,
            "attributes": [
                {"id": item.id, "name": item.name, "value": getattr(instance, item.name, None)}
                for item in self._attributes(packet)
            ],
        }
        return succeeded(InfraxysRestClient.get_instance().execute_post("instances", {"instance": body}))

    def get_packet(self, packet_extend: PacketExtend, extending: Packet | None = None) -> Packet:
        """Give a packet that another one extends. Raises OSError and ValueError.

        What a module says of itself means the branch that is executed, whatever branch it was written on.
        """
        from .packet_service import PacketService

        path = packet_extend.module_branch_path
        if extending is not None and path.split("\\")[:3] == extending.module_branch_path.split("\\")[:3]:
            path = extending.module_branch_path
        path = path.replace("\\", "/")
        folder = f"{places.ROOT}/modules/{path}/packets/{packet_extend.name}"
        return PacketService.get_instance().get_packet(packet_directory=folder)

    @staticmethod
    def add_action_error(code: object, message: object) -> None:
        """Add an error to the run; the caller gets it as well."""
        request = {"requestType": "ADD_ACTION_ERROR", "code": code, "message": message}
        Communicator.get_instance().send_asynchronous(request)

    @staticmethod
    def add_action_log_entry(message: object, level: str = "INFO") -> None:
        """Add a line to the log."""
        request = {"requestType": "ADD_ACTION_LOG", "level": level, "message": message}
        Communicator.get_instance().send_asynchronous(request)

    @staticmethod
    def set_rest_response(message: Any) -> None:
        """Set what the caller of the run gets as its answer: any JSON. The last one counts."""
        request = {"requestType": "SET_REST_RESPONSE", "actionResponse": {"message": message}}
        Communicator.get_instance().send_asynchronous(request)

    def _get(self, path: str, body: Mapping[str, Any]) -> Any:
        return InfraxysRestClient.get_instance().execute_get(path, body).json()

    def _attributes(self, packet: Packet) -> Iterator[Attribute]:
        """Give the attributes of a packet and of those that it extends."""
        yield from packet.attributes
        for extended in packet.packet_extends:
            yield from self._attributes(self.get_packet(extended, packet))


def _reference(instance: BaseObject) -> dict[str, Any]:
    if instance.instance_reference is None:
        raise ValueError("the parent has no instance_reference")
    return instance.instance_reference.to_rest_get_json()


def _loaded(found: Mapping[str, Any], target_class: Any = None, target_instance: Any = None) -> Any:
    """Give an instance with the values that the server gave, as far as it has such attributes."""
    if target_instance is None:
        if target_class is None:
            raise ValueError("a target_class or a target_instance is needed")
        path, container = found["moduleBranchPath"], found["containerId"]
        reference = InstanceReference(path, container, found["id"], found.get("environmentId"))
        target_instance = target_class(instance_reference=reference)
    for attribute in found.get("attributes") or ():
        if hasattr(target_instance, attribute["name"]):
            setattr(target_instance, attribute["name"], attribute["value"])
    return target_instance
