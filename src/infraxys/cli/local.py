"""Commands that work on this machine's data folder or on files, with no server involved."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from infraxys.cli.output import Failed
from infraxys.cli.server_commands import settings_from

DataDir = Annotated[Path | None, typer.Option("--data-dir", help="The data folder of the server.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
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


def command_origin() -> Any:
    """Give who uses the command line, as the audit trail names it."""
    from infraxys.server.audit.origin import Origin
    from infraxys.server.auth.authenticate import local_subject

    return Origin("cli", user_name=local_subject().name)


def token_key(data_dir: Path | None) -> Any:
    """Give the key under which secrets of tokens are stored."""
    from infraxys.server.auth.tokens import TokenKey

    try:
        return TokenKey(settings_from(data_dir=data_dir).data_dir.expanduser() / "keys" / "tokens.key")
    except OSError as error:
        raise Failed(f"the data folder cannot be used: {error}") from error


def check(
    path: Annotated[Path, typer.Argument(help="The root of a module's working tree.")],
    form: Annotated[str, typer.Option("--format", help="text, json, github or sarif.")] = "text",
    others: Annotated[
        list[str] | None,
        typer.Option("--with", help="Working tree of a module that it uses: a folder, or host/org/repo=folder."),
    ] = None,
) -> None:
    """Load a module's working tree, render every environment, print every problem. Example: infraxys check ."""
    from infraxys.cli.check import check_module, report

    if form not in {"text", "json", "github", "sarif"}:
        raise Failed("--format is text, json, github or sarif", 2)
    for tree in (path, *(Path(text.partition("=")[2] or text) for text in others or ())):
        if not tree.is_dir():
            raise Failed(f"'{tree}' is not a directory", 2)
    try:
        result = check_module(path, others or ())
    except ValueError as error:
        raise Failed(f"--with: {error}", 2) from error
    print(report(result, form))
    if result.has_errors:
        raise SystemExit(1)
