"""Refusals on record, without giving who is refused a way to fill the disk.

The first of a kind (status, action, caller, address) is written at once, the others within a minute are counted and
written as one record at its end. More kinds than `MAX_KINDS` a minute are counted together.
"""

import asyncio
import logging
from dataclasses import dataclass, replace
from typing import NamedTuple

from infraxys.server.audit.origin import Origin
from infraxys.server.audit.trail import REFUSED, record
from infraxys.server.db.engine import Database

log = logging.getLogger(__name__)
WINDOW_SECONDS = 60.0
MAX_KINDS = 200


class Kind(NamedTuple):
    """What makes two refusals the same."""

    status: int
    code: str
    action: str
    user_id: str | None
    user_name: str | None
    address: str


OTHERS = Kind(0, "", "request.refuse", None, None, "")


@dataclass(slots=True)
class Counted:
    """Refusals of a kind since the one that was written."""

    origin: Origin
    route: str
    grant: str | None
    count: int = 0


class Refusals:
    """Counts and writes. Used on the event loop; `flush` at the end."""

    def __init__(self, database: Database, *, window_seconds: float = WINDOW_SECONDS) -> None:
        self._database, self._window = database, window_seconds
        self._kinds: dict[Kind, Counted] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._writing: set[asyncio.Future[None]] = set()

    def note(
        self,
        status: int,
        action: str,
        target: str,
        origin: Origin,
        *,
        route: str = "",
        code: str = "",
        grant: str | None = None,
    ) -> None:
        """Note that a request was refused. `target` is its path, `route` that of all which are counted with it."""
        kind = Kind(status, code, action, origin.user_id, origin.user_name, origin.address)
        known = self._kinds.get(kind)
        if known is None and len(self._kinds) >= MAX_KINDS:
            kind, known = OTHERS, self._kinds.setdefault(OTHERS, Counted(Origin(""), "", None))
        if known is not None:
            known.count += 1
            return
        self._kinds[kind] = counted = Counted(origin, route, grant)
        self._write(kind, counted, 1, target)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._window, self._end_window)

    def _end_window(self) -> None:
        self._timer = None
        kinds, self._kinds = self._kinds, {}
        for kind, counted in kinds.items():
            if counted.count:
                self._write(kind, counted, counted.count, counted.route)

    def _write(self, kind: Kind, counted: Counted, count: int, target: str) -> None:
        origin = counted.origin if count == 1 else replace(counted.origin, request_id=None)
        details = {"status": kind.status, "code": kind.code, "grant": counted.grant, "count": count}
        given = {name: value for name, value in details.items() if value}
        writing = asyncio.wrap_future(
            self._database.write(
                lambda connection: record(connection, kind.action, target, result=REFUSED, origin=origin, **given)
            )
        )
        self._writing.add(writing)
        writing.add_done_callback(self._written)

    def _written(self, writing: "asyncio.Future[None]") -> None:
        self._writing.discard(writing)
        if not writing.cancelled() and writing.exception() is not None:
            log.error("refusal_not_recorded", exc_info=writing.exception())

    async def flush(self) -> None:
        """Write what was counted."""
        if self._timer is not None:
            self._timer.cancel()
        self._end_window()
        await asyncio.gather(*self._writing, return_exceptions=True)
