"""Runs a coroutine at once, and only makes a Task of it when it really waits.

Python 3.12 has eager tasks; this is the same for 3.11. While the first part runs there is no Task yet, so
`asyncio.current_task()` is a stand-in that passes on what `asyncio.timeout` and its kind want of a task.
"""

import asyncio
import contextvars
import types
from asyncio import tasks
from collections.abc import Coroutine, Generator
from typing import Any, TypeVar

T = TypeVar("T")


class _StandIn:
    """Stands for the Task that does not exist yet."""

    __slots__ = ("__weakref__", "_cancels", "task")

    def __init__(self) -> None:
        self.task: asyncio.Task[Any] | None = None
        self._cancels = 0

    def cancel(self, msg: object = None) -> bool:
        if self.task is not None:
            return self.task.cancel(msg)
        self._cancels += 1
        return True

    def uncancel(self) -> int:
        if self.task is not None:
            return self.task.uncancel()
        self._cancels = max(self._cancels - 1, 0)
        return self._cancels

    def cancelling(self) -> int:
        return self._cancels if self.task is None else self.task.cancelling()

    def become(self, task: asyncio.Task[Any]) -> None:
        self.task = task
        for _ in range(self._cancels):
            task.cancel()

    def __getattr__(self, name: str) -> Any:
        if self.task is None:
            raise AttributeError(f"the task has not begun to wait, so it has no {name}")
        return getattr(self.task, name)


def start(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T] | tuple[T]":
    """Run `work` until it waits. Return (its result,) when it never did, and otherwise the Task that goes on.

    Raises what `work` raises before it waits. It may be called from inside a task and from outside of one.
    """
    context = contextvars.copy_context()
    stand_in = _StandIn()
    outer = asyncio.current_task(loop)
    if outer is not None:
        tasks._leave_task(loop, outer)
    tasks._enter_task(loop, stand_in)  # type: ignore[arg-type]
    try:
        awaited = context.run(work.send, None)
    except StopIteration as finished:
        return (finished.value,)
    finally:
        tasks._leave_task(loop, stand_in)  # type: ignore[arg-type]
        if outer is not None:
            tasks._enter_task(loop, outer)
    rest = _taken_over(work, awaited)
    rest.send(None)
    task = loop.create_task(rest, context=context)
    stand_in.become(task)
    return task


async def within(seconds: float, work: Coroutine[Any, Any, T]) -> T:
    """Return what `work` returns. Raises TimeoutError when it waits for longer than `seconds`, and then ends it.

    Work that never waits costs no timer.
    """
    try:
        awaited = work.send(None)
    except StopIteration as finished:
        return finished.value  # type: ignore[no-any-return]
    async with asyncio.timeout(seconds):
        return await _go_on(work, awaited)


@types.coroutine
def _taken_over(work: Coroutine[Any, Any, T], awaited: Any) -> Generator[Any, Any, T]:
    """Go on as soon as the Task has its first turn. A cancel before that reaches what `work` waits for, too."""
    try:
        yield
    except GeneratorExit:
        work.close()
        raise
    except asyncio.CancelledError as error:
        reached = asyncio.isfuture(awaited) and awaited.cancel()  # then it comes by way of what is awaited
        cancelled = None if reached else error
    else:
        cancelled = None
    if cancelled is not None:
        try:
            awaited = work.throw(cancelled)
        except StopIteration as finished:
            return finished.value  # type: ignore[no-any-return]
    return (yield from _go_on(work, awaited))


@types.coroutine
def _go_on(work: Coroutine[Any, Any, T], awaited: Any) -> Generator[Any, Any, T]:
    """Wait for what `work` waits for, and hand it what comes of that, to its end."""
    while True:
        try:
            answer = yield awaited
        except GeneratorExit:
            work.close()
            raise
        except BaseException as error:  # noqa: BLE001  it is the work's business, cancellation too
            failure: BaseException | None = error
        else:
            failure = None
        try:
            awaited = work.send(answer) if failure is None else work.throw(failure)
        except StopIteration as finished:
            return finished.value  # type: ignore[no-any-return]
