"""One live connection: what a browser tab follows and types. Nothing waits here for a reader that is slow.

The log of a run is not queued but read when it can be sent; a reader that is far behind skips a piece and is told.
Changes of runs are kept by run: who is slow gets the latest state of each.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from pydantic import ValidationError
from starlette.websockets import WebSocket, WebSocketDisconnect

from infraxys.engine.logs import incomplete
from infraxys.engine.status import FINAL, Status
from infraxys.server.audit.trail import record as record_action
from infraxys.server.auth.places import check_place
from infraxys.server.auth.subject import Subject
from infraxys.server.db.engine import Database, DatabaseUnavailable
from infraxys.server.errors import Conflict, Forbidden, NotFound, Problem, Unavailable
from infraxys.server.live import messages
from infraxys.server.live.messages import MAX_FOLLOWED, REQUEST, Asked
from infraxys.server.runs import dialogs
from infraxys.server.runs.reading import next_change
from infraxys.server.runs.rights import check_run, grant_for, place_of
from infraxys.server.runs.submit import Runs
from infraxys.server.runs.transitions import RunEvent, RunRecord

LOG_BYTES = 64 * 1024  # of one message
ROUND_BYTES = 4 * LOG_BYTES  # of one run's log, before others have their turn
ROUND_SECONDS = 0.05
BEHIND_BYTES = 4 * 1024**2  # a reader that is further behind does not get everything
KEPT_BYTES = 1024**2  # of the log's end, which it gets in any case
MAX_PENDING = 500  # runs whose change is not sent yet
MAX_MISTAKES = 100  # of a client that does not know the protocol
UNSUPPORTED, POLICY_VIOLATION = 1003, 1008  # RFC 6455


class TooManyFollowed(Conflict):
    """The connection follows as many runs as one may."""

    code = "too_many_runs"


class Followed:
    """A run that is followed, with what follows it."""

    def __init__(self, record: RunRecord, task: "asyncio.Task[None]") -> None:
        self.record, self.task = record, task


class Connection:
    """Serves one socket that was accepted."""

    def __init__(self, socket: WebSocket, subject: Subject, runs: Runs, database: Database) -> None:
        self._socket, self._subject, self._runs, self._database = socket, subject, runs, database
        self._turn = asyncio.Lock()
        self._followed: dict[str, Followed] = {}
        self._typed_into: set[str] = set()
        self._listing: asyncio.Task[None] | None = None
        self._pending: dict[str, RunRecord] = {}
        self._is_list_torn = False
        self._has_pending = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._mistakes = 0
        self._handlers: dict[str, Callable[[Any], Awaitable[None]]] = {
            "follow": self._follow,
            "unfollow": self._unfollow,
            "followRuns": self._follow_runs,
            "unfollowRuns": self._unfollow_runs,
            "input": self._input,
            "resize": self._resize,
            "ping": self._ping,
        }

    async def serve(self) -> None:
        """Answer until the other side goes."""
        try:
            await self._send(messages.hello())
            while True:
                message = await self._socket.receive()
                if message["type"] == "websocket.disconnect":
                    return
                text = message.get("text")
                if text is None:
                    await self._socket.close(UNSUPPORTED, "text_only")
                    return
                if not await self._answer(text):
                    await self._socket.close(POLICY_VIOLATION, "too_many_mistakes")
                    return
        except WebSocketDisconnect:
            return
        finally:
            await self._stop()

    def use(self, subject: Subject) -> None:
        """Go on with the rights that the caller has now: what it may not see any more is not followed any more."""
        self._subject = subject
        for run_id, followed in list(self._followed.items()):
            try:
                check_run(subject, followed.record, "run.read")
            except (NotFound, Forbidden) as problem:
                self._drop(run_id)
                self._later(self._send(messages.dropped(run_id, problem)))
        if self._listing is not None and not subject.may_somewhere("run.list"):
            self._end_listing()
            self._later(self._send(messages.error("forbidden", str(Forbidden("run.list").detail))))

    # -- what a client asks --

    async def _answer(self, text: str) -> bool:
        """Do what a message asks. False for a client that does not know the protocol."""
        try:
            asked = REQUEST.validate_json(text)
        except ValidationError as error:
            self._mistakes += 1
            found = error.errors(include_url=False, include_input=False, include_context=False)[0]
            where = ".".join(str(part) for part in found["loc"])
            await self._send(messages.error("bad_message", f"{where}: {found['msg']}" if where else found["msg"]))
            return self._mistakes < MAX_MISTAKES
        try:
            await self._handlers[asked.type](asked)
        except Problem as problem:
            await self._send(messages.error(problem.code, problem.detail, asked.id))
        except DatabaseUnavailable as error:
            await self._send(messages.error(Unavailable.code, str(error), asked.id))
        return True

    async def _confirm(self, asked: Asked) -> None:
        if asked.id is not None:
            await self._send(messages.done(asked))

    async def _ping(self, asked: messages.Ping) -> None:
        await self._send(messages.pong(asked))

    async def _find(self, run_id: str) -> RunRecord:
        """Give a run that the caller may see. Raises UnknownRun and Forbidden."""
        followed = self._followed.get(run_id)
        record = followed.record if followed else await self._runs.get(run_id)
        check_run(self._subject, record, "run.read")
        return record

    async def _find_own(self, run_id: str) -> RunRecord:
        """Give a run that the caller may see and could have started. Raises UnknownRun and Forbidden."""
        record = await self._find(run_id)
        containers = [step["container_id"] for step in record["steps"]]
        check_place(self._subject, grant_for(record["kind"]), place_of(record), containers)
        return record

    async def _follow(self, asked: messages.Follow) -> None:
        record = await self._find(asked.run_id)
        self._drop(asked.run_id)
        if len(self._followed) >= MAX_FOLLOWED:
            raise TooManyFollowed(f"a connection can follow {MAX_FOLLOWED} runs at once; end one with 'unfollow'")
        if asked.offset > self._runs.execution.reader(asked.run_id).length:
            raise NotFound("the log does not reach that offset")
        await self._confirm(asked)
        task = self._later(self._tell(asked.run_id, asked.offset))
        self._followed[asked.run_id] = Followed(record, task)

    async def _unfollow(self, asked: messages.Unfollow) -> None:
        self._drop(asked.run_id)
        await self._confirm(asked)

    async def _follow_runs(self, asked: messages.FollowRuns) -> None:
        if not self._subject.may_somewhere("run.list"):
            raise Forbidden("run.list")
        if self._listing is None:
            self._runs.watchers.listen(self._changed)
            self._listing = self._later(self._tell_list())
        await self._confirm(asked)

    async def _unfollow_runs(self, asked: messages.UnfollowRuns) -> None:
        self._end_listing()
        await self._confirm(asked)

    async def _input(self, asked: messages.Input) -> None:
        record = await self._find_own(asked.run_id)
        if asked.run_id not in self._typed_into:
            # Once for a connection and a run: that somebody typed, never what.
            self._runs.execution.check_input(asked.run_id)
            target = f"run/{record['id']}"
            await self._database.awrite(lambda connection: record_action(connection, "run.input", target))
            self._typed_into.add(asked.run_id)
        self._runs.execution.write(asked.run_id, asked.text.encode())
        await self._confirm(asked)

    async def _resize(self, asked: messages.Resize) -> None:
        await self._find_own(asked.run_id)
        self._runs.execution.resize(asked.run_id, asked.columns, asked.rows)
        await self._confirm(asked)

    # -- what a client gets --

    async def _tell(self, run_id: str, offset: int) -> None:
        """Send the state and the log of a run until its end: what is on file first, then what comes."""
        watchers = self._runs.watchers
        changes = watchers.subscribe(run_id)
        try:
            record = await self._runs.get(run_id)
            await self._send(messages.run(record))
            for dialog in await self._runs.dialogs_of(run_id):
                if dialog["state"] == dialogs.OPEN:
                    await self._send(messages.dialog(run_id, dialogs.dialog_object(dialog)))
            while True:
                # The order matters: the end is only reported behind the last byte of the log.
                is_final = Status(record["status"]) in FINAL
                offset = await self._send_log(run_id, offset, is_final=is_final)
                if is_final:
                    await self._send(messages.end(record, offset))
                    self._followed.pop(run_id, None)
                    return
                newer = await next_change(self._runs, run_id, changes)
                if newer is None and self._runs.execution.writer(run_id) is None:
                    newer = await self._runs.get(run_id)  # another server may execute it
                if isinstance(newer, RunEvent):
                    if newer.name:
                        await self._send(messages.EVENTS[newer.name](run_id, newer.data))
                elif newer and newer != record:
                    record = newer
                    await self._send(messages.run(record))
        except (NotFound, DatabaseUnavailable) as error:
            problem = error if isinstance(error, NotFound) else Unavailable(str(error))
            self._followed.pop(run_id, None)
            await self._send(messages.dropped(run_id, problem))
        finally:
            watchers.unsubscribe(run_id, changes)

    async def _send_log(self, run_id: str, offset: int, *, is_final: bool) -> int:
        """Send what there is of a log from an offset on; gives where it goes on."""
        reader = self._runs.execution.reader(run_id)
        sent = 0
        while True:
            length = reader.length
            if length - offset > BEHIND_BYTES:
                await self._send(messages.gap(run_id, offset, length - KEPT_BYTES))
                offset = length - KEPT_BYTES
            data = await asyncio.to_thread(reader.read, offset, LOG_BYTES)
            whole = data[: len(data) - incomplete(data)]  # no message ends inside of a character
            if not data or (not whole and not is_final):
                return offset
            await self._send(messages.log(run_id, offset, whole or data))
            offset += len(whole or data)
            sent += len(whole or data)
            if sent >= ROUND_BYTES:
                sent = 0
                await asyncio.sleep(ROUND_SECONDS)

    def _changed(self, record: RunRecord) -> None:
        """Keep a change of a run for the list; called on the event loop for every change of any run."""
        try:
            check_run(self._subject, record, "run.list")
        except (NotFound, Forbidden):
            return
        if len(self._pending) >= MAX_PENDING and record["id"] not in self._pending:
            self._pending.clear()
            self._is_list_torn = True
        self._pending[record["id"]] = record
        self._has_pending.set()

    async def _tell_list(self) -> None:
        while True:
            await self._has_pending.wait()
            self._has_pending.clear()
            if self._is_list_torn:
                self._is_list_torn = False
                await self._send(messages.runs_gap())
            while self._pending:
                await self._send(messages.run(self._pending.pop(next(iter(self._pending)))))

    async def _send(self, message: dict[str, Any]) -> None:
        """Send one message; waits while the other side does not read."""
        text = json.dumps(message, separators=(",", ":"), ensure_ascii=False)
        async with self._turn:
            await self._socket.send_text(text.encode(errors="replace").decode())

    # -- tasks --

    def _later(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # the other side has gone, and `serve` ends as well

    def _drop(self, run_id: str) -> None:
        followed = self._followed.pop(run_id, None)
        if followed is not None:
            followed.task.cancel()

    def _end_listing(self) -> None:
        if self._listing is not None:
            self._runs.watchers.unlisten(self._changed)
            self._listing.cancel()
            self._listing = None
            self._pending.clear()

    async def _stop(self) -> None:
        """End everything that was begun for this connection."""
        self._end_listing()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
