"""Runs that were accepted while the durable engine could not take them: it is asked again until it does."""

import logging
import threading
from collections.abc import Callable

RETRY_SECONDS = 1.0
log = logging.getLogger(__name__)


class LateSubmissions:
    """Hands runs to the engine as soon as that works. Safe to use from any thread.

    `submit` may be called with a run that the engine has already. What is left when the process ends, the next start
    hands over.
    """

    def __init__(self, submit: Callable[[str], None], retry_seconds: float = RETRY_SECONDS) -> None:
        self._submit, self._seconds = submit, retry_seconds
        self._waiting: dict[str, None] = {}
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._closed = threading.Event()

    def __bool__(self) -> bool:
        """Whether any run waits: then the engine cannot be used just now."""
        return bool(self._waiting)

    def add(self, run_id: str) -> None:
        """Try it again later."""
        with self._lock:
            self._waiting[run_id] = None
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="late submissions", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """Try nothing more."""
        self._closed.set()

    def _work(self) -> None:
        while not self._closed.wait(self._seconds):
            for run_id in list(self._waiting):
                try:
                    self._submit(run_id)
                except Exception as error:  # noqa: BLE001 - whatever it is, the run must not be lost
                    log.warning("run_not_taken_yet run_id=%s reason=%s", run_id, type(error).__name__)
                    break
                del self._waiting[run_id]
            with self._lock:
                if not self._waiting:
                    self._thread = None
                    return
