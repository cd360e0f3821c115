"""What people type into running actions, on its way to them."""

import asyncio

from infraxys.engine.backends.base import Execution
from infraxys.server.errors import Conflict

MAX_WAITING = 256 * 1024  # bytes that an action has not read yet


class NotRunning(Conflict):
    """Nothing of the run executes here just now."""

    code = "not_running"

    def __init__(self, run_id: str) -> None:
        super().__init__(f"run '{run_id}' executes nothing on this server just now that could read input")


class NoTerminal(Conflict):
    """The action reads from a pipe."""

    code = "no_terminal"


class InputFull(Conflict):
    """The action does not read what it is given."""

    code = "input_full"


class Inputs:
    """Passes input on in the order given; used on the event loop's thread."""

    def __init__(self) -> None:
        self._waiting: dict[str, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def write(self, run_id: str, execution: Execution, data: bytes) -> None:
        """Take bytes for an action. Raises InputFull."""
        waiting = self._waiting.get(run_id, 0) + len(data)
        if waiting > MAX_WAITING:
            raise InputFull("the action has not read what it was given before; try again later")
        self._waiting[run_id] = waiting
        task = asyncio.get_running_loop().create_task(self._write(run_id, execution, data))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _write(self, run_id: str, execution: Execution, data: bytes) -> None:
        try:
            await execution.write(data)  # returns when the action has ended, too
        finally:
            self._waiting[run_id] -= len(data)
            if not self._waiting[run_id]:
                del self._waiting[run_id]
