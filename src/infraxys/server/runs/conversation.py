"""What the server does for actions that ask: keeps their questions and answers, and tells the browsers."""

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from infraxys.engine.feedback.conversation import Conversation
from infraxys.engine.feedback.dialogs import Answer, Dialog, reply_to
from infraxys.engine.feedback.requests import RequestFailed, Requests
from infraxys.kit.clock import new_id, timestamp, utc_now
from infraxys.server.audit.origin import Origin
from infraxys.server.audit.trail import record as record_action
from infraxys.server.auth.subject import Subject
from infraxys.server.db.engine import Database, DatabaseUnavailable
from infraxys.server.db.tables import runs
from infraxys.server.errors import Conflict, NotFound
from infraxys.server.runs import dialogs, repository
from infraxys.server.runs.dialogs import ABANDONED, ANSWERED, CLOSED, OPEN, SHOWN, DialogRecord, dialog_object
from infraxys.server.runs.transitions import RunEvent, RunRecord, Watchers, set_waiting

MAX_RESPONSE = 256 * 1024  # characters of JSON that an action gives as its answer
MAX_ERRORS, MAX_CODE, MAX_MESSAGE = 100, 200, 10_000
MAX_ENTRIES = 100
MAX_TOLD = 128 * 1024  # characters of all errors and log entries: lists of runs have them
MAX_DIALOGS, MAX_OPEN = 500, 20  # of one run
MAX_AUDITS = 1000  # records that the actions of one run write
MAX_REQUESTS = 10_000  # about instances and the like, of one run
MAX_UPDATES = 256 * 1024  # characters of JSON that change one form
FLUSH_SECONDS = 1.0  # between two writes of answer, errors and log entries
log = logging.getLogger(__name__)


class UnknownDialog(NotFound):
    """The run has no such dialog."""

    code = "unknown_dialog"


class AlreadyAnswered(Conflict):
    """Somebody was faster."""

    code = "already_answered"


class NotAnswerable(Conflict):
    """Nobody waits for the answer any more."""

    code = "already_finished"


@dataclass(slots=True)
class _Open:
    """A dialog that can be answered, or a window."""

    dialog: Dialog
    record: DialogRecord
    updates: dict[str, Any] = field(default_factory=dict)


