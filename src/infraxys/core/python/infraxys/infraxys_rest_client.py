"""The API of this server, or of another whose address and token are in a variable."""

from __future__ import annotations

from . import places
from .rest_client import RestClient

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import ClassVar


class InfraxysRestClient(RestClient):
    """Calls the API of the server that a variable of type INFRAXYS-CONFIG names."""

    _instances: ClassVar[dict[str, InfraxysRestClient]] = {}

    @staticmethod
    def get_instance(infraxys_config_variable: str = "INFRAXYS-REST-CLIENT") -> InfraxysRestClient:
        """Give the one for a variable: JSON, `{"endpoint", "token"}`. Unless given it is this server and this run."""
        known = InfraxysRestClient._instances
        if infraxys_config_variable not in known:
            from .json.json_utils import JsonUtils

            path = places.variable(infraxys_config_variable, "INFRAXYS-CONFIG")
            found = JsonUtils.get_instance().load_from_file(path)
            known[infraxys_config_variable] = InfraxysRestClient(found["endpoint"], found["token"])
        return known[infraxys_config_variable]
