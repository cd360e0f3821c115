"""Keeping sessions as true as the provider: it is asked again and again about everyone who is signed in by it."""

import asyncio
import logging
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from infraxys.kit.clock import utc_now
from infraxys.server.audit.trail import record as record_action
from infraxys.server.auth.openid.accounts import AccountRefused, read_signed_in, record, refuse_older_tokens
from infraxys.server.auth.openid.exchange import Exchange, GrantRefused, Upstream
from infraxys.server.auth.openid.options import OpenIdOptions
from infraxys.server.auth.openid.provider import Provider, ProviderRefused, ProviderUnavailable
from infraxys.server.auth.openid.sealing import Sealer
from infraxys.server.auth.openid.verify import TokenRefused
from infraxys.server.db.engine import Database, DatabaseUnavailable
from infraxys.server.db.tables import openid_sessions, sessions, users

log = logging.getLogger(__name__)
AT_ONCE = 8
BATCH = 500
MAX_TICK = 5.0
_PURPOSE = "session"


def keep(connection: Connection, sealer: Sealer, session_id: str, upstream: Upstream, refresh_at: datetime) -> None:
    """Keep what the provider gave beside a new session."""
    connection.execute(
        openid_sessions.insert().values(
            session_id=session_id,
            sealed=_seal(sealer, session_id, upstream),
            confirmed_at=utc_now(),
            refresh_at=refresh_at,
        )
    )


def find_id_token(connection: Connection, sealer: Sealer, session_id: str) -> tuple[bool, str | None]:
    """Tell whether a session is one by the provider, and give its ID token."""
    query = sa.select(openid_sessions.c.sealed).where(openid_sessions.c.session_id == session_id)
    sealed = connection.execute(query).scalar()
    kept = _open(sealer, session_id, sealed) if sealed is not None else None
    return sealed is not None, kept["idToken"] if kept else None


def _seal(sealer: Sealer, session_id: str, upstream: Upstream) -> bytes:
    value = {"session": session_id, "refreshToken": upstream.refresh_token, "idToken": upstream.id_token}
    return sealer.seal(_PURPOSE, value)


def _open(sealer: Sealer, session_id: str, sealed: bytes) -> dict[str, Any] | None:
    kept = sealer.open(_PURPOSE, sealed)
    return kept if kept is not None and kept["session"] == session_id else None


class UpstreamWatch:
    """Refreshes each session's token at the provider, and ends the session when the provider says no.

    With several servers, whoever moves `refresh_at` first refreshes: a refresh token is good for one use.
    """

    def __init__(
        self, provider: Provider, exchange: Exchange, database: Database, sealer: Sealer, options: OpenIdOptions
    ) -> None:
        self._provider, self._exchange, self._database, self._sealer = provider, exchange, database, sealer
        self._options = options
        self._interval = timedelta(seconds=options.oidc_refresh_seconds)
        self._outage = timedelta(seconds=options.oidc_outage_seconds)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin watching, on the event loop."""
        self._task = asyncio.create_task(self._watch(), name="openid-watch")

    async def stop(self) -> None:
        """Stop watching."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _watch(self) -> None:
        tick = min(MAX_TICK, self._interval.total_seconds() / 3)
        while True:
            await asyncio.sleep(tick)
            try:
                await self._provider.keep_fresh()
                await self._refresh_due()
            except DatabaseUnavailable as error:
                log.warning("openid_watch_waits", extra={"reason": str(error)})
            except Exception:
                log.exception("openid_watch_failed")

    async def _refresh_due(self) -> None:
        due = await self._database.aread(list_due)
        turns = asyncio.Semaphore(AT_ONCE)

        async def one(row: RowMapping) -> None:
            async with turns:
                await self._refresh(row)

        async with asyncio.TaskGroup() as group:
            for row in due:
                group.create_task(one(row))

    async def _refresh(self, row: RowMapping) -> None:
        session_id = row["session_id"]
        if not await self._database.awrite(lambda connection: claim(connection, row, utc_now() + self._interval)):
            return  # another server has it, or the session ended
        kept = _open(self._sealer, session_id, row["sealed"])
        if kept is None or kept["refreshToken"] is None:
            await self._end(row, "there is nothing to ask the provider with")
            return
        try:
            upstream = await self._exchange.by_refresh(kept["refreshToken"], row["oidc_subject"])
            # On file before anything else can fail: the one before is used up.
            await self._database.awrite(lambda connection: self._confirm(connection, session_id, upstream, kept))
            if upstream.is_full:
                identity = read_signed_in(self._provider.issuer, upstream.claims, self._options)
                await record(self._database, identity, self._options)
        except GrantRefused as error:
            if error.code == "invalid_grant":
                await self._end(row, "the provider took the sign-in back", refuse_tokens=True)
            else:  # about our client, not about the person
                await self._endure(row, str(error))
        except (AccountRefused, TokenRefused, ProviderRefused) as error:
            await self._end(row, str(error), refuse_tokens=True)
        except ProviderUnavailable as error:
            await self._endure(row, str(error))

    def _confirm(self, connection: Connection, session_id: str, upstream: Upstream, kept: dict[str, Any]) -> None:
        fresh = Upstream(
            upstream.claims, upstream.id_token or kept["idToken"], upstream.refresh_token, upstream.expires_seconds
        )
        connection.execute(
            openid_sessions.update()
            .where(openid_sessions.c.session_id == session_id)
            .values(sealed=_seal(self._sealer, session_id, fresh), confirmed_at=utc_now())
        )

    async def _endure(self, row: RowMapping, reason: str) -> None:
        """Let a session go on while the provider is away, for a while."""
        log.warning("openid_provider_unavailable", extra={"reason": reason})
        if utc_now() - row["confirmed_at"] > self._outage:
            await self._end(row, "the provider could not be asked for too long")

    async def _end(self, row: RowMapping, reason: str, *, refuse_tokens: bool = False) -> None:
        log.info("openid_session_ended", extra={"user": row["name"], "reason": reason})

        def end(connection: Connection) -> None:
            connection.execute(sessions.delete().where(sessions.c.id == row["session_id"]))
            record_action(
                connection, "session.delete", f"user/{row['user_id']}", session=row["session_id"], reason=reason
            )
            if refuse_tokens:
                refuse_older_tokens(connection, row["user_id"])

        await self._database.awrite(end)


def list_due(connection: Connection) -> list[RowMapping]:
    """Give the sessions about which the provider has to be asked now, the longest waiting first."""
    query = (
        sa.select(openid_sessions, users.c.id.label("user_id"), users.c.name, users.c.oidc_subject)
        .join_from(openid_sessions, sessions, sessions.c.id == openid_sessions.c.session_id)
        .join(users, users.c.id == sessions.c.user_id)
        .where(openid_sessions.c.refresh_at <= utc_now(), sessions.c.expires_at > utc_now())
        .order_by(openid_sessions.c.refresh_at)
        .limit(BATCH)
    )
    return list(connection.execute(query).mappings())


def claim(connection: Connection, row: RowMapping, until: datetime) -> bool:
    """Take a session to refresh; tells whether nobody was faster."""
    query = (
        openid_sessions.update()
        .where(openid_sessions.c.session_id == row["session_id"], openid_sessions.c.refresh_at == row["refresh_at"])
        .values(refresh_at=until)
    )
    return connection.execute(query).rowcount > 0
