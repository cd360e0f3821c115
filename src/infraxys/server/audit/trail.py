"""The chain of records: each holds a hash over itself and the hash before it, so that no change goes unnoticed.

The hash is SHA-256 over the record as `as_json` gives it, without its own hash, as JSON with sorted keys, without
spaces and in ASCII; `previousHash` of the first is 64 zeros. The sequence has no gaps. What was cut off at the end is
found with a checkpoint that was kept somewhere else.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache, partial
from typing import Any

import sqlalchemy as sa
from pydantic.alias_generators import to_camel
from sqlalchemy.engine import Connection, RowMapping

from infraxys.kit.clock import timestamp, utc_now
from infraxys.server.audit.origin import Origin, current
from infraxys.server.db.prepared import Prepared
from infraxys.server.db.tables import audit_records

OK, FAILED, REFUSED = "ok", "failed", "refused"
RESULTS = (OK, FAILED, REFUSED)
GENESIS = "0" * 64
PAGE = 1000
MAX_TARGET = 300
MAX_TEXT = 300
MAX_ITEMS = 50
# Any number, the same for every process that writes to one database.
LOCK = 7236020
Row = Mapping[str, Any] | RowMapping
_SECRET = re.compile(r"if[xr]_[0-9A-Za-z]+_[0-9A-Za-z_]*")
_camel = lru_cache(to_camel)
_CHECKPOINT = re.compile(r"(\d{1,18}):([0-9a-f]{64})\Z")
_table = audit_records.c
_LAST = sa.select(_table.sequence, _table.hash).order_by(_table.sequence.desc()).limit(1)
_LOCK = sa.text(f"SELECT pg_advisory_xact_lock({LOCK})")
_PREPARED_LAST, _INSERT = Prepared(_LAST), Prepared(audit_records.insert())
_AFTER = (
    sa.select(audit_records)
    .where(_table.sequence > sa.bindparam("after"))
    .order_by(_table.sequence)
    .limit(sa.bindparam("limit"))
)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The last record of a chain: `17:3f…`. Kept elsewhere, it shows later that nothing behind it was cut off."""

    sequence: int
    hash: str

    def __str__(self) -> str:
        return f"{self.sequence}:{self.hash}"

    @classmethod
    def parse(cls, text: str) -> "Checkpoint":
        """Read what `str` gave. Raises ValueError."""
        match = _CHECKPOINT.match(text.strip())
        if match is None:
            raise ValueError("a checkpoint is a number, a colon and 64 hexadecimal digits")
        return cls(int(match[1]), match[2])


@dataclass(frozen=True, slots=True)
class Verdict:
    """What checking a chain found: its end, and where and how it is broken, if it is."""

    end: Checkpoint
    broken_at: int | None = None
    problem: str = ""


def record(
    connection: Connection,
    action: str,
    target: str = "",
    /,
    *,
    result: str = OK,
    origin: Origin | None = None,
    **details: object,
) -> None:
    """Append a record, in the transaction of what it is about. Call it last: on PostgreSQL others wait for the end.

    `action` is `noun.verb`, `target` is `noun/id`. `details` are small and hold nothing secret: names, ids, counts.
    Their names are written in camelCase.
    The caller is the one of the request that is served, unless `origin` says otherwise.
    """
    who = origin or current()
    if connection.dialect.name == "postgresql":  # SQLite has one writer at a time anyhow
        connection.execute(_LOCK)
    last = _PREPARED_LAST.first(connection)
    sequence, previous = last or (0, GENESIS)
    row = {
        "sequence": sequence + 1,
        "at": utc_now(),
        "action": action,
        "target": clean(target, MAX_TARGET),
        "result": result,
        "user_id": who.user_id,
        "user_name": who.user_name and clean(who.user_name),
        "token_id": who.token_id,
        "session_id": who.session_id,
        "run_id": who.run_id,
        "address": who.address[:64],
        "request_id": who.request_id,
        "details": canonical({_camel(name): clean_details(value) for name, value in details.items()}),
    }
    row["hash"] = seal(row, previous)
    _INSERT.change(connection, row)


def action_of(operation_id: str) -> str:
    """Give the action that an operation of the API is: `create_token` is `token.create`."""
    verb, _, noun = operation_id.partition("_")
    return f"{noun}.{verb}"[:64]


def clean(text: str, limit: int = MAX_TEXT) -> str:
    """Give a text as every database can keep it, without tokens and control characters."""
    if len(text) <= limit and text.isascii() and text.isprintable() and "_" not in text:
        return text  # nearly all; tokens have underscores
    printable = "".join(character if character.isprintable() else "\ufffd" for character in text[: 4 * limit])
    return _SECRET.sub("[token]", printable)[:limit]


