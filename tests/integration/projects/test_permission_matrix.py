"""Every route of the API, called by every kind of caller. A route that is not covered fails."""

import asyncio
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute

from factories.access import MODULE
from factories.modules import CONTAINER, ENVIRONMENT, INSTANCE, WORKFLOW
from infraxys.server.api import routers
from infraxys.server.app import api_routes
from infraxys.server.auth.grants import GRANTS
from infraxys.server.auth.permissions import SIGNED_IN, Public, Requires, declared
from infraxys.server.auth.subject import Subject
from infraxys.server.errors import Forbidden
from plugins.access import AccessServer

ROUTES = [route for router in routers for route in api_routes(router)]


@dataclass(frozen=True)
class Call:
    """One request. `target` is the id in it that callers without rights must not be able to tell from any other."""

    path: str
    target: str
    json: dict[str, Any] | str | None = None
    also: tuple[str, ...] = ()  # grants that this needs beside the route's own

    def with_unknown(self) -> "Call":
        """Give the same call for something that does not exist."""
        other = str(uuid.uuid4()) if len(self.target) == 36 else "nothing-1"
        body = self.json
        if isinstance(body, dict):
            body = {key: self._swap(value, other) for key, value in body.items()}
        return Call(self.path.replace(self.target, other), other, body)

    def _swap(self, value: Any, other: str) -> Any:
        if isinstance(value, dict):
            return {key: self._swap(item, other) for key, item in value.items()}
        return other if value == self.target else value


class World:
    """A server with a project, its parent, another project, an environment in it, and a run of that."""

    def __init__(self, server: AccessServer) -> None:
        self.server, self.make = server, server.make
        self.parent = self.make.project(name="parent")
        self.project = self.make.project(self.parent, name="project")
        self.other = self.make.project(name="other")
        self.make.attach(self.project, ENVIRONMENT)
        self.administrator = self.make.user(is_administrator=True)
        self._tokens: dict[Any, str] = {}
        self.nobody = self.make.token(self.make.user())
        self.everything = self.make.token(self.administrator)
        run = self.ask("POST", Call(f"/instance/main/{INSTANCE}/files/true.sh/execute", INSTANCE, {}), self.everything)
        self.run_id = run.json()["id"]

    def holder(self, project_id: str, *grants: str) -> str:
        """Give the token of somebody with grants on a project."""
        key = (project_id, grants)
        if key not in self._tokens:
            self._tokens[key] = self.make.token(self.make.user(self.make.team(project_id, grants)))
        return self._tokens[key]

    def administrator_of(self, project_id: str) -> str:
        """Give the token of a project's administrator."""
        if project_id not in self._tokens:
            self._tokens[project_id] = self.make.token(self.make.user(self.make.administrators_of(project_id)))
        return self._tokens[project_id]

    def scoped(self, *scopes: str) -> str:
        """Give a narrow token of an administrator."""
        if scopes not in self._tokens:
            self._tokens[scopes] = self.make.token(self.administrator, list(scopes))
        return self._tokens[scopes]

    def ask(self, method: str, call: Call, token: str | None) -> httpx.Response:
        """Send a request."""
        return self.server.ask(method, call.path, token, call.json)


@pytest.fixture(scope="module")
def world(access_server: AccessServer) -> World:
    return World(access_server)


def run_call(suffix: str, method_body: dict[str, Any] | None = None) -> Callable[[World], Call]:
    return lambda world: Call(f"/runs/{world.run_id}{suffix}", world.run_id, method_body)


def project_call(suffix: str, body: dict[str, Any] | None = None, *also: str) -> Callable[[World], Call]:
    return lambda world: Call(f"/projects/{world.project}{suffix}", world.project, body, also)


def team_call(suffix: str, body: dict[str, Any] | None = None) -> Callable[[World], Call]:
    def make(world: World) -> Call:
        team = world.make.team(world.project)
        return Call(f"/teams/{team}{suffix}", team, body)

    return make


