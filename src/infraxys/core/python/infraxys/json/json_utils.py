"""JSON from files."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any


class JsonUtils:
    """Reads JSON and finds items in it."""

    instance: JsonUtils | None = None

    @staticmethod
    def get_instance() -> JsonUtils:
        """Give the one there is."""
        if JsonUtils.instance is None:
            JsonUtils.instance = JsonUtils()
        return JsonUtils.instance

    def load_from_file(self, filename: str) -> Any:
        """Read a file. Raises OSError and ValueError."""
        import json

        with open(filename, encoding="utf-8") as file:
            return json.load(file)

    @staticmethod
    def get_item_from_array(json_array: Iterable[Any], attribute_name: str, attribute_value: object) -> Any:
        """Give the first item with that value of an attribute, or None."""
        for item in json_array:
            if attribute_name in item and item[attribute_name] == attribute_value:
                return item
        return None
