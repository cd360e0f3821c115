"""How many requests a caller may make."""

import re
from typing import Any

import pytest

from infraxys.server.auth import rate_limits as module
from infraxys.server.auth.rate_limits import Bucket, RateLimits, headers
from infraxys.server.errors import TooManyRequests
from infraxys.server.settings import Settings


class Clock:
    """A time that moves when it is told to."""

    now = 5000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def limits(clock: Clock, **settings: Any) -> RateLimits:
    """Make the limits of a server in server mode."""
    return RateLimits(Settings(mode="server", **settings), clock)


def scope(path: str = "/api/v1/runs", method: str = "GET") -> dict[str, Any]:
    return {"type": "http", "path": path, "method": method}


def allowed(limits: RateLimits, caller: str, count: int, path: str = "/api/v1/runs", method: str = "GET") -> int:
    """Ask so often from an address; gives how many were allowed."""
    passed = 0
    for _ in range(count):
        try:
            limits.charge(scope(path, method), "address", caller)
        except TooManyRequests:
            continue
        passed += 1
    return passed


class TestBucket:
    def test_so_many_at_once_and_then_as_many_as_time_gives_back(self, clock: Clock) -> None:
        bucket = Bucket("x", 60, clock)
        assert [bucket.take("a").wait_seconds == 0 for _ in range(70)].count(True) == 60
        refused = bucket.take("a")
        assert (refused.remaining, refused.wait_seconds) == (0, pytest.approx(1))
        clock.now += 3
        assert [bucket.take("a").wait_seconds == 0 for _ in range(10)].count(True) == 3
        clock.now += 600
        assert [bucket.take("a").wait_seconds == 0 for _ in range(70)].count(True) == 60

    def test_callers_do_not_share(self, clock: Clock) -> None:
        bucket = Bucket("x", 2, clock)
        assert [bucket.take(caller).wait_seconds == 0 for caller in "aababb"] == [True, True, True, False, True, False]

    def test_it_says_how_many_are_left(self, clock: Clock) -> None:
        bucket = Bucket("x", 3, clock)
        assert [bucket.take("a").remaining for _ in range(4)] == [2, 1, 0, 0]

    def test_memory_is_bounded(self, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "CALLERS", 50)
        bucket = Bucket("x", 2, clock)
        for number in range(1000):
            bucket.take(str(number))
        assert len(bucket) == 50


class TestRateLimits:
    def test_they_are_off_in_developer_mode_unless_asked_for(self, clock: Clock) -> None:
        assert not RateLimits(Settings(mode="developer"), clock).is_on
        assert RateLimits(Settings(mode="developer", rate_limits=True), clock).is_on
        assert RateLimits(Settings(mode="server"), clock).is_on
        off = RateLimits(Settings(mode="server", rate_limits=False, rate_limit_address=1), clock)
        assert allowed(off, "192.0.2.1", 10) == 10

    def test_an_address_and_a_token_have_limits_of_their_own(self, clock: Clock) -> None:
        both = limits(clock, rate_limit_address=5, rate_limit_token=2)
        assert allowed(both, "192.0.2.1", 9) == 5
        asked = scope()
        both.charge(asked, "token", "t1")
        both.charge(asked, "token", "t1")
        with pytest.raises(TooManyRequests):
            both.charge(asked, "token", "t1")
        both.charge(asked, "token", "t2")

    @pytest.mark.parametrize(
        ("path", "method", "expected"),
        [
            ("/api/v1/session", "POST", 3),
            ("/api/v1/setup", "POST", 3),
            ("/api/v1/me/password", "PUT", 3),
            ("/api/v1/session", "DELETE", 9),
            ("/api/v1/actions/start/x", "POST", 4),
            ("/api/v1/actionsx", "POST", 9),
            ("/api/v1/runs", "GET", 9),
        ],
    )
    def test_sign_in_and_actions_are_stricter(self, clock: Clock, path: str, method: str, expected: int) -> None:
        strict = limits(clock, rate_limit_sign_in=3, rate_limit_actions=4)
        assert allowed(strict, "192.0.2.1", 9, path, method) == expected

    def test_addresses_of_one_ipv6_network_are_one_caller(self, clock: Clock) -> None:
        few = limits(clock, rate_limit_address=5)
        assert sum(allowed(few, f"2001:db8::{number}", 1) for number in range(1, 10)) == 5
        assert allowed(few, "2001:db8:0:1::1", 1) == 1

    def test_the_headers_say_what_is_left_and_when(self, clock: Clock) -> None:
        few = limits(clock, rate_limit_address=60, rate_limit_token=30)
        asked = scope()
        assert headers(asked) == []
        few.charge(asked, "address", "192.0.2.1")
        few.charge(asked, "token", "t1")
        written = {name.decode(): value.decode() for name, value in headers(asked)}
        assert written["ratelimit-policy"] == '"address";q=60;w=60, "token";q=30;w=60'
        assert re.fullmatch(r'"address";r=59;t=\d+, "token";r=29;t=\d+', written["ratelimit"])

    def test_the_refusal_says_when_to_come_back(self, clock: Clock) -> None:
        few = limits(clock, rate_limit_address=2)
        allowed(few, "192.0.2.1", 2)
        with pytest.raises(TooManyRequests) as refused:
            few.charge(scope(), "address", "192.0.2.1")
        assert (refused.value.status, refused.value.headers["Retry-After"]) == (429, "30")
