"""A packet that another one extends."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


class PacketExtend:
    """Names it."""

    @staticmethod
    def load(extend_json: Mapping[str, Any]) -> PacketExtend:
        """Read one. Raises KeyError for a missing member."""
        found = PacketExtend()
        found.name, found.id = extend_json["name"], extend_json["id"]
        found.module_branch_path = extend_json["moduleBranchPath"]
        return found

    def __init__(self) -> None:
        self.name = ""
        self.id = ""
        self.module_branch_path = ""
