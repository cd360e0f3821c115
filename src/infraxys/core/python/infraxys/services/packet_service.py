"""Packets of modules, read once."""

from __future__ import annotations

import os

from ..model.packet import Packet
from .base_service import BaseService

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class PacketService(BaseService):
    """Finds packets."""

    _instance: PacketService | None = None

    @staticmethod
    def get_instance() -> PacketService:
        """Give the one there is."""
        if PacketService._instance is None:
            PacketService._instance = PacketService()
        return PacketService._instance

    def get_packet(self, for_instance: Any = None, packet_directory: str | None = None) -> Packet:
        """Give the packet of an instance, or of a folder. Raises OSError and ValueError.

        That of an instance has the name `packet_name` of its class, and is in the module where the class is.
        """
        if packet_directory is None:
            packet_directory = _folder_of(type(for_instance))
        known = Packet.instances_by_path
        if packet_directory not in known:
            known[packet_directory] = Packet(f"{packet_directory}/packet.json")
        return known[packet_directory]


def _folder_of(kind: type) -> str:
    """Find the folder of the packet of a class: that of the nearest `packets` above the class's own file."""
    import sys

    name = f"packets/{getattr(kind, 'packet_name', '')}"
    start = os.path.dirname(os.path.abspath(sys.modules[kind.__module__].__file__ or ""))
    folder = start
    while not os.path.exists(f"{folder}/{name}/packet.json"):
        if folder == os.path.dirname(folder):
            raise FileNotFoundError(f"no '{name}/packet.json' above {start}")
        folder = os.path.dirname(folder)
    return f"{folder}/{name}"
