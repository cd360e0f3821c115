"""The API at `INFRAXYS_REST_ENDPOINT`, called with the token of the run."""

from __future__ import annotations

import os

from . import places
from .exceptions import BadRequestException, NotFoundException, UnauthorizedException
from .logger import Logger

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from .http import Response

API = "/api/v1"
REFUSALS = {400: BadRequestException, 401: UnauthorizedException, 403: UnauthorizedException, 404: NotFoundException}


class RestClient:
    """Calls the API. `endpoint` is the address of the server, with or without `/api/v1`."""

    def __init__(self, endpoint: str | None = None, api_token: str | None = None) -> None:
        self.endpoint = os.environ["INFRAXYS_REST_ENDPOINT"] if endpoint is None else endpoint
        if api_token is None:
            with open(places.system("token"), encoding="ascii") as file:
                api_token = file.read().strip()
        self.api_token = api_token
        self.logger = Logger.get_logger(type(self).__name__)

    def url(self, path: str) -> str:
        """Give the URL of something, named by what follows `/api/v1/`."""
        from urllib.parse import quote

        server = self.endpoint.rstrip("/")
        if server.endswith(API):
            server = server[: -len(API)]
        return f"{server}{API}/{quote(path.lstrip('/'), safe='/?&=%:@,;+~!$*()[]')}"

    def execute_get(self, path: str, json_body: Any = None) -> Response:
        """Read something, as `execute_request` does."""
        return self.execute_request("GET", self.url(path), json_body=json_body)

    def execute_post(self, path: str, json_body: Any = None) -> Response:
        """Make or do something, as `execute_request` does."""
        return self.execute_request("POST", self.url(path), json_body=json_body)

    def execute_request(
        self,
        request_method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        json_body: Any = None,
        timeout: float | None = None,
    ) -> Response:
        """Send a request; its body is JSON.

        Raises BadRequestException (400), UnauthorizedException (401, 403), NotFoundException (404) with what the
        server says, and OSError where it cannot be reached. Every other answer is given, whatever its status.
        """
        import json

        from .http import request

        sent = {**(headers or {}), "Content-Type": "application/json", "Authorization": f"token {self.api_token}"}
        body = None if json_body is None else json.dumps(json_body).encode()
        answer = request(request_method, url, sent, body, timeout)
        refusal = REFUSALS.get(answer.status_code)
        if refusal is not None:
            raise refusal(answer.problem())
        if not answer.ok:
            self.logger.warn(f"{request_method} {url}: {answer.problem()}")
        return answer

    # -- instances --

    def get_child_instance(
        self,
        parent_instance_guid: str,
        container_guid: str | None = None,
        child_packet_guid: str | None = None,
        child_packet_type: str | None = None,
        child_packet_key: str | None = None,
        attribute_name: str | None = None,
        attribute_value: str | None = None,
        branch: str = "master",
        json_body: Mapping[str, Any] | None = None,
    ) -> Any:
        """Give the one child that is as wanted, None where there is none. Raises Exception for several."""
        found = self.get_child_instances(
            parent_instance_guid,
            container_guid,
            child_packet_guid,
            child_packet_type,
            child_packet_key,
            attribute_name,
            attribute_value,
            branch,
            json_body,
        )["instances"]
        if len(found) > 1:
            raise Exception("Multiple instances returned while maximum 1 is expected.")
        return found[0] if found else None

    def get_child_instances(
        self,
        parent_instance_guid: str,
        container_guid: str | None = None,
        child_packet_guid: str | None = None,
        child_packet_type: str | None = None,
        child_packet_key: str | None = None,
        attribute_name: str | None = None,
        attribute_value: str | None = None,
        branch: str = "master",
        json_body: Mapping[str, Any] | None = None,
    ) -> Any:
        """Give the children of an instance that are as wanted: `{"instances": […]}`."""
        place = f"container/{container_guid}/instances" if container_guid else f"instance/{branch}"
        wanted: dict[str, Any] = dict(json_body or {})
        if attribute_name and attribute_value:
            wanted.update(attributeName=attribute_name, attributeValue=attribute_value)
        given = {"packetType": child_packet_type, "packetGuid": child_packet_guid, "packetKey": child_packet_key}
        wanted.update({name: value for name, value in given.items() if value})
        return self.execute_get(f"{place}/{parent_instance_guid}/children", wanted).json()

    def ensure_instance(
        self,
        instance: Any,
        parent_instance_guid: str,
        parent_container_guid: str | None = None,
        branch: str = "master",
    ) -> Response:
        """Find the child that has the key attributes of `instance`, or make it. Raises Exception where that fails."""
        container = f"{parent_container_guid}/instances/" if parent_container_guid else ""
        body = {"instances": [instance.to_json_fields()]}
        path = f"instance/{branch}/{container}{parent_instance_guid}/children/ensure"
        return succeeded(self.execute_post(path, body))


def succeeded(answer: Response) -> Response:
    """Pass on the answer to a change. Raises Exception where it says that it failed."""
    body = answer.json()
    if isinstance(body, dict) and body.get("status") == "FAILED":
        raise Exception(f"Error creating instance: {body.get('message', '')}")
    if not answer.ok:
        raise Exception(f"Error creating instance: {answer.problem()}")
    return answer
