"""Processes that share an engine are killed, stopped and woken at random as they execute (hostile.md E1, E2)."""

import random
import signal
import time
from pathlib import Path

import pytest

from factories.durable import Executor, plan

ROUNDS, RUNS_PER_ROUND = 3, 12
# A process stopped inside a transaction keeps its locks for 5 s, and a dying one takes a few seconds to be found.
BOUND = 60.0


@pytest.mark.slow
def test_e2_every_run_ends_once_and_no_step_is_executed_twice(tmp_path: Path, postgres_database: str) -> None:
    dice = random.Random(7)
    executors: list[Executor] = []

    def start() -> Executor:
        name = f"e{len(executors)}"
        executors.append(Executor(tmp_path, postgres_database, name, slots=3, mode="shared"))
        return executors[-1].ready()

    try:
        alive, stopped = [start(), start()], []
        names = []
        for _ in range(ROUNDS):
            for _ in range(RUNS_PER_ROUND):
                names.append(plan(tmp_path, f"r{len(names)}", "ok", "ok", "ok"))
                dice.choice(alive).call("submit", names[-1])
            victim = alive.pop(dice.randrange(len(alive)))
            if dice.random() < 0.5:
                victim.kill()
            else:
                victim.process.send_signal(signal.SIGSTOP)
                stopped.append(victim)
            alive.append(start())
        for executor in stopped:
            executor.process.send_signal(signal.SIGCONT)
        deadline = time.monotonic() + BOUND
        for name in names:
            wait_for_end(tmp_path, name, alive[0], deadline)
        for executor in [*alive, *stopped]:
            executor.call("waiting")  # what it told before has arrived then
        check(executors, names)
        assert alive[0].call("waiting") == 0
    finally:
        for executor in executors:
            if executor.process.poll() is None:
                executor.process.kill()
            executor.close()


def wait_for_end(folder: Path, name: str, executor: Executor, deadline: float) -> None:
    while not (folder / f"{name}.final").exists():
        assert time.monotonic() < deadline, f"{name} did not end"
        executor.call("waiting")  # takes its time


def check(executors: list[Executor], names: list[str]) -> None:
    events = [event for executor in executors for event in executor.events.all]
    started = [(event["run"], event["index"]) for event in events if event["what"] == "started"]
    finished = [event["run"] for event in events if event["what"] == "finished"]
    assert len(started) == len(set(started))
    assert len(finished) == len(set(finished))
    assert set(finished) <= set(names)
