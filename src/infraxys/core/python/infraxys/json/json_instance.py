"""An instance whose attributes come from forms, the server or the environment, and go back."""

from __future__ import annotations

from ..model.base_object import BaseObject
from .json_resource import shown_window

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from ..http import Response
    from ..rest_client import RestClient
    from .json_window import JsonWindow
    from .server_answer import ServerAnswer


class JsonInstance(BaseObject):
    """Holds a value for each attribute of its packet. `form` is the class of the form that it is filled in with."""

    form: Any = None

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._json_window: JsonWindow | None = None

    def load_instance_form_response(self, server_response: ServerAnswer) -> None:
        """Take the values from a form."""
        self.load_instance_from_name_values(server_response.get_form_fields())

    def load_instance_from_name_values(self, name_values: Mapping[str, Any]) -> None:
        """Take the values by the names of attributes. Raises KeyError for one that is not there."""
        for attribute in self.get_attributes():
            setattr(self, attribute.name, name_values[attribute.name])

    def load_instance_from_server(self, server_instance_json: Mapping[str, Any]) -> None:
        """Take the values, and what the server knows it by."""
        self.db_id = server_instance_json["dbId"]
        self.container_db_id = server_instance_json["containerDbId"]
        self.environment_db_id = server_instance_json["environmentDbId"]
        self.load_instance_from_name_values(server_instance_json)

    def get_value_from_form_fields(self, attribute_name: str, form_fields: Mapping[str, Any]) -> Any:
        """Give the value of one attribute."""
        return form_fields[attribute_name]

    def to_json_fields(self) -> dict[str, Any]:
        """Give the values by the names of attributes. Raises AttributeError for one that was never set."""
        return {attribute.name: getattr(self, attribute.name) for attribute in self.get_attributes()}

    def _get_json_window(self) -> JsonWindow:
        if self._json_window is None:
            self._json_window = shown_window()
        return self._json_window

    def show_instance_form_and_ensure(self, parent_instance_id: str) -> None:
        """Have somebody fill in the form, and make the instance with what they say."""
        self.parent_instance_id = parent_instance_id
        form = self.form(self)
        form.add_button_click_listener("OK", self.create_new)
        self._get_json_window().set_form(form, auto_close=True)

    def saveInstance(self) -> Response:
        """Add it below its parent. Raises ValueError without one, Exception where that fails."""
        from ..rest_client import succeeded

        parent = self.parent_instance_reference
        if parent is None:
            raise ValueError("parent_instance_reference is required for saveInstance.")
        path = (parent.module_branch_path, parent.environment_id, parent.container_id, parent.instance_id)
        client = self._client()
        return succeeded(
            client.execute_post(f"instances/{'/'.join(map(str, path))}/addInstance", self.to_json_fields())
        )

    def save(
        self,
        instance: Any = None,
        parent_instance_guid: str = "",
        parent_container_guid: str | None = None,
        branch: str = "master",
    ) -> Response:
        """Find or make an instance (this one unless given) below a parent. Raises Exception where that fails."""
        return self._client().ensure_instance(instance or self, parent_instance_guid, parent_container_guid, branch)

    def _client(self) -> RestClient:
        from ..infraxys_rest_client import InfraxysRestClient

        client: RestClient = self.rest_client or InfraxysRestClient.get_instance()
        return client