def grant_call(suffix: str, body: dict[str, Any] | None = None) -> Callable[[World], Call]:
    def make(world: World) -> Call:
        grant = world.make.custom(world.project)
        return Call(f"/grants/{grant}{suffix}", grant, body)

    return make


def delete_project(world: World) -> Call:
    project = world.make.project(world.project)
    return Call(f"/projects/{project}", project)


def detach(world: World) -> Call:
    entry = world.make.attach(world.project, ENVIRONMENT, f"some/{uuid.uuid4()}")
    return Call(f"/projects/{world.project}/environments/{entry}", world.project)


def exclude(world: World) -> Call:
    call = Call(f"/projects/{world.project}/containers", world.project, CONTAINER_BODY)
    entry = world.ask("POST", call, world.everything).json()["id"]
    return Call(f"/projects/{world.project}/containers/{entry}", world.project)


def add_member(world: World) -> Call:
    team = world.make.team(world.project)
    return Call(f"/teams/{team}/members/{world.make.user()}", team)


def remove_member(world: World) -> Call:
    team = world.make.team(world.project)
    return Call(f"/teams/{team}/members/{world.make.user(team)}", team)


def give(world: World) -> Call:
    team = world.make.team(world.project)
    return Call(f"/teams/{team}/grants", team, {"projectId": world.project, "grants": ["grant.modify"]})


def take(world: World) -> Call:
    team = world.make.team(world.project, ["run.list"])
    return Call(f"/teams/{team}/grants/run.list?projectId={world.project}", team)


def cache_call(suffix: str = "", *, is_there: bool = False, body: str | None = None) -> Callable[[World], Call]:
    def make(world: World) -> Call:
        name = f"{uuid.uuid4().hex}.txt"
        path = f"/caches/project/{world.project}"
        if is_there:
            assert world.ask("PUT", Call(f"{path}/{name}", "", "text"), world.everything).is_success
        return Call(path + suffix.replace("FILE", name), world.project, body)

    return make


def ring_2_call(body: str | None = None) -> Callable[[World], Call]:
    def make(world: World) -> Call:
        made = cache_call("/FILE", is_there=True)(world)
        return Call(made.path.replace("/caches/project/", "/cache/projects/"), world.project, body)

    return make


def artefact(world: World) -> Call:
    code = {"code": "import os; open(os.environ['INFRAXYS_ARTEFACTS'] + '/a', 'w').close()"}
    call = Call(f"/instance/main/{INSTANCE}/files/code.py/execute", INSTANCE, {"argument": code})
    run_id = world.ask("POST", call, world.everything).json()["id"]
    return Call(f"/runs/{run_id}/artefacts/a", run_id)


def unprotect(world: World) -> Call:
    grant = world.make.custom(world.project)
    entry = world.make.protect(grant, ENVIRONMENT, f"container-{grant}")
    return Call(f"/grants/{grant}/containers/{entry}", grant, also=(grant,))


PLACES = {
    "project": lambda world: (f"/projects/{world.project}/variables", world.project, f"?module={MODULE}"),
    "environment": lambda _: (f"/environments/{ENVIRONMENT}/variables", ENVIRONMENT, f"?module={MODULE}"),
    "container": lambda _: (
        f"/containers/{CONTAINER}/variables",
        ENVIRONMENT,
        f"?module={MODULE}&environmentId={ENVIRONMENT}",
    ),
}


def variable_call(level: str, body: dict[str, Any] | None = None, *, is_list: bool = False) -> Callable[[World], Call]:
    """Call about a variable of a level; there is one, but for the list."""

    def make(world: World) -> Call:
        path, target, query = PLACES[level](world)
        if is_list:
            return Call(f"{path}{query}", target)
        one = f"{path}/n{uuid.uuid4().hex}{query}"
        world.ask("PUT", Call(one, target, {"value": "v"}), world.everything)
        return Call(one, target, body)

    return make


PATH = "localhost\\tests\\library\\main"
REFERENCE = {
    "moduleBranchPath": PATH,
    "environmentId": ENVIRONMENT,
    "containerId": CONTAINER,
    "instanceId": INSTANCE,
}


