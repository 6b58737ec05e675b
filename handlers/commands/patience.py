"""A time limit that costs nothing for work that never waits, which most is."""

import asyncio
import types
from collections.abc import Coroutine, Generator
from typing import Any, TypeVar

T = TypeVar("T")


async def within(seconds: float, work: Coroutine[Any, Any, T]) -> T:
    """Return what `work` returns. Raises TimeoutError when it waits for longer than `seconds`, and then ends it."""
    try:
        awaited = work.send(None)
    except StopIteration as finished:
        return finished.value  # type: ignore[no-any-return]
    async with asyncio.timeout(seconds):
        return await _go_on(work, awaited)


@types.coroutine
def _go_on(work: Coroutine[Any, Any, T], awaited: Any) -> Generator[Any, Any, T]:
    """Wait for what `work` waits for, and hand it what comes of that, to its end."""
    while True:
        failure: BaseException | None = None
        try:
            yield awaited
        except GeneratorExit:
            work.close()
            raise
        except BaseException as error:  # noqa: BLE001  it is the work's business, cancellation too
            failure = error
        try:
            awaited = work.send(None) if failure is None else work.throw(failure)
        except StopIteration as finished:
            return finished.value  # type: ignore[no-any-return]
