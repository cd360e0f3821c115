"""People and sessions of an OpenID provider in a real database, of either kind."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import Connection

from factories.identities import GRACE, ISSUER, OPTIONS
from infraxys.kit.clock import new_id, utc_now
from infraxys.server.auth import access, sessions, users
from infraxys.server.auth.openid import accounts, upstream
from infraxys.server.auth.openid.accounts import AccountRefused, Identity
from infraxys.server.auth.openid.exchange import Upstream
from infraxys.server.auth.openid.options import OpenIdOptions
from infraxys.server.auth.openid.sealing import Sealer
from infraxys.server.auth.users import UserProblem
from infraxys.server.db.engine import Database
from infraxys.server.db.tables import openid_sessions, team_members, teams


@pytest.fixture
def sealer(tmp_path: Path) -> Sealer:
    return Sealer(tmp_path / "keys" / "openid.key")


def record(database: Database, identity: Identity, options: OpenIdOptions = OPTIONS) -> Any:
    return database.write_now(lambda connection: accounts.record_account(connection, identity, options))


class TestAccounts:
    def test_one_person_has_one_account_whatever_their_name(self, database: Database) -> None:
        first = record(database, GRACE)
        again = record(database, replace(GRACE, name="else", display_name="Rear Admiral", issued_at=2000))
        assert again["user_id"] == first["user_id"]
        assert again["name"] == "grace"
        assert again["display_name"] == "Rear Admiral"

    def test_persons_of_one_name_have_accounts_of_their_own(self, database: Database) -> None:
        database.write_now(lambda connection: users.create_user(connection, "grace", is_administrator=True))
        names = [record(database, replace(GRACE, subject=f"s-{number}"))["name"] for number in range(3)]
        assert len({*names, "grace"}) == 4
        nameless = record(database, replace(GRACE, subject="s-9", name="not a name!"))
        assert nameless["name"].startswith("openid-")

    def test_unknown_and_disabled_people_are_refused(self, database: Database) -> None:
        closed = OPTIONS.model_copy(update={"oidc_create_users": False})
        with pytest.raises(AccountRefused, match="no account"):
            record(database, GRACE, closed)
        user_id = record(database, GRACE)["user_id"]
        record(database, GRACE, closed)
        database.write_now(lambda connection: users.set_disabled(connection, user_id, is_disabled=True))
        with pytest.raises(AccountRefused, match="disabled"):
            record(database, GRACE)

    def test_an_account_can_be_made_beforehand_for_one_person(self, database: Database) -> None:
        def make(connection: Connection) -> str:
            user_id = users.create_user(connection, "hopper")
            accounts.link(connection, user_id, ISSUER, "s-1")
            return user_id

        user_id = database.write_now(make)
        assert record(database, GRACE)["user_id"] == user_id
        with pytest.raises(UserProblem):
            database.write_now(lambda connection: accounts.link(connection, user_id, ISSUER, "s-1"))

    def test_groups_make_members_of_teams_and_administrators(self, database: Database) -> None:
        def make_teams(connection: Connection) -> None:
            for name, group in (("one", "a"), ("two", "b"), ("three", None)):
                connection.execute(
                    teams.insert().values(
                        id=name, project_id="root", name=name, name_key=name, external_group=group, created_at=utc_now()
                    )
                )

        user_id = record(database, GRACE)["user_id"]
        database.write_now(make_teams)

        def members() -> set[tuple[str, str]]:
            query = team_members.select().where(team_members.c.user_id == user_id)
            return {
                (row.team_id, row.source)
                for row in database.read_now(lambda connection: connection.execute(query).all())
            }

        record(database, replace(GRACE, issued_at=1001))  # the same groups: the team is new
        assert members() == {("one", "group")}
        database.write_now(lambda connection: access.sync_members(connection, "one", None))
        assert members() == set()
        database.write_now(lambda connection: access.sync_members(connection, "one", "a"))
        assert members() == {("one", "group")}
        manual = team_members.insert().values(user_id=user_id, team_id="three", source="manual")
        database.write_now(lambda connection: connection.execute(manual) and None)
        assert record(database, replace(GRACE, issued_at=1002, groups=frozenset({"b", "admins"})))["is_administrator"]
        assert members() == {("two", "group"), ("three", "manual")}
        # What is older changes nothing.
        assert record(database, replace(GRACE, issued_at=1001, groups=frozenset({"a"})))["is_administrator"]
        assert members() == {("two", "group"), ("three", "manual")}
        assert not record(database, replace(GRACE, issued_at=1003, groups=frozenset()))["is_administrator"]
        assert members() == {("three", "manual")}

    def test_saying_nothing_about_groups_changes_none(self, database: Database) -> None:
        record(database, replace(GRACE, groups=frozenset({"admins"})))
        silent = replace(GRACE, groups=None, issued_at=2000)
        row = database.read_now(lambda connection: accounts.find_account(connection, ISSUER, "s-1"))
        assert not accounts.needs_update(row, silent)
        assert record(database, silent)["is_administrator"]


class TestSessions:
    def test_of_several_servers_one_refreshes(self, database: Database, sealer: Sealer) -> None:
        user_id = record(database, GRACE)["user_id"]

        def start(connection: Connection) -> str:
            session_id = sessions.create(connection, user_id, "").partition(".")[0]
            given = Upstream({}, "id-token", "refresh-token", 60)
            upstream.keep(connection, sealer, session_id, given, utc_now() - timedelta(seconds=1))
            return session_id

        session_id = database.write_now(start)
        due = database.read_now(upstream.list_due)
        assert [row["session_id"] for row in due] == [session_id]
        later = utc_now() + timedelta(seconds=30)
        claims = [database.write_now(lambda connection: upstream.claim(connection, due[0], later)) for _ in range(2)]
        assert claims == [True, False]
        assert database.read_now(upstream.list_due) == []

    def test_tokens_of_one_session_are_not_readable_as_another_ones(self, database: Database, sealer: Sealer) -> None:
        user_id = record(database, GRACE)["user_id"]

        def start(connection: Connection) -> list[str]:
            ids = [sessions.create(connection, user_id, "").partition(".")[0] for _ in range(2)]
            for session_id in ids:
                upstream.keep(connection, sealer, session_id, Upstream({}, session_id, "r", 60), utc_now())
            return ids

        first, second = database.write_now(start)
        assert database.read_now(lambda connection: upstream.find_id_token(connection, sealer, first)) == (True, first)
        table = openid_sessions
        stolen = table.select().with_only_columns(table.c.sealed).where(table.c.session_id == first).scalar_subquery()
        swap = table.update().where(table.c.session_id == second).values(sealed=stolen)
        database.write_now(lambda connection: connection.execute(swap) and None)
        assert database.read_now(lambda connection: upstream.find_id_token(connection, sealer, second)) == (True, None)
        unknown = new_id()
        found = database.read_now(lambda connection: upstream.find_id_token(connection, sealer, unknown))
        assert found == (False, None)
