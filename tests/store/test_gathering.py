"""Requests of a few milliseconds that are answered together, with time under control."""

import asyncio
from collections.abc import Sequence

import pytest

from realtime.errors import StoreUnavailable
from realtime.store import gathering as module
from realtime.store.gathering import Gathering


class Store:
    """Answers crowds with their numbers, doubled, when it is told to."""

    def __init__(self) -> None:
        self.crowds: list[list[int]] = []
        self.was_asked = asyncio.Event()
        self._asked: list[tuple[asyncio.Future[Sequence[int]], Sequence[int]]] = []

    def run(self, numbers: Sequence[int]) -> asyncio.Future[Sequence[int]]:
        self.crowds.append(list(numbers))
        self.was_asked.set()
        future: asyncio.Future[Sequence[int]] = asyncio.get_running_loop().create_future()
        self._asked.append((future, numbers))
        return future

    def answer(self) -> None:
        for future, numbers in self._asked:
            future.set_result([2 * number for number in numbers])
        self._asked.clear()


@pytest.fixture(autouse=True)
def delays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for a crowd to become large enough: it goes when it is asked for."""
    monkeypatch.setattr(module, "GATHER_SECONDS", 0.0)
    monkeypatch.setattr(module, "PATIENT_SECONDS", 3600.0)


async def test_who_is_patient_waits_for_a_crowd() -> None:
    store = Store()
    gathering = Gathering(store.run)
    first = gathering.add(1, patient=True)
    await asyncio.sleep(0.01)
    assert store.crowds == []
    gathering.hand_over()
    store.answer()
    assert await first == 2


async def test_who_is_not_patient_takes_the_patient_along() -> None:
    store = Store()
    gathering = Gathering(store.run)
    answers = [gathering.add(1, patient=True), gathering.add(2), gathering.add(3, patient=True)]
    await store.was_asked.wait()
    assert store.crowds == [[1, 2, 3]]
    store.answer()
    assert await asyncio.gather(*answers) == [2, 4, 6]


async def test_whoever_depends_on_a_request_does_not_wait_for_more() -> None:
    store = Store()
    gathering = Gathering(store.run)
    answer = gathering.add(1, patient=True)
    await gathering.settle(lambda number: number == 5)  # not concerned
    assert store.crowds == []
    settling = asyncio.ensure_future(gathering.settle(lambda number: number == 1))
    await store.was_asked.wait()
    store.answer()
    await settling
    assert answer.result() == 2


async def test_a_full_crowd_goes_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GATHER_MAX", 3)
    store = Store()
    gathering = Gathering(store.run)
    for number in range(4):
        gathering.add(number, patient=True)
    assert store.crowds == [[0, 1, 2]]


async def test_a_store_that_is_away_answers_everybody() -> None:
    def away(_: Sequence[int]) -> asyncio.Future[Sequence[int]]:
        raise StoreUnavailable

    gathering = Gathering(away)
    answers = [gathering.add(number, patient=True) for number in range(2)]
    gathering.hand_over()
    results = await asyncio.gather(*answers, return_exceptions=True)
    assert [type(result) for result in results] == [StoreUnavailable, StoreUnavailable]
