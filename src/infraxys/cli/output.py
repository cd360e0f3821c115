"""How commands speak: data on stdout, one clear line on stderr when something failed."""

import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from infraxys.cli.terminal import plain

_FRACTION = re.compile(r"(?<=T\d\d:\d\d:\d\d)\.\d{6}Z\Z")


class Failed(Exception):  # noqa: N818 - reads as what happened
    """The command failed; the text is one line for the person."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def print_json(value: object) -> None:
    """Print data for programs."""
    print(json.dumps(value, indent=2, ensure_ascii=False, default=str))


@contextmanager
def working(what: str) -> Iterator[None]:
    """Say on stderr what takes long: as something that moves on a terminal, as a plain line otherwise."""
    if not sys.stderr.isatty():
        print(f"{what}…", file=sys.stderr, flush=True)
        yield
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}…", markup=False), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        progress.add_task(what, total=None)
        yield


def readable(value: object) -> str:
    """Write a value for people: times to the second, nothing that a terminal obeys."""
    text = "" if value is None else _FRACTION.sub("Z", str(value))
    return "".join(character if character.isprintable() else "\ufffd" for character in plain(text))


def print_table(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> None:
    """Print data for people: `columns` maps keys to headings. Lines are only broken to fit a terminal."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in columns.values():
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(Text(readable(row.get(key))) for key in columns))
    Console(width=None if sys.stdout.isatty() else 100_000).print(table)
