"""An attribute of a packet, as `packets.json` of the environment describes it."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class PacketAttribute:
    """What is known of it: `name`, `caption`, `required`, `isKey`, `defaultValue`, `listOfValues` and more."""

    def __init__(
        self,
        dbId: Any = None,
        name: str = "",
        caption: str = "",
        tooltip: str = "",
        typeClassName: str = "",
        uiFieldClassName: str = "",
        required: bool = False,
        isKey: bool = False,
        defaultValue: str = "",
        newItemsAllowed: bool = False,
        maxLength: int = 0,
        listOfValues: str = "",
    ) -> None:
        self.dbId = dbId
        self.name = name
        self.caption = caption
        self.tooltip = tooltip
        self.typeClassName = typeClassName
        self.uiFieldClassName = uiFieldClassName
        self.required = required
        self.isKey = isKey
        self.defaultValue = defaultValue
        self.newItemsAllowed = newItemsAllowed
        self.maxLength = maxLength
        self.listOfValues = listOfValues
