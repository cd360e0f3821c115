"""Finding processes that died and going on with their runs. DBOS leaves that to its caller."""

import logging
import threading
import time
from collections.abc import Callable

from infraxys.durable.engine import DurableEngine
from infraxys.durable.host import Heartbeats

BEAT_SECONDS = 2.0
DEAD_AFTER_SECONDS = 10.0
log = logging.getLogger(__name__)


def _now() -> float:
    """Seconds that also pass while the process or the machine is suspended, where the system can tell."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Reaper:
    """Says "alive" for this process and takes over from those that stopped saying it, in threads of its own.

    `heartbeats` is None where no other process can be alive (a data folder that is locked by this one): then every
    other executor is dead. `lost_ownership` is called, in one of the threads, when this process could not say that it
    is alive for so long that others may take over its runs; it must end its sandboxes before it returns. It is called
    once per loss; after the next beat the process goes on as any other.
    """

    def __init__(
        self,
        engine: DurableEngine,
        heartbeats: Heartbeats | None,
        *,
        lost_ownership: Callable[[], None],
        beat_seconds: float = BEAT_SECONDS,
        dead_after_seconds: float = DEAD_AFTER_SECONDS,
    ) -> None:
        if dead_after_seconds < 3 * beat_seconds:
            raise ValueError("an executor must be allowed to miss a beat before it counts as dead")
        self._engine, self._heartbeats, self._lost_ownership = engine, heartbeats, lost_ownership
        self._beat_seconds, self._dead_after = beat_seconds, dead_after_seconds
        self._stop = threading.Event()
        self._beat_at = _now()
        self._is_lost = False
        self._losing = threading.Lock()
        # Apart from one another, because each of them may hang in a database that is away.
        works = {"reaper": self.take_over}
        if heartbeats is not None:
            works |= {"heartbeat": self._beat, "ownership": self._check_ownership}
        self._threads = [
            threading.Thread(target=self._repeat, args=(work,), name=name, daemon=True) for name, work in works.items()
        ]

    def announce(self) -> None:
        """Say "alive" for the first time. Call it before the engine starts, which may begin to execute at once."""
        self._beat()

    def start(self) -> None:
        """Say "alive", take over once, then go on in threads. Call it after the engine's start. Raises what fails."""
        self._beat()
        self.take_over()
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End the threads and say good-bye. Call it after the engine's stop: until then its runs are its own."""
        self._stop.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(self._dead_after)
        if self._heartbeats is not None:
            self._heartbeats.remove(self._engine.executor_id)

    def take_over(self) -> None:
        """Go on with the unfinished runs of executors that are not alive. Doing it twice does no harm."""
        elsewhere = self._engine.unfinished_elsewhere()
        if elsewhere:
            alive = self._heartbeats.alive(self._dead_after) if self._heartbeats is not None else set()
            for executor_id in sorted(elsewhere.keys() - alive):
                run_ids = elsewhere[executor_id]
                log.warning("taking over %d runs of executor %s", len(run_ids), executor_id)
                self._engine.take_over(executor_id, run_ids)
        if self._heartbeats is not None:
            # Those without unfinished runs are done with; the others stay until a later pass finds nothing of them.
            for executor_id in self._heartbeats.dead(self._dead_after):
                if executor_id not in elsewhere:
                    self._heartbeats.remove(executor_id)
        self._engine.end_given_up()

    def _repeat(self, work: Callable[[], None]) -> None:
        while not self._stop.wait(self._beat_seconds):
            try:
                work()
            except Exception:
                # Whatever it is (database away, disk full), the next time may go well; others take over if it lasts.
                if not self._stop.is_set():
                    log.exception("%s failed executor=%s", threading.current_thread().name, self._engine.executor_id)

    def _beat(self) -> None:
        if self._heartbeats is None:
            return
        # First, since a process that was suspended finds out here, before it says that it is alive again.
        self._check_ownership()
        at = _now()
        self._heartbeats.beat(self._engine.executor_id)
        self._beat_at, self._is_lost = at, False

    def _check_ownership(self) -> None:
        # One beat before others take over, so that the actions have ended by then.
        with self._losing:
            if not self._is_lost and _now() - self._beat_at >= self._dead_after - self._beat_seconds:
                log.error("this process was silent for too long and may lose its runs: their actions are ended")
                self._lost_ownership()
                self._is_lost = True
