"""How fast passwords may be tried."""

import pytest

from infraxys.server.auth import attempts as module
from infraxys.server.auth.addresses import network_of
from infraxys.server.auth.attempts import FREE_ATTEMPTS, MAX_WAIT_SECONDS, SUSPICIOUS, Attempts


class Clock:
    """A time that moves when it is told to."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def attempts(clock: Clock) -> Attempts:
    return Attempts(clock)


def fail(attempts: Attempts, count: int, address: str = "192.0.2.1") -> float:
    """Try so often; gives the last wait."""
    return [attempts.begin("ada", address) for _ in range(count)][-1]


def test_a_few_are_free_and_then_the_wait_doubles(attempts: Attempts, clock: Clock) -> None:
    assert fail(attempts, FREE_ATTEMPTS) == 0
    waits = []
    for _ in range(12):
        wait = attempts.begin("ada", "192.0.2.1")
        waits.append(wait)
        clock.now += wait
        assert attempts.begin("ada", "192.0.2.1") == 0
    assert waits[:4] == [4, 8, 16, 32]
    assert max(waits) == MAX_WAIT_SECONDS


def test_trying_while_one_has_to_wait_makes_it_no_longer(attempts: Attempts, clock: Clock) -> None:
    fail(attempts, FREE_ATTEMPTS)
    assert {attempts.begin("ada", "192.0.2.1") for _ in range(100)} == {4.0}
    clock.now += 4
    assert attempts.begin("ada", "192.0.2.1") == 0


def test_g10_strangers_cannot_lock_the_owner_out(attempts: Attempts) -> None:
    for number in range(5000):
        attempts.begin("ada", f"198.51.{number // 250}.{number % 250}")
        attempts.begin("ada", "198.51.100.7")
    assert attempts.begin("ada", "203.0.113.9") == 0
    attempts.succeeded("ada", "203.0.113.9")
    assert attempts.begin("ada", "203.0.113.9") == 0


def test_an_account_that_is_tried_from_everywhere_gives_each_address_one_try(attempts: Attempts) -> None:
    for number in range(SUSPICIOUS):
        assert attempts.begin("ada", f"198.51.100.{number}") == 0
    assert attempts.begin("ada", "203.0.113.9") == 0
    assert attempts.begin("ada", "203.0.113.9") > 0
    assert fail_other(attempts) == 0


def fail_other(attempts: Attempts) -> float:
    """Try another account from the same address."""
    return [attempts.begin("grace", "203.0.113.9") for _ in range(FREE_ATTEMPTS)][-1]


def test_a_success_forgets_the_failures_of_the_pair(attempts: Attempts) -> None:
    fail(attempts, FREE_ATTEMPTS - 1)
    attempts.succeeded("ada", "192.0.2.1")
    assert fail(attempts, FREE_ATTEMPTS) == 0


def test_after_an_hour_everything_is_forgotten(attempts: Attempts, clock: Clock) -> None:
    fail(attempts, 100)
    clock.now += 3601
    assert len(attempts) == 0
    assert fail(attempts, FREE_ATTEMPTS) == 0


def test_attempts_at_once_are_counted_before_they_end(attempts: Attempts) -> None:
    assert [attempts.begin("ada", "192.0.2.1") == 0 for _ in range(50)].count(True) == FREE_ATTEMPTS


def test_memory_is_bounded(attempts: Attempts, monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    monkeypatch.setattr(module, "REMEMBERED", 100)
    bounded = Attempts(clock)
    for number in range(1000):
        bounded.begin(f"{number}" * 1000, "192.0.2.1")
    assert len(bounded) <= 200


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::ffff", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("testclient", "testclient"),
    ],
)
def test_one_household_is_one_caller(address: str, network: str) -> None:
    assert network_of(address) == network
