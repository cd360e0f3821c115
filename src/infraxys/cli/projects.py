"""Commands about projects, teams and grants. They talk to a server."""

import json
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from infraxys.cli.api import Api, segment
from infraxys.cli.output import Failed, print_json, print_table
from infraxys.cli.remote import AsJson, Server, Token

Project = Annotated[str, typer.Option("--project", help="Id of a project, or its path of names from the root.")]
ProjectArgument = Annotated[str, typer.Argument(help="Id of a project, or its path of names, as Payments/Production.")]
Team = Annotated[str, typer.Argument(help="Id of a team.")]
Description = Annotated[str, typer.Option("--description")]
Environment = Annotated[str, typer.Argument(help="Id of an environment.")]
Module = Annotated[str, typer.Option("--module", help="host/org/repo.")]
Container = Annotated[str, typer.Argument(help="Id of a container.")]
Grant = Annotated[str, typer.Argument(help="Id of a custom grant.")]
Group = Annotated[
    str | None, typer.Option("--group", help='Group of the identity provider whose members are in it; "": none.')
]
project_app = typer.Typer(help="Projects, and the environments attached to them.", no_args_is_help=True)
team_app = typer.Typer(help="Teams: who is in them, and what they may do.", no_args_is_help=True)
grant_app = typer.Typer(help="Grants: built-in ones, bundles, and your own.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(project_app, name="project")
    app.add_typer(team_app, name="team")
    app.add_typer(grant_app, name="grant")


def with_paths(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add to each project its path of names; one whose parent is not shown begins there."""
    paths: dict[str, str] = {}
    for item in items:
        above = paths.get(item["parentId"], "")
        paths[item["id"]] = item["path"] = "" if item["id"] == "root" else f"{above}/{item['name']}".lstrip("/")
    return items


def project_id(api: Api, wanted: str) -> str:
    """Find a project by its id or its path of names; that of the root is its name or empty. Raises Failed."""
    if wanted == "root":
        return wanted
    items = with_paths(api.all("/projects"))
    found = [item["id"] for item in items if wanted.strip("/") in {item["id"], item["path"]}]
    found = found or [item["id"] for item in items if item["id"] == "root" and item["name"] == wanted]
    if len(found) != 1:
        raise Failed(f"there is no project '{wanted}'; 'infraxys project list' shows those that there are")
    return str(found[0])


def sent(body: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what was not given. Raises Failed when nothing was."""
    given = {name: value for name, value in body.items() if value is not None}
    if not given:
        raise Failed("say what to change; --help shows the options", 2)
    return given


def show(items: list[dict[str, Any]], columns: dict[str, str], as_json: bool) -> None:
    """Print a list."""
    if as_json:
        print_json(items)
    else:
        print_table(items, columns)


# -- projects --


@project_app.command("list")
def list_projects(server: Server = None, token: Token = None, as_json: AsJson = False) -> None:
    """List the tree of projects. Example: infraxys project list."""
    items = with_paths(Api(server, token).all("/projects"))
    for item in items:
        item["tree"] = "  " * item["depth"] + item["name"]
    show(items, {"tree": "PROJECT", "id": "ID", "description": "DESCRIPTION"}, as_json)


@project_app.command("create")
def create_project(
    name: str,
    parent: Annotated[str, typer.Option("--parent", help="Id or path of the project above.")] = "root",
    description: Description = "",
    server: Server = None,
    token: Token = None,
) -> None:
    """Make a project; prints its id. Example: infraxys project create Production --parent Payments."""
    api = Api(server, token)
    body = {"name": name, "parentId": project_id(api, parent), "description": description}
    print(api.call("POST", "/projects", body)["id"])


@project_app.command("show")
def show_project(project: ProjectArgument, server: Server = None, token: Token = None) -> None:
    """Print a project, with the grants that you have on it, as JSON. Example: infraxys project show Payments."""
    api = Api(server, token)
    print_json(api.call("GET", f"/projects/{segment(project_id(api, project))}"))


@project_app.command("set")
def change_project(
    project: ProjectArgument,
    description: Annotated[str | None, typer.Option("--description")] = None,
    share_cache: Annotated[
        bool | None, typer.Option("--share-cache/--no-share-cache", help="Show its cache to the projects below.")
    ] = None,
    cache_alias: Annotated[str | None, typer.Option(help="The name under which they see it.")] = None,
    limits: Annotated[str | None, typer.Option(help='Limits of its actions as JSON; "{}": none of its own.')] = None,
    server: Server = None,
    token: Token = None,
) -> None:
    """Change a project. Example: infraxys project set Payments --limits '{"memoryBytes": 536870912}'."""
    try:
        wanted = None if limits is None else json.loads(limits)
    except ValueError as error:
        raise Failed(f"--limits is not JSON: {error}", 2) from error
    body = {"description": description, "sharesCache": share_cache, "cacheAlias": cache_alias, "limits": wanted}
    api = Api(server, token)
    api.call("PATCH", f"/projects/{segment(project_id(api, project))}", sent(body))


@project_app.command("rename")
def rename_project(project: ProjectArgument, name: str, server: Server = None, token: Token = None) -> None:
    """Rename a project. Example: infraxys project rename Payments Billing."""
    api = Api(server, token)
    api.call("PATCH", f"/projects/{segment(project_id(api, project))}", {"name": name})


@project_app.command("move")
def move_project(project: ProjectArgument, parent: ProjectArgument, server: Server = None, token: Token = None) -> None:
    """Move a project below another. Example: infraxys project move Shop/Test Test."""
    api = Api(server, token)
    goal = project_id(api, parent)
    api.call("PATCH", f"/projects/{segment(project_id(api, project))}", {"parentId": goal})


@project_app.command("delete")
def delete_project(project: ProjectArgument, server: Server = None, token: Token = None) -> None:
    """Remove an empty project. Example: infraxys project delete Payments/Test."""
    api = Api(server, token)
    api.call("DELETE", f"/projects/{segment(project_id(api, project))}")


@project_app.command("environments")
def list_environments(
    project: ProjectArgument, server: Server = None, token: Token = None, as_json: AsJson = False
) -> None:
    """List the environments attached to a project. Example: infraxys project environments Payments."""
    api = Api(server, token)
    items = api.all(f"/projects/{segment(project_id(api, project))}/environments")
    show(items, {"environmentId": "ENVIRONMENT", "module": "MODULE", "branch": "BRANCHES", "id": "ID"}, as_json)


@project_app.command("attach")
def attach_environment(
    project: ProjectArgument,
    environment: Environment,
    module: Module,
    branch: Annotated[str, typer.Option("--branch", help="A branch, or its beginning and *.")] = "*",
    server: Server = None,
    token: Token = None,
) -> None:
    """Attach an environment. Example: infraxys project attach Payments env-1 --module host/org/repo --branch main."""
    api = Api(server, token)
    body = {"module": module, "environmentId": environment, "branch": branch}
    api.call("POST", f"/projects/{segment(project_id(api, project))}/environments", body)


@project_app.command("detach")
def detach_environment(
    project: ProjectArgument,
    attachment: Annotated[str, typer.Argument(help="Id, as 'project environments' shows it.")],
    server: Server = None,
    token: Token = None,
) -> None:
    """Detach an environment. Example: infraxys project detach Payments 0198a1b2-…."""
    api = Api(server, token)
    api.call("DELETE", f"/projects/{segment(project_id(api, project))}/environments/{segment(attachment)}")


@project_app.command("containers")
def list_containers(
    project: ProjectArgument, server: Server = None, token: Token = None, as_json: AsJson = False
) -> None:
    """List the containers that a project includes and inherits. Example: infraxys project containers Payments."""
    api = Api(server, token)
    items = api.all(f"/projects/{segment(project_id(api, project))}/containers")
    columns = {"containerId": "CONTAINER", "environmentId": "ENVIRONMENT", "module": "MODULE", "branch": "BRANCH"}
    show(items, {**columns, "isInherited": "INHERITED", "id": "ID"}, as_json)


@project_app.command("include")
def include_container(
    project: ProjectArgument,
    environment: Environment,
    container: Container,
    module: Module,
    branch: Annotated[str, typer.Option("--branch")],
    no_overrides: Annotated[
        bool, typer.Option("--no-overrides", help="What it saves wins over environments' own.")
    ] = False,
    server: Server = None,
    token: Token = None,
) -> None:
    """Include a container; prints its id. Example: infraxys project include A env-1 con-1 --module m --branch main."""
    api = Api(server, token)
    where = {"module": module, "branch": branch, "environmentId": environment, "containerId": container}
    path = f"/projects/{segment(project_id(api, project))}/containers"
    print(api.call("POST", path, {**where, "allowOverrides": not no_overrides})["id"])


@project_app.command("exclude")
def exclude_container(
    project: ProjectArgument,
    included: Annotated[str, typer.Argument(help="Id, as 'project containers' shows it.")],
    server: Server = None,
    token: Token = None,
) -> None:
    """Do not include a container any more. Example: infraxys project exclude Payments 0198a1b2-…."""
    api = Api(server, token)
    api.call("DELETE", f"/projects/{segment(project_id(api, project))}/containers/{segment(included)}")


# -- teams --


@team_app.command("list")
def list_teams(
    project: Annotated[str | None, typer.Option("--project", help="Of this project only.")] = None,
    server: Server = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """List teams. Example: infraxys team list --project Payments."""
    api = Api(server, token)
    query = "" if project is None else f"?projectId={segment(project_id(api, project))}"
    show(api.all(f"/teams{query}"), {"name": "TEAM", "id": "ID", "projectId": "PROJECT"}, as_json)


@team_app.command("create")
def create_team(
    name: str,
    project: Project,
    description: Description = "",
    group: Group = None,
    server: Server = None,
    token: Token = None,
) -> None:
    """Make a team; prints its id. Example: infraxys team create Operators --project Payments."""
    api = Api(server, token)
    body = {"name": name, "projectId": project_id(api, project), "description": description, "externalGroup": group}
    print(api.call("POST", "/teams", sent(body))["id"])


@team_app.command("show")
def show_team(team: Team, server: Server = None, token: Token = None) -> None:
    """Print a team as JSON. Example: infraxys team show 0198a1b2-…."""
    print_json(Api(server, token).call("GET", f"/teams/{segment(team)}"))


@team_app.command("set")
def change_team(
    team: Team,
    name: Annotated[str | None, typer.Option("--name")] = None,
    description: Annotated[str | None, typer.Option("--description")] = None,
    group: Group = None,
    server: Server = None,
    token: Token = None,
) -> None:
    """Change a team. Example: infraxys team set 0198a1b2-… --group infra-operators."""
    body = {"name": name, "description": description, "externalGroup": group}
    Api(server, token).call("PATCH", f"/teams/{segment(team)}", sent(body))


@team_app.command("delete")
def delete_team(team: Team, server: Server = None, token: Token = None) -> None:
    """Remove a team. Example: infraxys team delete 0198a1b2-…."""
    Api(server, token).call("DELETE", f"/teams/{segment(team)}")


@team_app.command("members")
def list_members(team: Team, server: Server = None, token: Token = None, as_json: AsJson = False) -> None:
    """List the members of a team. Example: infraxys team members 0198a1b2-…."""
    items = Api(server, token).all(f"/teams/{segment(team)}/members")
    show(items, {"name": "NAME", "displayName": "DISPLAY NAME", "isFromGroup": "FROM GROUP"}, as_json)


@team_app.command("add")
def add_member(team: Team, user: str, server: Server = None, token: Token = None) -> None:
    """Put somebody into a team. Example: infraxys team add 0198a1b2-… ada."""
    Api(server, token).call("PUT", f"/teams/{segment(team)}/members/{segment(user)}")


@team_app.command("remove")
def remove_member(team: Team, user: str, server: Server = None, token: Token = None) -> None:
    """Take somebody out of a team. Example: infraxys team remove 0198a1b2-… ada."""
    Api(server, token).call("DELETE", f"/teams/{segment(team)}/members/{segment(user)}")


@team_app.command("grants")
def list_given(team: Team, server: Server = None, token: Token = None, as_json: AsJson = False) -> None:
    """List what a team was given. Example: infraxys team grants 0198a1b2-…."""
    items = Api(server, token).all(f"/teams/{segment(team)}/grants")
    show(items, {"name": "GRANT", "projectId": "PROJECT", "grant": "ID"}, as_json)


@team_app.command("grant")
def give_grants(
    team: Team,
    project: Project,
    grant: Annotated[list[str] | None, typer.Option("--grant", help="A name or id; may be repeated.")] = None,
    bundle: Annotated[
        list[str] | None, typer.Option("--bundle", help="viewer, operator, editor, administrator.")
    ] = None,
    server: Server = None,
    token: Token = None,
) -> None:
    """Give grants to a team. Example: infraxys team grant 0198a1b2-… --project Payments --bundle operator."""
    if not grant and not bundle:
        raise Failed("name at least one --grant or --bundle", 2)
    api = Api(server, token)
    body = {"projectId": project_id(api, project), "grants": grant or [], "bundles": bundle or []}
    api.call("POST", f"/teams/{segment(team)}/grants", body)


@team_app.command("revoke")
def take_grant(team: Team, grant: str, project: Project, server: Server = None, token: Token = None) -> None:
    """Take a grant from a team. Example: infraxys team revoke 0198a1b2-… run.cancel --project Payments."""
    api = Api(server, token)
    query = f"?projectId={segment(project_id(api, project))}"
    api.call("DELETE", f"/teams/{segment(team)}/grants/{segment(grant)}{query}")


# -- grants --


@grant_app.command("list")
def list_grants(
    project: Annotated[str | None, typer.Option("--project", help="Those that can be given there.")] = None,
    server: Server = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """List the grants. Example: infraxys grant list."""
    api = Api(server, token)
    query = "" if project is None else f"?projectId={segment(project_id(api, project))}"
    items = api.all(f"/grants{query}")
    if not as_json:
        for item in items:
            item["bundles"] = ", ".join(item.get("bundles", []))
    show(items, {"name": "GRANT", "description": "ALLOWS", "bundles": "BUNDLES", "id": "ID"}, as_json)


@grant_app.command("create")
def create_grant(
    name: str, project: Project, description: Description = "", server: Server = None, token: Token = None
) -> None:
    """Make a custom grant; prints its id. Example: infraxys grant create "Deploy to production" --project Payments."""
    api = Api(server, token)
    body = {"name": name, "projectId": project_id(api, project), "description": description}
    print(api.call("POST", "/grants", body)["id"])


@grant_app.command("set")
def change_grant(
    grant: Grant,
    name: Annotated[str | None, typer.Option("--name")] = None,
    description: Annotated[str | None, typer.Option("--description")] = None,
    server: Server = None,
    token: Token = None,
) -> None:
    """Rename or describe a custom grant; its id stays. Example: infraxys grant set 0198a1b2-… --name "Pay out"."""
    Api(server, token).call("PATCH", f"/grants/{segment(grant)}", sent({"name": name, "description": description}))


@grant_app.command("delete")
def delete_grant(grant: Grant, server: Server = None, token: Token = None) -> None:
    """Remove a custom grant that protects nothing. Example: infraxys grant delete 0198a1b2-…."""
    Api(server, token).call("DELETE", f"/grants/{segment(grant)}")


@grant_app.command("containers")
def list_protected(grant: Grant, server: Server = None, token: Token = None, as_json: AsJson = False) -> None:
    """List the containers that a custom grant protects. Example: infraxys grant containers 0198a1b2-…."""
    items = Api(server, token).all(f"/grants/{segment(grant)}/containers")
    show(items, {"containerId": "CONTAINER", "environmentId": "ENVIRONMENT", "module": "MODULE", "id": "ID"}, as_json)


@grant_app.command("unprotect")
def unprotect_container(
    grant: Grant,
    protected: Annotated[str, typer.Argument(help="Id, as 'grant containers' shows it.")],
    server: Server = None,
    token: Token = None,
) -> None:
    """Take the protection from a container. Example: infraxys grant unprotect 0198a1b2-… 0198a1b3-…."""
    Api(server, token).call("DELETE", f"/grants/{segment(grant)}/containers/{segment(protected)}")


@grant_app.command("protect")
def protect_container(
    grant: Grant,
    environment: Environment,
    container: Container,
    module: Module,
    server: Server = None,
    token: Token = None,
) -> None:
    """Protect a container. Example: infraxys grant protect 0198a1b2-… env-1 con-1 --module host/org/repo."""
    body = {"module": module, "environmentId": environment, "containerId": container}
    Api(server, token).call("POST", f"/grants/{segment(grant)}/containers", body)
