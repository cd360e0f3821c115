"""An attribute of a packet, as its `packet.json` describes it."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


class Attribute:
    """What is known of it."""

    @staticmethod
    def load(attribute_json: Mapping[str, Any]) -> Attribute:
        """Read one. Raises KeyError where it has no name."""
        given = attribute_json.get
        return Attribute(
            id=given("id"),
            name=attribute_json["name"],
            caption=given("caption"),
            type=given("type"),
            form_column=given("formColumn", 1),
            form_order=given("formOrder", 1000),
            visibility=given("visibility", "ALWAYS VISIBLE"),
            writability=given("writability", "ALWAYS"),
            required=given("required", False),
            list_of_values=given("listOfValues"),
            part_of_key=given("isPartOfKey", False),
            reference_filter=given("referenceFilter"),
            reference_value_attribute=given("referenceValueAttributeName"),
            reference_child_id_filter=given("referenceChildIdFilter"),
            cache_minutes=given("cacheMinutes", 0),
            new_items_allowed=given("newItemsAllowed", False),
            parse_with_velocity=given("parseWithVelocity", False),
            input_prompt=given("inputPrompt"),
            tooltip=given("tooltip"),
            scope=given("scope"),
            default_value=given("defaultValue"),
        )

    def __init__(
        self,
        id: str | None = None,
        name: str = "",
        caption: str | None = None,
        type: str | None = None,
        form_column: int = 1,
        form_order: int = 1000,
        visibility: str = "ALWAYS VISIBLE",
        writability: str = "ALWAYS",
        required: bool = False,
        list_of_values: str | None = None,
        part_of_key: bool = False,
        reference_filter: str | None = None,
        reference_value_attribute: str | None = None,
        reference_child_id_filter: str | None = None,
        cache_minutes: int = 0,
        new_items_allowed: bool = False,
        parse_with_velocity: bool = False,
        input_prompt: str | None = None,
        tooltip: str | None = None,
        scope: str | None = None,
        default_value: str | None = None,
    ) -> None:
        self.id = id
        self.name = name
        self.caption = caption
        self.type = type
        self.form_column = form_column
        self.form_order = form_order
        self.visibility = visibility
        self.writability = writability
        self.required = required
        self.list_of_values = list_of_values
        self.part_of_key = part_of_key
        self.reference_filter = reference_filter
        self.reference_value_attribute = reference_value_attribute
        self.reference_child_id_filter = reference_child_id_filter
        self.cache_minutes = cache_minutes
        self.new_items_allowed = new_items_allowed
        self.parse_with_velocity = parse_with_velocity
        self.input_prompt = input_prompt
        self.tooltip = tooltip
        self.scope = scope
        self.default_value = default_value
