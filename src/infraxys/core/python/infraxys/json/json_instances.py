"""Many instances at once."""

from __future__ import annotations

from ..communicator import Communicator
from ..logger import Logger

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from .json_instance import JsonInstance


class JsonInstances:
    """Instances of one packet below one parent."""

    def __init__(self, instances: Iterable[JsonInstance], parent_instance_id: str, packet_guid: str) -> None:
        self.instances = instances
        self.parent_instance_id = parent_instance_id
        self.packet_guid = packet_guid
        self.logger = Logger.get_logger(type(self).__name__)

    def import_instances(self, remove_existing_children: bool) -> Any:
        """Make them, in place of the children that the parent has where those are to be removed."""
        request = {
            "requestType": "IMPORT INSTANCES",
            "parentInstanceId": self.parent_instance_id,
            "packetGuid": self.packet_guid,
            "removeExistingChildren": remove_existing_children,
            "instances": [{"fields": instance.to_json_fields()} for instance in self.instances],
        }
        return Communicator.get_instance().send_synchronous(request)
