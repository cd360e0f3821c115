"""Finding processes that died and going on with their runs.

Every process that executes runs says "alive" regularly. DBOS leaves the detection of the dead to its caller.
"""

import logging
import threading
from typing import Protocol

from infraxys.durable.engine import DurableEngine

BEAT_SECONDS = 2.0
DEAD_AFTER_SECONDS = 10.0
log = logging.getLogger(__name__)


class Heartbeats(Protocol):
    """Where processes say that they are alive; kept by the server's database."""

    def beat(self, executor_id: str) -> None:
        """Say that this process is alive. Raises when that could not be recorded."""

    def alive(self, within_seconds: float) -> set[str]:
        """Give the executors that were heard of lately."""

    def remove(self, executor_id: str) -> None:
        """Say good-bye."""


class Reaper:
    """A thread that beats and takes over. `on_lost` is called when this process could not beat for too long."""

    def __init__(self, engine: DurableEngine, heartbeats: Heartbeats, executor_id: str, on_lost: object = None) -> None:
        self._engine, self._heartbeats, self._executor_id = engine, heartbeats, executor_id
        self._on_lost = on_lost
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="reaper", daemon=True)

    def start(self) -> None:
        """Take over once, then go on in a thread."""
        self._heartbeats.beat(self._executor_id)
        self.take_over()
        self._thread.start()

    def take_over(self) -> None:
        """Resume the unfinished runs of executors that are not alive. Doing it twice does no harm."""
        elsewhere = self._engine.unfinished_elsewhere()
        if elsewhere:
            alive = self._heartbeats.alive(DEAD_AFTER_SECONDS)
            for executor, run_ids in elsewhere.items():
                if executor not in alive:
                    log.warning("taking over %d runs of executor %s", len(run_ids), executor)
                    self._engine.take_over(run_ids)

    def stop(self) -> None:
        """End the thread and say good-bye."""
        self._stop.set()
        self._thread.join(BEAT_SECONDS * 2)
        self._heartbeats.remove(self._executor_id)

    def _loop(self) -> None:
        missed = 0.0
        while not self._stop.wait(BEAT_SECONDS):
            try:
                self._heartbeats.beat(self._executor_id)
                missed = 0.0
                self.take_over()
            except Exception:
                # Whatever it is (database gone, disk full), the next beat tries again; others take over if it lasts.
                log.exception("heartbeat failed")
                missed += BEAT_SECONDS
                if missed >= DEAD_AFTER_SECONDS and callable(self._on_lost):
                    self._on_lost()
