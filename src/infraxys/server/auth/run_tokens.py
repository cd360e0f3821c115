"""Tokens of runs: with `ifr_<run id>_<proof>_<crc>` an action calls the API back while its run lasts.

The proof is an HMAC over the run's id under the server's key, so that nothing has to be stored: the run itself is
asked at each request whether it still executes, and its starter whether they may still do what they could. Who has
such a token cannot make another credential with it.
"""

import hmac
import json
import re
from dataclasses import replace

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from infraxys.engine.status import Status
from infraxys.server.auth.subject import Subject
from infraxys.server.auth.tokens import CRC_LENGTH, SECRET_LENGTH, TokenKey, base62, checksum
from infraxys.server.db.tables import runs, users

PREFIX = "ifr"
PATTERN = re.compile(
    rf"{PREFIX}_([0-9a-f]{{32}})_([0-9A-Za-z]{{{SECRET_LENGTH}}})_([0-9A-Za-z]{{{CRC_LENGTH}}})\Z", re.ASCII
)
MAX_TEXT = 200
# An action executes in these; in every other state nobody has a use for the token but a thief.
EXECUTING = (Status.RUNNING, Status.WAITING)
_FIND = (
    sa.select(
        runs.c.id.label("run_id"),
        runs.c.status,
        runs.c.scopes,
        runs.c.user_id,
        runs.c.user_name,
        users.c.id.label("account_id"),
        users.c.name,
        users.c.display_name,
        users.c.is_administrator,
        users.c.disabled_at,
    )
    .join_from(runs, users, users.c.id == runs.c.user_id, isouter=True)
    .where(runs.c.id == sa.bindparam("run_id"))
)


def make(key: TokenKey, run_id: str) -> str:
    """Give the token of a run, the same each time."""
    body = f"{PREFIX}_{run_id.replace('-', '')}_{_proof(key, run_id)}"
    return f"{body}_{checksum(body)}"


def parse(text: str) -> tuple[str, str] | None:
    """Split a token into run id and proof; None when it cannot be one."""
    match = PATTERN.match(text) if len(text) <= MAX_TEXT else None
    if match is None:
        return None
    body, _, crc = text.rpartition("_")
    if not hmac.compare_digest(checksum(body), crc):
        return None
    digits = match[1]
    run_id = "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
    return run_id, match[2]


def is_genuine(key: TokenKey, run_id: str, proof: str) -> bool:
    """Whether a proof is the run's."""
    return hmac.compare_digest(_proof(key, run_id), proof)


def find(connection: Connection, run_id: str) -> RowMapping | None:
    """Find a run with the account of its starter."""
    return connection.execute(_FIND, {"run_id": run_id}).mappings().first()


def subject_of(row: RowMapping | None, local: Subject | None) -> Subject | None:
    """Give the caller that a run's action is; None when the run does not execute or its starter may not call.

    `local` is the operating-system user of developer mode, whose runs have no account.
    """
    if row is None or row["status"] not in EXECUTING:
        return None
    scopes = None if row["scopes"] is None else frozenset(json.loads(row["scopes"]))
    if row["user_id"] is None:
        if local is None:
            return None
        return replace(local, trigger="run", run_id=row["run_id"])
    if row["account_id"] is None or row["disabled_at"] is not None:
        return None
    return Subject(
        user_id=row["user_id"],
        name=row["name"],
        display_name=row["display_name"],
        is_administrator=bool(row["is_administrator"]),
        trigger="run",
        run_id=row["run_id"],
        scopes=scopes,
    )


def _proof(key: TokenKey, run_id: str) -> str:
    # Secrets of personal tokens have no colon: no digest of one is ever the proof of a run.
    return base62(int.from_bytes(key.digest(f"run:{run_id}"), "big"), SECRET_LENGTH)
