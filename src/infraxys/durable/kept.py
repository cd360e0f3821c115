"""Statements of DBOS on SQLite, compiled once.

To put a statement together for each run costs more than all else that DBOS does for one. On PostgreSQL it keeps most of
them by itself. It has no public way to say this: a version that works differently is left alone, and
`tests/integration/durable` guards that what is written is the same.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

PENDING = "PENDING"  # a workflow that executes, as DBOS writes it


class Execute(Protocol):
    """Executes the statement of a name, which is built when it is not known yet."""

    def __call__(
        self,
        connection: Any,
        name: str,
        values: dict[str, Any],
        build: Callable[[], Any],
        *,
        insert_columns: bool = True,
    ) -> Any:
        """Execute it with values: the columns of an INSERT, or the statement's own parameters."""


def keep_statements(database: Any) -> None:
    """Let a database of DBOS keep its inserts for a run, and the statements of a run's end."""
    engine, ordinary = getattr(database, "engine", None), getattr(database, "_execute_prepared", None)
    if ordinary is None or not isinstance(engine, sa.Engine) or engine.dialect.name != "sqlite":
        return
    execute = keeping(engine, ordinary)
    database._execute_prepared = execute  # noqa: SLF001 - see above
    if hasattr(database, "_update_workflow_outcome_in_transaction"):
        database._update_workflow_outcome_in_transaction = partial(record_outcome, database, execute)  # noqa: SLF001


def keeping(engine: sa.Engine, ordinary: Execute) -> Execute:
    """Give what executes statements and keeps them; those of other connections go the ordinary way."""
    schemas = engine.get_execution_options().get("schema_translate_map")
    dialect = engine.dialect
    known: dict[tuple[str, tuple[str, ...]], tuple[str, list[tuple[str, Any, Any]]]] = {}

    def execute(
        connection: Any, name: str, values: dict[str, Any], build: Callable[[], Any], *, insert_columns: bool = True
    ) -> Any:
        if not isinstance(connection, sa.Connection) or connection.dialect is not dialect:
            return ordinary(connection, name, values, build, insert_columns=insert_columns)
        key = (name, tuple(values))
        prepared = known.get(key)
        if prepared is None:
            compiled = build().compile(
                dialect=dialect,
                column_keys=list(values) if insert_columns else None,
                schema_translate_map=schemas,
                render_schema_translate=True,
            )
            places = []
            for place in compiled.positiontup:
                bind = compiled.binds[place]
                places.append((place, bind.value, bind.type.dialect_impl(dialect).bind_processor(dialect)))
            prepared = known[key] = (str(compiled), places)
        text, places = prepared
        bound = [(values.get(place, constant), process) for place, constant, process in places]
        return connection.exec_driver_sql(text, tuple(process(value) if process else value for value, process in bound))

    return execute


def record_outcome(
    database: Any,
    execute: Execute,
    workflow_id: str,
    status: str,
    *,
    output: str | None,
    error: str | None,
    owner_xid: str | None,
) -> bool:
    """Record how a workflow has ended. False, and nothing is written, where it is not its owner's any more."""
    ending = {"workflow": workflow_id, "ended_as": status, "now": int(time.time() * 1000)}
    if owner_xid is not None:
        ending["owner"] = owner_xid
    value = {"workflow_uuid": workflow_id, "output": output, "error": error}
    with database.engine.begin() as connection:
        end = partial(ending_of, database.tables.workflow_status, is_owned=owner_xid is not None)
        if execute(connection, "end", ending, end, insert_columns=False).rowcount == 0:
            return False
        execute(connection, "value", value, lambda: value_of(database.tables.workflow_output))
        return True


def ending_of(table: sa.Table, *, is_owned: bool) -> sa.Update:
    """Give the statement that ends a workflow: it has no owner from then on, and nothing that only one may have."""
    own = [table.c.owner_xid == sa.bindparam("owner")] if is_owned else []
    return (
        table.update()
        .where(table.c.workflow_uuid == sa.bindparam("workflow"), table.c.status == PENDING, *own)
        .values(
            status=sa.bindparam("ended_as"),
            deduplication_id=None,
            owner_xid=None,
            updated_at=sa.bindparam("now"),
            completed_at=sa.bindparam("now"),
        )
    )


def value_of(table: sa.Table) -> sa.Insert:
    """Give the statement that keeps what a workflow gave, instead of what an earlier try gave."""
    statement = insert(table)
    given = statement.excluded
    return statement.on_conflict_do_update(
        index_elements=[table.c.workflow_uuid], set_={"output": given.output, "error": given.error}
    )
