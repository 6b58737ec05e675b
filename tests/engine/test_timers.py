"""Deadlines with time under control."""

import itertools
from typing import Any

import pytest

from realtime.engine.timers import BATCH, Deadlines
from tests.engine.wires import FakeLoop


@pytest.fixture
def loop() -> FakeLoop:
    return FakeLoop()


class Log:
    """What was called back, and when."""

    def __init__(self, loop: FakeLoop) -> None:
        self._loop = loop
        self._start = loop.now
        self.met: list[tuple[float, Any]] = []

    def __call__(self, item: Any) -> None:
        self.met.append((self._loop.now - self._start, item))

    @property
    def items(self) -> list[Any]:
        return [item for _, item in self.met]


def deadlines(loop: FakeLoop, seconds: float) -> tuple[Deadlines[Any], Log]:
    log = Log(loop)
    return Deadlines(loop, seconds, log), log  # type: ignore[arg-type]


def test_every_item_is_met_when_it_is_due(loop: FakeLoop) -> None:
    made, log = deadlines(loop, 10)
    for item in "abc":
        made.add(item)
        loop.advance(2)
    loop.advance(30)
    assert log.met == [(10, "a"), (12, "b"), (14, "c")]


def test_nothing_is_met_before_it_is_due(loop: FakeLoop) -> None:
    made, log = deadlines(loop, 10)
    made.add("a")
    loop.advance(9.999)
    assert log.met == []
    loop.advance(0.001)
    assert log.items == ["a"]


def test_items_of_the_same_moment_are_met_in_order(loop: FakeLoop) -> None:
    made, log = deadlines(loop, 10)
    for item in range(BATCH):
        made.add(item)
    loop.advance(10)
    assert log.items == list(range(BATCH))


def test_an_item_may_be_added_more_than_once(loop: FakeLoop) -> None:
    made, log = deadlines(loop, 10)
    made.add("a")
    loop.advance(5)
    made.add("a")
    loop.advance(20)
    assert log.met == [(10, "a"), (15, "a")]


def test_without_items_there_is_no_timer(loop: FakeLoop) -> None:
    made, _ = deadlines(loop, 10)
    assert loop.timers == 0
    made.add("a")
    loop.advance(100)
    assert loop.timers == 0


def test_many_items_have_one_timer(loop: FakeLoop) -> None:
    made, log = deadlines(loop, 10)
    for item in range(1000):
        made.add(item)
        loop.advance(0.001)
        assert loop.timers == 1
    loop.advance(20)
    assert log.items == list(range(1000))
    assert loop.timers == 0


def test_it_begins_again_after_it_ran_out_of_items(loop: FakeLoop) -> None:
    made, log = deadlines(loop, 10)
    for item in "abc":
        made.add(item)
        loop.advance(50)
    assert log.met == [(10, "a"), (60, "b"), (110, "c")]


def test_a_crowd_is_met_in_several_turns(loop: FakeLoop) -> None:
    made, log = deadlines(loop, 10)
    for item in range(5 * BATCH + 1):
        made.add(item)
    loop.now += 10
    met = [0]
    while loop.turn():
        met.append(len(log.met))
    assert [after - before for before, after in itertools.pairwise(met)] == [BATCH] * 5 + [1]
    assert log.items == list(range(5 * BATCH + 1))


def test_a_loop_that_is_late_meets_everything_at_once_and_in_order(loop: FakeLoop) -> None:
    made, log = deadlines(loop, 10)
    for item in range(5):
        made.add(item)
        loop.now += 1
    loop.now += 100
    loop.turn()
    assert log.items == list(range(5))


def test_who_is_called_back_may_add_itself_again(loop: FakeLoop) -> None:
    times: list[float] = []
    made: Deadlines[str]

    def again(item: str) -> None:
        times.append(loop.now)
        made.add(item)

    made = Deadlines(loop, 10, again)  # type: ignore[arg-type]
    start = loop.now
    made.add("a")
    loop.advance(45)
    assert [time - start for time in times] == [10, 20, 30, 40]
    assert loop.timers == 1


def test_two_kinds_do_not_disturb_each_other(loop: FakeLoop) -> None:
    long, of_long = deadlines(loop, 10)
    short, of_short = deadlines(loop, 1)
    long.add("long")
    short.add("short")
    loop.advance(10)
    assert of_long.met == [(10, "long")]
    assert of_short.met == [(1, "short")]


def test_after_the_stop_nothing_is_met(loop: FakeLoop) -> None:
    made, log = deadlines(loop, 10)
    made.add("a")
    made.stop()
    assert loop.timers == 0
    loop.advance(100)
    assert log.met == []


def test_it_may_be_stopped_twice_and_before_anything_was_added(loop: FakeLoop) -> None:
    made, _ = deadlines(loop, 10)
    made.stop()
    made.stop()
    assert loop.timers == 0


def test_who_is_called_back_may_stop_everything(loop: FakeLoop) -> None:
    met: list[str] = []
    made: Deadlines[str]

    def stop(item: str) -> None:
        met.append(item)
        made.stop()

    made = Deadlines(loop, 10, stop)  # type: ignore[arg-type]
    made.add("a")
    made.add("b")
    loop.advance(100)
    assert met == ["a"]
    assert loop.timers == 0


def test_one_that_fails_does_not_end_the_others(loop: FakeLoop) -> None:
    """Pings of everybody are one `Deadlines`: whatever happens with one of them, the others must come."""
    met: list[int] = []

    def fail(item: int) -> None:
        met.append(item)
        if item == 1:
            raise RuntimeError("on purpose")

    made: Deadlines[int] = Deadlines(loop, 10, fail)  # type: ignore[arg-type]
    for item in range(4):
        made.add(item)
    for _ in range(2):
        try:
            loop.advance(10)
        except RuntimeError:  # an event loop would log it, and go on
            continue
    made.add(4)
    loop.advance(20)
    assert met == [0, 1, 2, 3, 4]
