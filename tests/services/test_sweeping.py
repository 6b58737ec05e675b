"""What is old is swept, and a clock that leaps ahead is not believed at once."""

from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from realtime.services.counts import UnreadCounter
from realtime.services.sweeping import DOUBT_SECONDS, LEAP_SECONDS, SweepService
from realtime.store.base import Store
from tests.support import FakeClock

YEAR = 365 * 86400.0
MINUTE = 60.0


class World:
    """A store that notes when it is swept, as of which time, and a counter; time passes on both clocks alike."""

    def __init__(self) -> None:
        self.clock, self.monotonic = FakeClock(1_000_000.0), FakeClock(50.0)
        self.swept: list[float] = []
        self.removed: dict[str, int] = {}
        self.counted = 0
        self.service = SweepService(
            store=cast(Store, self),
            counter=cast(UnreadCounter, self),
            clock=self.clock,
            monotonic=self.monotonic,
        )

    async def sweep(self, *, now: float) -> dict[str, int]:
        self.swept.append(now)
        return self.removed

    def mark_everybody(self) -> None:
        self.counted += 1

    async def look(self, passing: float = MINUTE) -> int:
        """Let time pass and look; return how many sweeps there were by then."""
        self.clock.advance(passing)
        self.monotonic.advance(passing)
        await self.service.sweep()
        return len(self.swept)


@pytest.fixture
def world() -> World:
    return World()


async def test_it_is_swept_as_of_now(world: World) -> None:
    assert await world.look() == 1
    assert await world.look(10 * LEAP_SECONDS) == 2  # the loop was busy: both clocks say so
    assert world.swept[-1] == world.clock.now


async def test_a_clock_a_year_ahead_destroys_nothing(world: World) -> None:
    await world.look()
    world.clock.advance(YEAR)
    with capture_logs() as lines:
        assert await world.look() == 1
    assert [line["log_level"] for line in lines] == ["warning"]
    assert await world.look(DOUBT_SECONDS / 2) == 1
    world.clock.advance(-YEAR)
    assert await world.look(MINUTE) == 1
    assert await world.look(DOUBT_SECONDS / 2) == 2
    assert max(world.swept) < YEAR


async def test_a_clock_that_stays_ahead_is_believed_after_a_while(world: World) -> None:
    world.clock.advance(YEAR)
    assert await world.look() == 0  # the very first look, too
    assert await world.look(DOUBT_SECONDS - MINUTE) == 0
    assert await world.look() == 1
    assert await world.look() == 2


async def test_small_steps_and_steps_back_do_not_matter(world: World) -> None:
    for step in (LEAP_SECONDS - 1, -YEAR):
        world.clock.advance(step)
        await world.look()
    assert len(world.swept) == 2


@pytest.mark.parametrize(("removed", "counted"), [({}, 0), ({"receipts": 3}, 0), ({"aged": 1}, 1)])
async def test_what_goes_unread_is_counted_again(world: World, removed: dict[str, Any], counted: int) -> None:
    world.removed = removed
    await world.look()
    assert world.counted == counted
