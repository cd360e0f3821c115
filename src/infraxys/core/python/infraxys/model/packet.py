"""A packet, as its `packet.json` describes it."""

from __future__ import annotations

from ..json.json_utils import JsonUtils
from .attribute import Attribute
from .packet_extend import PacketExtend

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import ClassVar


class Packet:
    """A packet of a module: read from `…/<host>/<org>/<repository>/<branch>/packets/<name>/packet.json`."""

    instances_by_path: ClassVar[dict[str, Packet]] = {}  # by the folder of the packet

    def __init__(self, packet_json_path: str) -> None:
        """Read the file. Raises OSError, ValueError, and KeyError for a missing member."""
        self.packet_json_path = packet_json_path
        module = packet_json_path.partition("/modules/")[2].rpartition("/packets/")[0]
        self.module_branch_path = module.replace("/", "\\", 3)  # a branch keeps its own
        found = JsonUtils.get_instance().load_from_file(packet_json_path)
        self.id = found["id"]
        self.label = found.get("label", "")
        self.type = found.get("type", "")
        self.key = found.get("key", "")
        self.auto_expand = found.get("autoExpand", False)
        self.skip_every_instance_files = found.get("skipEveryInstanceFiles", False)
        self.limit_to_allowed_children = found.get("limitToAllowedChildren", False)
        self.auto_generate = found.get("autoGenerate", False)
        self.info_html = found.get("infoHtml", "")
        self.attributes = [Attribute.load(item) for item in found.get("attributes", ())]
        self.packet_extends = [PacketExtend.load(item) for item in found.get("extends", ())]
        self.attributes_by_lower_name = {attribute.name.lower(): attribute for attribute in self.attributes}

    def get_attributes(self) -> list[Attribute]:
        """Give its own attributes, in order."""
        return self.attributes

    def get_default_value(self, attribute_name: str) -> str | None:
        """Give what an attribute has at first; None for one that has nothing, or is not there."""
        attribute = self.attributes_by_lower_name.get(attribute_name.lower())
        return attribute.default_value if attribute else None
