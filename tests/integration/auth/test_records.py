"""Sessions, tokens, accounts and the first administrator's link in the database."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection
from starlette.responses import Response

from infraxys.kit.clock import utc_now
from infraxys.server.auth import sessions, setup, tokens, users
from infraxys.server.auth.tokens import TokenKey, TooManyTokens
from infraxys.server.db import tables
from infraxys.server.db.engine import Database

IDLE = timedelta(hours=1)
DAY = timedelta(days=1)


def start(database: Database, user_id: str) -> tuple[str, str]:
    """Start a session; gives id and secret."""
    cookie = database.write_now(lambda connection: sessions.create(connection, user_id, "192.0.2.1", "agent"))
    parsed = sessions.parse(cookie)
    assert parsed is not None
    return parsed


class TestSessions:
    def test_a_session_is_found_by_its_id_and_proved_by_its_secret(self, database: Database, ada: str) -> None:
        session_id, secret = start(database, ada)
        row = database.read_now(lambda connection: sessions.find(connection, session_id))
        assert row is not None
        now = utc_now()
        assert sessions.is_usable(row, secret, now, IDLE)
        assert not sessions.is_usable(row, secret + "x", now, IDLE)
        assert not sessions.is_usable(row, secret, now + IDLE + timedelta(seconds=1), IDLE)
        assert not sessions.is_usable(row, secret, now + sessions.LIFETIME, 100 * DAY)

    def test_only_a_hash_is_stored(self, database: Database, ada: str) -> None:
        _, secret = start(database, ada)
        row = database.read_now(lambda connection: connection.execute(sa.select(tables.sessions)).one())
        assert secret not in str(row)
        assert secret.encode() not in bytes(row.digest)

    def test_ids_and_secrets_are_new_every_time(self, database: Database, ada: str) -> None:
        made = [start(database, ada) for _ in range(20)]
        assert len({session_id for session_id, _ in made}) == len({secret for _, secret in made}) == 20

    def test_an_account_keeps_the_sessions_used_last(self, database: Database, ada: str) -> None:
        made = [start(database, ada)[0] for _ in range(sessions.MAX_SESSIONS + 3)]
        kept = database.read_now(lambda connection: sessions.list_sessions(connection, ada, IDLE))
        assert {row["id"] for row in kept} == set(made[3:])
        assert all("digest" not in row for row in kept)

    def test_expired_ones_are_removed_when_somebody_signs_in(self, database: Database, ada: str) -> None:
        old, _ = start(database, ada)

        def expire(connection: Connection) -> None:
            connection.execute(tables.sessions.update().values(expires_at=utc_now() - DAY))

        database.write_now(expire)
        start(database, ada)
        assert database.read_now(lambda connection: sessions.find(connection, old)) is None

    def test_one_ends_its_own_sessions_only(self, database: Database, ada: str) -> None:
        grace = database.write_now(lambda connection: users.create_user(connection, "grace"))
        (mine, _), (other, _), (hers, _) = start(database, ada), start(database, ada), start(database, grace)
        assert not database.write_now(lambda connection: sessions.end(connection, ada, hers))
        database.write_now(lambda connection: sessions.end_all(connection, ada, mine))
        left = database.read_now(lambda connection: set(connection.execute(sa.select(tables.sessions.c.id)).scalars()))
        assert left == {mine, hers}
        assert other not in left

    @pytest.mark.parametrize("cookie", ["", ".", "a.", ".a", "a", "ü.ü", "a." + "x" * 500])
    def test_what_is_no_cookie_of_ours_is_none(self, cookie: str) -> None:
        assert sessions.parse(cookie) is None

    def test_b7_the_cookie_is_for_this_host_and_https_and_no_script(self) -> None:
        response = Response()
        sessions.set_cookie(response, "a.b")
        parts = [part.strip().lower() for part in response.headers["set-cookie"].split(";")]
        assert parts[0] == "__host-infraxys=a.b"
        assert {"secure", "httponly", "path=/", "samesite=lax"} <= set(parts)
        assert not any(part.startswith("domain") for part in parts)


class TestTokens:
    def test_rotating_changes_the_secret_and_nothing_else(self, database: Database, key: TokenKey, ada: str) -> None:
        def make(connection: Connection) -> tokens.NewToken:
            return tokens.create_token(
                connection, key, ada, "ci", description="d", expires_at=utc_now() + DAY, scopes=["run.read"]
            )

        first = database.write_now(make)
        second = database.write_now(lambda connection: tokens.rotate_token(connection, key, ada, first.id, IDLE))
        third = database.write_now(lambda connection: tokens.rotate_token(connection, key, ada, first.id, IDLE))
        assert second is not None
        assert third is not None
        assert first.id == second.id == third.id
        row = database.read_now(lambda connection: tokens.find_token(connection, first.id))
        assert row is not None
        digests = [key.digest(text.split("_")[2]) for text in (first.text, second.text, third.text)]
        now = utc_now()
        assert [tokens.is_usable(row, digest, now) for digest in digests] == [False, True, True]
        assert [tokens.is_usable(row, digest, now + IDLE) for digest in digests] == [False, False, True]
        shown = database.read_now(lambda connection: tokens.find_own_token(connection, ada, first.id))
        assert shown is not None
        assert (shown["name"], shown["description"], shown["scopes"]) == ("ci", "d", '["run.read"]')
        assert abs(shown["expires_at"] - now - DAY) < timedelta(minutes=1)

    def test_without_overlap_the_old_secret_ends_at_once(self, database: Database, key: TokenKey, ada: str) -> None:
        first = database.write_now(lambda connection: tokens.create_token(connection, key, ada, "ci"))
        database.write_now(lambda connection: tokens.rotate_token(connection, key, ada, first.id, timedelta(0)))
        row = database.read_now(lambda connection: tokens.find_token(connection, first.id))
        assert row is not None
        assert not tokens.is_usable(row, key.digest(first.text.split("_")[2]), utc_now())

    def test_nobody_rotates_an_expired_token_or_another_ones(self, database: Database, key: TokenKey, ada: str) -> None:
        past = utc_now() - DAY
        expired = database.write_now(lambda connection: tokens.create_token(connection, key, ada, "x", expires_at=past))
        good = database.write_now(lambda connection: tokens.create_token(connection, key, ada, "x"))
        for owner, token_id in ((ada, expired.id), ("somebody", good.id)):
            assert database.write_now(lambda c, o=owner, t=token_id: tokens.rotate_token(c, key, o, t, IDLE)) is None

    def test_an_account_has_a_bounded_number(
        self, database: Database, key: TokenKey, ada: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(tokens, "MAX_TOKENS", 3)

        def make(connection: Connection) -> tokens.NewToken:
            return tokens.create_token(connection, key, ada, "x")

        made = [database.write_now(make) for _ in range(3)]
        with pytest.raises(TooManyTokens):
            database.write_now(make)
        assert database.write_now(lambda connection: tokens.delete_token(connection, made[0].id, ada))
        database.write_now(make)


class TestUsers:
    def test_disabling_takes_sessions_and_tokens_and_enabling_gives_none_back(
        self, database: Database, key: TokenKey, ada: str
    ) -> None:
        start(database, ada)
        database.write_now(lambda connection: tokens.create_token(connection, key, ada, "x"))
        for is_disabled in (True, False):
            database.write_now(lambda c, d=is_disabled: users.set_disabled(c, ada, is_disabled=d))
            left = [
                database.read_now(lambda c, t=table: c.execute(sa.select(sa.func.count()).select_from(t)).scalar_one())
                for table in (tables.sessions, tables.tokens)
            ]
            assert left == [0, 0]
            row = database.read_now(lambda connection: users.find_by_id(connection, ada))
            assert row is not None
            assert (row["disabled_at"] is not None) is is_disabled

    def test_the_last_administrator_stays(self, database: Database, ada: str) -> None:
        database.write_now(lambda connection: users.set_administrator(connection, ada, is_administrator=True))
        for work in (
            lambda connection: users.set_disabled(connection, ada, is_disabled=True),
            lambda connection: users.set_administrator(connection, ada, is_administrator=False),
            lambda connection: users.delete_user(connection, ada),
        ):
            with pytest.raises(users.UserProblem, match="last administrator"):
                database.write_now(work)
        grace = database.write_now(lambda connection: users.create_user(connection, "grace", is_administrator=True))
        database.write_now(lambda connection: users.set_disabled(connection, ada, is_disabled=True))
        with pytest.raises(users.UserProblem, match="last administrator"):
            database.write_now(lambda connection: users.delete_user(connection, grace))

    def test_deleting_an_account_takes_everything_of_it(self, database: Database, key: TokenKey, ada: str) -> None:
        session_id, _ = start(database, ada)
        made = database.write_now(lambda connection: tokens.create_token(connection, key, ada, "x"))
        database.write_now(lambda connection: users.delete_user(connection, ada))
        assert database.read_now(lambda connection: sessions.find(connection, session_id)) is None
        assert database.read_now(lambda connection: tokens.find_token(connection, made.id)) is None

    def test_accounts_made_at_once_with_one_name_are_one(self, database: Database) -> None:
        def make(_: int) -> bool:
            try:
                database.write_now(lambda connection: users.create_user(connection, "grace"))
            except users.UserProblem:
                return False
            return True

        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(make, range(8))).count(True) == 1

    @pytest.mark.usefixtures("ada")
    def test_g20_a_search_takes_characters_literally(self, database: Database) -> None:
        for text in ("%", "_", "a%", "'", "\\", '";--', "x" * 200):
            assert database.read_now(lambda c, t=text: users.list_users(c, text=t)) == []
        for text in ("a", "D", "ada", "\uff21da"):
            assert len(database.read_now(lambda c, t=text: users.list_users(c, text=t))) == 1

    def test_no_list_holds_the_hash_of_a_password(self, database: Database, ada: str) -> None:
        database.write_now(lambda connection: users.set_password(connection, ada, "$argon2id$secret"))
        assert "argon2id" not in str(database.read_now(users.list_users))


class TestSetup:
    def test_b10_the_link_works_once(self, database: Database) -> None:
        made = database.write_now(setup.create_link)
        assert made is not None
        secret, _ = made
        assert database.read_now(lambda connection: setup.is_good(connection, secret))
        assert not database.write_now(lambda connection: setup.use(connection, "guessed"))
        assert database.write_now(lambda connection: setup.use(connection, secret))
        assert not database.write_now(lambda connection: setup.use(connection, secret))

    def test_b10_it_expires(self, database: Database) -> None:
        made = database.write_now(setup.create_link)
        assert made is not None

        def expire(connection: Connection) -> None:
            connection.execute(tables.setup_links.update().values(expires_at=utc_now() - timedelta(seconds=1)))

        database.write_now(expire)
        assert not database.write_now(lambda connection: setup.use(connection, made[0]))

    def test_b10_with_an_administrator_there_is_no_link_and_none_works(self, database: Database, ada: str) -> None:
        made = database.write_now(setup.create_link)
        assert made is not None
        database.write_now(lambda connection: users.set_administrator(connection, ada, is_administrator=True))
        assert not database.write_now(lambda connection: setup.use(connection, made[0]))
        assert database.write_now(setup.create_link) is None

    def test_using_one_link_ends_the_others_and_their_secrets_are_not_stored(self, database: Database) -> None:
        made = [database.write_now(setup.create_link) for _ in range(2)]
        assert made[0] is not None
        assert made[1] is not None
        first, second = made[0][0], made[1][0]
        stored = str(database.read_now(lambda connection: connection.execute(sa.select(tables.setup_links)).all()))
        assert first not in stored
        assert database.write_now(lambda connection: setup.use(connection, second))
        assert not database.write_now(lambda connection: setup.use(connection, first))
