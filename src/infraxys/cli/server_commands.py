"""Commands that run or look after the server of this machine."""

import gc
import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from infraxys.cli.output import Failed, print_json
from infraxys.engine.backends.chroot import make_root_real

ROOT = Path(__file__).resolve().parents[3]  # of a checkout
# The package that actions import is checked as the oldest Python that mypy knows, apart from the server's of that name.
ACTIONS_LIBRARY = ("--strict", "--warn-unreachable", "--python-version=3.10", "src/infraxys/core/python/infraxys")


def settings_from(**options: Any) -> Any:
    """Make the settings from what was given on the command line. Raises Failed."""
    from pydantic import ValidationError

    from infraxys.server.settings import Settings

    try:
        return Settings(**{name: value for name, value in options.items() if value is not None})
    except ValidationError as error:
        said = error.errors()[0]
        if said["type"] == "extra_forbidden":
            raise Failed(f"there is no setting '{said['loc'][0]}'; see docs/operate/settings.md", 2) from error
        parts = [*(str(part) for part in said["loc"]), said["msg"].removeprefix("Value error, ")]
        raise Failed(f"a setting is wrong: {': '.join(parts)}", 2) from error
    except (OSError, ValueError) as error:
        raise Failed(f"the settings cannot be read: {error}", 2) from error


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (serve, doctor, migrate):
        app.command()(command)
    development = {"allow_extra_args": True, "ignore_unknown_options": True}
    for name, tool in (("test", test), ("lint", lint), ("bench", bench), ("lock", lock)):
        app.command(name, context_settings=development)(tool)


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0 takes a free one. [default: 8444]")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Where everything is kept.")] = None,
    work_dir: Annotated[Path | None, typer.Option(help="What actions see parts of.")] = None,
    mode: Annotated[str | None, typer.Option(help="developer (this machine only, no login) or server.")] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate (PEM); self-signed when left out.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its key (PEM).")] = None,
    no_tls: Annotated[bool, typer.Option("--no-tls", help="Plain HTTP, behind a proxy.")] = False,
    database_url: Annotated[str | None, typer.Option(help="postgresql://… instead of SQLite.")] = None,
    engine_url: Annotated[str | None, typer.Option(help="postgresql://… for the durable engine.")] = None,
    git_schemes: Annotated[str | None, typer.Option(help="Kinds of repository URL, for example https,ssh.")] = None,
    no_examples: Annotated[bool, typer.Option("--no-examples", help="No example module.")] = False,
    grace: Annotated[float | None, typer.Option(help="Seconds for running actions at the end.")] = None,
    slots: Annotated[int | None, typer.Option(help="Actions that run at once.")] = None,
    backend: Annotated[str | None, typer.Option(help="bubblewrap, container, kubernetes, or dummy for tests.")] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error.")] = None,
) -> None:
    """Start the server. Example: infraxys serve --port 8444.

    Every option is also an environment variable, as INFRAXYS_PORT, and a line of the TOML file in INFRAXYS_CONFIG.
    """
    gc.disable()  # until it is ready: what a start makes stays, and looking through it takes a fifth of the start
    make_root_real()
    settings = settings_from(
        host=host, port=port, data_dir=data_dir, work_dir=work_dir, mode=mode, tls_cert=tls_cert, tls_key=tls_key,
        no_tls=no_tls or None, database_url=database_url, engine_url=engine_url, git_schemes=git_schemes,
        no_examples=no_examples or None, grace=grace, slots=slots, backend=backend, log_level=log_level,
    )  # fmt: skip
    from infraxys.kit.logging import configure
    from infraxys.server.serve import CannotServe
    from infraxys.server.serve import serve as start

    configure(settings.log_level)
    try:
        start(settings, lambda line: print(line, flush=True))
    except CannotServe as error:
        raise Failed(str(error)) from error


def doctor(
    data_dir: Annotated[Path | None, typer.Option(help="Where everything is kept.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check what the server needs on this machine and say how to mend what fails. Example: infraxys doctor."""
    from infraxys.server.doctor import examine

    make_root_real()
    findings = examine(settings_from(data_dir=data_dir))
    if as_json:
        print_json([{"name": item.name, "ok": item.is_ok, "detail": item.detail} for item in findings])
    else:
        for item in findings:
            print(f"{'ok  ' if item.is_ok else 'FAIL'}  {item.name:<10} {item.detail}")
    if not all(item.is_ok for item in findings):
        raise Failed("something that the server needs is missing; see above")


def migrate(data_dir: Annotated[Path | None, typer.Option(help="Where everything is kept.")] = None) -> None:
    """Bring the database to the schema of this version. Example: infraxys migrate."""
    from infraxys.cli.local import open_database

    with open_database(data_dir):
        print("The database is up to date.")


def checkout(what: str) -> Path:
    """Give the root of the checkout. Raises Failed in an installed wheel."""
    if not (ROOT / "pyproject.toml").exists():
        raise Failed(f"'infraxys {what}' works in a checkout only", 2)
    return ROOT


def become(*command: str) -> None:
    """Replace this process by a tool, in the checkout."""
    os.chdir(ROOT)
    os.execv(command[0], list(command))  # noqa: S606 - a tool of ours, no shell


def test(context: typer.Context) -> None:
    """Run the whole test suite; arguments go to pytest. Example: infraxys test tests/unit -x."""
    checkout("test")
    make_root_real()
    if not context.args:
        os.environ.setdefault("INFRAXYS_TEST_THOROUGH", "yes")
    arguments = context.args or ["-n", "2", "--dist", "loadgroup"]
    become(sys.executable, "-m", "pytest", *arguments)


def lint(context: typer.Context) -> None:
    """Check style, types, import contracts and shell scripts. Example: infraxys lint."""
    del context
    root = checkout("lint")
    tools = Path(sys.executable).parent
    commands = (
        [str(tools / "ruff"), "check", "."],
        [str(tools / "ruff"), "format", "--check", "."],
        [str(tools / "mypy")],
        [str(tools / "mypy"), "--config-file=", *ACTIONS_LIBRARY],
        [str(tools / "lint-imports")],
        [str(tools / "shellcheck"), *map(str, sorted((root / "src" / "infraxys" / "core").rglob("*.sh")))],
    )
    for command in commands:
        if subprocess.run(command, cwd=root, check=False).returncode != 0:  # noqa: S603 - tools of ours
            raise Failed(f"{Path(command[0]).name} found something; see above")


def bench(context: typer.Context) -> None:
    """Measure, as ratios to the limits of the same run. Example: infraxys bench."""
    root = checkout("bench")
    make_root_real()
    become(sys.executable, str(root / "bench" / "main.py"), *context.args)


def lock(context: typer.Context) -> None:
    """Compile the lock files from requirements/*.in. Example: infraxys lock --upgrade."""
    root = checkout("lock")
    uv = root / ".venv" / "tools" / "bin" / "uv"
    options = [
        "--quiet",
        "--universal",
        "--python-version",
        "3.11",
        "--generate-hashes",
        "--no-header",
        "--no-annotate",
    ]
    for name in ("bootstrap", "run", "dev"):
        files = [f"requirements/{name}.in", "-o", f"requirements/{name}.txt"]
        command = [str(uv), "pip", "compile", *options, "--no-emit-index-url", *context.args, *files]
        if subprocess.run(command, cwd=root, check=False).returncode != 0:  # noqa: S603 - a tool of ours
            raise Failed(f"requirements/{name}.in could not be compiled; see above")
