"""The conversation with one running action: requests out of its output, answers into its input."""

import asyncio
import json
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from infraxys.engine.feedback.dialogs import DONE, FAILED, Dialog, default_reply, dialog_of
from infraxys.engine.feedback.requests import (
    NOTICES,
    RESOURCE_REQUESTS,
    WITHDRAWN,
    FeedbackRequest,
    NoRequest,
    RequestFailed,
    read_request,
    sound,
)
from infraxys.engine.feedback.stream import Block, ClientLine, FeedbackStream, Rejected
from infraxys.engine.run_tree import ROOT, write

MAX_WAITING = 100  # requests that were read and not handled; then the output of the action waits
MAX_UNREAD = 2 * 1024 * 1024  # bytes of answers that the action has not read
MAX_SHOWN = 300  # characters of a request in the log
SMALL = 32 * 1024  # bytes of a request that is read in no time
LINE_SECONDS = 0.3  # a line that may become a marker is kept so long
BLOCK_SECONDS = 30.0  # a request whose end does not come
FINISH_SECONDS = 30.0  # for what was asked last, when the action has ended
UNANSWERED = NOTICES | {"UI/DOWNLOAD FILE"}
UPDATES = {"UI/UPDATE DATA PART": "data", "UI/UPDATE VALUE": "value", "UI/SET ENABLED": "enabled"}
logger = logging.getLogger(__name__)


class Host(Protocol):
    """What the server does for the conversation with one step. Methods are called one after the other."""

    is_interactive: bool

    def begin(self, conversation: "Conversation") -> None:
        """Take the conversation that answers of people go to, until its step has ended."""

    async def set_response(self, value: Any) -> None:
        """Keep what the action gives as its answer; the last one counts."""

    async def add_error(self, code: str, message: str) -> None:
        """Keep an error that the action reports."""

    async def add_entry(self, level: str, message: str) -> None:
        """Keep what the action wants to be told of with its answer."""

    async def ask(self, dialog: Dialog) -> None:
        """Put a question to people; the answer comes by `Conversation.answer`."""

    async def show(self, dialog: Dialog) -> None:
        """Show something that needs no answer."""

    async def set_status(self, message: str) -> None:
        """Show a text in the window of the run until the next one."""

    async def update(self, kind: str, object_id: str, value: Any) -> None:
        """Change what a form that is open shows."""

    async def close_windows(self) -> None:
        """Close the window of forms."""

    async def audit(self, details: Mapping[str, Any]) -> None:
        """Put on record what the action says that it does."""

    async def fulfil(self, request: Mapping[str, Any]) -> list[str]:
        """Fulfil a request about instances and the like. Raises RequestFailed."""

    async def tell_clients(self, value: Any) -> None:
        """Pass on what the action tells browsers that follow it."""


