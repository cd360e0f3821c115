"""Refusals on record: the first at once, the others counted."""

import asyncio
from collections.abc import Callable
from typing import Any

from infraxys.server.audit.origin import Origin
from infraxys.server.audit.refusals import MAX_KINDS, Refusals
from infraxys.server.audit.trail import AuditFilter, list_records
from infraxys.server.db.engine import Database


def after(database: Database, work: Callable[[Refusals], None]) -> list[dict[str, Any]]:
    """Give what is on record, the oldest first, when a server has refused and stopped."""

    async def go() -> None:
        refusals = Refusals(database)
        work(refusals)
        await refusals.flush()

    asyncio.run(go())
    return database.read_now(lambda connection: list_records(connection, AuditFilter(), limit=500))[::-1]


def refuse(refusals: Refusals, address: str = "192.0.2.1", status: int = 401, name: str | None = None) -> None:
    origin = Origin(address, "request-1", name, name)
    path, route = "/api/v1/runs/some", "/api/v1/runs/{run_id}"
    refusals.note(status, "run.get", path, origin, route=route, code="unauthorized")


def test_a_flood_of_equal_refusals_is_two_records(database: Database) -> None:
    found = after(database, lambda refusals: [refuse(refusals) for _ in range(10_000)] and None)
    assert [item["details"]["count"] for item in found] == [1, 9_999]
    assert [item["requestId"] for item in found] == ["request-1", None]
    assert {(item["result"], item["address"]) for item in found} == {("refused", "192.0.2.1")}
    assert [item["target"] for item in found] == ["/api/v1/runs/some", "/api/v1/runs/{run_id}"]


def test_refusals_of_others_are_counted_apart(database: Database) -> None:
    def work(refusals: Refusals) -> None:
        refuse(refusals)
        refuse(refusals, "192.0.2.2")
        refuse(refusals, status=403, name="ada")
        refuse(refusals, status=403, name="bob")

    found = after(database, work)
    assert len(found) == 4
    assert {item["user"]["name"] for item in found} == {None, "ada", "bob"}


def test_many_addresses_do_not_fill_the_disk(database: Database) -> None:
    found = after(database, lambda refusals: [refuse(refusals, f"2001:db8::{n:x}") for n in range(5_000)] and None)
    assert len(found) == MAX_KINDS + 1
    assert max(item["details"]["count"] for item in found) == 5_000 - MAX_KINDS