def clean_details(value: Any) -> Any:
    """Give details without anything that is too long or no JSON."""
    if isinstance(value, Mapping):
        return {str(key): clean_details(item) for key, item in list(value.items())[:MAX_ITEMS]}
    if isinstance(value, str):
        return clean(value)
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, Sequence | set | frozenset):
        items = sorted(value) if isinstance(value, set | frozenset) else value
        return [clean_details(item) for item in items[:MAX_ITEMS]]
    return clean(str(value))


def canonical(value: object) -> str:
    """Write JSON in the one form that is hashed."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def as_json(row: Row) -> dict[str, Any]:
    """Give a record as the API answers it."""
    return {
        "sequence": row["sequence"],
        "at": timestamp(row["at"]),
        "action": row["action"],
        "target": row["target"],
        "result": row["result"],
        "user": {"id": row["user_id"], "name": row["user_name"]},
        "tokenId": row["token_id"],
        "sessionId": row["session_id"],
        "runId": row["run_id"],
        "address": row["address"],
        "requestId": row["request_id"],
        "details": json.loads(row["details"]),
    }


def seal(row: Row, previous: str) -> str:
    """Give the hash of a record behind another one."""
    return hashlib.sha256(canonical({**as_json(row), "previousHash": previous}).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which records a list asks for; None is any. `who` is a user's name or id, `what` an action or its noun."""

    who: str | None = None
    what: str | None = None
    target: str | None = None
    result: str | None = None
    since: datetime | None = None
    until: datetime | None = None


def list_records(
    connection: Connection, wanted: AuditFilter, *, limit: int, after: int | None = None, newest_first: bool = True
) -> list[dict[str, Any]]:
    """Give records, those behind a sequence number where one is given."""
    order = _table.sequence.desc() if newest_first else _table.sequence
    query = sa.select(audit_records).order_by(order).limit(limit)
    if after is not None:
        query = query.where(_table.sequence < after if newest_first else _table.sequence > after)
    if wanted.who is not None:
        query = query.where(sa.or_(_table.user_name == wanted.who, _table.user_id == wanted.who))
    if wanted.what is not None:
        # A range and no pattern, so that the index serves: "." comes right before "/".
        of_noun = sa.and_(_table.action >= f"{wanted.what}.", _table.action < f"{wanted.what}/")
        query = query.where(_table.action == wanted.what if "." in wanted.what else of_noun)
    if wanted.target is not None:
        query = query.where(_table.target == wanted.target)
    if wanted.result is not None:
        query = query.where(_table.result == wanted.result)
    if wanted.since is not None:
        query = query.where(_table.at >= wanted.since)
    if wanted.until is not None:
        query = query.where(_table.at < wanted.until)
    return [{**as_json(row), "hash": row["hash"]} for row in connection.execute(query).mappings()]


def checkpoint(connection: Connection) -> Checkpoint:
    """Give the end of the chain."""
    last = connection.execute(_LAST).first()
    return Checkpoint(0, GENESIS) if last is None else Checkpoint(last.sequence, last.hash)


def page_after(connection: Connection, after: int, limit: int = PAGE) -> Sequence[Row]:
    """Give records in their order, those behind a sequence number."""
    return connection.execute(_AFTER, {"after": after, "limit": limit}).mappings().all()


Reader = Callable[[Callable[[Connection], Any]], Any]


def walk(read: Reader) -> Iterator[Row]:
    """Give every record in its order, a page at a time; `read` runs a function with a connection."""
    after = 0
    while rows := read(partial(page_after, after=after)):
        yield from rows
        after = rows[-1]["sequence"]


def export_lines(rows: Sequence[Row], previous: str) -> tuple[str, str]:
    """Write records as NDJSON, each with both hashes; gives the text and the hash that goes on."""
    lines = []
    for row in rows:
        lines.append(canonical({**as_json(row), "previousHash": previous, "hash": row["hash"]}))
        previous = row["hash"]
    return "".join(f"{line}\n" for line in lines), previous


def verify(rows: Iterable[Row], kept: Checkpoint | None = None) -> Verdict:
    """Check a chain from its first record to its last, and that it holds the record that was kept."""
    end = Checkpoint(0, GENESIS)
    for row in rows:
        expected = end.sequence + 1
        if row["sequence"] != expected:
            return Verdict(end, expected, f"record {expected} is missing")
        try:
            is_good = seal(row, end.hash) == row["hash"]
        except ValueError:  # details that are no JSON
            is_good = False
        if not is_good:
            return Verdict(end, expected, f"record {expected} is not what was written: its hash does not fit")
        end = Checkpoint(row["sequence"], row["hash"])
        if kept is not None and kept.sequence == end.sequence and kept.hash != end.hash:
            return Verdict(end, expected, f"record {expected} is another one than that of the checkpoint")
    if kept is not None and kept.sequence > end.sequence:
        missing = end.sequence + 1
        return Verdict(end, missing, f"record {missing} is missing: the checkpoint was at record {kept.sequence}")
    return Verdict(end)
