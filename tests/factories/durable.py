"""A host for the durable engine that keeps its record in a folder, and processes that execute runs with it.

A run's plan is a file `<run>.plan`, one action a line: `ok`, `fail`, `hold` (until `release`), `die` (ends the process
before the step counts as begun). `python -m factories.durable FOLDER URL EXECUTOR SLOTS MODE` is one executor; MODE is
`alone` or `shared` (heartbeats in the folder). It reads commands and writes what happens, a JSON line each.
"""

import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from infraxys.durable.engine import DurableEngine
from infraxys.durable.host import StepOutcome
from infraxys.durable.reaper import Reaper
from infraxys.engine.status import Status

TIMEOUT = 60.0
BEAT, DEAD_AFTER = 0.3, 1.5
ROOT = Path(__file__).parents[2]
Event = dict[str, Any]


class Events:
    """What happened, in order; tests wait for what they expect."""

    def __init__(self) -> None:
        self.all: list[Event] = []
        self._changed = threading.Condition()

    def add(self, event: Event) -> None:
        with self._changed:
            self.all.append(event)
            self._changed.notify_all()

    def of(self, what: str, **details: Any) -> list[Event]:
        wanted = {"what": what, **details}
        return [event for event in list(self.all) if wanted.items() <= event.items()]

    def wait(self, what: str, count: int = 1, timeout: float = TIMEOUT, **details: Any) -> list[Event]:
        with self._changed:
            found = self._changed.wait_for(lambda: len(self.of(what, **details)) >= count, timeout)
        assert found, f"no {count} x {what} {details} within {timeout} s in {self.all}"
        return self.of(what, **details)


class FolderHost:
    """A RunHost whose record is files, so that it outlives processes and is shared by them."""

    def __init__(self, folder: Path, executor: str, emit: Callable[[Event], None]) -> None:
        self._folder, self._executor, self._emit = folder, executor, emit
        self._lock = threading.Lock()
        self._executing = 0
        self.most_at_once = 0

    def step_count(self, run_id: str) -> int:
        if (self._folder / f"{run_id}.final").exists():
            return 0
        return len(self._actions(run_id))

    def run_step(self, run_id: str, index: int) -> StepOutcome:
        action = self._actions(run_id)[index]
        if action == "die":
            self._tell("died", run_id, index=index)
            os._exit(9)
        try:
            (self._folder / f"{run_id}.{index}.started").touch(exist_ok=False)
        except FileExistsError:
            self._tell("lost", run_id, index=index)
            return StepOutcome(Status.LOST, None)
        with self._lock:
            self._executing += 1
            self.most_at_once = max(self.most_at_once, self._executing)
        self._tell("started", run_id, index=index)
        if action == "hold":
            with (self._folder / f"{run_id}.{index}.fifo").open("rb") as fifo:
                fifo.read(1)
        with self._lock:
            self._executing -= 1
        self._tell("ended", run_id, index=index)
        return StepOutcome(Status.FAILED, 3) if action == "fail" else StepOutcome(Status.SUCCESS, 0)

    def finish(self, run_id: str, outcomes: list[StepOutcome]) -> None:
        try:
            (self._folder / f"{run_id}.final").touch(exist_ok=False)
        except FileExistsError:
            return
        self._tell("finished", run_id, statuses=[outcome.status.value for outcome in outcomes])

    def _actions(self, run_id: str) -> list[str]:
        return (self._folder / f"{run_id}.plan").read_text().split()

    def _tell(self, what: str, run_id: str, **details: Any) -> None:
        self._emit({"what": what, "run": run_id, "executor": self._executor, **details})


def plan(folder: Path, run_id: str, *actions: str) -> str:
    """Write the plan of a run."""
    for index, action in enumerate(actions):
        if action == "hold":
            os.mkfifo(folder / f"{run_id}.{index}.fifo")
    (folder / f"{run_id}.plan").write_text("\n".join(actions))
    return run_id


def release(folder: Path, run_id: str, index: int = 0) -> None:
    """Let a step go on that holds, now or when it comes to it."""
    # Never closed: what is written is kept only while somebody has the pipe open.
    os.write(os.open(folder / f"{run_id}.{index}.fifo", os.O_RDWR), b"x")


class FolderHeartbeats:
    """Heartbeats as times of change of files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "beats"
        self._folder.mkdir(exist_ok=True)

    def beat(self, executor_id: str) -> None:
        (self._folder / executor_id).touch()

    def alive(self, within_seconds: float) -> set[str]:
        return {name for name, age in self._ages() if age < within_seconds}

    def dead(self, older_than_seconds: float) -> list[str]:
        return [name for name, age in self._ages() if age >= older_than_seconds]

    def remove(self, executor_id: str) -> None:
        (self._folder / executor_id).unlink(missing_ok=True)

    def _ages(self) -> list[tuple[str, float]]:
        now = time.time()
        return [(path.name, now - path.stat().st_mtime) for path in self._folder.iterdir()]


class Executor:
    """A process that executes runs; see the module."""

    def __init__(self, folder: Path, url: str, executor: str, *, slots: int = 4, mode: str = "alone") -> None:
        self.folder, self.name = folder, executor
        self.events = Events()
        environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT / 'tests'}"}
        command = [sys.executable, "-m", "factories.durable", str(folder), url, executor, str(slots), mode]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True, cwd=folder
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def ready(self) -> "Executor":
        self.events.wait("ready")
        return self

    def call(self, command: str, *arguments: object) -> Any:
        """Have a command executed and give its answer."""
        done = len(self.events.of("answer", command=command))
        self.tell(command, *arguments)
        return self.events.wait("answer", done + 1, command=command)[-1]["value"]

    def tell(self, command: str, *arguments: object) -> None:
        """Have a command executed that the process may not outlive."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([command, *arguments]) + "\n")
        self.process.stdin.flush()

    def kill(self) -> None:
        """End it as kill -9 does, and wait until it is gone."""
        self.process.kill()
        self.close()

    def close(self) -> None:
        self.process.wait(TIMEOUT)
        self._reader.join(TIMEOUT)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.events.add(json.loads(line))


def _main(folder: Path, url: str, executor: str, slots: int, mode: str) -> None:
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()

    def write() -> None:
        # Ends with the process; an empty line is the last one.
        while line := lines.get():
            sys.stdout.write(line + "\n")
            sys.stdout.flush()

    writer = threading.Thread(target=write, daemon=True)
    writer.start()

    def emit(event: Event) -> None:
        lines.put(json.dumps(event))

    engine = DurableEngine(FolderHost(folder, executor, emit), url, executor_id=executor, slots=slots)
    heartbeats = FolderHeartbeats(folder) if mode == "shared" else None
    reaper = Reaper(
        engine,
        heartbeats,
        lost_ownership=lambda: emit({"what": "lost_ownership", "executor": executor}),
        beat_seconds=BEAT,
        dead_after_seconds=DEAD_AFTER,
    )
    reaper.announce()
    engine.start()
    reaper.start()
    emit({"what": "ready", "executor": executor})
    commands: dict[str, Callable[..., Any]] = {
        "submit": engine.submit,
        "cancel": engine.cancel,
        "waiting": engine.waiting,
        "elsewhere": engine.unfinished_elsewhere,
    }
    for line in sys.stdin:
        command, *arguments = json.loads(line)
        if command == "stop":
            engine.stop(*arguments)
            reaper.stop()
            emit({"what": "answer", "command": command, "value": None})
            lines.put("")
            writer.join(TIMEOUT)
            break
        emit({"what": "answer", "command": command, "value": commands[command](*arguments)})


if __name__ == "__main__":
    _main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5])
