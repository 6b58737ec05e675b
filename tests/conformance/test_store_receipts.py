"""What happened to notifications (`realtime.store.base.ReceiptStore`)."""

from dataclasses import replace

from realtime.models import Receipt, Retention, Trace
from realtime.store.base import RECEIPT_DEVICES, Store
from tests.conformance.conftest import Opener
from tests.conformance.people import ANN, BOB, CY, GUEST, HELLO, TO_ALL, TO_ANN, drafted, send


async def traced(store: Store, id: int, *, limit: int = 100, now: float = 10.0) -> Trace:
    trace = await store.trace(id, limit=limit, now=now)
    assert trace is not None
    assert trace.notification.id == id
    return trace


def numbers(trace: Trace) -> tuple[int, int, int]:
    return trace.recipients, trace.sent, trace.read


async def test_the_first_receipt_of_a_stage_at_a_device_counts(opener: Opener) -> None:
    store = await opener()
    (id,) = await send(store, TO_ANN)
    kept = [
        Receipt(id, "sent", ANN, 2.0, "phone", "ok"),
        Receipt(id, "sent", ANN, 3.0, "tablet"),
        Receipt(id, "sent", ANN, 4.0, None),
        Receipt(id, "acknowledged", ANN, 5.0, "phone"),
        Receipt(id, "seen", ANN, 6.0, "phone"),
        Receipt(id, "read", ANN, 7.0, "phone"),
    ]
    await store.add_receipts(kept[:2])
    await store.add_receipts([replace(one, at=one.at + 50, detail="later") for one in kept[:2]] + kept[2:])
    await store.add_receipts([replace(one, at=0.5) for one in kept])
    await store.add_receipts([])
    await store.close()
    store = await opener()
    assert (await traced(store, id)).receipts == tuple(kept)
    assert (await traced(store, id, limit=2)).receipts == tuple(kept[:2])
    assert (await traced(store, id, limit=0)).receipts == ()


async def test_of_one_stage_a_few_devices_are_kept(opener: Opener) -> None:
    """A client that says another device each time neither fills the database nor hides what others did."""
    store = await opener()
    (id,) = await send(store, TO_ALL)
    many = [Receipt(id, "read", ANN, 2.0 + n, f"device {n}") for n in range(3 * RECEIPT_DEVICES)]
    await store.add_receipts(many[:4])
    await store.add_receipts([replace(one, at=100.0) for one in many[:4]] + many)
    await store.add_receipts(many)
    others = [Receipt(id, "seen", ANN, 200.0, "device 99"), Receipt(id, "read", BOB, 201.0, "device 99")]
    await store.add_receipts([*others, Receipt(id, "read", ANN, 202.0)])
    assert (await traced(store, id)).receipts == (*many[:RECEIPT_DEVICES], *others)


async def test_one_more_notification_has_devices_of_its_own(store: Store) -> None:
    ids = await send(store, TO_ANN, TO_ANN)
    devices = [f"device {n}" for n in range(RECEIPT_DEVICES)]
    await store.add_receipts([Receipt(id, "sent", ANN, 2.0, device) for id in ids for device in (*devices, "more")])
    for id in ids:
        assert [one.device for one in (await traced(store, id)).receipts] == devices


async def test_a_direct_row_is_for_one(store: Store) -> None:
    (id,) = await send(store, TO_ANN)
    assert numbers(await traced(store, id)) == (1, 0, 0)
    await store.add_receipts([Receipt(id, "sent", ANN, 2.0, device) for device in ("phone", "tablet")])
    assert numbers(await traced(store, id)) == (1, 1, 0)
    await store.set_read(ANN, id, True, now=3.0)
    trace = await traced(store, id)
    assert (numbers(trace), trace.retracted_at) == ((1, 1, 1), None)


async def test_a_broadcast_is_for_those_who_see_it(store: Store) -> None:
    for reader in (ANN, BOB, CY, GUEST):
        await store.open_membership(reader, "all", now=1.0)
    target = replace(TO_ALL, excluded=frozenset({GUEST}))
    (stored,) = await store.add([target], HELLO, sender=CY, now=2.0)
    id = stored.notification.id
    await store.open_membership("user:9", "all", now=3.0)
    assert numbers(await traced(store, id)) == (3, 0, 0)
    await store.add_receipts([Receipt(id, "sent", reader, 3.0, "phone") for reader in (ANN, BOB)])
    await store.set_read(ANN, id, True, now=4.0)
    assert await store.mark_all_read(CY, up_to=None, now=4.0) == 1
    trace = await traced(store, id)
    assert numbers(trace) == (3, 2, 2)
    assert trace.notification == stored.notification
    await store.set_read(ANN, id, False, now=5.0)
    assert numbers(await traced(store, id)) == (3, 2, 1)


async def test_expired_and_retracted_ones_can_be_traced(store: Store) -> None:
    soon = replace(HELLO, expires_at=20.0)
    ids = await send(store, TO_ANN, TO_ALL, content=soon)
    for id in ids:
        assert (await traced(store, id, now=30.0)).notification.content == soon
    (gone,) = await send(store, TO_ALL, now=5.0)
    await store.retract(gone, now=6.0)
    assert (await traced(store, gone)).retracted_at == 6.0


async def test_what_there_is_not_cannot_be_traced(store: Store) -> None:
    (draft,) = await drafted(store, TO_ANN)
    for id in (draft.id, 999, 0, -1, 2**70):
        assert await store.trace(id, limit=10, now=2.0) is None


async def test_receipts_are_swept(store: Store) -> None:
    (id,) = await send(store, TO_ANN)
    late = Receipt(id, "read", ANN, 1000.0)
    await store.add_receipts([Receipt(id, "sent", ANN, 1.0), Receipt(id, "sent", ANN, 2.0, "phone"), late])
    assert await store.sweep(now=500.0 + Retention().receipts) == {"receipts": 2}
    assert (await traced(store, id)).receipts == (late,)