def instance_call(path: str, body: dict[str, Any]) -> Callable[[World], Call]:
    """Call about an instance; what is sent changes nothing, or is refused by its packet, which is an answer as well."""
    return lambda _: Call(path, INSTANCE, body)


CONTAINER_BODY = {"module": MODULE, "branch": "main", "environmentId": ENVIRONMENT, "containerId": CONTAINER}
ADHOC = {
    "environmentGuid": ENVIRONMENT,
    "actions": [{"containerGuid": CONTAINER, "instanceGuid": INSTANCE, "filename": "true.sh"}],
}
# How to call each route about something in a project, so that it works for who has the grant there.
IN_PROJECT: dict[str, Callable[[World], Call]] = {
    "execute_action": lambda _: Call(f"/instance/main/{INSTANCE}/files/true.sh/execute", INSTANCE, {}),
    "execute_workflow": lambda _: Call(f"/environment/main/{ENVIRONMENT}/workflow/{WORKFLOW}/execute", ENVIRONMENT, {}),
    "execute_adhoc": lambda _: Call("/environments/main/execute", ENVIRONMENT, ADHOC),
    "generate_environment": lambda _: Call(
        f"/modules/localhost%2Ftests%2Flibrary/branches/main/environments/{ENVIRONMENT}/generate", ENVIRONMENT, {}
    ),
    "get_instance": instance_call("/instances", REFERENCE),
    "get_instance_by_attribute": instance_call(
        "/instances/byAttributeNameAndValue", {**REFERENCE, "attributeName": "x"}
    ),
    "list_instances_by_packet_type": instance_call("/instances/byPacketType", {**REFERENCE, "packetType": "x"}),
    "list_children_in_container": instance_call(f"/container/{CONTAINER}/instances/{INSTANCE}/children", {}),
    "list_children": instance_call(f"/instance/main/{INSTANCE}/children", {}),
    "update_instance": instance_call("/instances", {"instance": {**REFERENCE, "id": INSTANCE, "attributes": []}}),
    "ensure_children": instance_call(f"/instance/main/{INSTANCE}/children/ensure", {"instances": []}),
    "ensure_children_in_container": instance_call(
        f"/instance/main/{CONTAINER}/instances/{INSTANCE}/children/ensure", {"instances": []}
    ),
    "add_instance": instance_call(
        f"/instances/localhost%5Ctests%5Clibrary%5Cmain/{ENVIRONMENT}/{CONTAINER}/{INSTANCE}/addInstance", {"no": "no"}
    ),
    "list_runs": lambda world: Call("/runs", world.run_id),
    "get_run": run_call(""),
    "cancel_run": run_call("/cancel", {}),
    "add_answer": lambda world: Call(
        f"/runs/{world.run_id}/answers", world.run_id, {"dialogId": "some", "button": "OK"}, ("action.execute",)
    ),
    "create_rerun": lambda world: Call(f"/runs/{world.run_id}/rerun", world.run_id, {}, ("action.execute",)),
    "get_run_argument": run_call("/argument"),
    "get_run_plan": run_call("/plan"),
    "get_run_log": run_call("/log"),
    "follow_run": run_call("/events"),
    "list_artefacts": run_call("/artefacts"),
    "get_artefact": artefact,
    "list_attribute_values": lambda _: Call(
        f"/modules/localhost%2Ftests%2Flibrary/branches/main/environments/{ENVIRONMENT}/containers/{CONTAINER}"
        f"/instances/{INSTANCE}/attributes/greeting/values",
        ENVIRONMENT,
    ),
    "list_caches": lambda world: Call("/caches?level=project&limit=500", world.project),
    "get_cache": cache_call(),
    "delete_cache": cache_call(),
    "get_cache_file": cache_call("/FILE", is_there=True),
    "replace_cache_file": cache_call("/FILE", body="text"),
    "add_cache_file": cache_call("/FILE", body="text"),
    "delete_cache_file": cache_call("/FILE", is_there=True),
    "get_project_cache_file": ring_2_call(),
    "update_project_cache_file": ring_2_call("dGV4dA=="),
    "list_projects": lambda world: Call("/projects?limit=500", world.project),
    "create_project": lambda world: Call(
        "/projects", world.project, {"parentId": world.project, "name": str(uuid.uuid4())}
    ),
    "get_project": project_call(""),
    "update_project": project_call("", {"description": "changed"}),
    "delete_project": delete_project,
    "list_project_environments": project_call("/environments"),
    "add_project_environment": project_call(
        "/environments", {"module": MODULE, "environmentId": ENVIRONMENT, "branch": "release/*"}
    ),
    "remove_project_environment": detach,
    "list_included_containers": project_call("/containers"),
    "add_included_container": project_call("/containers", CONTAINER_BODY, "environment.read"),
    "remove_included_container": exclude,
    "list_teams": lambda world: Call(f"/teams?projectId={world.project}&limit=500", world.make.team(world.project)),
    "create_team": lambda world: Call("/teams", world.project, {"projectId": world.project, "name": str(uuid.uuid4())}),
    "get_team": team_call(""),
    "update_team": team_call("", {"description": "changed"}),
    "delete_team": team_call(""),
    "list_team_members": team_call("/members"),
    "add_team_member": add_member,
    "remove_team_member": remove_member,
    "list_team_grants": team_call("/grants"),
    "add_team_grants": give,
    "remove_team_grant": take,
    "create_grant": lambda world: Call(
        "/grants", world.project, {"projectId": world.project, "name": f"n{uuid.uuid4().hex}"}
    ),
    "get_grant": grant_call(""),
    "update_grant": grant_call("", {"description": "changed"}),
    "delete_grant": grant_call(""),
    "list_protected_containers": grant_call("/containers"),
    "add_protected_container": grant_call(
        "/containers", {"module": MODULE, "environmentId": "some", "containerId": "other"}
    ),
    "remove_protected_container": unprotect,
    **{
        f"{verb}_{level}_variable{'s' if verb == 'list' else ''}": variable_call(level, body, is_list=verb == "list")
        for level in PLACES
        for verb, body in (
            ("list", None),
            ("get", None),
            ("replace", {"value": "w"}),
            ("update", {"export": True}),
            ("delete", None),
        )
    },
}
LISTS = {"list_runs", "list_projects", "list_teams", "list_caches"}


