"""The audit trail, in this machine's data folder."""

import sys
from typing import Annotated

import typer

from infraxys.cli.local import DataDir, open_database
from infraxys.cli.output import Failed, print_json

audit_app = typer.Typer(help="The record of who did what.", no_args_is_help=True)
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(audit_app, name="audit")


@audit_app.command("verify")
def verify(
    checkpoint: Annotated[str | None, typer.Option(help="One that was kept: it has to be in the chain.")] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Check that no record was changed or removed. Example: infraxys audit verify --checkpoint 17:3f…."""
    from infraxys.server.audit.trail import Checkpoint, walk
    from infraxys.server.audit.trail import verify as verify_chain

    try:
        kept = None if checkpoint is None else Checkpoint.parse(checkpoint)
    except ValueError as error:
        raise Failed(str(error), 2) from error
    with open_database(data_dir) as database:
        verdict = verify_chain(walk(database.read_now), kept)
    if as_json:
        found = {"records": verdict.end.sequence, "checkpoint": str(verdict.end), "brokenAt": verdict.broken_at}
        print_json({**found, "problem": verdict.problem})
    if verdict.problem:
        raise Failed(f"the audit trail is broken: {verdict.problem}; those before it are good")
    if not as_json:
        print(f"The audit trail is complete: {verdict.end.sequence} records.")
        print(f"Checkpoint: {verdict.end}")


@audit_app.command("export")
def export(data_dir: DataDir = None) -> None:
    """Write every record as NDJSON, the oldest first. Example: infraxys audit export > audit.ndjson."""
    from infraxys.server.audit.trail import GENESIS, export_lines, walk

    previous = GENESIS
    with open_database(data_dir) as database:
        for row in walk(database.read_now):
            text, previous = export_lines([row], previous)
            sys.stdout.write(text)


@audit_app.command("checkpoint")
def print_checkpoint(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Print the end of the chain, to be kept elsewhere. Example: infraxys audit checkpoint."""
    from infraxys.server.audit.trail import checkpoint

    with open_database(data_dir) as database:
        end = database.read_now(checkpoint)
    if as_json:
        print_json({"sequence": end.sequence, "hash": end.hash, "text": str(end)})
    else:
        print(end)
