"""`eager.start`: a coroutine runs at once, becomes a Task only when it waits, and cannot tell the difference."""

import asyncio
import contextvars
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest

from realtime.engine import eager
from tests.engine.wires import turns

T = TypeVar("T")
NAME: contextvars.ContextVar[str] = contextvars.ContextVar("NAME", default="nobody")


def start(work: Coroutine[Any, Any, T]) -> "asyncio.Task[T] | tuple[T]":
    return eager.start(asyncio.get_running_loop(), work)


def started(work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
    """Start something that has to wait."""
    task = start(work)
    assert isinstance(task, asyncio.Task)
    return task


# --- results ---


async def test_what_never_waits_is_done_at_once() -> None:
    async def work() -> int:
        return 5

    tasks = asyncio.all_tasks()
    assert start(work()) == (5,)
    assert asyncio.all_tasks() == tasks


async def test_none_is_a_result_too() -> None:
    async def work() -> None:
        return None

    assert start(work()) == (None,)


async def test_awaiting_what_does_not_wait_is_no_waiting() -> None:
    async def inner() -> int:
        return 5

    async def work() -> int:
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        done.set_result(1)
        return await inner() + await done

    assert start(work()) == (6,)


async def test_the_first_part_runs_before_start_returns_and_the_rest_in_a_task() -> None:
    log: list[str] = []
    gate = asyncio.Event()

    async def work() -> str:
        log.append("first")
        await gate.wait()
        log.append("second")
        return "result"

    task = started(work())
    log.append("returned")
    gate.set()
    assert await task == "result"
    assert log == ["first", "returned", "second"]


async def test_sleep_zero_waits_one_turn_each_time() -> None:
    log: list[int] = []

    async def work() -> None:
        for number in range(3):
            log.append(number)
            await asyncio.sleep(0)

    task = started(work())
    assert log == [0]
    while not task.done():
        await turns(1)
    assert log == [0, 1, 2]


async def test_a_future_that_is_done_before_the_task_begins_is_noticed() -> None:
    future: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def work() -> int:
        return await future

    task = started(work())
    future.set_result(7)
    assert await task == 7


# --- exceptions ---


async def test_an_exception_before_waiting_is_raised_at_once() -> None:
    async def work() -> None:
        raise ValueError("early")

    with pytest.raises(ValueError, match="early"):
        start(work())
    assert asyncio.current_task() is not None  # and the caller is itself again


async def test_an_exception_after_waiting_is_the_tasks() -> None:
    async def work() -> None:
        await asyncio.sleep(0)
        raise ValueError("late")

    task = started(work())
    with pytest.raises(ValueError, match="late"):
        await task


async def test_an_exception_of_what_is_awaited_can_be_caught() -> None:
    future: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def work() -> str:
        try:
            await future
        except ValueError as error:
            return str(error)
        return "nothing"

    task = started(work())
    future.set_exception(ValueError("given"))
    assert await task == "given"


async def test_base_exceptions_are_not_swallowed() -> None:
    class Fatal(BaseException):
        pass

    async def work() -> None:
        raise Fatal

    with pytest.raises(Fatal):
        start(work())


# --- cancelling ---


async def test_a_task_can_be_cancelled_and_clean_up() -> None:
    log: list[str] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            log.append("cancelled")
            await asyncio.sleep(0)
            log.append("cleaned up")
            raise

    task = started(work())
    await turns(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert log == ["cancelled", "cleaned up"]


async def test_a_task_that_is_cancelled_at_once_cleans_up_too() -> None:
    """It has run already, unlike any other task that has not had its turn yet."""
    log: list[str] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            log.append("cancelled")
            await asyncio.sleep(0)
            log.append("cleaned up")
            raise

    task = started(work())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert log == ["cancelled", "cleaned up"]


async def test_a_cancel_at_once_reaches_what_is_awaited() -> None:
    inner: list[asyncio.Task[None]] = []

    async def work() -> None:
        inner.append(asyncio.create_task(asyncio.sleep(1000)))
        await inner[0]

    task = started(work())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert inner[0].cancelled()


async def test_a_cancel_can_be_survived() -> None:
    async def work() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            current = asyncio.current_task()
            assert current is not None
            current.uncancel()
        await asyncio.sleep(0)
        return "alive"

    task = started(work())
    await turns(1)
    task.cancel()
    assert await task == "alive"


async def test_who_cancels_itself_before_waiting_is_cancelled_when_it_waits() -> None:
    log: list[str] = []

    async def work() -> None:
        current = asyncio.current_task()
        assert current is not None
        current.cancel()
        log.append("goes on")
        try:
            await asyncio.sleep(0)
        finally:
            log.append("leaves")

    task = started(work())
    with pytest.raises(asyncio.CancelledError):
        await task
    assert log == ["goes on", "leaves"]


# --- timeouts and groups ---


async def test_a_timeout_that_began_before_the_first_wait_fires() -> None:
    async def work() -> str:
        try:
            async with asyncio.timeout(0.01):
                await asyncio.Event().wait()
        except TimeoutError:
            current = asyncio.current_task()
            assert current is not None
            return f"timed out, cancelling {current.cancelling()}"
        return "nothing"

    assert await started(work()) == "timed out, cancelling 0"


async def test_a_timeout_that_is_over_at_once_fires() -> None:
    async def work() -> str:
        try:
            async with asyncio.timeout(0):
                await asyncio.Event().wait()
        except TimeoutError:
            await asyncio.sleep(0)
            return "timed out"
        return "nothing"

    assert await started(work()) == "timed out"


async def test_after_a_timeout_the_work_goes_on() -> None:
    async def work() -> int:
        count = 0
        for _ in range(3):
            try:
                async with asyncio.timeout(0.001):
                    await asyncio.Event().wait()
            except TimeoutError:
                count += 1
        await asyncio.sleep(0)
        return count

    assert await started(work()) == 3


async def test_a_timeout_that_does_not_fire_leaves_nothing_behind() -> None:
    async def work() -> str:
        async with asyncio.timeout(1000):
            await asyncio.sleep(0)
        return "in time"

    loop: Any = asyncio.get_running_loop()
    before = len([handle for handle in loop._scheduled if not handle.cancelled()])
    task = started(work())
    assert await task == "in time"
    assert task.cancelling() == 0
    assert len([handle for handle in loop._scheduled if not handle.cancelled()]) == before


async def test_a_timeout_around_what_never_waits() -> None:
    async def inner() -> str:
        return "at once"

    async def work() -> str:
        async with asyncio.timeout(1000):
            return await inner()

    assert start(work()) == ("at once",)


async def test_a_cancel_from_outside_is_not_taken_for_a_timeout() -> None:
    async def work() -> None:
        async with asyncio.timeout(1000):
            await asyncio.Event().wait()

    task = started(work())
    await turns(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_wait_for_works() -> None:
    async def work() -> str:
        assert await asyncio.wait_for(asyncio.sleep(0, "inner"), 1000) == "inner"
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), 0.001)
        return "done"

    assert await started(work()) == "done"


async def test_a_task_group_works() -> None:
    async def double(number: int) -> int:
        await asyncio.sleep(0)
        return number * 2

    async def work() -> list[int]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(double(number)) for number in range(3)]
        return [task.result() for task in tasks]

    assert await started(work()) == [0, 2, 4]


