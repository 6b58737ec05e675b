"""What every kind of session shares: one piece of work after the other, and a bound on what waits."""

import asyncio

import pytest

from realtime.engine.hub import Hub, Limits
from realtime.engine.ordered import MAX_HELD, Maybe, Ordered
from tests.engine.protocol import until
from tests.engine.wires import turns


class Session(Ordered):
    """Keeps what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = Hub(asyncio.get_running_loop(), Limits(), None)
        self.log: list[object] = []
        self.failures: list[str] = []
        self.went_on = 0
        self.gate = asyncio.Event()

    @property
    def hub(self) -> Hub:
        return self.shared

    def go_on(self) -> None:
        self.went_on += 1

    def failed(self, error: BaseException | None) -> None:
        self.failures.append(str(error))

    def forget(self) -> None:
        self.log.append("forgotten")


def note(session: Session, item: object) -> Maybe:
    session.log.append(item)
    return None


async def wait(session: Session, item: object) -> None:
    session.log.append(f"{item} begins")
    await session.gate.wait()
    session.log.append(f"{item} ends")


def fail(session: Session, item: object) -> Maybe:
    raise RuntimeError(str(item))


async def fail_late(session: Session, item: object) -> None:
    await asyncio.sleep(0)
    raise RuntimeError(str(item))


@pytest.fixture
async def session() -> Session:
    return Session()


async def test_work_that_does_not_wait_is_done_at_once(session: Session) -> None:
    session.submit(note, 1)
    assert session.log == [1]
    assert not session.busy


async def test_what_comes_after_work_that_waits_is_done_after_it_and_in_order(session: Session) -> None:
    session.submit(wait, "first")
    for number in range(3):
        session.submit(note, number)
    await turns(3)
    assert session.log == ["first begins"]
    assert session.busy
    session.gate.set()
    await until(lambda: not session.busy)
    assert session.log == ["first begins", "first ends", 0, 1, 2]
    assert session.went_on == 1


async def test_two_that_wait_never_run_at_once(session: Session) -> None:
    session.submit(wait, "a")
    session.submit(wait, "b")
    session.gate.set()
    await until(lambda: not session.busy)
    assert session.log == ["a begins", "a ends", "b begins", "b ends"]


async def test_a_session_is_full_when_as_much_waits_as_may(session: Session) -> None:
    session.submit(wait, "first")
    for number in range(MAX_HELD):
        assert not session.full
        session.submit(note, number)
    assert session.full
    session.gate.set()
    await session.room()
    assert session.went_on == 1


async def test_much_that_was_held_is_run_in_several_turns(session: Session) -> None:
    session.submit(wait, "first")
    for number in range(3 * MAX_HELD):
        session.submit(note, number)
    session.gate.set()
    seen, busiest = len(session.log), 0
    while not session.went_on:
        await turns(1)
        busiest, seen = max(busiest, len(session.log) - seen), len(session.log)
    assert busiest <= MAX_HELD + 1
    assert session.log[2:] == list(range(3 * MAX_HELD))


@pytest.mark.parametrize("work", [fail, fail_late])
async def test_what_fails_does_not_stop_what_comes_after_it(session: Session, work: object) -> None:
    session.submit(work, "on purpose")  # type: ignore[arg-type]
    session.submit(note, 1)
    await until(lambda: 1 in session.log)
    assert session.failures == ["on purpose"]


async def test_at_the_end_what_waits_is_dropped_and_what_runs_goes_on(session: Session) -> None:
    session.submit(wait, "first")
    session.submit(note, 1)
    session.ending = True
    session.drop_held()
    session.closed = True
    session.gate.set()
    await until(lambda: not session.busy)
    assert session.log == ["first begins", "first ends", "forgotten"]


async def test_who_waits_for_room_does_not_wait_beyond_the_end(session: Session) -> None:
    session.submit(wait, "first")
    for number in range(MAX_HELD):
        session.submit(note, number)
    waiting = asyncio.create_task(session.room())
    await turns(2)
    session.ending = True
    session.drop_held()
    await waiting
    session.gate.set()
    await until(lambda: not session.busy)


async def test_a_handler_outside_the_order_waits_for_nobody(session: Session) -> None:
    session.submit(wait, "first")
    session.run(lambda: wait(session, "aside"))
    session.run(lambda: note(session, 1))
    assert session.log == ["first begins", "aside begins", 1]
    assert session.handlers == 1
    session.gate.set()
    await until(lambda: not session.busy)
    assert sorted(map(str, session.log)) == [
        "1",
        "aside begins",
        "aside ends",
        "first begins",
        "first ends",
        "forgotten",
    ]


async def test_a_session_that_keeps_to_slots_has_no_dictionary() -> None:
    assert not hasattr(Ordered(), "__dict__")
