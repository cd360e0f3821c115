"""What happens in a form, as the server tells it."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any


class ServerAnswerResult:
    """What a field of a form holds: a text (`true` or `false` for a checkbox), or the rows that are selected."""

    def __init__(self, id: str, selectedItemList: Any = None, value: str | None = None, tags: Any = None) -> None:
        self.id = id
        self.selectedItemList = selectedItemList
        self.value = value
        self.tags = tags


class ServerAnswer:
    """An event.

    `event_type` is FORM_LOADED, BUTTON_CLICK (of button `event_details`) or VALUE CHANGE (of field `object_id`).
    """

    def __init__(
        self,
        event_type: str,
        results: Sequence[ServerAnswerResult] = (),
        event_details: str | None = None,
        event_details_json: Any = None,
        object_id: str | None = None,
        tags: Any = None,
    ) -> None:
        self.event_type = event_type
        self.event_details = event_details
        self.event_details_json = event_details_json
        self.results = list(results)
        self.object_id = object_id
        self.tags = tags

    def get_result(self, result_id: str) -> ServerAnswerResult | None:
        """Give the result of a field, or None."""
        for result in self.results:
            if result.id == result_id:
                return result
        return None

    def get_selected_items(self, result_id: str) -> Any:
        """Give the rows that are selected in a table. Raises KeyError for a table that is not there."""
        result = self.get_result(result_id)
        if result is None:
            raise KeyError(result_id)
        return result.selectedItemList

    def get_selected_item(self, result_id: str) -> Any:
        """Give the first of the rows that are selected. Raises IndexError where none is."""
        return (self.get_selected_items(result_id) or [])[0]

    def get_form_fields(self) -> dict[str, Any]:
        """Give what each field holds."""
        return {result.id: result.selectedItemList or result.value for result in self.results}

    def get(self, field_name: str) -> Any:
        """Give what a field holds. Raises KeyError."""
        return self.get_form_fields()[field_name]

    def get_boolean(self, field_name: str) -> bool:
        """Whether a checkbox is checked. Raises KeyError."""
        return bool(self.get(field_name) == "true")


class ServerAnswersSchema:
    """Reads results."""

    def load(self, data: Mapping[str, Any]) -> ServerAnswerResult:
        """Read one. Raises KeyError where it has no id."""
        return ServerAnswerResult(data["id"], data.get("selectedItemList"), data.get("value"), data.get("tags"))


class ServerAnswerSchema:
    """Reads events."""

    def load(self, data: Mapping[str, Any]) -> ServerAnswer:
        """Read one. Raises KeyError where it has no type."""
        return ServerAnswer(
            data["eventType"],
            [ServerAnswersSchema().load(result) for result in data.get("results") or ()],
            data.get("eventDetails"),
            data.get("eventDetailsJson"),
            data.get("objectId"),
            data.get("tags"),
        )
