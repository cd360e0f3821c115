"""How many requests a caller may make: for each address, and for each token or session.

A bucket for each caller that fills up again evenly (GCRA: one number for each), the least recently used forgotten
first, so that memory is bounded however many callers there are. See docs/decisions/0011.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from cachetools import LRUCache

from infraxys.server.auth.addresses import network_of
from infraxys.server.errors import TooManyRequests
from infraxys.server.paths import API
from infraxys.server.settings import Settings

CALLERS = 50_000
WINDOW_SECONDS = 60
# Where secrets are tried: only as fast as people type.
SIGN_IN_PATHS = frozenset({f"{API}/session", f"{API}/setup", f"{API}/me/password"})
CALLBACK_PATH = f"{API}/login/openid/callback"
ACTION_PATHS = f"{API}/actions/"
Kind = Literal["address", "token"]


@dataclass(frozen=True, slots=True)
class Decision:
    """What a bucket said: how many more requests it has, and the seconds until it is full or gives one again."""

    policy: str
    quota: int
    remaining: int
    wait_seconds: float
    full_seconds: float


class Bucket:
    """`quota` requests at once for each caller, refilled evenly within the window."""

    def __init__(self, policy: str, quota: int, clock: Callable[[], float]) -> None:
        self._policy, self._quota, self._clock = policy, quota, clock
        self._interval = WINDOW_SECONDS / quota
        # caller -> when its bucket is full again
        self._full_at: LRUCache[str, float] = LRUCache(CALLERS)

    def take(self, caller: str) -> Decision:
        """Count a request. One that is refused costs nothing."""
        now = self._clock()
        full_at = max(self._full_at.get(caller, now), now) + self._interval
        wait = full_at - now - WINDOW_SECONDS
        if wait > 1e-9:
            return Decision(self._policy, self._quota, 0, wait, full_at - self._interval - now)
        self._full_at[caller] = full_at
        remaining = int((WINDOW_SECONDS - (full_at - now)) / self._interval + 1e-9)
        return Decision(self._policy, self._quota, remaining, 0, full_at - now)

    def __len__(self) -> int:
        return len(self._full_at)


class RateLimits:
    """The limits of an installation. Used on the event loop only."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self.is_on = settings.mode == "server" if settings.rate_limits is None else settings.rate_limits
        # By kind of caller and class of path; the name is what the headers call it.
        self._buckets: dict[tuple[Kind, str], Bucket] = {
            ("address", ""): Bucket("address", settings.rate_limit_address, clock),
            ("address", "sign-in"): Bucket("sign-in", settings.rate_limit_sign_in, clock),
            ("address", "actions"): Bucket("actions-address", settings.rate_limit_actions, clock),
            ("token", ""): Bucket("token", settings.rate_limit_token, clock),
            ("token", "actions"): Bucket("actions", settings.rate_limit_actions, clock),
        }

    def charge(self, scope: Any, kind: Kind, caller: str) -> None:
        """Count a request. Raises TooManyRequests. What the buckets said is kept for the headers of the answer."""
        if not self.is_on:
            return
        caller = network_of(caller) if kind == "address" else caller
        where = path_class(scope)
        for place in ("", where) if where else ("",):
            bucket = self._buckets.get((kind, place))
            if bucket is None:
                continue
            decision = bucket.take(caller)
            said: dict[str, Decision] = scope.setdefault("state", {}).setdefault("rate_limits", {})
            said[decision.policy] = decision
            if decision.wait_seconds:
                raise TooManyRequests(decision.wait_seconds)


def path_class(scope: Any) -> str:
    """Tell which stricter limit a request falls under, if any."""
    path: str = scope["path"]
    if path in SIGN_IN_PATHS:
        return "sign-in" if scope.get("method") in {"POST", "PUT"} else ""
    if path == CALLBACK_PATH:
        return "sign-in"
    return "actions" if path.startswith(ACTION_PATHS) else ""


def headers(scope: Any) -> list[tuple[bytes, bytes]]:
    """Write what the buckets said (RateLimit header fields for HTTP, draft 11 of the IETF)."""
    said: dict[str, Decision] = scope.get("state", {}).get("rate_limits", {})
    if not said:
        return []
    policies = ", ".join(f'"{item.policy}";q={item.quota};w={WINDOW_SECONDS}' for item in said.values())
    left = ", ".join(f'"{item.policy}";r={item.remaining};t={int(item.full_seconds) + 1}' for item in said.values())
    return [(b"ratelimit-policy", policies.encode()), (b"ratelimit", left.encode())]
