"""Time and ids. One place, so that both have one form everywhere."""

import os
import time
from datetime import UTC, datetime, timedelta
from typing import overload


def utc_now() -> datetime:
    """Give the time, aware, in UTC."""
    return datetime.now(UTC)


class SteadyClock:
    """The time from now on, going on evenly whatever somebody does to the clock of the machine."""

    def __init__(self) -> None:
        self._start, self._began = utc_now(), time.clock_gettime(time.CLOCK_BOOTTIME)

    def now(self) -> datetime:
        """Give the time, aware, in UTC."""
        return self._start + timedelta(seconds=time.clock_gettime(time.CLOCK_BOOTTIME) - self._began)


@overload
def timestamp(value: datetime) -> str: ...
@overload
def timestamp(value: None) -> None: ...
@overload
def timestamp(value: datetime | None) -> str | None: ...
def timestamp(value: datetime | None) -> str | None:
    """Write a time as RFC 3339 in UTC."""
    return None if value is None else value.isoformat(timespec="microseconds").replace("+00:00", "Z")


def new_id() -> str:
    """Make an id that sorts by time of creation: a UUID of version 7 (RFC 9562)."""
    milliseconds = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10), "big")
    value = milliseconds << 80 | 0x7 << 76 | (random >> 62 & 0xFFF) << 64 | 0b10 << 62 | random & ((1 << 62) - 1)
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
