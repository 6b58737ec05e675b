"""Copies of a whole database (`backup` and `restore` of `realtime.store.base.Store`)."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from realtime.errors import StoreRefused
from realtime.models import NewMessage, Receipt, Seen, Target
from realtime.store.base import Store
from tests.conformance.conftest import Make, Opener
from tests.conformance.people import ANN, BOB, HELLO, TO_ALL, TO_ANN, drafted, listed, send, unread


async def filled(store: Store) -> list[int]:
    """Put something of each kind into a store; return what Ann sees, newest first."""
    for id in ("1", "2"):
        await store.touch_user(Seen(id, int(id), "user", None, None, 0), now=1.0)
    ids = await send(store, TO_ANN, TO_ALL, TO_ANN)
    await store.set_read(ANN, ids[0], True, now=2.0)
    await store.set_archived(ANN, ids[2], True, now=2.0)
    await drafted(store, TO_ANN)
    await store.add([TO_ANN], HELLO, sender=None, now=2.0, dedup_key="k", request="r")
    await store.add_message(NewMessage("1", "2", "Hi"), now=2.0)
    await store.create_entity("job", lambda id: {"id": id})
    await store.register_device(ANN, "phone", platform=None, now=2.0)
    await store.add_receipts([Receipt(ids[0], "read", ANN, 2.0)])
    return await listed(store, ANN)


async def state(store: Store) -> list[object]:
    return [
        await store.export_user("1"),
        await store.export_user("2"),
        await listed(store, ANN),
        await unread(store, ANN),
        await listed(store, BOB),
        await store.due_drafts(now=1e9, limit=10),
        await store.history("1", "2", before=None, limit=10),
        await store.entity("job", "1"),
        await store.devices(ANN),
        await store.user("1"),
    ]


async def test_a_restored_database_has_what_the_copy_has(
    opener: Opener, new_database: Callable[[], Make], tmp_path: Path
) -> None:
    store = await opener()
    await filled(store)
    before = await state(store)
    here = await store.place(ANN, now=5.0)
    await store.backup(tmp_path / "copy")
    await send(store, TO_ANN, now=6.0)
    for make in (opener.make, new_database()):
        await store.close()
        await make().restore(tmp_path / "copy", replace=make is opener.make)
        store = make()
        opener.stack.push_async_callback(store.close)
        await store.open()
        await store.check()
        assert await state(store) == before
        there = await store.place(ANN, now=5.0)
        assert there.epoch != here.epoch
        assert 0 < there.epoch < 2**53
        assert (await store.changes(ANN, here, limit=100, now=7.0)).reset
        assert await store.changed(ANN, here, now=7.0)
        assert await store.missed(ANN, here, limit=10, now=7.0) == []
        (again,) = await store.add([TO_ANN], HELLO, sender=None, now=7.0, dedup_key="k")
        assert again.duplicate
        new = await send(store, TO_ANN, now=8.0)
        assert new[0] not in before[2]  # type: ignore[operator]


async def test_two_restores_of_one_copy_are_two_databases(opener: Opener, tmp_path: Path) -> None:
    store = await opener()
    epochs = {(await store.place(ANN, now=1.0)).epoch}
    await filled(store)
    await store.backup(tmp_path / "copy")
    for _ in range(2):
        await store.close()
        await opener.make().restore(tmp_path / "copy", replace=True)
        store = await opener()
        epochs.add((await store.place(ANN, now=1.0)).epoch)
    assert len(epochs) == 3


async def test_a_copy_is_of_one_moment_while_others_write(
    opener: Opener, new_database: Callable[[], Make], tmp_path: Path, kind: str
) -> None:
    """Without snapshots in the database, a copy may have one row of two that each writer is just storing."""
    store = await opener()
    await filled(store)

    async def write() -> None:
        for n in range(40):
            await send(store, TO_ANN, Target(recipient=BOB), now=float(n))

    await asyncio.gather(write(), store.backup(tmp_path / "copy"), write())
    make = new_database()
    await make().restore(tmp_path / "copy", replace=False)
    copy = make()
    opener.stack.push_async_callback(copy.close)
    await copy.open()
    rows = [len((await copy.reader_facts(reader, now=1.0)).rows) for reader in (ANN, BOB)]
    assert rows[0] - rows[1] in {"sqlite": (3,), "mongo": (3, 4, 5)}[kind]
    (new,) = await send(copy, TO_ANN)
    assert new not in [row.id for row in (await copy.reader_facts(BOB, now=1.0)).rows]


async def test_a_copy_does_not_overwrite(opener: Opener, tmp_path: Path) -> None:
    store = await opener()
    (tmp_path / "there").write_text("mine")
    with pytest.raises(StoreRefused):
        await store.backup(tmp_path / "there")
    assert (tmp_path / "there").read_text() == "mine"


async def test_a_restore_refuses_what_it_would_destroy(opener: Opener, tmp_path: Path) -> None:
    store = await opener()
    seen = await filled(store)
    await store.backup(tmp_path / "copy")
    (tmp_path / "wrong").write_text("not a backup")
    await store.close()
    refused = [(tmp_path / "copy", False), (tmp_path / "wrong", True), (tmp_path / "missing", True)]
    for path, replace in refused:
        with pytest.raises(StoreRefused):
            await opener.make().restore(path, replace=replace)
    store = await opener()
    assert await listed(store, ANN) == seen


async def test_a_restore_refuses_a_database_that_is_served(opener: Opener, tmp_path: Path) -> None:
    store = await opener()
    seen = await filled(store)
    await store.backup(tmp_path / "copy")
    with pytest.raises(StoreRefused):
        await opener.make().restore(tmp_path / "copy", replace=True)
    assert await listed(store, ANN) == seen
