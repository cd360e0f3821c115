"""Commands that work on this machine's data folder or on files, with no server involved."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from infraxys.cli.output import Failed, print_json, print_table
from infraxys.cli.server_commands import settings_from

DataDir = Annotated[Path | None, typer.Option("--data-dir", help="The data folder of the server.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
user_app = typer.Typer(help="Accounts of this server.", no_args_is_help=True)
token_app = typer.Typer(help="Personal access tokens.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(user_app, name="user")
    app.add_typer(token_app, name="token")
    app.command()(check)


@contextmanager
def open_database(data_dir: Path | None) -> Iterator[Any]:
    """Open the server's database, also while it runs. Raises Failed."""
    from infraxys.server.data_folder import DataFolder
    from infraxys.server.db.engine import Database, DatabaseUnavailable
    from infraxys.server.db.migrate import NewerSchema, migrate

    settings = settings_from(data_dir=data_dir)
    try:
        DataFolder(settings.data_dir, settings.work_dir, settings.slots).prepare()
        database = Database(settings.database)
    except OSError as error:
        raise Failed(f"the data folder cannot be used: {error}") from error
    try:
        migrate(database)
        yield database
    except (DatabaseUnavailable, NewerSchema) as error:
        raise Failed(str(error)) from error
    finally:
        database.close()


def token_key(data_dir: Path | None) -> Any:
    """Give the key under which secrets of tokens are stored."""
    from infraxys.server.auth.tokens import TokenKey

    try:
        return TokenKey(settings_from(data_dir=data_dir).data_dir.expanduser() / "keys" / "tokens.key")
    except OSError as error:
        raise Failed(f"the data folder cannot be used: {error}") from error


@user_app.command("create")
def create_user(
    name: Annotated[str, typer.Argument(help="The user's name.")],
    admin: Annotated[bool, typer.Option("--admin", help="With every grant.")] = False,
    password_stdin: Annotated[bool, typer.Option("--password-stdin", help="Read a password from stdin.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Create an account. Example: infraxys user create ci --admin."""
    from infraxys.server.auth import users

    password_hash = None
    if password_stdin:
        from argon2 import PasswordHasher

        password = sys.stdin.readline().rstrip("\n")
        if not 8 <= len(password) <= 1000:
            raise Failed("a password has 8 to 1000 characters")
        password_hash = PasswordHasher().hash(password)
    with open_database(data_dir) as database:
        try:
            database.write_now(
                lambda connection: users.create_user(
                    connection, name, is_administrator=admin, password_hash=password_hash
                )
            )
        except users.UserProblem as error:
            raise Failed(str(error)) from error
    print(f"User {name} was created.")


@user_app.command("list")
def list_users(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """List the accounts. Example: infraxys user list --json."""
    from infraxys.server.auth import users

    with open_database(data_dir) as database:
        rows = database.read_now(users.list_users)
    if as_json:
        print_json(rows)
    else:
        columns = {"name": "NAME", "kind": "KIND", "is_administrator": "ADMIN", "disabled_at": "DISABLED"}
        print_table(rows, columns)


@user_app.command("disable")
def disable_user(name: str, data_dir: DataDir = None) -> None:
    """Lock an account out. Example: infraxys user disable ci."""
    from infraxys.server.auth import users

    with open_database(data_dir) as database:
        try:
            database.write_now(lambda connection: users.disable_user(connection, name))
        except users.UserProblem as error:
            raise Failed(str(error)) from error
    print(f"User {name} is disabled.")


@token_app.command("create")
def create_token(
    name: Annotated[str, typer.Option(help="What the token is for.")],
    user: Annotated[str | None, typer.Option(help="Its owner; may be left out when there is one account.")] = None,
    expires_days: Annotated[int | None, typer.Option(min=1, max=3650, help="Days until it expires.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Create a token and print it, once. Example: infraxys token create --name ci --user ci."""
    from infraxys.server.auth import tokens, users

    key = token_key(data_dir)
    expires_in = timedelta(days=expires_days) if expires_days else None
    if not 0 < len(name) <= 200:
        raise Failed("a token's name has 1 to 200 characters")

    def write(connection: Any) -> str:
        if user is None:
            known = [row for row in users.list_users(connection) if row["disabled_at"] is None]
            if len(known) != 1:
                raise Failed("say whose token it is: --user NAME (create one with 'infraxys user create NAME')")
            owner = known[0]
        else:
            found = users.find_user(connection, user)
            if found is None:
                raise Failed(f"there is no user '{user}'; create it with 'infraxys user create {user}'")
            owner = found
        return tokens.create_token(connection, key, owner["id"], name, expires_in).text

    with open_database(data_dir) as database:
        try:
            print(database.write_now(write))
        except users.UserProblem as error:
            raise Failed(str(error)) from error


@token_app.command("list")
def list_tokens(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """List the tokens, without their secrets. Example: infraxys token list."""
    from infraxys.server.auth import tokens

    with open_database(data_dir) as database:
        rows = [
            {key: value for key, value in row.items() if key != "digest"}
            for row in database.read_now(tokens.list_tokens)
        ]
    if as_json:
        print_json(rows)
    else:
        columns = {
            "id": "ID",
            "user_name": "USER",
            "name": "NAME",
            "expires_at": "EXPIRES",
            "last_used_at": "LAST USED",
        }
        print_table(rows, columns)


@token_app.command("revoke")
def revoke_token(token_id: str, data_dir: DataDir = None) -> None:
    """Make a token unusable. Example: infraxys token revoke 3kTMd0…."""
    from infraxys.server.auth import tokens

    parsed = tokens.parse(token_id)
    wanted = parsed[0] if parsed else token_id
    with open_database(data_dir) as database:
        if not database.write_now(lambda connection: tokens.revoke_token(connection, wanted)):
            raise Failed("there is no such token")
    print("The token is revoked.")


def check(
    path: Annotated[Path, typer.Argument(help="The root of a module's working tree.")],
    form: Annotated[str, typer.Option("--format", help="text, json, github or sarif.")] = "text",
) -> None:
    """Load a module's working tree, render every environment, print every problem. Example: infraxys check ."""
    from infraxys.cli.check import check_module, report

    if form not in {"text", "json", "github", "sarif"}:
        raise Failed("--format is text, json, github or sarif", 2)
    if not path.is_dir():
        raise Failed(f"'{path}' is not a directory", 2)
    result = check_module(path)
    print(report(result, form))
    if result.has_errors:
        raise SystemExit(1)
