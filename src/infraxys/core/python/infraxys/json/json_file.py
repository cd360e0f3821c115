"""A file in JSON with a list of items."""

from __future__ import annotations

from .json_utils import JsonUtils

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class JsonFile:
    """Finds items. `items_attribute` is the member that has the list."""

    def __init__(self, json_file: str, items_attribute: str = "items") -> None:
        self.json_file = json_file
        self.items_attribute = items_attribute
        self.json_object = JsonUtils.get_instance().load_from_file(json_file)

    def get_attribute(self, attribute_name: str) -> Any:
        """Give a member of the file. Raises KeyError."""
        return self.json_object[attribute_name]

    def get_item(
        self,
        attribute_name: str,
        attribute_value: str,
        from_json_object: Any = None,
        case_sensitive: bool = True,
    ) -> Any:
        """Give the first item with that value of an attribute, or None."""
        for item in (from_json_object or self.json_object)[self.items_attribute]:
            value = item[attribute_name]
            if value == attribute_value or (not case_sensitive and value.upper() == attribute_value.upper()):
                return item
        return None

    def get_all_items(self) -> Any:
        """Give all items."""
        return self.json_object[self.items_attribute]

    def get_items(
        self,
        attribute_name: str,
        attribute_value: object,
        from_json_object: Any = None,
        items_attribute: str | None = None,
    ) -> list[Any]:
        """Give the items with that value of an attribute."""
        items = (from_json_object or self.json_object)[items_attribute or self.items_attribute]
        return [item for item in items if item[attribute_name] == attribute_value]
