"""Values for attributes that a script or an image prints: executed as an action of which no run is kept."""

import asyncio
import time
from collections.abc import Hashable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from cachetools import LRUCache

from infraxys.engine.lists import LIST_SECONDS, Captured, Item, ValueList, read_output
from infraxys.engine.plan import Plan
from infraxys.engine.run_tree import RunContext
from infraxys.engine.runtime import StartedStep, StepRuntime, Stopper
from infraxys.engine.status import Status
from infraxys.kit.clock import new_id, utc_now
from infraxys.server.auth.subject import Subject
from infraxys.server.db.tables import runs
from infraxys.server.errors import Conflict, Unavailable
from infraxys.server.runs.execution import RunExecution
from infraxys.server.variables.errors import CannotResolve

AT_ONCE = 4  # lists that are made at the same time; the other slots are for runs
MAX_KEPT = 32 * 1024 * 1024  # characters of all lists that are kept
MAX_SAID = 1000  # characters of what a script says when it fails


class ListFailed(Conflict):
    """The script or the image did not do well."""

    code = "list_failed"


@dataclass(frozen=True, slots=True)
class Values:
    """A list. `made_at` and `holds_until` are None for one that is simply written in the packet."""

    items: tuple[Item, ...]
    made_at: datetime | None = None
    holds_until: datetime | None = None
    deadline: float = 0.0  # the same, monotonic


class AttributeLists:
    """Makes lists and keeps them for as long as their attribute says. Used on the event loop."""

    def __init__(self, runtime: StepRuntime, execution: RunExecution) -> None:
        self._runtime, self._execution = runtime, execution
        self._kept: LRUCache[Hashable, Values] = LRUCache(MAX_KEPT, getsizeof=_weight)
        self._making: dict[Hashable, asyncio.Task[Values]] = {}
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def values(self, found: ValueList, subject: Subject, *, refresh: bool = False) -> Values:
        """Give the values of a list; with `refresh` made anew. Raises ListFailed and Unavailable."""
        plan = found.plan
        if plan is None:
            return Values(found.items)
        key = key_of(plan)
        kept = self._kept.get(key)
        if kept is not None and not refresh and time.monotonic() < kept.deadline:
            return kept
        making = self._making.get(key)
        if making is None:
            making = self._making[key] = asyncio.get_running_loop().create_task(self._make(found, plan, subject))
            making.add_done_callback(lambda done: self._made(key, done))
        return await asyncio.shield(making)  # others may wait for it as well

    def _made(self, key: Hashable, made: "asyncio.Task[Values]") -> None:
        self._making.pop(key, None)
        if not made.cancelled() and made.exception() is None:
            values = made.result()
            self._kept.pop(key, None)
            if values.deadline > time.monotonic() and _weight(values) <= MAX_KEPT:
                self._kept[key] = values

    async def _make(self, found: ValueList, plan: Plan, subject: Subject) -> Values:
        async with self._turns:
            output = await self._execute(found, plan, self._context(plan, subject))
        items = await asyncio.to_thread(read_output, output)
        now, seconds = utc_now(), found.minutes * 60
        return Values(items, now, now + timedelta(seconds=seconds), time.monotonic() + seconds)

    def _context(self, plan: Plan, subject: Subject) -> RunContext:
        """Give what an action would get, without anything to call us with or to leave for others."""
        record = {
            **dict.fromkeys(runs.columns.keys()),
            "id": f"list-{new_id()}",
            "argument": b"{}",
            "module": str(plan.branch_path.module),
            "branch": plan.branch_path.branch,
            "environment_id": plan.environment_id,
            "user_name": subject.name,
        }
        context = self._execution.context(record, subject)
        return replace(context, reads_only=True, token=None, rest_endpoint=None, timeout_seconds=LIST_SECONDS)

    async def _execute(self, found: ValueList, plan: Plan, run: RunContext) -> bytes:
        stopper = Stopper()
        try:
            run = await self._execution.with_variables(plan, plan.steps[0], run, stopper)
        except CannotResolve as error:
            raise ListFailed(f"the values of attribute '{found.attribute.name}' could not be made: {error}") from error
        captured = Captured(lambda: stopper.stop(Status.FAILED, "printed more than a list may have"))
        starting = asyncio.ensure_future(self._runtime.start(plan, 0, run))
        try:
            started: StartedStep = await asyncio.wait_for(asyncio.shield(starting), LIST_SECONDS)
        except TimeoutError:
            self._runtime.discard(starting)
            raise Unavailable("everything that executes actions here is busy; try again later") from None
        result = await self._runtime.execute(started, captured, stopper)
        if result.status is not Status.SUCCESS:
            said = "".join(filter(_is_shown, captured.errors.decode(errors="replace")))[-MAX_SAID:].strip()
            message = f"the values of attribute '{found.attribute.name}' could not be made: {result.message}"
            raise ListFailed(f"{message}; it said: {said}" if said else message)
        return bytes(captured.output)


def key_of(plan: Plan) -> Hashable:
    """Give all that a list is made from but variables: the files, the instance and its values, the modules it sees."""
    (step,) = plan.steps
    return (
        plan.branch_path, plan.environment_id, step.container_id, plan.rendered.digest, step.directory, step.filename,
        step.image, step.custom_command, step.modules, tuple(sorted(step.attributes.items())),
    )  # fmt: skip


def _weight(values: Values) -> int:
    return 100 + sum(len(item.value) + len(item.caption) + 100 for item in values.items)


def _is_shown(character: str) -> bool:
    return character.isprintable() or character == "\n"