class Conversation:
    """Takes the standard output of a step and passes on what is output. Used on the event loop's thread.

    `emit` takes output for the log, `write` bytes for the action's input. `mask` takes secrets out of requests.
    `folder` is what the action sees, read-only, as its folder `system`.
    """

    def __init__(
        self,
        host: Host,
        emit: Callable[[bytes], None],
        write: Callable[[bytes], Awaitable[None]],
        *,
        mask: Callable[[str], str] | None = None,
        folder: Path | None = None,
    ) -> None:
        self._host, self._emit, self._write, self._mask = host, emit, write, mask
        self._folder, self._files = folder, 0
        self._stream = FeedbackStream()
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._requests: deque[FeedbackRequest | ClientLine] = deque()
        self._working: asyncio.Task[None] | None = None
        self._progress: asyncio.Future[None] | None = None
        self._unread: deque[bytes] = deque()
        self._unread_bytes = 0
        self._writing: asyncio.Task[None] | None = None
        self._is_over = self._is_line_open = False
        self._has_window = False
        host.begin(self)

    @property
    def is_idle(self) -> bool:
        """Whether nothing was asked that is not answered; questions to people do not count."""
        return not (self._requests or self._working or self._unread or self._writing or self._stream.is_holding)

    async def take(self, data: bytes) -> None:
        """Take a chunk of standard output. Waits while the action asks faster than it is answered."""
        for piece in self._stream.feed(data):
            if isinstance(piece, bytes):
                self._out(piece)
            elif isinstance(piece, Block):
                await self._take_block(piece)
            elif isinstance(piece, ClientLine):
                await self._put(piece)
            elif isinstance(piece, Rejected):
                self._out(piece.raw)
                self._say("[infraxys] a request may have 1 MiB; this is more and was taken as output")
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._stream.is_holding:
            seconds = BLOCK_SECONDS if self._stream.is_in_block else LINE_SECONDS
            self._timer = self._loop.call_later(seconds, self._release)

    async def finish(self) -> None:
        """Handle what was asked up to the end of the output, and answer nothing more."""
        self._is_over = True
        if self._timer is not None:
            self._timer.cancel()
        self._release()
        tasks = {task for task in (self._working, self._writing) if task is not None}
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=FINISH_SECONDS)
            for task in late:
                task.cancel()

    def stop(self) -> None:
        """Give up at once: the server itself ends."""
        self._is_over = True
        if self._timer is not None:
            self._timer.cancel()
        for task in (self._working, self._writing):
            if task is not None:
                task.cancel()

    def answer(self, *lines: str) -> None:
        """Write lines to the action, behind those that were written before."""
        data = "".join(f"{line}\n" for line in lines).encode(errors="replace")
        if self._is_over or not data:
            return
        if self._unread_bytes + len(data) > MAX_UNREAD:
            self._say("[infraxys] the action does not read the answers that it gets; this one is left out")
            return
        self._unread.append(data)
        self._unread_bytes += len(data)
        if self._writing is None:
            self._writing = self._loop.create_task(self._write_all())

    async def keep(self, items: Sequence[Any]) -> str:
        """Write chosen rows where the action can read them; gives the path that it sees."""
        if self._folder is None:
            raise RequestFailed("there is no folder for chosen rows")
        self._files += 1
        name = f"selected-{self._files}.json"
        await asyncio.to_thread(write, self._folder / name, json.dumps(list(items)).encode())
        return f"{ROOT}/system/{name}"

    async def _write_all(self) -> None:
        try:
            while self._unread:
                data = self._unread.popleft()
                await self._write(data)
                self._unread_bytes -= len(data)
        finally:
            self._writing = None

    def _release(self) -> None:
        """Give what is kept back to the log: its end did not come."""
        for piece in self._stream.finish():
            if isinstance(piece, bytes):
                self._out(piece)

    def _masked(self, data: bytes) -> str:
        text = data.decode(errors="replace")
        return text if self._mask is None else self._mask(text)

    def _out(self, data: bytes) -> None:
        self._is_line_open = not data.endswith(b"\n")
        self._emit(data)

    def _say(self, line: str) -> None:
        """Put something into the log, on a line of its own."""
        self._out(f"{chr(10) * self._is_line_open}{line}\n".encode(errors="replace"))

    async def _take_block(self, block: Block) -> None:
        body = self._masked(block.body)
        try:
            request = await asyncio.to_thread(read_request, body) if len(body) > SMALL else read_request(body)
        except NoRequest as problem:
            self._out(block.raw + b"\n")
            self._say(f"[infraxys] this is no request that can be answered: {problem}")
            if problem.is_meant:
                self.answer(FAILED)
            return
        self._say(shown(request))
        await self._put(request)

    async def _put(self, request: FeedbackRequest | ClientLine) -> None:
        self._requests.append(request)
        if self._working is None:
            self._working = self._loop.create_task(self._work())
        while len(self._requests) > MAX_WAITING:
            self._progress = self._loop.create_future()
            await self._progress

    async def _work(self) -> None:
        try:
            while self._requests:
                await self._handle(self._requests.popleft())
                if self._progress is not None and not self._progress.done():
                    self._progress.set_result(None)
        finally:
            self._working = None

    async def _handle(self, request: FeedbackRequest | ClientLine) -> None:
        try:
            if isinstance(request, ClientLine):
                await self._tell_clients(request)
            else:
                await self._fulfil(request)
        except RequestFailed as problem:
            self._say(f"[infraxys] {problem}")
            self._fail(request)
        except Exception:  # whatever it is, the action must not wait for ever
            logger.exception("request_failed")
            self._say("[infraxys] the server failed to do this; its log has the reason")
            self._fail(request)

    def _fail(self, request: FeedbackRequest | ClientLine) -> None:
        """Tell the action that it did not work, if it waits for an answer."""
        if not (isinstance(request, ClientLine) or request.verb in UNANSWERED):
            self.answer(FAILED)

    async def _tell_clients(self, line: ClientLine) -> None:
        try:
            value = sound(json.loads(self._masked(line.body)))
        except (ValueError, RecursionError):
            return  # output like any other, which is in the log
        await self._host.tell_clients(value)

    async def _fulfil(self, request: FeedbackRequest) -> None:
        verb, fields = request.verb, request.fields
        if verb in NOTICES:
            await self._note(verb, fields)
        elif verb in WITHDRAWN:
            raise RequestFailed(f"'{verb}' was withdrawn; start actions by the REST API")
        elif verb in RESOURCE_REQUESTS:
            lines = await self._host.fulfil(fields)
            self.answer(*lines, *([DONE] if request.style == "lines" else []))
        elif verb in UPDATES:
            name = next(
                (name for name in ("data", "dataPart", "valueBase64", "cachedFilename") if name in fields), "value"
            )
            kind = "cachedFilename" if name == "cachedFilename" else UPDATES[verb]
            await self._host.update(kind, str(fields.get("objectId", ""))[:200], fields.get(name))
            self.answer(DONE)
        elif verb in {"UI/STATUS", "SYSTEM/STATUS"}:
            await self._host.set_status(str(fields.get("message", "")))
            self.answer(DONE)
        elif verb == "SYSTEM/AUDIT":
            details = fields.get("json")
            await self._host.audit(details if isinstance(details, dict) else {"details": details})
            self.answer(DONE)
        elif verb == "UI/ACTION":
            await self._close(fields)
        else:
            await self._dialog(request)

    async def _note(self, verb: str, fields: Mapping[str, Any]) -> None:
        if verb == "SET_REST_RESPONSE":
            await self._host.set_response(fields.get("actionResponse"))
        elif verb == "ADD_ACTION_ERROR":
            await self._host.add_error(str(fields.get("code", "")), str(fields.get("message", "")))
        elif verb == "ADD_ACTION_LOG":
            await self._host.add_entry(level_of(fields), str(fields.get("message", "")))

    async def _close(self, fields: Mapping[str, Any]) -> None:
        if str(fields.get("action", "")).strip().lower() != "close":
            raise RequestFailed("the one action of a window is 'close'")
        self._has_window = False
        await self._host.close_windows()
        self.answer(DONE)

    async def _dialog(self, request: FeedbackRequest) -> None:
        dialog = dialog_of(request, is_in_window=self._has_window)
        if dialog is None or self._is_over:
            return
        if not self._host.is_interactive and (dialog.is_question or dialog.kind == "window"):
            reply = default_reply(dialog)
            if reply is None:
                name = "window" if dialog.kind == "window" else "question"
                raise RequestFailed(
                    f"nobody is there to answer this {name}, and it has no answer that confirms nothing"
                )
            self._say(f"[infraxys] nobody is there to answer; answered: {' '.join(map(str, reply.summary.values()))}")
            self.answer(*reply.lines)
        elif dialog.is_question:
            await self._host.ask(dialog)
        else:
            self._has_window = self._has_window or dialog.kind == "window"
            await self._host.show(dialog)
            if request.verb in {"UI/SHOW MESSAGE", "UI/WINDOW", "UI/OPEN CLIENT APP"}:
                self.answer(DONE)


