"""Dialogs in the database: the question stays readable whatever becomes of the run."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from infraxys.engine.feedback.dialogs import Dialog
from infraxys.kit.clock import timestamp
from infraxys.server.db.tables import run_dialogs

DialogRecord = dict[str, Any]
OPEN, ANSWERED, ABANDONED, CLOSED, SHOWN = "open", "answered", "abandoned", "closed", "shown"
_is_it = run_dialogs.c.id == sa.bindparam("dialog")
_INSERT = run_dialogs.insert()
_GET = sa.select(run_dialogs).where(run_dialogs.c.run_id == sa.bindparam("run"), _is_it)
_OF_RUN = sa.select(run_dialogs).where(run_dialogs.c.run_id == sa.bindparam("run")).order_by(run_dialogs.c.id)
_ANSWER = (
    run_dialogs.update()
    .where(_is_it, run_dialogs.c.state == OPEN)
    .values(
        state=sa.bindparam("to"),
        answered_at=sa.bindparam("at", type_=run_dialogs.c.answered_at.type),
        answered_by=sa.bindparam("who"),
        answered_by_name=sa.bindparam("name"),
        answer=sa.bindparam("said"),
    )
)
_UPDATE = run_dialogs.update().where(_is_it).values(updates=sa.bindparam("changed"))
_ABANDON = (
    run_dialogs.update()
    .where(run_dialogs.c.run_id == sa.bindparam("run"), run_dialogs.c.state == OPEN)
    .values(state=sa.bindparam("to"))
)


def new_dialog(dialog_id: str, run_id: str, position: int, dialog: Dialog, state: str, at: datetime) -> DialogRecord:
    """Make the record of a dialog."""
    return {
        **dict.fromkeys(run_dialogs.columns.keys()),
        "id": dialog_id,
        "run_id": run_id,
        "position": position,
        "kind": dialog.kind,
        "title": dialog.title,
        "message": dialog.message,
        "is_html": dialog.is_html,
        "definition": json.dumps(dialog.definition),
        "updates": "{}",
        "state": state,
        "asked_at": at,
    }


def insert(connection: Connection, record: DialogRecord) -> None:
    """Record a dialog."""
    connection.execute(_INSERT, record)


def find(connection: Connection, run_id: str, dialog_id: str) -> DialogRecord | None:
    """Give a dialog of a run."""
    row = connection.execute(_GET, {"run": run_id, "dialog": dialog_id}).mappings().first()
    return None if row is None else dict(row)


def of_run(connection: Connection, run_id: str) -> list[DialogRecord]:
    """Give the dialogs of a run, oldest first; their number is bounded."""
    return [dict(row) for row in connection.execute(_OF_RUN, {"run": run_id}).mappings()]


def answer(connection: Connection, record: DialogRecord) -> bool:
    """Record an answer, or that the dialog was closed. False when it is not open any more."""
    values = {
        "dialog": record["id"],
        "to": record["state"],
        "at": record["answered_at"],
        "who": record["answered_by"],
        "name": record["answered_by_name"],
        "said": record["answer"],
    }
    return connection.execute(_ANSWER, values).rowcount > 0


def update(connection: Connection, dialog_id: str, updates: Mapping[str, Any]) -> None:
    """Record what an action changed in a form."""
    connection.execute(_UPDATE, {"dialog": dialog_id, "changed": json.dumps(updates)})


def abandon(connection: Connection, run_id: str) -> None:
    """Record that nobody can answer what is still open."""
    connection.execute(_ABANDON, {"run": run_id, "to": ABANDONED})


def dialog_object(record: DialogRecord) -> dict[str, Any]:
    """Write a dialog as the API answers it; what shows it only while it is open."""
    body = {
        "id": record["id"],
        "step": str(record["position"] + 1),
        "kind": record["kind"],
        "title": record["title"],
        "message": record["message"],
        "isHtml": bool(record["is_html"]),
        "state": record["state"],
        "askedAt": timestamp(record["asked_at"]),
        "answeredAt": timestamp(record["answered_at"]),
        "answeredBy": None
        if record["answered_by_name"] is None
        else {"id": record["answered_by"], "name": record["answered_by_name"]},
        "answer": None if record["answer"] is None else json.loads(record["answer"]),
    }
    if record["state"] in {OPEN, SHOWN}:
        body["definition"] = json.loads(record["definition"])
        body["updates"] = json.loads(record["updates"])
    return body
