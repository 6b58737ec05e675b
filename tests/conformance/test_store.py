"""What every store promises about itself (`realtime.store.base`)."""

import asyncio
from dataclasses import replace

import pytest

from realtime.errors import StoreUnavailable
from realtime.store.base import DEDUP_SECONDS, Store
from tests.conformance.conftest import Opener
from tests.conformance.people import ANN, HELLO, TO_ALL, TO_ANN, listed, send, swept


async def test_sweep_removes_what_has_expired_and_says_how_much(store: Store, crowd: int) -> None:
    await store.open_membership(ANN, "all", now=1.0)
    soon = replace(HELLO, expires_at=10.0)
    ids = await send(store, *[TO_ANN] * crowd, TO_ALL, content=soon)
    kept = await send(store, TO_ANN, TO_ALL)
    await store.set_read(ANN, ids[-1], True, now=2.0)
    assert await store.sweep(now=9.0) == {}
    assert await swept(store, now=10.0) == crowd + 1
    assert await store.sweep(now=10.0) == {}
    (told,) = await store.sweeps(10)
    assert (told.at, sum(told.removed.values())) == (10.0, crowd + 1)
    assert await listed(store, ANN, now=5.0) == kept[::-1]
    await store.add([TO_ANN], HELLO, sender=None, now=1.0, dedup_key="k")
    await store.begin_request(ANN, "k", "f", now=1.0)
    assert await store.sweep(now=DEDUP_SECONDS - 1.0) == {}
    assert await store.sweep(now=DEDUP_SECONDS + 2.0) == {"dedup_keys": 1, "responses": 1}


async def test_check_passes_on_a_healthy_database(store: Store) -> None:
    await store.check()
    await store.check()


async def test_close_commits_what_is_queued(opener: Opener) -> None:
    store = await opener()
    adding = [asyncio.ensure_future(send(store, TO_ANN)) for _ in range(50)]
    await asyncio.sleep(0)
    await store.close()
    await store.close()
    ids = [id for (id,) in await asyncio.gather(*adding)]
    for call in (store.check(), store.unread_count(ANN, now=1.0), send(store, TO_ANN)):
        with pytest.raises(StoreUnavailable):
            await call
    store = await opener()
    assert sorted(await listed(store, ANN)) == sorted(ids)


async def test_a_store_that_is_not_open_is_unavailable(opener: Opener) -> None:
    with pytest.raises(StoreUnavailable):
        await opener.make().unread_count(ANN, now=1.0)


async def test_a_cancelled_caller_does_not_hurt_the_others(store: Store) -> None:
    tasks = [asyncio.ensure_future(send(store, TO_ANN)) for _ in range(20)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    done = await asyncio.gather(*tasks, return_exceptions=True)
    answered = {one[0] for one in done if isinstance(one, list)}
    assert len(answered) == 10
    assert answered <= set(await listed(store, ANN))
