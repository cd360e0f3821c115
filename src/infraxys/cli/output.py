"""How commands speak: data on stdout, one clear line on stderr when something failed."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

_FRACTION = re.compile(r"(?<=T\d\d:\d\d:\d\d)\.\d{6}Z\Z")


class Failed(Exception):  # noqa: N818 - reads as what happened
    """The command failed; the text is one line for the person."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def print_json(value: object) -> None:
    """Print data for programs."""
    print(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def readable(value: object) -> str:
    """Write a value for people: times to the second, nothing that a terminal obeys."""
    text = "" if value is None else _FRACTION.sub("Z", str(value))
    return "".join(character if character.isprintable() else "\ufffd" for character in text)


def print_table(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> None:
    """Print data for people: `columns` maps keys to headings."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in columns.values():
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(readable(row.get(key)) for key in columns))
    Console(soft_wrap=False, markup=False, emoji=False).print(table)
