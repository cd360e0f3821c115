"""A packet, as `packets.json` of the environment describes it."""

from __future__ import annotations

from .packet_attribute import PacketAttribute

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

MEMBERS = (
    *("dbId", "name", "caption", "tooltip", "typeClassName", "uiFieldClassName", "required", "isKey"),
    *("defaultValue", "newItemsAllowed", "maxLength", "listOfValues"),
)


class Packet:
    """What is known of it."""

    def __init__(
        self,
        dbId: Any,
        guid: str,
        name: str,
        packetType: str,
        attributes_json: Iterable[Mapping[str, Any]],
    ) -> None:
        self.dbId = dbId
        self.guid = guid
        self.name = name
        self.packetType = packetType
        self._attributes = [
            PacketAttribute(**{member: item[member] for member in MEMBERS if member in item})
            for item in attributes_json
        ]

    def get_attributes(self) -> list[PacketAttribute]:
        """Give its attributes, in order."""
        return self._attributes
