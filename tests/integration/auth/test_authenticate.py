"""From credentials to the caller, on both databases."""

import asyncio
from datetime import timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection
from starlette.requests import HTTPConnection

from infraxys.kit.clock import utc_now
from infraxys.server.auth import sessions, tokens, users
from infraxys.server.auth.authenticate import Authenticator
from infraxys.server.auth.rate_limits import RateLimits
from infraxys.server.auth.subject import Subject
from infraxys.server.auth.tokens import TokenKey
from infraxys.server.db import tables
from infraxys.server.db.engine import Database
from infraxys.server.errors import CrossSite, TooManyRequests, Unauthorized
from infraxys.server.settings import Settings

IDLE = timedelta(hours=1)


def connection(kind: str = "http", method: str = "GET", **headers: str) -> HTTPConnection:
    """Make a request."""
    given = {"host": "ifx.example", **{name.replace("_", "-"): value for name, value in headers.items()}}
    raw = [(name.encode(), value.encode()) for name, value in given.items()]
    scheme = "wss" if kind == "websocket" else "https"
    return HTTPConnection(
        {"type": kind, "method": method, "scheme": scheme, "path": "/x", "headers": raw, "client": ("192.0.2.1", 1)}
    )


@pytest.fixture
def authenticator(database: Database, key: TokenKey) -> Authenticator:
    return Authenticator(database, key, is_developer=False, session_idle=IDLE)


@pytest.fixture
def cookie(database: Database, ada: str) -> str:
    value = database.write_now(lambda connection: sessions.create(connection, ada, "192.0.2.1"))
    return f"{sessions.COOKIE}={value}"


def who(authenticator: Authenticator, asked: HTTPConnection) -> Subject | None:
    """Give the caller, or None for one who is refused."""

    async def work() -> Subject | None:
        try:
            subject = await authenticator.authenticate(asked)
        except Unauthorized:
            return None
        await asyncio.gather(*authenticator._marking.values())
        return subject

    return asyncio.run(work())


def age(database: Database, **values: timedelta) -> None:
    """Make every session older."""

    def work(connection: Connection) -> None:
        now = utc_now()
        connection.execute(tables.sessions.update().values({name: now - value for name, value in values.items()}))

    database.write_now(work)


class TestSessions:
    def test_the_cookie_gives_the_user(self, authenticator: Authenticator, cookie: str, ada: str) -> None:
        subject = who(authenticator, connection(cookie=cookie))
        assert subject is not None
        assert (subject.user_id, subject.trigger, subject.token_id) == (ada, "user", None)
        assert subject.session_id == cookie.partition("=")[2].partition(".")[0]

    @pytest.mark.parametrize("change", ["x", ".", "\u00e9", ""])
    def test_another_secret_is_refused(self, authenticator: Authenticator, cookie: str, change: str) -> None:
        wrong = cookie[:-1] + change
        raw = [(b"host", b"ifx.example"), (b"cookie", wrong.encode())]
        asked = HTTPConnection({"type": "http", "method": "GET", "scheme": "https", "path": "/x", "headers": raw})
        assert who(authenticator, asked) is None

    def test_it_ends_when_it_is_not_used_and_when_it_is_old(
        self, database: Database, authenticator: Authenticator, cookie: str
    ) -> None:
        age(database, seen_at=IDLE - timedelta(minutes=1))
        assert who(authenticator, connection(cookie=cookie)) is not None
        seen = database.read_now(lambda connection: connection.execute(sa.select(tables.sessions.c.seen_at)).scalar())
        assert seen is not None
        assert utc_now() - seen < timedelta(minutes=1)  # the use is noted
        age(database, seen_at=IDLE)
        assert who(authenticator, connection(cookie=cookie)) is None
        age(database, seen_at=timedelta(0), expires_at=timedelta(0))
        assert who(authenticator, connection(cookie=cookie)) is None

    def test_disabling_and_deleting_the_account_end_it(
        self, database: Database, authenticator: Authenticator, cookie: str, ada: str
    ) -> None:
        database.write_now(lambda c: c.execute(tables.users.update().values(disabled_at=utc_now())))
        assert who(authenticator, connection(cookie=cookie)) is None
        database.write_now(lambda c: c.execute(tables.users.update().values(disabled_at=None)))
        assert who(authenticator, connection(cookie=cookie)) is not None
        database.write_now(lambda c: users.delete_user(c, ada))
        assert who(authenticator, connection(cookie=cookie)) is None

    def test_b7_a_websocket_is_opened_by_pages_of_the_server_only(
        self, authenticator: Authenticator, cookie: str
    ) -> None:
        assert who(authenticator, connection("websocket", cookie=cookie, origin="https://ifx.example")) is not None
        for origin in ("https://evil.example", "null", "http://ifx.example"):
            with pytest.raises(CrossSite):
                who(authenticator, connection("websocket", cookie=cookie, origin=origin))

    def test_developer_mode_takes_no_cookie(self, database: Database, key: TokenKey, cookie: str) -> None:
        local = who(Authenticator(database, key, is_developer=True), connection(cookie=cookie))
        assert local is not None
        assert (local.user_id, local.session_id) == (None, None)
        for kind in ("http", "websocket"):
            with pytest.raises(CrossSite):
                who(
                    Authenticator(database, key, is_developer=True),
                    connection(kind, "POST", origin="https://evil.example"),
                )


class Verifier:
    """Knows credentials that begin with "mine"."""

    async def verify(self, credentials: str) -> Subject | None:
        if credentials == "mine-bad":
            raise Unauthorized
        if not credentials.startswith("mine"):
            return None
        return Subject("u1", "ada", "Ada", is_administrator=False)


class TestHeaders:
    def test_other_bearers_are_asked_for_what_is_no_token(self, authenticator: Authenticator) -> None:
        authenticator.bearers.append(Verifier())
        found = who(authenticator, connection(authorization="Bearer mine-good"))
        assert found is not None
        assert found.user_id == "u1"
        for header in ("Bearer mine-bad", "Bearer other", "token mine-good", "mine-good"):
            assert who(authenticator, connection(authorization=header)) is None

    def test_scopes_come_with_the_token(
        self, database: Database, key: TokenKey, authenticator: Authenticator, ada: str
    ) -> None:
        def make(connection: Connection) -> str:
            return tokens.create_token(connection, key, ada, "x", scopes=["run.read", "run.list"]).text

        subject = who(authenticator, connection(authorization=f"token {database.write_now(make)}"))
        assert subject is not None
        assert subject.scopes == {"run.read", "run.list"}

    def test_only_good_credentials_are_counted_for_a_token(self, database: Database, key: TokenKey, ada: str) -> None:
        limits = RateLimits(Settings(mode="server", rate_limit_token=2))
        authenticator = Authenticator(database, key, is_developer=False, rate_limits=limits)
        good = database.write_now(lambda connection: tokens.create_token(connection, key, ada, "x").text)
        wrong = tokens.new_secret(good.split("_")[1])[2]
        for _ in range(10):
            assert who(authenticator, connection(authorization=f"token {wrong}")) is None
        for _ in range(2):
            assert who(authenticator, connection(authorization=f"token {good}")) is not None
        with pytest.raises(TooManyRequests):
            who(authenticator, connection(authorization=f"token {good}"))
