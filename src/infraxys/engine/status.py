"""The one vocabulary for the state of runs and steps, and which changes are allowed."""

from enum import StrEnum


class Status(StrEnum):
    """State of a run or a step; the names are those of the REST API."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    WAITING = "WAITING"
    SUCCESS = "SUCCESS"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    TIMEOUT = "TIMEOUT"
    LOST = "LOST"

    @property
    def is_final(self) -> bool:
        """Whether nothing follows this state."""
        return self in FINAL


FINAL = frozenset({Status.SUCCESS, Status.FAILED, Status.CANCELLED, Status.TIMEOUT, Status.LOST})
ALLOWED: dict[Status, frozenset[Status]] = {
    Status.QUEUED: FINAL | {Status.RUNNING},
    Status.RUNNING: FINAL | {Status.WAITING},
    Status.WAITING: FINAL | {Status.RUNNING},
}


def may_move(current: Status, to: Status) -> bool:
    """Tell whether a run or step in `current` may become `to`; a final state never changes."""
    return to in ALLOWED.get(current, frozenset())
