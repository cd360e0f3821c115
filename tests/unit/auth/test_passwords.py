"""Passwords: strength, hashes, and who waits for whom."""

import asyncio
from collections.abc import Iterator

import pytest
from argon2 import PasswordHasher

from infraxys.server.auth.passwords import MAX_LENGTH, MAX_WAITING, Passwords, WeakPassword, unmatched
from infraxys.server.errors import Unavailable

GOOD = "three-Horses-swim-2-Oslo"


@pytest.fixture(scope="module")
def passwords() -> Iterator[Passwords]:
    passwords = Passwords()
    yield passwords
    passwords.close()


@pytest.mark.parametrize(
    "password", [GOOD, "ünïcødé-пароль-öffnet", "x9$Kf!27#qLm", GOOD * 40, "\x00a-Nul-is-a-character-1"]
)
def test_what_cannot_be_guessed_is_taken(passwords: Passwords, password: str) -> None:
    passwords.check_strength(password, "ada")


@pytest.mark.parametrize(
    "password",
    ["", "short-1A", "password1234", "aaaaaaaaaaaaaaaaaaaa", "1234567890", "qwertyuiop", "infraxys2026", "a" * 500],
)
def test_what_is_guessed_soon_is_refused_with_advice(passwords: Passwords, password: str) -> None:
    with pytest.raises(WeakPassword) as refused:
        passwords.check_strength(password)
    assert "password" in str(refused.value)
    assert not password or password not in str(refused.value)


def test_the_own_name_makes_no_password(passwords: Passwords) -> None:
    passwords.check_strength("grace.murray.hopper")
    with pytest.raises(WeakPassword):
        passwords.check_strength("grace.murray.hopper", "grace.murray.hopper")


def test_b6_a_password_of_a_megabyte_is_refused_before_any_work(passwords: Passwords) -> None:
    with pytest.raises(WeakPassword, match=str(MAX_LENGTH)):
        passwords.check_strength("a1!" * 350_000)


def test_the_hash_is_argon2id_and_only_the_password_fits(passwords: Passwords) -> None:
    stored = passwords.hash_now(GOOD)
    assert stored.startswith("$argon2id$")
    assert passwords.verify_now(stored, GOOD)
    assert not passwords.verify_now(stored, GOOD + " ")
    assert passwords.hash_now(GOOD) != stored


def test_b6_the_same_characters_in_another_form_are_the_same_password(passwords: Passwords) -> None:
    assert passwords.verify_now(passwords.hash_now("Å-tower-in-Malmö-77"), "A\u030a-tower-in-Malmo\u0308-77")


def test_nothing_fits_where_nothing_is_stored(passwords: Passwords) -> None:
    assert not passwords.verify_now(None, GOOD)
    assert not passwords.verify_now("", GOOD)
    assert not passwords.verify_now("broken", GOOD)


def test_the_stand_in_for_nobody_costs_what_a_real_hash_costs() -> None:
    hasher = PasswordHasher()
    parts = unmatched(hasher).split("$")
    real = hasher.hash(GOOD).split("$")
    assert parts[:4] == real[:4]
    assert [len(part) for part in parts] == [len(part) for part in real]


def test_a_weaker_hash_of_earlier_days_is_made_anew(passwords: Passwords) -> None:
    async def work() -> tuple[str | None, str | None]:
        weak = PasswordHasher(time_cost=1, memory_cost=8192).hash(GOOD)
        return await passwords.rehash(weak, GOOD), await passwords.rehash(passwords.hash_now(GOOD), GOOD)

    fresh, unchanged = asyncio.run(work())
    assert unchanged is None
    assert fresh is not None
    assert passwords.verify_now(fresh, GOOD)


def test_the_event_loop_goes_on_and_the_line_is_bounded() -> None:
    passwords = Passwords()
    passwords._hasher = PasswordHasher(time_cost=1, memory_cost=64)
    passwords._nobody = unmatched(passwords._hasher)

    async def work() -> list[object]:
        tries = [passwords.verify(None, GOOD) for _ in range(MAX_WAITING + 5)]
        return await asyncio.gather(*tries, return_exceptions=True)

    done = asyncio.run(work())
    assert done[:MAX_WAITING] == [False] * MAX_WAITING
    assert all(isinstance(item, Unavailable) for item in done[MAX_WAITING:])
    assert asyncio.run(passwords.verify(None, GOOD)) is False
    passwords.close()
