"""What begins first ends first, unless it takes too long."""

import asyncio

import pytest

from realtime.services.turns import Turns
from tests.support import until


class Line:
    """Sends that store and then show, each told when it is stored."""

    def __init__(self, patience: float = 60.0) -> None:
        self.turns = Turns(patience)
        self.shown: list[str] = []
        self.stored: dict[str, asyncio.Future[None]] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def begin(self, *names: str) -> None:
        for name in names:
            self.stored[name] = asyncio.get_running_loop().create_future()
            self.tasks[name] = asyncio.create_task(self._send(name))
            await asyncio.sleep(0)

    async def _send(self, name: str) -> None:
        with self.turns.take() as turn:
            await self.stored[name]
            await turn.comes()
            self.shown.append(name)

    async def store(self, *names: str) -> None:
        for name in names:
            self.stored[name].set_result(None)
        await asyncio.sleep(0)

    async def shows(self, *names: str) -> None:
        await until(lambda: len(self.shown) >= len(names), what=f"{names} (shown {self.shown})")
        assert self.shown == list(names)


async def test_what_is_stored_early_waits_for_what_began_before() -> None:
    line = Line()
    await line.begin("a", "b", "c")
    await line.store("c", "b")
    assert line.shown == []
    await line.store("a")
    await line.shows("a", "b", "c")


async def test_one_alone_does_not_wait() -> None:
    line = Line()
    await line.begin("a")
    await line.store("a")
    await line.shows("a")
    await line.begin("b")
    await line.store("b")
    await line.shows("a", "b")


async def test_a_failed_one_passes_its_turn_and_not_that_of_those_before_it() -> None:
    line = Line()
    await line.begin("a", "b", "c")
    line.stored["b"].set_exception(RuntimeError("not stored"))
    await line.store("c")
    with pytest.raises(RuntimeError):
        await line.tasks["b"]
    assert line.shown == []
    await line.store("a")
    await line.shows("a", "c")


async def test_a_cancelled_one_passes_its_turn() -> None:
    line = Line()
    await line.begin("a", "b")
    await line.store("b")
    line.tasks["a"].cancel()
    await line.shows("b")


async def test_a_stuck_one_stops_the_others_once_and_may_still_end() -> None:
    line = Line(patience=0.01)
    await line.begin("stuck", "b")
    await line.store("b")
    await line.shows("b")
    line.turns.patience = 60.0  # whoever waits now would wait for long
    await line.begin("c")
    await line.store("c")
    await line.shows("b", "c")
    await line.store("stuck")
    await line.shows("b", "c", "stuck")
    await line.begin("d")
    await line.store("d")
    await line.shows("b", "c", "stuck", "d")
