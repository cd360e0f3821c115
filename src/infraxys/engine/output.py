"""The way of a step's output: what it asks is taken out, what is secret is masked, the rest goes into the log."""

import asyncio
from functools import partial
from pathlib import Path

from infraxys.engine.backends.base import Chunk, Execution, Stream
from infraxys.engine.feedback.conversation import Conversation, Host
from infraxys.engine.feedback.idle import NOTE, IdleInput
from infraxys.engine.logs import StepLog
from infraxys.engine.masking import Masker


class StepOutput:
    """Takes the output of one step, and answers what it asks, if there is a `host`. Used on the event loop.

    `folder` is what the action sees as its folder `system`. The input of an action that waits for some is ended, unless
    it `is_attended`: somebody is there to type.
    """

    def __init__(
        self,
        execution: Execution,
        log: StepLog,
        index: int,
        *,
        masker: Masker | None,
        host: Host | None,
        folder: Path,
        is_attended: bool,
    ) -> None:
        self._log, self._index = log, index
        self._masker = masker or Masker()
        self._talk: Conversation | None = None
        if host is not None:
            emit, write = partial(self._emit, "stdout"), partial(execution.write, is_hidden=True)
            self._talk = Conversation(host, emit, write, mask=self._masker.text, folder=folder)
        self._is_attended = is_attended
        self._idle = IdleInput(execution.end_idle_input, self._is_busy, partial(log.note, index, NOTE))

    def _is_busy(self) -> bool:
        return self._is_attended or (self._talk is not None and not self._talk.is_idle)

    def _emit(self, stream: Stream, data: bytes) -> None:
        self._log.write(self._index, stream, self._masker.feed(stream, data))

    async def take(self, chunk: Chunk) -> None:
        """Take a piece; waits while the action asks faster than it is answered."""
        self._idle.heard()
        if not self._masker.is_prepared:  # which takes a while, and is not needed where nothing is said
            await asyncio.to_thread(self._masker.prepare)
        if self._talk is not None and chunk.stream == "stdout":
            await self._talk.take(chunk.data)
        else:
            self._emit(chunk.stream, chunk.data)

    async def finish(self) -> None:
        """Handle what was asked up to the end of the output."""
        if self._talk is not None:
            await self._talk.finish()

    def close(self) -> None:
        """Write what was held back, and answer nothing more. After `finish`, or instead of it."""
        self._idle.stop()
        if self._talk is not None:
            self._talk.stop()
        self._log.write(self._index, "stdout", self._masker.finish("stdout"))
        self._log.write(self._index, "stderr", self._masker.finish("stderr"))
