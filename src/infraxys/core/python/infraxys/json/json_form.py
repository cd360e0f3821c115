"""A form that an action describes in JSON and somebody fills in."""

from __future__ import annotations

from ..communicator import Communicator
from ..logger import Logger
from .json_utils import JsonUtils
from .json_window import JsonWindow

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from .server_answer import ServerAnswer

    Listener = Callable[[ServerAnswer], Any]


class JsonForm:
    """A form with listeners.

    It stays until it is cancelled, the window is closed, a listener of a button gives True, or its OK closes it.
    """

    def __init__(
        self,
        form_file: str | None = None,
        form_json: Any = None,
        json_window: JsonWindow | None = None,
        ok_callback: Listener | None = None,
    ) -> None:
        self.form_file = form_file
        self.form_json = self.load_json_file(form_file) if form_file else form_json
        self.json_window = json_window or JsonWindow.get_instance()
        self.data_parts: list[dict[str, Any]] = []
        self.button_click_listeners: dict[str, list[Listener]] = {}
        self.value_change_listeners: dict[str, list[Listener]] = {}
        self.logger = Logger.get_logger(type(self).__name__)
        if ok_callback:
            self.add_button_click_listener("OK", ok_callback)

    def get_form_component(self, component_class: str, component_id: str, columns: Any = None) -> Any:
        """Give the component of a class with an id, among those of the form or of the columns given; or None."""
        canvas = {"columns": columns} if columns else self.form_json["form"]["canvas"]
        for component in _components(canvas):
            if component.get("class") == component_class and component.get("id") == component_id:
                return component
        return None

    def get_table_headers(self, table_id: str, property_names_only: bool = False) -> Any:
        """Give the headers of a table, or the properties that they show. Raises Exception for one that is not there."""
        table = self.get_form_component("JsonTable", table_id)
        if table is None:
            raise Exception(f"Table with id {table_id} not found in this form")
        headers = table["headers"]
        return [header["property"] for header in headers] if property_names_only else headers

    def add_button_click_listener(self, key: str, callback: Listener) -> None:
        """Call a function when a button is clicked."""
        self.button_click_listeners.setdefault(key, []).append(callback)

    def add_value_change_listener(self, object_id: str, callback: Listener) -> None:
        """Call a function when a field is changed."""
        self.value_change_listeners.setdefault(object_id, []).append(callback)

    def add_data_part(
        self,
        key: str,
        list_items_attribute: str = "items",
        data_part_json: Any = None,
        data_part_file: str | None = None,
        data_part_url: str | None = None,
        cached_filename: str | None = None,
    ) -> None:
        """Give the form data that its components show: JSON, from a file, a URL, or a file of a cache."""
        part: dict[str, Any] = {"id": key, "listItemsAttribute": list_items_attribute}
        if data_part_json is not None:
            part["data"] = data_part_json
        elif data_part_file:
            part["data"] = self.load_json_file(data_part_file)
        elif data_part_url:
            from ..http import request

            part["data"] = request("GET", data_part_url).json()
        elif cached_filename:
            part["cachedFilename"] = cached_filename
        self.data_parts.append(part)

    def load_json_file(self, file: str) -> Any:
        """Read JSON. Raises OSError and ValueError."""
        return JsonUtils.get_instance().load_from_file(file)

    def generate_json(self) -> dict[str, Any]:
        """Give the request that shows the form."""
        form = dict(self.form_json or {})
        if self.data_parts:
            form["dataParts"] = [*form.get("dataParts", ()), *self.data_parts]
        return {"requestType": "UI", "subType": "FORM", "json": form}

    def event(self, event_data: ServerAnswer) -> bool:
        """Tell the listeners what happened; False while the form stays open.

        What a listener raises is shown before it ends the action. The first that gives False is the last that is told.
        """
        is_click = event_data.event_type == "BUTTON_CLICK"
        if is_click:
            listeners = self.button_click_listeners.get(event_data.event_details or "")
            if listeners is None:
                self.json_window.close_with_error(f"no listener for the button '{event_data.event_details}'")
        else:
            listeners = self.value_change_listeners.get(event_data.object_id or "")
        said = []
        try:
            for listener in listeners or ():
                said.append(listener(event_data))
                if is_click and said[-1] is False:
                    return False
        except Exception as problem:
            Communicator.show_exception_dialog(problem, "Exception occurred")
            raise
        closes = event_data.event_details == "OK" and self.json_window.auto_close
        return is_click and (closes or any(answer is True for answer in said))

    # -- the definition --

    def write_attribute_value(
        self,
        json: Any,
        attribute_id: str,
        attribute_id_value: object,
        write_attribute_name: str,
        write_attribute_value: Any,
    ) -> None:
        """Set a member of every component that has a certain value of another member."""
        for field in _components(json):
            if attribute_id in field and field[attribute_id] == attribute_id_value:
                field[write_attribute_name] = write_attribute_value

    def tag_all_fields(self, json: Any, tags_json: Any) -> None:
        """Give every component tags, which come back with its events."""
        for field in _components(json):
            field["tags"] = tags_json

    def rename_id_fields(self, json: Any, suffix: object) -> None:
        """Add to the id of every component."""
        for field in _components(json):
            field["id"] = f"{field['id']}{suffix}"

    def copy_fields_from_server_response(
        self, server_response: ServerAnswer, into: dict[str, Any], field_id_suffix: str = ""
    ) -> None:
        """Copy what the fields hold, under their ids without what was added."""
        for name, value in server_response.get_form_fields().items():
            into[name[: len(name) - len(field_id_suffix)]] = value

    # -- while it is shown --

    def set_data_part(self, element_id: str, json_data_part: Any) -> None:
        """Change the data that a component shows."""
        Communicator.get_instance().set_data_part(element_id, json_data_part)

    def set_status(self, message: object) -> None:
        """Show a text beside the run until the next one."""
        Communicator.set_status(message)

    def clear_status(self) -> None:
        """Show no such text any more."""
        self.set_status("")

    def set_object_value(self, object_id: str, value: Any = None, base64Value: str | None = None) -> None:
        """Change what a field holds. Raises ValueError for no value."""
        if value is None and base64Value is None:
            raise ValueError("set_object_value needs a value or a base64Value")
        given = {"valueBase64": base64Value} if value is None else {"value": value}
        request = {"requestType": "UI", "subType": "UPDATE VALUE", "objectId": object_id, **given}
        Communicator.get_instance().send_synchronous(request)

    def set_object_enabled(self, object_id: str, value: bool = True) -> None:
        """Let people use a field or not."""
        request = {"requestType": "UI", "subType": "SET ENABLED", "objectId": object_id, "value": value}
        Communicator.get_instance().send_synchronous(request)

    def store_selected_items(self, object_id: str, selected_rows_only: bool = True) -> Any:
        """Have the rows of a table written to a file; gives its path."""
        request = {"requestType": "UI", "subType": "STORE SELECTED ITEMS", "objectId": object_id}
        return Communicator.get_instance().send_synchronous({**request, "selectedRowsOnly": selected_rows_only})


def _components(json: Any) -> Iterator[dict[str, Any]]:
    """Find the components of a form, a canvas, a column or a component."""
    if "canvas" in json:
        yield from _components(json["canvas"])
    elif "columns" in json or "components" in json:
        for item in json["columns"] if "columns" in json else json["components"]:
            yield from _components(item)
    else:
        yield json