async def test_a_task_group_whose_task_fails_cancels_the_rest() -> None:
    log: list[str] = []

    async def fail() -> None:
        await asyncio.sleep(0)
        raise ValueError("inner")

    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            log.append("hanging ended")

    async def work() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(hang())
            group.create_task(fail())
            try:
                await asyncio.Event().wait()
            finally:
                log.append("body ended")

    task = started(work())
    with pytest.raises(ExceptionGroup) as caught:
        await task
    assert [str(error) for error in caught.value.exceptions] == ["inner"]
    assert sorted(log) == ["body ended", "hanging ended"]


async def test_locks_queues_and_gather_work() -> None:
    lock = asyncio.Lock()
    queue: asyncio.Queue[int] = asyncio.Queue()

    async def work(number: int) -> int:
        async with lock:
            await asyncio.sleep(0)
            queue.put_nowait(number)
        return sum(await asyncio.gather(asyncio.sleep(0, 1), asyncio.sleep(0, 2)))

    tasks = [started(work(number)) for number in range(3)]
    assert [await task for task in tasks] == [3, 3, 3]
    assert [queue.get_nowait() for _ in range(3)] == [0, 1, 2]


# --- who is running ---


async def test_the_caller_is_the_current_task_before_and_after() -> None:
    async def work() -> object:
        return asyncio.current_task()

    caller = asyncio.current_task()
    [inside] = start(work())
    assert inside is not None
    assert inside is not caller
    assert asyncio.current_task() is caller
    started(asyncio.sleep(0))
    assert asyncio.current_task() is caller


