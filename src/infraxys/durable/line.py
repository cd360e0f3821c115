"""Who executes and who waits in this process: what keeps the number of executing runs within the slots."""

import threading
from collections import deque
from dataclasses import dataclass


class Abandoned(BaseException):
    """The engine stops: leave the workflow as it is, another start goes on with it.

    Not an Exception, because the engine records every Exception as the end of the workflow.
    """


@dataclass(eq=False, slots=True)
class Slot:
    """One execution of a run in this process."""

    run_id: str
    is_held: bool = True


class Line:
    """Slots of one process. Runs come in two ways: with a reservation (started directly), or after waiting in order.

    Every method is safe to call from any thread; only `enter` waits.
    """

    def __init__(self, slots: int) -> None:
        if slots < 1:
            raise ValueError(f"a server that executes runs needs at least one slot, not {slots}")
        self._free = slots
        self._changed = threading.Condition()
        self._reserved: set[str] = set()
        self._waiting: deque[str] = deque()
        self._executing: set[Slot] = set()
        self._dropped: set[str] = set()
        # Recorded as queued and not seen since, oldest first. As long as there are any, nothing may overtake them.
        self._queued: dict[str, None] = {}
        self._is_closed = False
        self.is_over = False  # set when the engine's storage is about to be closed

    def reserve(self, run_id: str) -> bool:
        """Take a slot for a run that is about to start, unless none is free or others wait already."""
        with self._changed:
            if self._is_closed or self._free < 1 or self._waiting or self._queued or run_id in self._reserved:
                return False
            self._free -= 1
            self._reserved.add(run_id)
            return True

    def release(self, run_id: str) -> bool:
        """Give a reservation back that was not used. False, and nothing happens, when it was."""
        with self._changed:
            is_unused = run_id in self._reserved
            if is_unused:
                self._reserved.discard(run_id)
                self._dropped.discard(run_id)
                self._free += 1
                self._changed.notify_all()
            return is_unused

    def expect(self, run_ids: list[str]) -> None:
        """Note runs that wait in the engine's queue."""
        with self._changed:
            self._queued.update(dict.fromkeys(run_ids))

    def forget(self, run_ids: list[str]) -> None:
        """Note that runs wait no longer, or that other processes took them."""
        with self._changed:
            for run_id in run_ids:
                self._queued.pop(run_id, None)

    def queued(self, limit: int) -> list[str]:
        """Give the runs noted longest ago that were not seen since."""
        with self._changed:
            return [run_id for _, run_id in zip(range(limit), self._queued, strict=False)]

    def enter(self, run_id: str) -> Slot | None:
        """Wait for a slot and take it. None: the run was dropped. Raises Abandoned."""
        with self._changed:
            self._queued.pop(run_id, None)
            if run_id in self._reserved:
                self._reserved.discard(run_id)
                self._free += 1
            else:
                self._waiting.append(run_id)
                self._changed.wait_for(lambda: self._may_go_on(run_id))
                self._waiting.remove(run_id)
            if self._is_closed:
                raise Abandoned
            if run_id in self._dropped:
                self._dropped.discard(run_id)
                self._changed.notify_all()
                return None
            self._free -= 1
            slot = Slot(run_id)
            self._executing.add(slot)
            # The next one in line may find another free slot.
            self._changed.notify_all()
            return slot

    def _may_go_on(self, run_id: str) -> bool:
        return self._is_closed or run_id in self._dropped or (self._free > 0 and self._waiting[0] == run_id)

    def free(self, slot: Slot) -> None:
        """Give a slot back whose run executes no more steps, while its end is still being recorded.

        So who is told the end finds the slot free. Nothing happens when it was given back already.
        """
        with self._changed:
            if slot.is_held:
                slot.is_held = False
                self._free += 1
                self._changed.notify_all()

    def leave(self, slot: Slot) -> None:
        """Note that a run is done with, and give its slot back."""
        self.free(slot)
        with self._changed:
            self._executing.discard(slot)
            self._changed.notify_all()

    def drop(self, run_id: str) -> bool:
        """Keep a run from executing that is about to enter this process or waits in it. False: it does neither."""
        with self._changed:
            if run_id not in self._reserved and run_id not in self._waiting:
                return False
            self._dropped.add(run_id)
            self._changed.notify_all()
            return True

    def executes(self, run_id: str) -> bool:
        """Tell whether a run has a slot here."""
        with self._changed:
            return any(slot.run_id == run_id for slot in self._executing)

    @property
    def waiting(self) -> int:
        """How many runs were taken from the queue and wait for a slot here."""
        with self._changed:
            return len(self._waiting)

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self._is_closed

    def close(self) -> None:
        """Let nobody in any more; who waits is abandoned."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def wait_until_idle(self, timeout_seconds: float) -> bool:
        """Wait until nothing executes. False: something still does."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._executing, timeout_seconds)

    def pause(self, seconds: float) -> None:
        """Sleep, but not into a stop. Raises Abandoned."""
        with self._changed:
            if self._changed.wait_for(lambda: self._is_closed, seconds):
                raise Abandoned
