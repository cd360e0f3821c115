"""How fast passwords may be tried: a growing wait for each pair of account and address.

Only the pair waits, never the account as such: a stranger can slow down himself, not the owner elsewhere. An account
that is tried from many addresses gives each of them fewer free attempts. Everything is kept in memory, for a bounded
number of pairs, and forgotten an hour after the last failure.
"""

import hashlib
import threading
import time
from collections.abc import Callable

from cachetools import TTLCache

from infraxys.server.auth.addresses import network_of

FREE_ATTEMPTS = 5
# An account with so many failures, wherever from, is being attacked.
SUSPICIOUS, FREE_WHEN_SUSPICIOUS = 30, 1
FIRST_WAIT_SECONDS, MAX_WAIT_SECONDS = 4.0, 300.0
REMEMBERED_SECONDS = 3600.0
REMEMBERED = 50_000


class Attempts:
    """Counts attempts to sign in. An attempt counts as a failure from its beginning until it is called a success."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        # key -> (failures, when the next attempt is allowed)
        self._pairs: TTLCache[bytes, tuple[int, float]] = TTLCache(REMEMBERED, REMEMBERED_SECONDS, timer=clock)
        self._accounts: TTLCache[bytes, int] = TTLCache(REMEMBERED, REMEMBERED_SECONDS, timer=clock)

    def begin(self, account: str, address: str) -> float:
        """Note an attempt; gives 0, or the seconds to wait when it is not allowed yet (and then it is not counted)."""
        name, pair = _key(account), _key(account, network_of(address))
        now = self._clock()
        with self._lock:
            failures, allowed_at = self._pairs.get(pair, (0, 0.0))
            if now < allowed_at:
                return allowed_at - now
            total = self._accounts.get(name, 0) + 1
            free = FREE_WHEN_SUSPICIOUS if total > SUSPICIOUS else FREE_ATTEMPTS
            failures += 1
            doublings = min(failures - free, 30)
            wait = min(FIRST_WAIT_SECONDS * 2**doublings, MAX_WAIT_SECONDS) if doublings >= 0 else 0.0
            self._accounts[name] = total
            self._pairs[pair] = (failures, now + wait)
        return 0.0

    def succeeded(self, account: str, address: str) -> None:
        """Forget what was counted for the pair."""
        with self._lock:
            self._pairs.pop(_key(account, network_of(address)), None)

    def __len__(self) -> int:
        return len(self._pairs) + len(self._accounts)


def _key(*parts: str) -> bytes:
    return hashlib.blake2b("\0".join(parts).encode(errors="surrogatepass"), digest_size=16).digest()