async def test_after_waiting_the_task_is_the_current_one() -> None:
    async def work() -> list[object]:
        before = asyncio.current_task()
        await asyncio.sleep(0)
        return [before, asyncio.current_task()]

    task = started(work())
    before, after = await task
    assert after is task
    assert before is not task
    assert isinstance(before, eager._StandIn)
    assert before.get_name() == task.get_name()  # the stand-in passes on what the task can do
    assert before.done()


async def test_the_stand_in_has_nothing_of_a_task_before_there_is_one() -> None:
    async def work() -> str:
        current = asyncio.current_task()
        with pytest.raises(AttributeError, match="get_name"):
            current.get_name()  # type: ignore[union-attr]
        return "checked"

    assert start(work()) == ("checked",)


async def test_it_can_be_called_outside_of_any_task() -> None:
    results: list[Any] = []
    seen: list[object] = []

    async def work() -> str:
        return "done"

    def callback() -> None:
        seen.append(asyncio.current_task())
        results.append(start(work()))
        results.append(start(asyncio.sleep(0, "later")))
        seen.append(asyncio.current_task())

    asyncio.get_running_loop().call_soon(callback)
    await turns(2)
    assert results[0] == ("done",)
    assert await results[1] == "later"
    assert seen == [None, None]


async def test_starts_inside_of_starts() -> None:
    log: list[object] = []

    async def inner(name: str) -> str:
        log.append(f"{name} begins")
        await asyncio.sleep(0)
        log.append(f"{name} ends")
        return name

    async def quick() -> str:
        return "quick"

    async def outer() -> list[str]:
        me = asyncio.current_task()
        tasks = [started(inner("a")), started(inner("b"))]
        assert start(quick()) == ("quick",)
        assert asyncio.current_task() is me
        return [await task for task in tasks]

    task = started(outer())
    assert log == ["a begins", "b begins"]
    assert await task == ["a", "b"]


async def test_a_start_inside_of_an_ordinary_task() -> None:
    async def work() -> str:
        await asyncio.sleep(0)
        return "inner"

    async def ordinary() -> str:
        me = asyncio.current_task()
        task = started(work())
        assert asyncio.current_task() is me
        return await task

    assert await asyncio.create_task(ordinary()) == "inner"


async def test_when_the_inner_one_fails_the_caller_is_itself_again() -> None:
    async def fail() -> None:
        raise ValueError("inner")

    async def outer() -> bool:
        me = asyncio.current_task()
        with pytest.raises(ValueError, match="inner"):
            start(fail())
        return asyncio.current_task() is me

    assert start(outer()) == (True,)


# --- context ---


async def test_both_parts_share_one_context_of_their_own() -> None:
    async def work() -> str:
        NAME.set("somebody")
        await asyncio.sleep(0)
        return NAME.get()

    assert await started(work()) == "somebody"
    assert NAME.get() == "nobody"


async def test_what_never_waits_has_a_context_of_its_own_too() -> None:
    async def work() -> str:
        NAME.set("somebody")
        return NAME.get()

    assert start(work()) == ("somebody",)
    assert NAME.get() == "nobody"


async def test_the_callers_context_is_seen() -> None:
    async def work() -> str:
        await asyncio.sleep(0)
        return NAME.get()

    token = NAME.set("caller")
    task = started(work())
    NAME.reset(token)
    assert await task == "caller"


# --- the end of the loop ---


async def test_a_task_that_is_never_awaited_ends_with_its_loop() -> None:
    """Nothing is left that Python would complain of."""
    log: list[str] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            log.append("ended")

    task = started(work())
    await turns(2)
    task.cancel()
    await asyncio.wait([task])
    assert log == ["ended"]
