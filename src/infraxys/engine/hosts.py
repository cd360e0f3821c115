"""What templates may hold: the base of all host objects, and those that need no world.

`VTL_METHODS` is the only door that the template engine uses.
"""

from collections.abc import Mapping
from typing import ClassVar

from infraxys import velocity
from infraxys.spec.models import PacketAttribute


class TemplateProblem(Exception):  # noqa: N818 - what a template asked for cannot be; the engine adds the position
    """Raised by host objects; the message is for the author of the template."""


class HostObject:
    """Something a template may hold. Equal when it stands for the same thing."""

    VTL_METHODS: ClassVar[frozenset[str]] = frozenset()
    key: tuple[object, ...]  # also the stand-in for all that it shows, where a render remembers what it read

    def __eq__(self, other: object) -> bool:
        return isinstance(other, HostObject) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)


class NameValue(HostObject):
    """An attribute in a list: `$attribute.name`, `$attribute.value`; also `attributeName`, `attributeValue`."""

    VTL_NAME = "attribute"
    VTL_METHODS = frozenset(
        {"getName", "getValue", "getAttributeName", "getAttributeValue", "getAutoExportToScript", "toString"}
    )

    def __init__(self, name: str, value: str) -> None:
        self.key = ("attribute", name, value)
        self._name, self._value = name, value

    def getName(self) -> str:
        """Give the attribute's name."""
        return self._name

    def getValue(self) -> str:
        """Give the rendered value."""
        return self._value

    getAttributeName = getName
    getAttributeValue = getValue

    def getAutoExportToScript(self) -> bool:
        """Every attribute is exported."""
        return True

    def toString(self) -> str:
        """Give `name=value`."""
        return f"{self._name}={self._value}"


class PacketAttributeObject(HostObject):
    """An attribute of a packet, as `$environment.getAllPackets()` lists them."""

    VTL_NAME = "packet attribute"
    VTL_METHODS = frozenset(
        {
            "getName", "getCaptionKey", "getTooltip", "getTypeClassName", "getUiFieldClassName", "getRequired",
            "isRequired", "getIsKey", "isKey", "getDefaultValue", "getNewItemsAllowed", "getMaxLength",
            "getListOfValues",
        }
    )  # fmt: skip

    def __init__(self, attribute: PacketAttribute) -> None:
        self._attribute = attribute
        self.key = ("packet attribute", attribute)

    def getName(self) -> str:
        """Give the attribute's name."""
        return self._attribute.name

    def getCaptionKey(self) -> str:
        """Give the field label."""
        return self._attribute.caption or ""

    def getTooltip(self) -> str:
        """Give the HTML shown on hover."""
        return self._attribute.tooltip or ""

    def getTypeClassName(self) -> str:
        """Give the Java type name that the file holds."""
        return self._attribute.type

    def getUiFieldClassName(self) -> str:
        """Give "": which widget shows it is the web app's business."""
        return ""

    def getRequired(self) -> bool:
        """Whether a value is mandatory."""
        return self._attribute.required

    isRequired = getRequired

    def getIsKey(self) -> bool:
        """Whether it is part of the instance's natural key."""
        return self._attribute.is_part_of_key

    isKey = getIsKey

    def getDefaultValue(self) -> str:
        """Give the initial value."""
        return self._attribute.default_value

    def getNewItemsAllowed(self) -> bool:
        """Whether values outside the list are allowed."""
        return self._attribute.new_items_allowed

    def getMaxLength(self) -> int:
        """Give 0: the files hold no maximum."""
        return 0

    def getListOfValues(self) -> str:
        """Give the comma-separated list of choices."""
        return self._attribute.list_of_values or ""


class PacketObject(HostObject):
    """A packet, as `$environment.getAllPackets()` lists them."""

    VTL_NAME = "packet"
    VTL_METHODS = frozenset({"getGuid", "getId", "getName", "getPacketType", "getCoreClassAttributes", "toString"})

    def __init__(self, guid: str, name: str, packet_type: str, attributes: tuple[PacketAttribute, ...]) -> None:
        self.key = ("packet", guid, name, packet_type, attributes)
        self._guid, self._name, self._type, self._attributes = guid, name, packet_type, attributes

    def getGuid(self) -> str:
        """Give the packet's id."""
        return self._guid

    getId = getGuid

    def getName(self) -> str:
        """Give the packet's name."""
        return self._name

    toString = getName

    def getPacketType(self) -> str:
        """Give the packet's type."""
        return self._type

    def getCoreClassAttributes(self) -> list[PacketAttributeObject]:
        """Give the packet's attributes."""
        return [PacketAttributeObject(attribute) for attribute in self._attributes]


class VelocityUtils(HostObject):
    """`$velocityUtils` and `$velocityService`."""

    VTL_METHODS = frozenset({"getNewList", "getNewMap", "nextAlphabeticCharacter", "doubleQuoteCsvList"})

    key = ("velocityUtils",)

    def getNewList(self) -> list[object]:
        """Give an empty list."""
        return []

    def getNewMap(self) -> dict[str, object]:
        """Give an empty map."""
        return {}

    def nextAlphabeticCharacter(self, text: str) -> str:
        """Give the character after the first one of the text; "a" for an empty one."""
        return chr(ord(text[0]) + 1) if text else "a"

    def doubleQuoteCsvList(self, text: str) -> str:
        """Put every item of a comma-separated list in double quotes."""
        return ",".join(f'"{part.strip()}"' for part in text.split(",") if part.strip())


class VelocityContext(HostObject):
    """`$velocityContext`: the variables of the render by name, those that the template has set among them."""

    VTL_METHODS = frozenset({"get", "put", "containsKey"})

    key = ("velocityContext",)

    def __init__(self, live: velocity.LiveScope | None = None) -> None:
        self._live = live

    def vtl_bind(self, live: velocity.LiveScope) -> "VelocityContext":
        """Give the one of a running render."""
        return VelocityContext(live)

    def get(self, name: object) -> object:
        """Give a variable; null when there is none."""
        return self._live.get(str(name)) if self._live else None

    def put(self, name: object, value: object) -> object:
        """Set a variable; gives the value before."""
        return self._live.put(str(name), value) if self._live else None

    def containsKey(self, name: object) -> bool:
        """Whether there is a variable of the name."""
        return self._live is not None and self._live.contains(str(name))


def as_text(value: object) -> str:
    """Give a template's value as the original stores it: booleans as "1" and "0"."""
    if isinstance(value, bool):
        return "1" if value else "0"
    return str(value)


CONSTANTS: Mapping[str, object] = {
    "D": "$",
    "velocityUtils": VelocityUtils(),
    "velocityService": VelocityUtils(),
    "velocityContext": VelocityContext(),
}
