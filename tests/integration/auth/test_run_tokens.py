"""Tokens of runs, on both databases: good while the run executes, on this host, for whom started it."""

import asyncio
import json

import pytest
from sqlalchemy.engine import Connection
from starlette.requests import HTTPConnection

from infraxys.engine.status import Status
from infraxys.kit.clock import new_id, utc_now
from infraxys.server.auth import run_tokens, users
from infraxys.server.auth.authenticate import Authenticator
from infraxys.server.auth.subject import Subject
from infraxys.server.auth.tokens import TokenKey
from infraxys.server.db.engine import Database
from infraxys.server.db.tables import runs
from infraxys.server.errors import Unauthorized


def start(database: Database, user_id: str | None, status: str = "RUNNING", scopes: list[str] | None = None) -> str:
    """Record a run; gives its id."""
    run_id = new_id()
    values = {
        **dict.fromkeys(("kind", "module", "branch", "commit", "environment_id", "argument_digest"), "x"),
        **dict.fromkeys(("commits", "target"), "{}"),
        "id": run_id,
        "status": status,
        "trigger": "user",
        "user_id": user_id,
        "user_name": "ada",
        "scopes": None if scopes is None else json.dumps(scopes),
        "argument": b"{}",
        "created_at": utc_now(),
    }
    database.write_now(lambda connection: connection.execute(runs.insert().values(values)))
    return run_id


def who(
    database: Database,
    key: TokenKey,
    text: str,
    *,
    address: str = "127.0.0.1",
    own: str = "127.0.0.1",
    is_developer: bool = False,
) -> Subject | None:
    """Give the caller, or None for one who is refused."""
    authenticator = Authenticator(database, key, is_developer=is_developer)
    headers = [(b"authorization", f"token {text}".encode())]
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/",
        "headers": headers,
        "client": (address, 1),
        "server": (own, 2),
    }
    try:
        return asyncio.run(authenticator.authenticate(HTTPConnection(scope)))
    except Unauthorized:
        return None


def test_it_gives_the_starter_with_the_scopes_of_the_run_and_no_credential(
    database: Database, key: TokenKey, ada: str
) -> None:
    run_id = start(database, ada, scopes=["run.read"])
    subject = who(database, key, run_tokens.make(key, run_id))
    assert subject is not None
    assert (subject.user_id, subject.name, subject.run_id, subject.trigger) == (ada, "ada", run_id, "run")
    assert (subject.token_id, subject.session_id, subject.scopes) == (None, None, frozenset({"run.read"}))


@pytest.mark.parametrize("status", list(Status))
def test_b05_g7_it_is_good_only_while_the_run_executes(
    database: Database, key: TokenKey, ada: str, status: Status
) -> None:
    text = run_tokens.make(key, start(database, ada, status.value))
    assert (who(database, key, text) is not None) == (status in {Status.RUNNING, Status.WAITING})


@pytest.mark.parametrize(
    ("address", "own", "expected"),
    [
        ("127.0.0.1", "127.0.0.1", "ada"),
        ("::1", "::1", "ada"),
        ("192.0.2.1", "192.0.2.1", "ada"),
        ("192.0.2.9", "192.0.2.1", None),
        ("203.0.113.9", "127.0.0.1", None),
        ("", "127.0.0.1", None),
    ],
)
def test_b05_g7_it_is_of_no_use_on_another_host(
    database: Database, key: TokenKey, ada: str, address: str, own: str, expected: str | None
) -> None:
    text = run_tokens.make(key, start(database, ada))
    subject = who(database, key, text, address=address, own=own)
    assert (subject and subject.name) == expected


def test_b03_disabling_and_deleting_the_starter_end_it(database: Database, key: TokenKey, ada: str) -> None:
    text = run_tokens.make(key, start(database, ada))
    database.write_now(lambda connection: users.set_disabled(connection, ada, is_disabled=True))
    assert who(database, key, text) is None

    def gone(connection: Connection) -> None:
        users.create_user(connection, "root", is_administrator=True)
        users.delete_user(connection, ada)

    database.write_now(gone)
    assert who(database, key, text) is None


def test_a_run_without_an_account_calls_in_developer_mode_only(database: Database, key: TokenKey) -> None:
    text = run_tokens.make(key, start(database, None))
    subject = who(database, key, text, is_developer=True)
    assert subject is not None
    assert subject.is_administrator
    assert subject.trigger == "run"
    assert who(database, key, text) is None


def test_one_of_a_run_that_is_not_there_is_refused(database: Database, key: TokenKey) -> None:
    assert who(database, key, run_tokens.make(key, new_id())) is None


def test_a_text_that_cannot_be_one_is_none() -> None:
    for text in ("", "ifr", "ifr_" + "0" * 32, "ifr_" + "g" * 32 + "_" + "0" * 43 + "_000000", "x" * 100_000):
        assert run_tokens.parse(text) is None
