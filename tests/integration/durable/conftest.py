"""An engine in the test's own process, and executors in processes of their own."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from factories.durable import TIMEOUT, Events, Executor, FolderHost
from infraxys.durable.engine import DurableEngine


@dataclass
class Running:
    """A started engine with its host."""

    engine: DurableEngine
    host: FolderHost
    events: Events


StartEngine = Callable[..., Running]
StartExecutor = Callable[..., Executor]


@pytest.fixture
def start_engine(tmp_path: Path) -> Iterator[StartEngine]:
    """Start engines one after the other: DBOS has one per process."""
    started: list[DurableEngine] = []

    def start(executor: str = "e1", *, slots: int = 4, url: str = "") -> Running:
        events = Events()
        host = FolderHost(tmp_path, executor, events.add)
        engine = DurableEngine(host, url or f"sqlite:///{tmp_path}/engine.db", executor_id=executor, slots=slots)
        engine.start()
        started.append(engine)
        return Running(engine, host, events)

    yield start
    for engine in started[-1:]:
        engine.stop(0)


@pytest.fixture
def start_executor(tmp_path: Path) -> Iterator[StartExecutor]:
    """Start executor processes; they are killed at the end."""
    started: list[Executor] = []

    def start(executor: str, url: str = "", *, slots: int = 4, mode: str = "alone") -> Executor:
        started.append(Executor(tmp_path, url or f"sqlite:///{tmp_path}/engine.db", executor, slots=slots, mode=mode))
        return started[-1].ready()

    yield start
    for process in started:
        if process.process.poll() is None:
            process.process.kill()
            process.process.wait(TIMEOUT)
        process.close()