class RunHost:
    """The server's side of the conversations with the steps of one run. Used on the event loop.

    Implements `infraxys.engine.feedback.conversation.Host`. `keep` is given the run's record whenever it changes.
    """

    def __init__(
        self,
        database: Database,
        watchers: Watchers,
        requests: Requests,
        record: RunRecord,
        keep: Callable[[RunRecord], None],
    ) -> None:
        self._database, self._watchers, self._requests, self._keep = database, watchers, requests, keep
        self.run_id: str = record["id"]
        self.is_interactive = bool(record["is_interactive"])
        self._starter = Origin("action", user_id=record["user_id"], user_name=record["user_name"], run_id=self.run_id)
        self._audits = self._fulfilled = 0
        self._errors: list[dict[str, str]] = json.loads(record["errors"] or "[]")
        self._entries: list[dict[str, str]] = json.loads(record["log_entries"] or "[]")
        self._told = sum(len(text) for one in (*self._errors, *self._entries) for text in one.values())
        self._response: str | None = record["action_response"]
        self._position = 0
        self._conversation: Conversation | None = None
        self._open: dict[str, _Open] = {}
        self._count = 0
        self._turn = asyncio.Lock()  # one change of dialogs after the other
        self._flushing: asyncio.Task[None] | None = None
        self._is_changed = False
        self._ending = asyncio.Event()

    def begin(self, conversation: Conversation) -> None:
        """Take the conversation with the step that executes now."""
        self._conversation = conversation
        self._ending = asyncio.Event()

    def at(self, position: int) -> "RunHost":
        """Say which step is next."""
        self._position = position
        return self

    async def end_step(self) -> None:
        """Abandon what is still open."""
        conversation, self._conversation = self._conversation, None
        if conversation is None:
            return
        self._ending.set()
        if self._flushing is not None:
            await self._flushing
        async with self._turn:
            if self._open:
                left, self._open = list(self._open.values()), {}
                await self._database.awrite(lambda connection: dialogs.abandon(connection, self.run_id))
                for item in left:
                    item.record["state"] = ABANDONED
                    self._tell(item.record)

    # -- the answer of the run --

    async def set_response(self, value: Any) -> None:
        """Keep the answer of the action."""
        text = json.dumps(value)
        if len(text) > MAX_RESPONSE:
            raise RequestFailed(f"the answer of an action may have {MAX_RESPONSE} characters; this one has {len(text)}")
        self._response = text
        self._changed()

    async def add_error(self, code: str, message: str) -> None:
        """Keep an error; beyond a number they are in the log only."""
        self._keep_told(self._errors, MAX_ERRORS, {"code": code[:MAX_CODE], "message": message[:MAX_MESSAGE]})

    async def add_entry(self, level: str, message: str) -> None:
        """Keep a log entry; beyond a number they are in the log only."""
        self._keep_told(self._entries, MAX_ENTRIES, {"level": level, "message": message[:MAX_MESSAGE]})

    def _keep_told(self, kept: list[dict[str, str]], most: int, told: dict[str, str]) -> None:
        size = sum(map(len, told.values()))
        if len(kept) < most and self._told + size <= MAX_TOLD:
            self._told += size
            kept.append(told)
            self._changed()

    def _changed(self) -> None:
        self._is_changed = True
        if self._flushing is None:
            self._flushing = asyncio.get_running_loop().create_task(self._flush())

    async def _flush(self) -> None:
        """Write what changed, not more often than once a second; what is left at the end `unsaved` gives."""
        try:
            while self._is_changed and not await self._ends_within(FLUSH_SECONDS):
                statement = runs.update().where(runs.c.id == self.run_id).values(self.unsaved)
                self._is_changed = False
                async with self._turn:
                    await self._change(partial(_execute, statement))
        except DatabaseUnavailable:
            self._is_changed = True
            log.warning("answer_of_run_not_kept_yet run_id=%s", self.run_id)
        finally:
            self._flushing = None

    async def _ends_within(self, seconds: float) -> bool:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._ending.wait(), seconds)
        return self._ending.is_set()

    @property
    def unsaved(self) -> dict[str, str | None]:
        """Give what the record of the run does not have yet, to be written with its end."""
        if not self._is_changed:
            return {}
        return {
            "action_response": self._response,
            "errors": json.dumps(self._errors),
            "log_entries": json.dumps(self._entries),
        }

    async def _change(self, work: Callable[[Connection], object]) -> None:
        """Write something about the run and keep what it is then."""

        def write(connection: Connection) -> RunRecord | None:
            work(connection)
            return repository.find_run(connection, self.run_id)

        record = await self._database.awrite(write)
        if record is not None:
            self._keep(record)
            self._watchers.publish(record)

    # -- dialogs --

    async def ask(self, dialog: Dialog) -> None:
        """Put a question on record and let the run wait for the answer."""
        async with self._turn:
            if dialog.kind == "form":
                await self._close("form")
            if len([item for item in self._open.values() if item.dialog.is_question]) >= MAX_OPEN:
                raise RequestFailed(f"{MAX_OPEN} questions are open; answer those first")
            record = self._new(dialog, OPEN)

            def work(connection: Connection) -> None:
                dialogs.insert(connection, record)
                set_waiting(connection, self.run_id, self._position, is_waiting=True)

            await self._change(work)
            self._open[record["id"]] = _Open(dialog, record)
        self._tell(record)

    async def show(self, dialog: Dialog) -> None:
        """Put something on record that needs no answer."""
        async with self._turn:
            if dialog.kind == "window":
                await self._close("window")
            record = self._new(dialog, OPEN if dialog.kind == "window" else SHOWN)
            await self._database.awrite(lambda connection: dialogs.insert(connection, record))
            if dialog.kind == "window":
                self._open[record["id"]] = _Open(dialog, record)
        self._tell(record)

    def _new(self, dialog: Dialog, state: str) -> DialogRecord:
        self._count += 1
        if self._count > MAX_DIALOGS:
            raise RequestFailed(f"a run may show {MAX_DIALOGS} dialogs; this is one more")
        return dialogs.new_dialog(new_id(), self.run_id, self._position, dialog, state, utc_now())

    async def set_status(self, message: str) -> None:
        """Tell the browsers; it is in the log as well."""
        self._watchers.tell(self.run_id, RunEvent("dialog", {"kind": "status", "message": message[:MAX_MESSAGE]}))

    async def update(self, kind: str, object_id: str, value: Any) -> None:
        """Change what the form that is open shows."""
        item = next((item for item in reversed(self._open.values()) if item.dialog.kind == "form"), None)
        if item is None:
            raise RequestFailed("there is no form that could be changed")
        changed = {**item.updates, object_id: {**item.updates.get(object_id, {}), kind: value}}
        if len(json.dumps(changed)) > MAX_UPDATES:
            raise RequestFailed(f"what changes a form may have {MAX_UPDATES} characters; show a new one instead")
        item.updates = changed
        await self._database.awrite(lambda connection: dialogs.update(connection, item.record["id"], changed))
        item.record["updates"] = json.dumps(changed)
        event = {"id": item.record["id"], "kind": "update", "objectId": object_id, kind: value}
        self._watchers.tell(self.run_id, RunEvent("dialog", event))

    async def close_windows(self) -> None:
        """Close the window and its form."""
        async with self._turn:
            await self._close("form")
            await self._close("window")

    async def _close(self, kind: str) -> None:
        """Close what is open of a kind: the action wants no more answers to it."""
        for item in [item for item in self._open.values() if item.dialog.kind == kind]:
            del self._open[item.record["id"]]
            item.record |= {"state": CLOSED, "answered_at": utc_now()}
            await self._record_answer(item.record)
            self._tell(item.record)

    async def _record_answer(
        self, record: DialogRecord, *also: Callable[[Connection], None], resumes: bool = True
    ) -> bool:
        """Record that a dialog is answered or closed; the run waits no more when nothing else is asked."""
        still = not resumes or any(
            item.dialog.is_question and item.record["id"] != record["id"] for item in self._open.values()
        )
        found: list[bool] = []

        def work(connection: Connection) -> None:
            found.append(dialogs.answer(connection, record))
            if found[0] and not still:
                set_waiting(connection, self.run_id, self._position, is_waiting=False)
            if found[0]:
                for write in also:
                    write(connection)

        await self._change(work)
        return found[0]

    def _tell(self, record: DialogRecord) -> None:
        self._watchers.tell(self.run_id, RunEvent("dialog", dialog_object(record)))

    async def answer(self, dialog_id: str, answer: Answer, subject: Subject) -> DialogRecord:
        """Answer a dialog: the first answer counts. Raises UnknownDialog, AlreadyAnswered, NotAnswerable, BadAnswer."""
        async with self._turn:
            item, conversation = self._open.get(dialog_id), self._conversation
            if item is None or conversation is None:
                raise await self.refusal(dialog_id)
            reply = reply_to(item.dialog, answer)
            lines = reply.lines if reply.stored is None else (await conversation.keep(reply.stored),)
            changed = {
                **item.record,
                "state": ANSWERED if reply.closes else OPEN,
                "answered_at": utc_now(),
                "answered_by": subject.user_id,
                "answered_by_name": subject.name[:200],
                "answer": json.dumps(reply.summary),
            }

            def audit(connection: Connection) -> None:
                details = {"dialog": dialog_id, "kind": item.dialog.kind, **reply.summary}
                record_action(connection, "run.answer", f"run/{self.run_id}", **details)

            if not await self._record_answer(changed, audit, resumes=reply.resumes):
                del self._open[dialog_id]
                raise await self.refusal(dialog_id)
            item.record = changed
            if reply.closes:
                del self._open[dialog_id]
            conversation.answer(*lines)
        self._tell(changed)
        return changed

    async def refusal(self, dialog_id: str) -> Exception:
        """Say why a dialog cannot be answered."""
        return await refusal(self._database, self.run_id, dialog_id)

    # -- other requests --

    async def audit(self, details: Mapping[str, Any]) -> None:
        """Put on record what the action says that it does."""
        self._audits += 1
        if self._audits > MAX_AUDITS:
            raise RequestFailed(f"a run may write {MAX_AUDITS} audit records; this is one more")

        def write(connection: Connection) -> None:
            record_action(connection, "action.audit", f"run/{self.run_id}", origin=self._starter, said=dict(details))

        await self._database.awrite(write)

    async def fulfil(self, request: Mapping[str, Any]) -> list[str]:
        """Fulfil a request about instances and the like."""
        self._fulfilled += 1
        if self._fulfilled > MAX_REQUESTS:
            raise RequestFailed(f"a run may ask {MAX_REQUESTS} times about instances; import many at once instead")
        return await self._requests.handle(self.run_id, self._position, request)

    async def tell_clients(self, value: Any) -> None:
        """Pass on what is meant for browsers."""
        self._watchers.tell(self.run_id, RunEvent("client", {"at": timestamp(utc_now()), "feedback": value}))


def _execute(statement: sa.Update, connection: Connection) -> None:
    connection.execute(statement)


async def refusal(database: Database, run_id: str, dialog_id: str) -> Exception:
    """Say why a dialog cannot be answered."""
    record = await database.aread(lambda connection: dialogs.find(connection, run_id, dialog_id))
    if record is None:
        return UnknownDialog(f"run '{run_id}' has no dialog '{dialog_id[:100]}'")
    if record["state"] == ANSWERED:
        return AlreadyAnswered(f"the dialog was answered by '{record['answered_by_name']}'")
    if record["state"] == OPEN:
        return Conflict("the run does not execute on this server; answer it there")
    return NotAnswerable(f"nobody waits for an answer any more: the dialog is {record['state']}")
