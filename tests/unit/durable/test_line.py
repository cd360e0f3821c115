"""The line: slots, order, dropping, stopping."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from infraxys.durable.line import Abandoned, Line, Slot

TIMEOUT = 10.0


def enter(line: Line, run_id: str) -> "Future[Slot | None]":
    """Enter in a thread, and come back when it has entered or stands in line."""
    before = line.waiting
    future: Future[Slot | None] = Future()

    def work() -> None:
        try:
            future.set_result(line.enter(run_id))
        except BaseException as error:  # noqa: BLE001 - handed to the test
            future.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    until(lambda: future.done() or line.waiting > before)
    return future


def until(condition: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(1000):
        if condition():
            return
        pause.wait(0.01)
    raise AssertionError("did not happen in time")


def test_a_line_without_slots_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one slot"):
        Line(0)


def test_reservations_end_with_the_slots_and_return_when_released() -> None:
    line = Line(1)
    assert line.reserve("a")
    assert not line.reserve("b")
    line.release("a")
    assert line.reserve("b")


def test_the_same_run_is_reserved_once() -> None:
    line = Line(2)
    assert line.reserve("a")
    assert not line.reserve("a")


def test_a_reservation_that_was_used_is_not_released_twice() -> None:
    line = Line(1)
    assert line.reserve("a")
    assert line.enter("a") is not None
    line.release("a")
    assert not line.reserve("b")


def test_who_waits_enters_in_order() -> None:
    line = Line(1)
    first = line.enter("a")
    assert first is not None
    second, third = enter(line, "b"), enter(line, "c")
    line.leave(first)
    got = second.result(TIMEOUT)
    assert got is not None
    assert not third.done()
    line.leave(got)
    assert third.result(TIMEOUT) is not None


def test_nothing_overtakes_what_is_queued_or_waits() -> None:
    line = Line(2)
    line.expect(["queued"])
    assert not line.reserve("a")
    line.forget(["queued"])
    assert line.reserve("a")


def test_what_was_queued_and_has_entered_holds_nobody_up() -> None:
    line = Line(2)
    line.expect(["queued"])
    assert line.queued(10) == ["queued"]
    assert line.enter("queued") is not None
    assert line.queued(10) == []
    assert line.reserve("a")


def test_a_dropped_run_that_waits_does_not_execute_and_takes_no_slot() -> None:
    line = Line(1)
    first = line.enter("a")
    assert first is not None
    waits, next_one = enter(line, "b"), enter(line, "c")
    assert line.drop("b")
    assert waits.result(TIMEOUT) is None
    line.leave(first)
    assert next_one.result(TIMEOUT) is not None


def test_a_dropped_run_that_has_a_reservation_gives_its_slot_back() -> None:
    line = Line(1)
    assert line.reserve("a")
    assert line.drop("a")
    assert line.enter("a") is None
    assert line.reserve("b")


def test_a_run_that_executes_or_is_not_here_cannot_be_dropped() -> None:
    line = Line(1)
    assert line.enter("a") is not None
    assert line.executes("a")
    assert not line.drop("a")
    assert not line.drop("unknown")


def test_a_slot_that_was_freed_early_is_not_given_back_twice() -> None:
    line = Line(1)
    slot = line.enter("a")
    assert slot is not None
    line.free(slot)
    assert line.executes("a")
    line.leave(slot)
    assert not line.executes("a")
    assert line.reserve("b")
    assert not line.reserve("c")


def test_two_executions_of_one_run_are_kept_apart() -> None:
    line = Line(2)
    stale, fresh = line.enter("a"), line.enter("a")
    assert stale is not None
    assert fresh is not None
    line.leave(stale)
    assert line.executes("a")
    line.leave(fresh)
    assert not line.executes("a")


def test_closing_abandons_who_waits_and_lets_nobody_in() -> None:
    line = Line(1)
    first = line.enter("a")
    assert first is not None
    waits = enter(line, "b")
    line.close()
    with pytest.raises(Abandoned):
        waits.result(TIMEOUT)
    with pytest.raises(Abandoned):
        line.enter("c")
    assert not line.reserve("d")
    assert not line.wait_until_idle(0.01)
    line.leave(first)
    assert line.wait_until_idle(TIMEOUT)


def test_a_pause_ends_with_the_stop() -> None:
    line = Line(1)
    line.pause(0.001)
    line.close()
    with pytest.raises(Abandoned):
        line.pause(60)


def test_many_threads_never_exceed_the_slots() -> None:
    line, lock = Line(3), threading.Lock()
    inside, most = 0, 0

    def work(number: int) -> None:
        nonlocal inside, most
        slot = line.enter(f"run-{number}")
        assert slot is not None
        with lock:
            inside += 1
            most = max(most, inside)
        with lock:
            inside -= 1
        line.leave(slot)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(work, range(300)))
    assert 1 <= most <= 3
    assert line.waiting == 0
