"""Statements of the hot path: compiled once, given to SQLite's driver as they are.

What SQLAlchemy does around a statement costs several times as much as SQLite itself. PostgreSQL, where the way there
and back costs more than either, takes the ordinary way.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Dialect
from sqlalchemy.sql.compiler import SQLCompiler

Parameters = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Compiled:
    """A statement as SQLite takes it: the places of its text, each with the constant or the parameter that fills it."""

    text: str
    names: Sequence[str]
    constants: Mapping[str, Any]
    processors: Mapping[str, Callable[[Any], Any]]

    def bind(self, parameters: Parameters) -> list[Any]:
        """Give the values of the places, as the driver stores them."""
        values = {**self.constants, **parameters}
        processors = self.processors
        return [processors[name](values[name]) if name in processors else values[name] for name in self.names]


class Prepared:
    """A statement for use within a transaction that has begun; it gets the same names of parameters each time."""

    def __init__(self, statement: sa.Update | sa.Insert | sa.Select[Any]) -> None:
        self._statement = statement
        self._compiled: dict[tuple[str, ...], Compiled] = {}

    def change(self, connection: Connection, *rows: Parameters) -> int:
        """Execute it for each set of parameters; gives how many rows were changed."""
        if connection.dialect.name != "sqlite":
            return connection.execute(self._statement, list(rows)).rowcount
        compiled = self._for(connection.dialect, rows[0])
        cursor = connection.connection.cursor()
        changed = 0
        for row in rows:
            cursor.execute(compiled.text, compiled.bind(row))
            changed += cursor.rowcount
        return changed

    def first(self, connection: Connection) -> Sequence[Any] | None:
        """Give the first row of a selection, as the driver gives it: of columns with plain types."""
        if connection.dialect.name != "sqlite":
            return connection.execute(self._statement).first()
        compiled = self._for(connection.dialect, {})
        cursor = connection.connection.cursor()
        cursor.execute(compiled.text, compiled.bind({}))
        row: Sequence[Any] | None = cursor.fetchone()
        return row

    def _for(self, dialect: Dialect, parameters: Parameters) -> Compiled:
        key = tuple(parameters)
        compiled = self._compiled.get(key)
        if compiled is None:
            compiled = self._compiled[key] = compile_for(dialect, self._statement, key)
        return compiled


def compile_for(dialect: Dialect, statement: Any, names: Sequence[str]) -> Compiled:
    """Compile a statement that gets parameters of these names."""
    compiled: SQLCompiler = statement.compile(dialect=dialect, column_keys=names)
    processors = {}
    for name, bind in compiled.binds.items():
        processor = bind.type.dialect_impl(dialect).bind_processor(dialect)
        if processor is not None:
            processors[name] = processor
    return Compiled(str(compiled), compiled.positiontup or (), compiled.params, processors)