def grant_of(route: APIRoute) -> str:
    needed = declared(route)
    assert isinstance(needed, Requires)
    return needed.grant


def is_somewhere(route: APIRoute) -> bool:
    needed = declared(route)
    return isinstance(needed, Requires) and needed.somewhere


def generic(route: APIRoute) -> Call:
    """Call a route about the whole server: what it is about does not matter."""
    path = route.path_format
    for name in route.param_convertors:
        path = path.replace(f"{{{name}}}", "x")
    return Call(path, "x", {} if method_of(route) in {"POST", "PUT", "PATCH"} else None)


def method_of(route: APIRoute) -> str:
    return min(route.methods or ())


def is_forbidden(answer: httpx.Response, grant: str) -> bool:
    return answer.status_code == 403 and answer.json().get("grant") == grant


def headers_of(answer: httpx.Response) -> dict[str, str]:
    """Give the headers but for those that say which request it was, and how long what was sent there is."""
    changing = {"date", "x-request-id", "content-length"}
    return {name: value for name, value in answer.headers.items() if name not in changing}


def worked(answer: httpx.Response) -> bool:
    """Whether the call was let in; runs that have ended cannot be cancelled any more."""
    return answer.is_success or answer.json()["code"] == "already_finished"


def name_of(route: APIRoute) -> str:
    return f"{method_of(route)} {route.path_format}"


IN_PROJECT_ROUTES = [route for route in ROUTES if is_somewhere(route)]
SERVER_ROUTES = [
    route for route in ROUTES if not isinstance(declared(route), Public) and not is_somewhere(route) and grant_of(route)
]


