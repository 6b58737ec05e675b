import asyncio
from collections.abc import Callable, Sequence
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realtime.events import Audience, CameOnline, Event, Person, WentOffline
from realtime.fanout import CPU_SHARE, WINDOW, Fanout
from realtime.publisher import Publisher
from tests.support import FakeClock

EVERYONE = Audience.all()


class Timer:
    """What `call_later` gave back."""

    def __init__(self, delay: float, callback: Callable[[], None]) -> None:
        self.delay = delay
        self.callback = callback
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Timers:
    """A loop whose time passes only when the last timer is fired by hand."""

    def __init__(self) -> None:
        self.all: list[Timer] = []

    def call_later(self, delay: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        self.all.append(Timer(delay, callback))
        return cast(asyncio.TimerHandle, self.all[-1])

    @property
    def waiting(self) -> list[Timer]:
        return [timer for timer in self.all if not timer.cancelled]

    def fire(self) -> float:
        """Let the one timer that waits go off; return how long it had waited."""
        [timer] = self.waiting
        timer.callback()
        timer.cancelled = True
        return timer.delay


class Recorder:
    """A publisher that notes what it is given and takes `cost` seconds of CPU for it."""

    def __init__(self, cpu: FakeClock) -> None:
        self.batches: list[list[tuple[Event, Audience]]] = []
        self.cost = 0.0
        self._cpu = cpu

    def publish_together(self, items: Sequence[tuple[Event, Audience]]) -> int:
        self.batches.append(list(items))
        self._cpu.advance(self.cost)
        return len(items)


class Bench:
    """A fanout between a fake timer, a fake CPU clock and a recording publisher."""

    def __init__(self) -> None:
        self.cpu = FakeClock(0.0)
        self.timers = Timers()
        self.publisher = Recorder(self.cpu)
        self.fanout = Fanout(cast(Publisher, self.publisher), call_later=self.timers.call_later, cpu=self.cpu)

    def online(self, id: str, at: float = 0.0) -> CameOnline:
        event = CameOnline(at, Person(id=id, wire_id=id, name=id, role="user"))
        self.fanout.submit(("presence", id), event, EVERYONE)
        return event

    def offline(self, id: str, at: float = 0.0) -> WentOffline:
        event = WentOffline(at, Person(id=id, wire_id=id, name=id, role="user"))
        self.fanout.submit(("presence", id), event, EVERYONE)
        return event


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_nothing_is_sent_before_the_window_is_over(bench: Bench) -> None:
    bench.online("ann")
    assert bench.publisher.batches == []
    assert bench.timers.fire() == WINDOW
    assert len(bench.publisher.batches) == 1


def test_the_window_is_at_least_50_milliseconds() -> None:
    assert WINDOW >= 0.05


def test_a_storm_becomes_one_write(bench: Bench) -> None:
    events: list[Event] = [bench.online(str(number)) for number in range(500)]
    assert len(bench.timers.waiting) == 1
    bench.timers.fire()
    assert bench.publisher.batches == [[(event, EVERYONE) for event in events]]


def test_the_last_event_of_a_key_wins_and_goes_out_in_its_own_place(bench: Bench) -> None:
    bench.online("ann", 1.0)
    bob = bench.online("bob", 2.0)
    ann = bench.offline("ann", 3.0)
    bench.timers.fire()
    assert bench.publisher.batches == [[(bob, EVERYONE), (ann, EVERYONE)]]


def test_each_event_keeps_its_audience(bench: Bench) -> None:
    narrow = Audience.room("work_order_7", without="ann")
    event = CameOnline(0.0, Person(id="ann", wire_id="ann", name="Ann", role="user"))
    bench.fanout.submit("key", event, EVERYONE)
    bench.fanout.submit("key", event, narrow)
    bench.timers.fire()
    assert bench.publisher.batches == [[(event, narrow)]]


def test_an_event_after_the_window_starts_another(bench: Bench) -> None:
    bench.online("ann")
    bench.timers.fire()
    assert bench.timers.waiting == []
    bench.online("bob")
    bench.timers.fire()
    assert len(bench.publisher.batches) == 2


def test_a_flush_sends_at_once_and_only_once(bench: Bench) -> None:
    bench.online("ann")
    bench.fanout.flush()
    bench.fanout.flush()
    assert len(bench.publisher.batches) == 1
    assert bench.timers.waiting == []


def test_closing_forgets_what_waits(bench: Bench) -> None:
    bench.online("ann")
    bench.fanout.close()
    bench.fanout.close()
    assert bench.timers.waiting == []
    bench.fanout.flush()
    assert bench.publisher.batches == []


def test_an_expensive_send_widens_the_next_window(bench: Bench) -> None:
    bench.publisher.cost = 0.2
    bench.online("ann")
    assert bench.timers.fire() == WINDOW
    bench.online("bob")
    assert bench.timers.fire() == pytest.approx(2.0)


def test_a_cheap_send_narrows_it_again(bench: Bench) -> None:
    bench.publisher.cost = 0.2
    bench.online("ann")
    bench.timers.fire()
    bench.publisher.cost = 0.0001
    bench.online("bob")
    bench.timers.fire()
    bench.online("eve")
    assert bench.timers.fire() == WINDOW


@settings(deadline=None)
@given(st.lists(st.floats(0.0, 3.0), min_size=1, max_size=30))
def test_sending_takes_a_tenth_of_the_time_at_most(costs: list[float]) -> None:
    bench = Bench()
    spent = waited = 0.0
    for cost in costs:
        bench.publisher.cost = cost
        bench.online("ann")
        waited += bench.timers.fire()
        spent += cost
        # The wait that pays for this send comes after it.
        assert spent <= CPU_SHARE * (spent + waited + bench.fanout.window) + 1e-9


async def test_without_a_timer_of_its_own_it_uses_the_running_loop() -> None:
    bench = Bench()
    fanout = Fanout(cast(Publisher, bench.publisher), cpu=bench.cpu)
    loop = asyncio.get_running_loop()
    person = Person(id="ann", wire_id="ann", name="Ann", role="user")
    fanout.submit("key", CameOnline(0.0, person), EVERYONE)
    sent = asyncio.Event()
    loop.call_later(WINDOW + 0.01, sent.set)
    await sent.wait()
    assert len(bench.publisher.batches) == 1
