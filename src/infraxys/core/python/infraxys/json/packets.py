"""The packets of the environment, from the file `packets.json` that a packet of it generates."""

from __future__ import annotations

import os

from .packet import Packet


class Packets:
    """Finds packets by their id or type."""

    _instance: Packets | None = None

    @staticmethod
    def get_instance() -> Packets:
        """Give the one there is, with what the file says. Raises OSError and ValueError."""
        if Packets._instance is None:
            found = Packets()
            found._load()
            Packets._instance = found
        return Packets._instance

    def __init__(self) -> None:
        self.packets: dict[str, Packet] = {}
        self.packets_by_type: dict[str, Packet] = {}

    def _load(self) -> None:
        import json

        with open(f"{os.environ['ENVIRONMENT_DIR']}/environment.auto/packets.json", encoding="utf-8") as file:
            found = json.loads(file.read(), strict=False)  # values of attributes have line ends in them
        for item in found["packets"]:
            packet = Packet(
                item.get("dbId"), item["guid"], item["name"], item.get("packetType") or "", item["attributes"]
            )
            self.packets[packet.guid] = packet
            self.packets_by_type[packet.packetType] = packet

    def get_packet(self, guid: str | None = None, packet_type: str | None = None) -> Packet:
        """Give a packet. Raises KeyError, and ValueError without an id and a type."""
        if guid:
            return self.packets[guid]
        if packet_type:
            return self.packets_by_type[packet_type]
        raise ValueError("get_packet needs a guid or a packet_type")
