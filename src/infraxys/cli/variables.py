"""Commands about variables, which talk to a server, and about the key that secrets are kept under."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from infraxys.cli.api import Api, segment
from infraxys.cli.local import DataDir, command_origin, open_database
from infraxys.cli.output import Failed, print_json
from infraxys.cli.projects import project_id, show
from infraxys.cli.remote import AsJson, Server, Token
from infraxys.cli.server_commands import settings_from

Project = Annotated[str | None, typer.Option("--project", help="Id of a project, or its path of names.")]
Environment = Annotated[str | None, typer.Option("--environment", help="Id of an environment; needs --module.")]
Container = Annotated[str | None, typer.Option("--container", help="Id of a container of that environment.")]
Module = Annotated[str | None, typer.Option("--module", help="host/org/repo.")]
Branch = Annotated[str, typer.Option("--branch", help="A branch, or its beginning and *.")]
variable_app = typer.Typer(help="Variables of projects, environments and containers.", no_args_is_help=True)
secrets_app = typer.Typer(help="The key that secrets are kept under.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(variable_app, name="variable")
    app.add_typer(secrets_app, name="secrets")


def path_of(
    api: Api,
    project: str | None,
    environment: str | None,
    container: str | None,
    module: str | None,
    branch: str,
    name: str | None = None,
) -> str:
    """Give the path of the variables of a level, or of one of them. Raises Failed."""
    one = "" if name is None else f"/{segment(name)}"
    if (project is None) == (environment is None):
        raise Failed("name either a --project or an --environment (and a --container of it)", 2)
    if project is not None:
        if container is not None:
            raise Failed("a --container is one of an --environment", 2)
        return f"/projects/{segment(project_id(api, project))}/variables{one}"
    if module is None or environment is None:
        raise Failed("an --environment needs the --module that it is in, as host/org/repo", 2)
    where = f"?module={segment(module)}&branch={segment(branch)}"
    if container is None:
        return f"/environments/{segment(environment)}/variables{one}{where}"
    return f"/containers/{segment(container)}/variables{one}{where}&environmentId={segment(environment)}"


@variable_app.command("list")
def list_variables(
    project: Project = None,
    environment: Environment = None,
    container: Container = None,
    module: Module = None,
    branch: Branch = "*",
    server: Server = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """List the variables that are set at a level. Example: infraxys variable list --project Payments."""
    api = Api(server, token)
    items = api.call("GET", path_of(api, project, environment, container, module, branch))["items"]
    if not as_json:
        for item in items:
            item["shown"] = "(protected)" if item["protect"] else item["value"].partition("\n")[0][:60]
            flags = {"export": "exported", "saveToFile": "file"}
            item["as"] = ", ".join(word for flag, word in flags.items() if item[flag])
    show(items, {"name": "NAME", "type": "TYPE", "shown": "VALUE", "as": "AS"}, as_json)


@variable_app.command("get")
def get_variable(
    name: str,
    project: Project = None,
    environment: Environment = None,
    container: Container = None,
    module: Module = None,
    branch: Branch = "*",
    server: Server = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Print the value of a variable. Example: infraxys variable get region --project Payments."""
    api = Api(server, token)
    item = api.call("GET", path_of(api, project, environment, container, module, branch, name))
    if as_json:
        print_json(item)
    elif item["protect"]:
        raise Failed(f"'{name}' is protected: its value is for runs only")
    else:
        print(item["value"])


@variable_app.command("set")
def set_variable(
    name: str,
    value: Annotated[str | None, typer.Argument(help="The value; without it, it is read from standard input.")] = None,
    project: Project = None,
    environment: Environment = None,
    container: Container = None,
    module: Module = None,
    branch: Branch = "*",
    kind: Annotated[str, typer.Option("--type", help="For example SSH-PRIVATE-KEY.")] = "",
    protect: Annotated[bool, typer.Option("--protect", help="A secret: never shown again, masked in logs.")] = False,
    export: Annotated[bool, typer.Option("--export", help="As environment variable.")] = False,
    to_file: Annotated[bool, typer.Option("--file", help="As a file below /tmp/infraxys/variables.")] = False,
    closed: Annotated[bool, typer.Option("--no-overrides", help="Levels below cannot have another value.")] = False,
    vault: Annotated[str | None, typer.Option("--vault", help="PATH#FIELD of a secret in Vault.")] = None,
    server: Server = None,
    token: Token = None,
) -> None:
    """Set a variable. Example: infraxys variable set db_password --project Payments --protect --export < file."""
    if value is not None and protect:
        raise Failed("everybody on this machine sees the arguments of commands: send a secret on standard input", 2)
    body: dict[str, Any] = {
        "type": kind, "protect": protect or vault is not None, "export": export, "saveToFile": to_file,
        "allowOverrides": not closed,
    }  # fmt: skip
    if vault is not None:
        path, _, field = vault.partition("#")
        body["reference"] = {"store": "vault", "path": path, "field": field}
    else:
        body["value"] = sys.stdin.read().removesuffix("\n") if value is None else value
    api = Api(server, token)
    api.call("PUT", path_of(api, project, environment, container, module, branch, name), body)


@variable_app.command("delete")
def delete_variable(
    name: str,
    project: Project = None,
    environment: Environment = None,
    container: Container = None,
    module: Module = None,
    branch: Branch = "*",
    server: Server = None,
    token: Token = None,
) -> None:
    """Remove a variable. Example: infraxys variable delete region --project Payments."""
    api = Api(server, token)
    api.call("DELETE", path_of(api, project, environment, container, module, branch, name))


@secrets_app.command("rotate")
def rotate_key(
    data_dir: DataDir = None,
    forget: Annotated[bool, typer.Option("--forget", help="Drop the keys before; older backups need them.")] = False,
) -> None:
    """Take another master key, also while the server runs. Example: infraxys secrets rotate."""
    from infraxys.server.audit.origin import enter
    from infraxys.server.audit.trail import record
    from infraxys.server.variables.keys import KeyProblem, key_ring
    from infraxys.server.variables.repository import are_any_sealed
    from infraxys.server.variables.service import rotate

    settings = settings_from(data_dir=data_dir)
    with open_database(data_dir) as database:
        enter(command_origin())
        try:
            keys = key_ring(settings, settings.data_dir)
            keys.open(is_needed=database.read_now(are_any_sealed))
            key_id = keys.rotate()

            def write(connection: Any) -> int:
                count = rotate(connection, keys)
                record(connection, "secrets_key.rotate", f"secrets_key/{key_id}", variables=count)
                return count

            count = database.write_now(write)
            forgotten = keys.forget_others() if forget else 0
        except KeyProblem as error:
            raise Failed(str(error)) from error
    place = Path(settings.secrets_key_file or "keys/secrets.key").name
    where = "INFRAXYS_SECRETS_KEY" if keys.is_from_environment else place
    print(f"{count} variables are kept under the key {key_id} in {where} now; {forgotten} keys before were dropped.")
