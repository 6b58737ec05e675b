from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realtime.ratelimit import RateLimiter
from tests.support import FakeClock

NOW = 1_750_000_000.25


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOW)


def allowed_at_once(limiter: RateLimiter, now: float, key: str = "ann") -> int:
    count = 0
    while limiter.hit(key, now) is None:
        count += 1
    return count


def test_a_burst_is_allowed_and_the_next_event_is_not(clock: FakeClock) -> None:
    assert allowed_at_once(RateLimiter(per_minute=100, burst=100), clock()) == 100


@pytest.mark.parametrize("per_minute", [1, 7, 9, 50, 100, 333, 600, 999])
@pytest.mark.parametrize("burst", [1, 2, 100, 200])
def test_a_burst_is_exact_at_every_rate(clock: FakeClock, per_minute: int, burst: int) -> None:
    assert allowed_at_once(RateLimiter(per_minute=per_minute, burst=burst), clock()) == burst


@settings(deadline=None)
@given(st.integers(1, 2000), st.integers(1, 200), st.floats(1.6e9, 2.0e9))
def test_a_burst_is_exact_at_any_moment(per_minute: int, burst: int, now: float) -> None:
    assert allowed_at_once(RateLimiter(per_minute=per_minute, burst=burst), now) == burst


def test_a_burst_is_a_minutes_worth_unless_said_otherwise(clock: FakeClock) -> None:
    assert allowed_at_once(RateLimiter(per_minute=30), clock()) == 30


def test_after_the_burst_events_are_allowed_at_the_rate(clock: FakeClock) -> None:
    limiter = RateLimiter(per_minute=60, burst=10)
    allowed_at_once(limiter, clock())
    for _ in range(5):
        clock.advance(1.0)
        assert allowed_at_once(limiter, clock()) == 1


def test_an_idle_minute_gives_back_no_more_than_the_burst(clock: FakeClock) -> None:
    limiter = RateLimiter(per_minute=60, burst=10)
    allowed_at_once(limiter, clock())
    clock.advance(3600)
    assert allowed_at_once(limiter, clock()) == 10


def test_a_refusal_says_when_to_come_back(clock: FakeClock) -> None:
    limiter = RateLimiter(per_minute=60, burst=1)
    limiter.hit("ann", clock())
    assert limiter.hit("ann", clock()) == pytest.approx(1.0, abs=0.002)
    clock.advance(0.75)
    wait = limiter.hit("ann", clock())
    assert wait is not None
    assert wait == pytest.approx(0.25, abs=0.002)
    clock.advance(wait)
    assert limiter.hit("ann", clock()) is None


def test_a_refused_event_does_not_use_up_the_bucket(clock: FakeClock) -> None:
    limiter = RateLimiter(per_minute=60, burst=1)
    limiter.hit("ann", clock())
    for _ in range(100):
        assert limiter.hit("ann", clock()) is not None
    clock.advance(1.0)
    assert limiter.hit("ann", clock()) is None


def test_asking_does_not_count(clock: FakeClock) -> None:
    limiter = RateLimiter(per_minute=60, burst=1)
    assert [limiter.wait("ann", clock()) for _ in range(5)] == [None] * 5
    assert limiter.hit("ann", clock()) is None
    assert limiter.wait("ann", clock()) is not None


def test_one_key_does_not_pay_for_another(clock: FakeClock) -> None:
    limiter = RateLimiter(per_minute=60, burst=3)
    assert allowed_at_once(limiter, clock(), "ann") == 3
    assert allowed_at_once(limiter, clock(), "bob") == 3


@pytest.mark.parametrize("per_minute", [0, -1])
def test_a_rate_of_zero_is_no_limit_and_keeps_nothing(clock: FakeClock, per_minute: int) -> None:
    limiter = RateLimiter(per_minute=per_minute, burst=1)
    assert [limiter.hit("ann", clock()) for _ in range(1000)] == [None] * 1000
    assert len(limiter) == 0


def test_idle_keys_are_forgotten(clock: FakeClock) -> None:
    limiter = RateLimiter(per_minute=60, burst=1)
    for number in range(5000):
        limiter.hit(f"idle{number}", clock())
        clock.advance(0.01)
    assert len(limiter) < 1200  # at most one sweep's worth beside the keys that are still filling up


def test_a_busy_key_is_not_forgotten_by_a_sweep(clock: FakeClock) -> None:
    limiter = RateLimiter(per_minute=1, burst=1)
    limiter.hit("ann", clock())
    for number in range(3000):
        limiter.hit(f"other{number}", clock())
    assert limiter.hit("ann", clock()) is not None


def test_a_clock_that_steps_back_locks_nobody_out_for_longer_than_a_burst(clock: FakeClock) -> None:
    limiter = RateLimiter(per_minute=60, burst=10)
    allowed_at_once(limiter, clock())
    clock.advance(-5)
    wait = limiter.hit("ann", clock())
    assert wait is not None
    assert wait <= 5 + 1.01


@settings(deadline=None)
@given(st.lists(st.floats(0, 5), max_size=120), st.integers(1, 600), st.integers(1, 20))
def test_no_stretch_of_time_sees_more_than_burst_and_rate(gaps: Sequence[float], per_minute: int, burst: int) -> None:
    limiter = RateLimiter(per_minute=per_minute, burst=burst)
    now, taken = NOW, []
    for gap in gaps:
        now += gap
        if limiter.hit("ann", now) is None:
            taken.append(now)
    for first, start in enumerate(taken):
        for last in range(first, len(taken)):
            allowance = burst + (taken[last] - start) * per_minute / 60
            assert last - first + 1 <= allowance + 0.01


def test_a_clock_that_is_set_back_locks_nobody_out() -> None:
    limiter = RateLimiter(per_minute=60, burst=5)
    assert limiter.hit("a", 10_000.0) is None
    wait = limiter.wait("a", 1_000.0)
    assert wait is not None
    assert wait <= 1.0
    assert limiter.hit("a", 1_000.0 + wait) is None
