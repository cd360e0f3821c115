"""Accounts and tokens."""

import asyncio
import stat
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from starlette.requests import Request

from infraxys.kit.clock import utc_now
from infraxys.server.auth import tokens, users
from infraxys.server.auth.authenticate import Authenticator
from infraxys.server.auth.permissions import Requires
from infraxys.server.auth.subject import Subject
from infraxys.server.auth.tokens import TokenKey
from infraxys.server.db.engine import Database
from infraxys.server.db.tables import metadata
from infraxys.server.errors import BadRequest, Unauthorized


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path / 'test.db'}")
    metadata.create_all(database.engine)
    yield database
    database.close()


@pytest.fixture
def key(tmp_path: Path) -> TokenKey:
    return TokenKey(tmp_path / "keys" / "tokens.key")


def request(*headers: str) -> Request:
    """Make a request with these Authorization headers."""
    raw = [(b"authorization", value.encode()) for value in headers]
    return Request(
        {"type": "http", "method": "GET", "path": "/", "scheme": "https", "headers": raw, "client": ("192.0.2.1", 1)}
    )


def make_token(database: Database, key: TokenKey, *, days: int = 1) -> str:
    """Make a user, if there is none, and a token of it."""

    def work(connection: object) -> str:
        found = users.find_user(connection, "ada")  # type: ignore[arg-type]
        owner = found["id"] if found else users.create_user(connection, "ada")  # type: ignore[arg-type]
        return tokens.create_token(connection, key, owner, "test", expires_at=utc_now() + timedelta(days=days)).text  # type: ignore[arg-type]

    return database.write_now(work)


class TestTokens:
    def test_a_token_is_found_by_its_id_and_proved_by_its_secret(self, database: Database, key: TokenKey) -> None:
        parsed = tokens.parse(make_token(database, key))
        assert parsed is not None
        row = database.read_now(lambda connection: tokens.find_token(connection, parsed[0]))
        assert row is not None
        assert tokens.is_usable(row, key.digest(parsed[1]), utc_now())
        assert not tokens.is_usable(row, key.digest(parsed[1] + "x"), utc_now())
        assert not tokens.is_usable(row, key.digest(parsed[1]), utc_now() + timedelta(days=2))

    def test_g10_a_single_wrong_character_is_seen_without_the_database(self, database: Database, key: TokenKey) -> None:
        text = make_token(database, key)
        for position in range(4, len(text)):
            if text[position] != "_":
                wrong = text[:position] + ("a" if text[position] != "a" else "b") + text[position + 1 :]
                assert tokens.parse(wrong) is None

    @pytest.mark.parametrize("text", ["", "ifx", "ifx___", "x" * 1_000_000, "ifx_" + "0" * 69, "ifx_\x00"])
    def test_what_is_no_token_is_none(self, text: str) -> None:
        assert tokens.parse(text) is None

    def test_secrets_differ_and_are_not_stored(self, database: Database, key: TokenKey, tmp_path: Path) -> None:
        texts = {make_token(database, key) for _ in range(20)}
        assert len(texts) == 20
        stored = b"".join(path.read_bytes() for path in tmp_path.glob("test.db*"))
        assert not any(text.split("_")[2].encode() in stored for text in texts)

    def test_another_key_makes_other_digests(self, tmp_path: Path, key: TokenKey) -> None:
        assert (
            TokenKey(tmp_path / "other").digest("x")
            != key.digest("x")
            == TokenKey(tmp_path / "keys" / "tokens.key").digest("x")
        )

    def test_the_key_is_closed_to_others_and_nothing_is_left_beside_it(self, tmp_path: Path, key: TokenKey) -> None:
        assert key.digest("x")
        file = tmp_path / "keys" / "tokens.key"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert list(file.parent.iterdir()) == [file]

    def test_a_damaged_key_is_refused_and_not_used(self, tmp_path: Path) -> None:
        (tmp_path / "key").write_bytes(b"")
        with pytest.raises(OSError, match="damaged"):
            TokenKey(tmp_path / "key")


class TestAuthenticator:
    @pytest.mark.parametrize("scheme", ["token", "Token", "Bearer", "BEARER"])
    def test_a_token_gives_its_owner_and_its_use_is_noted(self, database: Database, key: TokenKey, scheme: str) -> None:
        text = make_token(database, key)

        async def work() -> Subject:
            authenticator = Authenticator(database, key, is_developer=False)
            subject = await authenticator.authenticate(request(f"{scheme}  {text}"))
            await asyncio.gather(*authenticator._marking.values())
            return subject

        subject = asyncio.run(work())
        assert (subject.name, subject.token_id, subject.grants) == ("ada", text.split("_")[1], ())
        row = database.read_now(tokens.list_tokens)[0]
        assert row["last_used_address"] == "192.0.2.1"
        assert row["last_used_at"] is not None

    def test_revoking_and_disabling_hold_at_once(self, database: Database, key: TokenKey) -> None:
        texts = [make_token(database, key) for _ in range(2)]
        authenticator = Authenticator(database, key, is_developer=True)

        async def is_known(text: str) -> bool:
            try:
                await authenticator.authenticate(request(f"token {text}"))
            except Unauthorized:
                return False
            return True

        async def work() -> list[bool]:
            known = [await is_known(texts[0])]
            await database.awrite(lambda connection: tokens.delete_token(connection, texts[0].split("_")[1]))
            known += [await is_known(texts[0]), await is_known(texts[1])]
            await database.awrite(
                lambda connection: users.set_disabled(
                    connection, users.find_user(connection, "ADA")["id"], is_disabled=True
                )
            )
            return [*known, await is_known(texts[1])]

        assert asyncio.run(work()) == [True, False, True, False]

    @pytest.mark.parametrize("mode", ["developer", "server"])
    @pytest.mark.parametrize(
        "header", ["", "token", "token ", "Basic YTpi", "token a, token b", "Bearer a.b.c", "Bearer \x00"]
    )
    def test_g9_wrong_credentials_are_401_in_both_modes(
        self, database: Database, key: TokenKey, header: str, mode: str
    ) -> None:
        authenticator = Authenticator(database, key, is_developer=mode == "developer")
        with pytest.raises(Unauthorized):
            asyncio.run(authenticator.authenticate(request(header)))

    def test_g9_two_headers_are_refused(self, database: Database, key: TokenKey) -> None:
        text = make_token(database, key)
        with pytest.raises(BadRequest):
            asyncio.run(
                Authenticator(database, key, is_developer=True).authenticate(request(f"token {text}", f"token {text}"))
            )

    def test_nobody_is_the_local_user_in_developer_mode_only(self, database: Database, key: TokenKey) -> None:
        assert asyncio.run(Authenticator(database, key, is_developer=True).authenticate(request())).may("run.read")
        with pytest.raises(Unauthorized):
            asyncio.run(Authenticator(database, key, is_developer=False).authenticate(request()))


class TestUsers:
    def test_b6_look_alikes_are_one_name(self, database: Database) -> None:
        database.write_now(lambda connection: users.create_user(connection, "Ada"))
        with pytest.raises(users.UserProblem, match="exists already"):
            database.write_now(lambda connection: users.create_user(connection, "\uff21da"))  # a wide A

    @pytest.mark.parametrize("name", ["", " ", "a b", "a/b", "a\nb", "a\x00", "x" * 101, "<b>", "a\u202eb"])
    def test_odd_names_are_refused(self, name: str) -> None:
        with pytest.raises(users.UserProblem):
            users.normalise(name)


def test_a_grant_that_does_not_exist_cannot_be_required() -> None:
    with pytest.raises(ValueError, match="unknown grant"):
        Requires("run.exectue")
