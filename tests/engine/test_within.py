"""Time limits for work that may wait."""

import asyncio

import pytest

from realtime.engine.eager import within


async def test_work_that_never_waits_is_done_at_once() -> None:
    async def work() -> int:
        return 7

    assert await within(0.0, work()) == 7


async def test_work_that_waits_goes_on_where_it_was() -> None:
    gate: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def work() -> int:
        await asyncio.sleep(0)
        return await gate + await asyncio.shield(gate)

    asyncio.get_running_loop().call_soon(gate.set_result, 4)
    assert await within(5.0, work()) == 8


@pytest.mark.parametrize("waits", [False, True])
async def test_what_work_raises_reaches_the_caller(waits: bool) -> None:
    async def work() -> None:
        if waits:
            await asyncio.sleep(0)
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await within(5.0, work())


async def test_what_is_awaited_may_fail_and_be_handled() -> None:
    gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def work() -> str:
        try:
            await gate
        except LookupError:
            await asyncio.sleep(0)
        return "handled"

    asyncio.get_running_loop().call_soon(gate.set_exception, LookupError())
    assert await within(5.0, work()) == "handled"


async def test_work_that_waits_too_long_is_ended() -> None:
    ended = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            ended.append("tidied up")
            raise

    with pytest.raises(TimeoutError):
        await within(0.01, work())
    assert ended == ["tidied up"]


async def test_who_is_cancelled_while_waiting_is_cancelled() -> None:
    started = asyncio.Event()

    async def work() -> None:
        started.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(within(5.0, work()))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
