"""The end of input for actions that wait for it in vain: nobody is there to type, and no answer is on its way."""

import asyncio
from collections.abc import Callable

FIRST_SECONDS, MOST_SECONDS = 1.0, 20.0  # between two looks, at first and at last
NOTE = "[infraxys] the action waits for input; nobody is there to give any, so its input ends here\n"


class IdleInput:
    """Looks now and then whether an action waits for input.

    `end_input` ends the input if a process waits for it, and tells whether. `is_busy` tells whether somebody is
    there to type or will answer what the action asked. `ended` is called once when the input was ended.
    """

    def __init__(self, end_input: Callable[[], bool], is_busy: Callable[[], bool], ended: Callable[[], None]) -> None:
        self._end_input, self._is_busy, self._ended = end_input, is_busy, ended
        self._loop = asyncio.get_running_loop()
        self._pause = FIRST_SECONDS
        self._last_output = self._loop.time()
        self._timer = self._loop.call_later(self._pause, self._look)

    def heard(self) -> None:
        """Say that the action has just written something."""
        self._last_output = self._loop.time()

    def stop(self) -> None:
        """Look no more."""
        self._timer.cancel()

    def _look(self) -> None:
        is_quiet = self._loop.time() - self._last_output > FIRST_SECONDS / 2  # what it wrote last has been read
        if is_quiet and not self._is_busy() and self._end_input():
            self._ended()
            return
        self._pause = min(self._pause * 1.5, MOST_SECONDS) if is_quiet else FIRST_SECONDS
        self._timer = self._loop.call_later(self._pause, self._look)
