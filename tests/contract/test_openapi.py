"""The API document: valid, complete, and true."""

import re
from typing import Any

import jsonschema
import pytest
from fastapi.routing import APIRoute
from openapi_spec_validator import validate

from infraxys import __version__
from infraxys.server.api import routers
from infraxys.server.auth.permissions import Public, Requires
from plugins.server import ServerProcess

ROUTES = [route for router in routers for route in router.routes if isinstance(route, APIRoute)]


def permissions(route: APIRoute) -> list[object]:
    """Find what a route declares to need, wherever in its dependencies."""
    found: list[object] = []
    waiting: list[Any] = [route.dependant]
    while waiting:
        dependant = waiting.pop()
        if isinstance(dependant.call, Requires | Public):
            found.append(dependant.call)
        waiting += dependant.dependencies
    return found


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{min(route.methods)} {route.path_format}")
class TestRoute:
    def test_declares_exactly_one_permission(self, route: APIRoute) -> None:
        assert len(permissions(route)) == 1

    def test_has_a_stable_name_in_verb_noun_form(self, route: APIRoute) -> None:
        assert route.operation_id is not None
        assert re.fullmatch(
            r"(get|list|add|fetch|push|remove|delete|cancel|follow|execute|create|update|replace|rotate|generate|ensure)_[a-z_]+",
            route.operation_id,
        )

    def test_documents_the_answers_that_any_route_can_give(self, route: APIRoute) -> None:
        documented = {int(status) for status in route.responses}
        expected = set() if isinstance(permissions(route)[0], Public) else {401, 500}
        assert expected <= documented


def test_the_document_is_valid_openapi_3_1(server: ServerProcess) -> None:
    document = server.client.get("/api/v1/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    validate(document)


@pytest.fixture(scope="module")
def document(server: ServerProcess) -> dict[str, Any]:
    found: dict[str, Any] = server.client.get("/api/v1/openapi.json").json()
    return found


def resolved(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """Follow a reference."""
    name = schema.get("$ref", "").rpartition("/")[2]
    found: dict[str, Any] = document["components"]["schemas"][name] if name else schema
    return found


def operations(document: dict[str, Any], tags: set[str]) -> list[dict[str, Any]]:
    return [
        operation
        for path in document["paths"].values()
        for operation in path.values()
        if tags.intersection(operation.get("tags", ()))
    ]


# Whose answers a client can be made from.
PEOPLE = {"accounts", "tokens", "users", "projects", "teams", "grants", "audit"}


def described(document: dict[str, Any], content: dict[str, Any]) -> list[dict[str, Any]]:
    """Give the schemas of what is sent or answered as JSON: of a page those of its items."""
    if "application/json" not in content:
        return []
    schema = resolved(document, content["application/json"]["schema"])
    if "items" not in schema["properties"]:
        return [schema]
    assert schema["required"] == ["items", "nextCursor"]
    items = schema["properties"]["items"]["items"]
    return [resolved(document, item) for item in items.get("anyOf", [items])]


def test_every_answer_and_body_about_people_has_a_schema_and_an_example(document: dict[str, Any]) -> None:
    found = operations(document, PEOPLE)
    assert len(found) > 50
    for operation in found:
        answers = {status: answer for status, answer in operation["responses"].items() if status.startswith("2")}
        assert {status for status, answer in answers.items() if not answer.get("content")} <= {"204"}
        for part in (operation.get("requestBody", {}), *answers.values()):
            for schema in described(document, part.get("content", {})):
                (example,) = schema["examples"]
                assert example.keys() <= schema["properties"].keys(), operation["operationId"]
                jsonschema.validate(example, {**schema, "components": document["components"]})


def test_lists_of_people_have_pages(document: dict[str, Any]) -> None:
    for operation in operations(document, PEOPLE):
        if operation["operationId"].startswith("list_"):
            parameters = {item["name"]: item["schema"] for item in operation["parameters"] if item["in"] == "query"}
            limit = {key: parameters["limit"][key] for key in ("minimum", "default", "maximum")}
            assert limit == {"minimum": 1, "default": 50, "maximum": 500}
            assert "cursor" in parameters, operation["operationId"]


def test_what_is_answered_before_any_route_is_documented_for_all(document: dict[str, Any]) -> None:
    for path in document["paths"].values():
        for operation in path.values():
            assert {"400", "413", "421", "429"} <= operation["responses"].keys(), operation["operationId"]


def test_every_json_body_has_an_example_that_fits_and_so_has_every_run_and_problem(server: ServerProcess) -> None:
    document = server.client.get("/api/v1/openapi.json").json()
    schemas = {name: ({"$ref": f"#/components/schemas/{name}"}, None) for name in ("Run", "Problem")}
    for path in document["paths"].values():
        for operation in path.values():
            content = operation.get("requestBody", {}).get("content", {}).get("application/json")
            if content and content["schema"] != {"type": "string"}:
                schemas[operation["operationId"]] = (content["schema"], content.get("example"))
    for name, (schema, given) in schemas.items():
        known = document["components"]["schemas"].get(name, schema)
        example = given or next(iter(known.get("examples", [])), None)
        assert example, name
        jsonschema.validate(example, {**schema, "components": document["components"]})


def test_every_reference_finds_its_schema(server: ServerProcess) -> None:
    answer = server.client.get("/api/v1/openapi.json")
    references = set(re.findall(r'"\$ref":"([^"]*)"', answer.text))
    assert references
    assert references <= {f"#/components/schemas/{name}" for name in answer.json()["components"]["schemas"]}


def test_the_documented_calls_are_in_it(server: ServerProcess) -> None:
    paths = server.client.get("/api/v1/openapi.json").json()["paths"]
    assert "/api/v1/instance/{branch}/{instance_id}/files/{filename}/execute" in paths
    assert "/api/v1/environment/{branch}/{environment_id}/workflow/{workflow_id}/execute" in paths


def test_every_answer_has_a_request_id_and_security_headers(server: ServerProcess) -> None:
    answer = server.client.get("/api/v1/runs", headers={"X-Request-Id": "mine-1"})
    assert answer.headers["x-request-id"] == "mine-1"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert "strict-transport-security" in answer.headers
    forged = server.client.get("/api/v1/runs", headers={"X-Request-Id": "a b"})
    assert forged.headers["x-request-id"] != "a b"


def test_health_needs_no_credentials(team_server: ServerProcess) -> None:
    for path in ("/health", "/api/v1/health/live", "/api/v1/health/ready"):
        assert team_server.client.get(path).status_code == 200


def test_the_reference_for_people_lists_every_call_and_needs_nothing_from_elsewhere(server: ServerProcess) -> None:
    page = server.client.get("/api/docs")
    assert page.headers["content-type"].startswith("text/html")
    document = server.client.get("/api/v1/openapi.json").json()
    for path in document["paths"].values():
        for operation in path.values():
            assert f'id="{operation["operationId"]}"' in page.text
    assert "<script" not in page.text
    assert "http" not in re.sub(r"https?://localhost", "", re.sub(r"<p>.*?</p>", "", page.text))


@pytest.mark.parametrize("path", ["/api/v1/openapi.json", "/api/docs", "/api/v1/server", "/api/v1/me"])
def test_f4_nothing_but_health_is_told_to_strangers(team_server: ServerProcess, path: str) -> None:
    answer = team_server.client.get(path)
    assert answer.status_code == 401
    assert __version__ not in answer.text + str(answer.headers)
    headers = {"Authorization": f"token {team_server.admin_token}"}  # type: ignore[attr-defined]
    assert team_server.client.get(path, headers=headers).status_code == 200
