"""Accounts and tokens: in this machine's data folder, or with --server through a server's API."""

import sys
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from infraxys.cli.api import Api, segment
from infraxys.cli.local import DataDir, command_origin, open_database, token_key
from infraxys.cli.output import Failed, print_json, print_table
from infraxys.cli.server_commands import settings_from

T = TypeVar("T")
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Server = Annotated[str | None, typer.Option("--server", help="URL of a server, in place of the data folder.")]
Token = Annotated[str | None, typer.Option("--token", help="A token for --server; or INFRAXYS_TOKEN.")]
PasswordStdin = Annotated[bool, typer.Option("--password-stdin", help="Read the password from stdin.")]
UserName = Annotated[str, typer.Argument(help="The user's name.")]
USER_COLUMNS = {"name": "NAME", "displayName": "DISPLAY NAME", "kind": "KIND", "isAdministrator": "ADMIN",
                "disabledAt": "DISABLED"}  # fmt: skip
TOKEN_COLUMNS = {"id": "ID", "user": "USER", "name": "NAME", "expiresAt": "EXPIRES", "lastUsedAt": "LAST USED"}
user_app = typer.Typer(help="Accounts of a server.", no_args_is_help=True)
token_app = typer.Typer(help="Personal access tokens.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(user_app, name="user")
    app.add_typer(token_app, name="token")


# -- users --


@user_app.command("create")
def create_user(
    name: UserName,
    admin: Annotated[bool, typer.Option("--admin", help="With every grant.")] = False,
    service: Annotated[bool, typer.Option("--service", help="For a program: has tokens, cannot sign in.")] = False,
    password_stdin: PasswordStdin = False,
    openid_subject: Annotated[
        str | None, typer.Option(help="For the person of the OpenID provider with this `sub`.")
    ] = None,
    data_dir: DataDir = None,
    server: Server = None,
    token: Token = None,
) -> None:
    """Create an account. Example: infraxys user create ada --password-stdin."""
    if openid_subject is not None:
        if service or password_stdin or server:
            raise Failed("--openid-subject goes with --admin and --data-dir only", 2)
        create_openid_user(name, openid_subject, data_dir, admin=admin)
        return
    if service and password_stdin:
        raise Failed("a service account has no password", 2)
    kind = "service" if service else "local"
    password = read_password() if password_stdin else None
    if server:
        body = {"name": name, "kind": kind, "isAdministrator": admin, "password": password}
        Api(server, token).call("POST", "/users", body)
    else:
        from infraxys.server.auth import users

        password_hash = None if password is None else hashed(password, name)
        write(
            data_dir,
            lambda connection: users.create_user(
                connection, name, kind=kind, is_administrator=admin, password_hash=password_hash
            ),
        )
    print(f"User {name} was created.")


def create_openid_user(name: str, subject: str, data_dir: Path | None, *, admin: bool) -> None:
    """Create an account for a person of the OpenID provider before they sign in. Raises Failed."""
    from infraxys.server.auth import users
    from infraxys.server.auth.openid.accounts import link

    issuer = settings_from(data_dir=data_dir).oidc_issuer
    if issuer is None:
        raise Failed("there is no OpenID provider in the settings: set INFRAXYS_OIDC_ISSUER", 2)

    def create(connection: Any) -> None:
        link(connection, users.create_user(connection, name, is_administrator=admin), issuer, subject)

    write(data_dir, create)
    print(f"User {name} was created.")


@user_app.command("list")
def list_users(data_dir: DataDir = None, server: Server = None, token: Token = None, as_json: AsJson = False) -> None:
    """List the accounts. Example: infraxys user list --json."""
    if server:
        rows = Api(server, token).all("/users")
    else:
        from infraxys.server.accounts.schemas import user_object
        from infraxys.server.auth import users

        with open_database(data_dir) as database:
            rows = [user_object(row) for row in database.read_now(users.list_users)]
    show(rows, USER_COLUMNS, as_json)


@user_app.command("disable")
def disable_user(name: UserName, data_dir: DataDir = None, server: Server = None, token: Token = None) -> None:
    """Lock an account out; its sessions and tokens are gone. Example: infraxys user disable ada."""
    set_disabled(name, data_dir, server, token, is_disabled=True)
    print(f"User {name} is disabled.")


@user_app.command("enable")
def enable_user(name: UserName, data_dir: DataDir = None, server: Server = None, token: Token = None) -> None:
    """Let an account in again. Example: infraxys user enable ada."""
    set_disabled(name, data_dir, server, token, is_disabled=False)
    print(f"User {name} is enabled.")


def set_disabled(name: str, data_dir: Any, server: str | None, token: str | None, *, is_disabled: bool) -> None:
    """Disable or enable."""
    if server:
        api = Api(server, token)
        api.call("PATCH", f"/users/{segment(remote_user(api, name)['id'])}", {"isDisabled": is_disabled})
        return
    from infraxys.server.auth import users

    write(
        data_dir,
        lambda connection: users.set_disabled(connection, local_user(connection, name)["id"], is_disabled=is_disabled),
    )


@user_app.command("password")
def set_password(name: UserName, password_stdin: PasswordStdin = False, data_dir: DataDir = None) -> None:
    """Set a password and end the account's sessions. Example: infraxys user password ada."""
    from infraxys.server.auth import users

    row = write(data_dir, lambda connection: local_user(connection, name))
    if row["kind"] != users.LOCAL:
        raise Failed(f"user '{name}' has no password here")
    password_hash = hashed(read_password(from_stdin=password_stdin), row["name"])
    write(data_dir, lambda connection: users.set_password(connection, row["id"], password_hash))
    print(f"User {name} has a new password.")


# -- tokens --


@token_app.command("create")
def create_token(
    name: Annotated[str, typer.Option(help="What the token is for.")],
    user: Annotated[str | None, typer.Option(help="Its owner; may be left out when there is one account.")] = None,
    expires_days: Annotated[int | None, typer.Option(min=1, max=3650, help="Days until it expires.")] = None,
    scope: Annotated[list[str] | None, typer.Option("--scope", help="Only this grant; may be repeated.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Create a token and print it, once. Example: infraxys token create --name ci --user ci."""
    from infraxys.kit.clock import utc_now
    from infraxys.server.auth import tokens
    from infraxys.server.auth.grants import check_scopes

    key = token_key(data_dir)
    if not 0 < len(name) <= 200:
        raise Failed("a token's name has 1 to 200 characters", 2)
    try:
        check_scopes(scope or [])
    except ValueError as error:
        raise Failed(str(error), 2) from error
    expires_at = utc_now() + timedelta(days=expires_days) if expires_days else None

    def work(connection: Any) -> str:
        owner = only_user(connection) if user is None else local_user(connection, user)
        if owner["disabled_at"] is not None:
            raise Failed(f"user '{owner['name']}' is disabled")
        try:
            made = tokens.create_token(connection, key, owner["id"], name, expires_at=expires_at, scopes=scope or None)
        except tokens.TooManyTokens as error:
            raise Failed(str(error)) from error
        return made.text

    print(write(data_dir, work))


@token_app.command("list")
def list_tokens(
    user: Annotated[str | None, typer.Option(help="Only this owner's.")] = None,
    data_dir: DataDir = None,
    server: Server = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """List tokens, without their secrets; of a server, your own. Example: infraxys token list."""
    if server:
        rows = Api(server, token).all("/tokens")
    else:
        from infraxys.server.accounts.schemas import token_object
        from infraxys.server.auth import tokens

        def read(connection: Any) -> list[dict[str, Any]]:
            owner = None if user is None else local_user(connection, user)["id"]
            return [{**token_object(row), "user": row["user_name"]} for row in tokens.list_tokens(connection, owner)]

        rows = write(data_dir, read)
    show(rows, TOKEN_COLUMNS, as_json)


@token_app.command("revoke")
def revoke_token(
    token_id: Annotated[str, typer.Argument(help="Its id, or the token itself.")],
    data_dir: DataDir = None,
    server: Server = None,
    token: Token = None,
) -> None:
    """Delete a token; of a server, one of your own. Example: infraxys token revoke 3kTMd0…."""
    from infraxys.server.auth import tokens

    parsed = tokens.parse(token_id)
    wanted = parsed[0] if parsed else token_id
    if server:
        Api(server, token).call("DELETE", f"/tokens/{segment(wanted)}")
    elif not write(data_dir, lambda connection: tokens.delete_token(connection, wanted)):
        raise Failed("there is no such token")
    print("The token is deleted.")


token_app.command("delete", hidden=True)(revoke_token)  # the API's word for it


# -- what they share --


def write(data_dir: Any, work: Callable[[Any], T]) -> T:
    """Do something in the server's database, also while it runs. Raises Failed."""
    from infraxys.server.audit.origin import acting
    from infraxys.server.auth.users import UserProblem

    with open_database(data_dir) as database, acting(command_origin()):
        try:
            done: T = database.write_now(work)
        except UserProblem as error:
            raise Failed(str(error)) from error
        return done


def local_user(connection: Any, name: str) -> dict[str, Any]:
    """Find an account. Raises Failed."""
    from infraxys.server.auth import users

    row = users.find_user(connection, name)
    if row is None:
        raise Failed(f"there is no user '{name}'; create it with 'infraxys user create {name}'")
    return row


def only_user(connection: Any) -> dict[str, Any]:
    """Find the account when there is one only. Raises Failed."""
    from infraxys.server.auth import users

    able = [row for row in users.list_users(connection) if row["disabled_at"] is None]
    if len(able) != 1:
        raise Failed("say whose token it is: --user NAME (create one with 'infraxys user create NAME')")
    return able[0]


def remote_user(api: Api, name: str) -> dict[str, Any]:
    """Find an account of a server by its name. Raises Failed."""
    for row in api.all(f"/users?text={segment(name)}"):
        if row["name"] == name.strip().casefold():
            return row
    raise Failed(f"there is no user '{name}'")


def read_password(*, from_stdin: bool = True) -> str:
    """Read a password: the first line of stdin, or what a person types twice. Raises Failed."""
    if from_stdin or not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    from getpass import getpass

    password = getpass("New password: ")
    if getpass("Again: ") != password:
        raise Failed("these were two different passwords")
    return password


def hashed(password: str, name: str) -> str:
    """Give what is stored of a password. Raises Failed."""
    from infraxys.server.auth.passwords import Passwords, WeakPassword

    passwords = Passwords()
    try:
        return passwords.hash_now(password, name)
    except WeakPassword as error:
        raise Failed(str(error)) from error
    finally:
        passwords.close()


def show(rows: list[dict[str, Any]], columns: Mapping[str, str], as_json: bool) -> None:
    """Print a list."""
    if as_json:
        print_json(rows)
    else:
        print_table(rows, columns)
