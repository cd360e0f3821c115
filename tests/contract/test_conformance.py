"""Whatever is sent to any operation, the answer is one that the API document promises."""

import shutil
from collections.abc import Iterator

import pytest
import schemathesis
from fastapi.routing import APIRoute
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from factories.modules import BROKEN_ENVIRONMENT, INSTANCE, WORKFLOW
from infraxys.server.api import routers
from plugins.server import ServerProcess, make_folder, make_library

ROUTES = [route for router in routers for route in router.routes if isinstance(route, APIRoute)]
OPERATIONS = sorted(str(route.operation_id) for route in ROUTES if route.include_in_schema)
CHECKS = [
    schemathesis.checks.not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
BOUNDS = settings(
    max_examples=3,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


class Api:
    """A server of its own with one of everything, and its document."""

    def __init__(self, server: ServerProcess) -> None:
        self.server = server
        self.schema = schemathesis.openapi.from_dict(server.client.get("/api/v1/openapi.json").json())
        user = self.made("/users", {"name": "u", "kind": "service"})
        project = self.made("/projects", {"name": "p"})
        self.known = {
            "branch": "main",
            "instance_id": INSTANCE,
            "filename": "ok.sh",
            "environment_id": BROKEN_ENVIRONMENT,
            "workflow_id": WORKFLOW,
            "run_id": server.execute(INSTANCE, "ok.sh")["id"],
            "module": "localhost/tests/library",
            "project_id": project,
            "team_id": self.made("/teams", {"name": "t", "projectId": project}),
            "grant_id": self.made("/grants", {"name": "deploy", "projectId": project}),
            "user_id": user,
        }

    def made(self, path: str, body: dict[str, object]) -> str:
        answer = self.server.client.post(f"/api/v1{path}", json=body)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def send(self, case: schemathesis.Case) -> None:
        case.call_and_validate(base_url=self.server.url, checks=CHECKS, timeout=30)


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    folder = make_folder()
    # Without TLS, so that nothing warns of it; repositories of this machine only, so that nothing leaves it.
    server = ServerProcess(folder, "--no-tls", "--no-examples", "--git-schemes", "file")
    try:
        server.add_module(make_library(folder).path)
        yield Api(server)
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_valid_requests_get_an_answer_of_the_document(api: Api, operation: str) -> None:
    cases = api.schema.find_operation_by_id(operation).as_strategy(generation_mode=GenerationMode.POSITIVE)

    @BOUNDS
    @given(cases)
    def check(case: schemathesis.Case) -> None:
        api.send(case)
        known = {name: api.known[name] for name in case.path_parameters if name in api.known}
        if known and case.method != "DELETE":
            case.path_parameters = {**case.path_parameters, **known}
            api.send(case)

    check()


@pytest.mark.parametrize("operation", OPERATIONS)
def test_invalid_requests_get_an_answer_of_the_document(api: Api, operation: str) -> None:
    found = api.schema.find_operation_by_id(operation)
    if not any((*found.body, *found.query, *found.headers)):
        pytest.skip("whatever is sent to it is valid: it takes neither a body nor parameters but a path")

    @BOUNDS
    @given(found.as_strategy(generation_mode=GenerationMode.NEGATIVE))
    def check(case: schemathesis.Case) -> None:
        api.send(case)

    check()
