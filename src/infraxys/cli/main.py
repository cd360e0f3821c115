"""The command line. Every command imports what it needs when it runs, so that the small ones start at once."""

import sys
from typing import Annotated

import typer

from infraxys import __version__
from infraxys.cli import accounts, audit, local, login, projects, remote, server_commands, variables

app = typer.Typer(
    name="infraxys",
    help="Execute and manage infrastructure automation.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
server_commands.register(app)
local.register(app)
accounts.register(app)
audit.register(app)
remote.register(app)
projects.register(app)
variables.register(app)
login.register(app)


@app.command()
def version(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Print the version. Example: infraxys version."""
    if as_json:
        import json

        print(json.dumps({"version": __version__}))
    else:
        print(f"infraxys {__version__}")


def main() -> None:
    """Run the command line."""
    from infraxys.cli.output import Failed
    from infraxys.cli.terminal import plain

    try:
        app(prog_name="infraxys")
    except Failed as failure:
        print(f"infraxys: {plain(str(failure))}", file=sys.stderr)
        raise SystemExit(failure.exit_code) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except BrokenPipeError:
        raise SystemExit(1) from None
