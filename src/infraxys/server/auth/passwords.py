"""Passwords: how strong they have to be, and argon2id off the event loop."""

import asyncio
import base64
import os
import threading
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from infraxys.server.errors import Unavailable

T = TypeVar("T")
MIN_LENGTH, MAX_LENGTH = 10, 1000
# Of 4: "safely unguessable: moderate protection from offline slow-hash scenario", says the estimator.
MIN_SCORE = 3
# As much as the estimator takes.
ESTIMATED_LENGTH = 72
# Each hash takes 64 MiB for about a tenth of a second: the workers bound the memory, the line bounds the wait.
WORKERS = 2
MAX_WAITING = 40


class WeakPassword(ValueError):  # noqa: N818 - reads as what is wrong
    """The password can be guessed; the message says how to make a better one."""


def normalise(password: str) -> str:
    """Give the form that is hashed: what looks the same on two keyboards is the same password."""
    return unicodedata.normalize("NFKC", password)


class Passwords:
    """Hashes and checks passwords. `hash` and `verify` wait their turn in a pool; the others work at once."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher()
        self._nobody = unmatched(self._hasher)
        self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="password")
        self._waiting = 0
        self._estimating = threading.Lock()  # the estimator keeps its inputs in a global

    def check_strength(self, password: str, *known: str) -> None:
        """Raise WeakPassword unless the password is hard to guess for somebody who knows the `known` words."""
        password = normalise(password)
        if not MIN_LENGTH <= len(password) <= MAX_LENGTH:
            raise WeakPassword(f"a password has {MIN_LENGTH} to {MAX_LENGTH} characters")
        from zxcvbn import zxcvbn  # noqa: PLC0415 - its lists of words take 13 MB, and most servers never need them

        with self._estimating:
            estimate = zxcvbn(password[:ESTIMATED_LENGTH], [*known, "infraxys"])
        if estimate["score"] < MIN_SCORE:
            advice = " ".join([estimate["feedback"]["warning"], *estimate["feedback"]["suggestions"]]).strip()
            raise WeakPassword(f"the password is too easy to guess. {advice}".strip())

    def hash_now(self, password: str, *known: str) -> str:
        """Check the strength and give what is stored. Raises WeakPassword."""
        self.check_strength(password, *known)
        return self._hasher.hash(normalise(password))

    def verify_now(self, stored: str | None, password: str) -> bool:
        """Tell whether it is the password. Takes as long when nothing is stored."""
        try:
            self._hasher.verify(stored or self._nobody, normalise(password))
        except (VerificationError, InvalidHashError):
            return False
        return stored is not None

    async def hash(self, password: str, *known: str) -> str:
        """Check the strength and give what is stored. Raises WeakPassword and Unavailable."""
        return await self._in_turn(lambda: self.hash_now(password, *known))

    async def verify(self, stored: str | None, password: str) -> bool:
        """Tell whether it is the password. Raises Unavailable."""
        return await self._in_turn(lambda: self.verify_now(stored, password))

    async def rehash(self, stored: str | None, password: str) -> str | None:
        """Give the hash anew when it was made with weaker parameters than today's, else None."""
        if stored is None or not self._hasher.check_needs_rehash(stored):
            return None
        return await self._in_turn(lambda: self._hasher.hash(normalise(password)))

    async def _in_turn(self, work: Callable[[], T]) -> T:
        if self._waiting >= MAX_WAITING:
            raise Unavailable("too many people sign in at once; try again", retry_after_seconds=5)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """End the pool."""
        self._pool.shutdown()


def unmatched(hasher: PasswordHasher) -> str:
    """Make a hash that no password has, as costly to check as a real one."""

    def text(length: int) -> str:
        return base64.b64encode(os.urandom(length)).decode().rstrip("=")

    cost = f"m={hasher.memory_cost},t={hasher.time_cost},p={hasher.parallelism}"
    return f"$argon2id$v=19${cost}${text(hasher.salt_len)}${text(hasher.hash_len)}"