def test_every_operation_of_the_document_is_in_the_matrix(world: World) -> None:
    document = world.ask("GET", Call("/openapi.json", ""), world.everything).json()
    named = {operation["operationId"] for path in document["paths"].values() for operation in path.values()}
    assert named <= {route.operation_id for route in ROUTES}
    assert {route.operation_id for route in IN_PROJECT_ROUTES} == IN_PROJECT.keys()


@pytest.mark.parametrize("route", ROUTES, ids=name_of)
def test_a1_who_is_unknown_gets_401_and_nothing_else(world: World, route: APIRoute) -> None:
    answer = world.ask(method_of(route), generic(route), None)
    if isinstance(declared(route), Public):
        assert answer.status_code != 401 or answer.json()["code"] != "unauthorized"
    else:
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")


@pytest.mark.parametrize(
    "route",
    [route for route in ROUTES if isinstance(declared(route), Requires) and grant_of(route) == SIGNED_IN],
    ids=name_of,
)
def test_what_everybody_may_do_with_himself_needs_no_grant(world: World, route: APIRoute) -> None:
    answer = world.ask(method_of(route), generic(route), world.nobody)
    assert answer.status_code != 401
    assert answer.status_code != 403 or answer.json()["code"] != "forbidden"


@pytest.mark.parametrize("route", SERVER_ROUTES, ids=name_of)
class TestWholeServer:
    def test_refuses_who_has_not_the_grant_on_the_root_project(self, world: World, route: APIRoute) -> None:
        grant = grant_of(route)
        unrelated = next(other for other in GRANTS if other != grant)
        for token in (
            world.nobody,
            world.holder(world.project, grant),
            world.administrator_of(world.project),
            world.holder("root", unrelated),
            world.scoped(unrelated),
        ):
            assert is_forbidden(world.ask(method_of(route), generic(route), token), grant)

    def test_lets_in_who_has_it_there(self, world: World, route: APIRoute) -> None:
        grant = grant_of(route)
        for token in (
            world.holder("root", grant),
            world.administrator_of("root"),
            world.everything,
            world.scoped(grant),
        ):
            answer = world.ask(method_of(route), generic(route), token)
            assert answer.status_code != 401
            assert not is_forbidden(answer, grant)


@pytest.mark.parametrize("route", IN_PROJECT_ROUTES, ids=name_of)
class TestInProject:
    def test_refuses_who_has_the_grant_nowhere(self, world: World, route: APIRoute) -> None:
        grant = grant_of(route)
        unrelated = next(other for other in GRANTS if other != grant)
        call = IN_PROJECT[str(route.operation_id)](world)
        for token in (world.nobody, world.holder(world.project, unrelated), world.scoped(unrelated)):
            for one in (call, call.with_unknown()):
                assert is_forbidden(world.ask(method_of(route), one, token), grant)

    def test_a2_g5_tells_who_has_it_elsewhere_nothing(self, world: World, route: APIRoute) -> None:
        call = IN_PROJECT[str(route.operation_id)](world)
        unknown = call.with_unknown()
        for token in (world.holder(world.other, grant_of(route), *call.also), world.administrator_of(world.other)):
            answer = world.ask(method_of(route), call, token)
            if route.operation_id in LISTS:
                assert answer.status_code == 200
                assert call.target not in answer.text
                continue
            assert answer.status_code == 404
            same = world.ask(method_of(route), unknown, token)
            assert answer.text.replace(call.target, "") == same.text.replace(unknown.target, "")
            assert headers_of(answer) == headers_of(same)

    def test_lets_in_who_has_it_there_or_above(self, world: World, route: APIRoute) -> None:
        grant = grant_of(route)
        make = IN_PROJECT[str(route.operation_id)]
        for place in (world.project, world.parent, "root"):
            call = make(world)
            answer = world.ask(method_of(route), call, world.holder(place, grant, *call.also))
            assert worked(answer), answer.text
            if route.operation_id in LISTS:
                assert call.target in answer.text

    def test_lets_in_administrators(self, world: World, route: APIRoute) -> None:
        make = IN_PROJECT[str(route.operation_id)]
        for token in (
            world.administrator_of(world.project),
            world.administrator_of(world.parent),
            world.administrator_of("root"),
            world.everything,
        ):
            answer = world.ask(method_of(route), make(world), token)
            assert worked(answer), answer.text

    def test_b4_a_token_does_what_its_scopes_and_its_owner_may_both(self, world: World, route: APIRoute) -> None:
        grant = grant_of(route)
        call = IN_PROJECT[str(route.operation_id)](world)
        allowed = world.ask(method_of(route), call, world.scoped(grant, *call.also))
        assert worked(allowed), allowed.text
        owner = world.make.user(world.make.team(world.project, ["run.list"]))
        wider = world.make.token(owner, sorted({"run.list", grant}))
        if grant != "run.list":
            call = IN_PROJECT[str(route.operation_id)](world)
            assert is_forbidden(world.ask(method_of(route), call, wider), grant)