def level_of(fields: Mapping[str, Any]) -> str:
    """Give the level of a log entry."""
    return str(fields.get("level") or "INFO").upper()[:20]


def shown(request: FeedbackRequest) -> str:
    """Give the line that stands in the log for a request."""
    verb, fields = request.verb, request.fields
    message = fields.get("message", "")
    if verb == "ADD_ACTION_LOG":
        return f"[{level_of(fields)}] {message}"
    plain = {
        "ADD_ACTION_ERROR": f"[infraxys] error {fields.get('code', '')}: {message}",
        "SET_REST_RESPONSE": "[infraxys] the action has set its answer",
        "UI/STATUS": f"[infraxys] status: {message}",
        "SYSTEM/STATUS": f"[infraxys] status: {message}",
    }
    dialog = dialog_of(request)
    if dialog is None:
        return short(plain.get(verb, f"[infraxys] request: {verb}"))
    text = " - ".join(part for part in (dialog.title, dialog.message) if part)
    buttons = " ".join(f"[{button['label']}]" for button in dialog.definition.get("buttons", ()))
    name = "question" if dialog.is_question else dialog.kind
    return short(f"[infraxys] {name}: {text}") + (f" {short(buttons)}" if buttons else "")


def short(text: str) -> str:
    """Put a text on one line of bounded length."""
    line = " ".join(text[: 4 * MAX_SHOWN].split())
    return line if len(line) <= MAX_SHOWN else f"{line[:MAX_SHOWN]}…"
