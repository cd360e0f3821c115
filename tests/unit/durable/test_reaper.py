"""Who is taken over, and when a process knows that it lost its own runs."""

import threading

import pytest

from infraxys.durable import reaper as module
from infraxys.durable.reaper import Reaper


class Engine:
    """What the reaper uses of an engine."""

    executor_id = "me"

    def __init__(self, elsewhere: dict[str, list[str]]) -> None:
        self.elsewhere, self.taken, self.given_up_asked = elsewhere, [], 0

    def unfinished_elsewhere(self) -> dict[str, list[str]]:
        return self.elsewhere

    def take_over(self, executor_id: str, run_ids: list[str]) -> None:
        self.taken.append((executor_id, run_ids))

    def end_given_up(self) -> None:
        self.given_up_asked += 1


class Heartbeats:
    def __init__(self, alive: set[str], dead: list[str] | None = None) -> None:
        self._alive, self._dead, self.beats, self.removed = alive, dead or [], 0, []
        self.is_away = False

    def beat(self, executor_id: str) -> None:
        assert executor_id == "me"
        if self.is_away:
            raise ConnectionError("the database is away")
        self.beats += 1

    def alive(self, within_seconds: float) -> set[str]:
        assert within_seconds == module.DEAD_AFTER_SECONDS
        return self._alive

    def dead(self, older_than_seconds: float) -> list[str]:
        assert older_than_seconds >= module.DEAD_AFTER_SECONDS
        return self._dead

    def remove(self, executor_id: str) -> None:
        self.removed.append(executor_id)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "_now", clock)
    return clock


def reaper(engine: Engine, heartbeats: Heartbeats | None, lost: list[str] | None = None) -> Reaper:
    losses = lost if lost is not None else []
    return Reaper(engine, heartbeats, lost_ownership=lambda: losses.append("lost"))


def test_runs_of_the_dead_are_taken_over_and_those_of_the_living_are_not() -> None:
    engine = Engine({"dead": ["a", "b"], "living": ["c"]})
    reaper(engine, Heartbeats({"living", "me"})).take_over()
    assert engine.taken == [("dead", ["a", "b"])]


def test_a_process_that_is_alone_takes_over_from_everyone() -> None:
    engine = Engine({"before": ["a"]})
    reaper(engine, None).take_over()
    assert engine.taken == [("before", ["a"])]


def test_the_dead_are_kept_until_nothing_of_theirs_is_left() -> None:
    engine, heartbeats = Engine({"dead": ["a"]}), Heartbeats({"me"}, ["dead", "done"])
    one = reaper(engine, heartbeats)
    one.take_over()
    assert heartbeats.removed == ["done"]
    engine.elsewhere = {}
    one.take_over()
    assert heartbeats.removed == ["done", "dead", "done"]


def test_runs_that_were_given_up_are_ended_with_every_pass() -> None:
    engine = Engine({})
    reaper(engine, None).take_over()
    assert engine.given_up_asked == 1


def test_silence_ends_the_own_actions_once_before_others_take_over(clock: Clock) -> None:
    lost: list[str] = []
    one = reaper(Engine({}), Heartbeats(set()), lost)
    one._beat()
    clock.now += module.DEAD_AFTER_SECONDS - module.BEAT_SECONDS - 0.1
    one._check_ownership()
    assert lost == []
    clock.now += 0.2
    one._check_ownership()
    one._check_ownership()
    assert lost == ["lost"]


def test_a_process_that_was_suspended_ends_its_actions_before_it_says_that_it_is_alive(clock: Clock) -> None:
    heartbeats, order = Heartbeats(set()), []
    one = Reaper(Engine({}), heartbeats, lost_ownership=lambda: order.append(heartbeats.beats))
    one._beat()
    clock.now += 60
    one._beat()
    assert order == [1]
    assert heartbeats.beats == 2


def test_a_process_that_lost_its_runs_can_lose_new_ones_again(clock: Clock) -> None:
    lost: list[str] = []
    one = reaper(Engine({}), Heartbeats(set()), lost)
    for _ in range(2):
        one._beat()
        clock.now += 60
        one._check_ownership()
    assert lost == ["lost", "lost"]


def test_actions_that_could_not_be_ended_are_ended_with_the_next_check(clock: Clock) -> None:
    tries: list[int] = []

    def fail_once() -> None:
        tries.append(1)
        if len(tries) == 1:
            raise OSError("no")

    one = Reaper(Engine({}), Heartbeats(set()), lost_ownership=fail_once)
    one._beat()
    clock.now += 60
    with pytest.raises(OSError, match="no"):
        one._check_ownership()
    one._check_ownership()
    one._check_ownership()
    assert len(tries) == 2


def test_an_executor_may_miss_a_beat() -> None:
    with pytest.raises(ValueError, match="miss a beat"):
        Reaper(Engine({}), None, lost_ownership=lambda: None, beat_seconds=5, dead_after_seconds=10)


def test_the_first_beat_must_succeed() -> None:
    heartbeats = Heartbeats(set())
    heartbeats.is_away = True
    with pytest.raises(ConnectionError):
        reaper(Engine({}), heartbeats).start()


def test_beats_go_on_after_failures_and_end_with_a_good_bye() -> None:
    again, heartbeats = threading.Event(), Heartbeats(set())
    failures: list[int] = []

    def beat(executor_id: str) -> None:
        if heartbeats.beats and len(failures) < 2:
            failures.append(1)
            raise ConnectionError("the database is away")
        heartbeats.beats += 1
        if len(failures) == 2:
            again.set()

    heartbeats.beat = beat
    one = Reaper(Engine({}), heartbeats, lost_ownership=lambda: None, beat_seconds=0.01, dead_after_seconds=60)
    one.start()
    assert again.wait(10)
    one.stop()
    assert heartbeats.removed == ["me"]
    assert not any(thread.is_alive() for thread in one._threads)