class TestOtherWays:
    """field.md G3: no other way to write a call gets further than the call itself."""

    @pytest.mark.parametrize(
        "vary",
        [
            lambda path: f"{path}/",
            lambda path: f"/{path}",
            lambda path: path.replace("/api/v1/", "/api/v1//"),
            lambda path: path.replace("/api/v1/", "/api/v1/%2e/"),
            lambda path: path.replace("/api/v1/", "/api/v1/x/..;/"),
            lambda path: f"{path};x",
            lambda path: f"{path}%2f",
            lambda path: path.replace("/api/v1/", "/API/V1/"),
            lambda path: path.replace("/api/", "/%61pi/"),
        ],
        ids=["slash", "double", "inner", "encoded dot", "dots", "semicolon", "encoded slash", "upper", "encoded"],
    )
    def test_g3_to_write_the_path(self, world: World, vary: Callable[[str], str]) -> None:
        headers = {"Authorization": f"token {world.nobody}"}
        for route in ROUTES:
            if route.path_format.startswith("/api/v1/") and not isinstance(declared(route), Public):
                url = f"{world.server.url}{vary(generic(route).path)}"
                answer = world.server.client.request(method_of(route), url, headers=headers)
                assert answer.status_code in {400, 403, 404, 405}, (route.operation_id, answer.status_code)

    @pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "TRACE", "PROPFIND"])
    def test_g3_to_write_the_method(self, world: World, method: str) -> None:
        for route in ROUTES:
            if route.path_format.startswith("/api/v1/"):
                answer = world.ask(method, generic(route), world.everything)
                assert answer.status_code == 405, (route.operation_id, answer.status_code)

    def test_g3_to_name_another_method_in_a_header(self, world: World) -> None:
        for route in SERVER_ROUTES:
            call = generic(route)
            headers = {"Authorization": f"token {world.scoped(grant_of(route))}", "X-HTTP-Method-Override": "DELETE"}
            plain = world.ask(method_of(route), call, world.scoped(grant_of(route)))
            url = f"{world.server.url}/api/v1{call.path.removeprefix('/api/v1')}"
            same = world.server.client.request(method_of(route), url, headers=headers, json=call.json)
            assert same.status_code == plain.status_code

    @pytest.mark.parametrize("scope", sorted(GRANTS))
    def test_g3_a_scope_opens_the_routes_that_declare_it_and_no_other(self, scope: str) -> None:
        subject = Subject("user", "user", "user", is_administrator=True, token_id="token", scopes=frozenset({scope}))
        for route in ROUTES:
            needed = declared(route)
            if isinstance(needed, Requires) and needed.grant:
                assert is_let_in(needed, subject) == (needed.grant == scope), route.operation_id


def is_let_in(needed: Requires, subject: Subject) -> bool:
    """Ask the one permission check, with everything before it left out."""

    async def known(_: object) -> Subject:
        return subject

    services = SimpleNamespace(
        authenticator=SimpleNamespace(authenticate=known), access=SimpleNamespace(with_rights=known)
    )
    request = SimpleNamespace(app=SimpleNamespace(state=SimpleNamespace(services=services)), state=SimpleNamespace())
    try:
        asyncio.run(needed(request))  # type: ignore[arg-type]
    except Forbidden:
        return False
    return True
