"""Receipts of notifications: gathered, stored many at a time, and never in the way."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Any, cast

import pytest

from realtime.auth import Identity
from realtime.engine.channel import Session
from realtime.errors import RealtimeError, StoreUnavailable
from realtime.metrics import Metrics
from realtime.models import Content, Notification, Principal, Receipt, Target
from realtime.services import receipts
from realtime.services.receipts import Devices, ReceiptService, Showings
from realtime.store.base import Store
from rooms import names
from rooms.policy import Member, auto_rooms
from tests.services.hotel import RecordingChannel
from tests.support import FakeClock, until

ANN: Principal = "user:ann"


class Kept:
    """A store that keeps receipts; Ann has the notifications 1, 2 and 3."""

    def __init__(self) -> None:
        self.batches: list[list[Receipt]] = []
        self.delivered: list[int] = []
        self.asked = 0
        self.failing = False

    @property
    def all(self) -> list[Receipt]:
        return [one for batch in self.batches for one in batch]

    async def add_receipts(self, given: Sequence[Receipt]) -> None:
        if self.failing:
            raise StoreUnavailable
        self.batches.append(list(given))

    async def visible(self, reader: Principal, ids: Sequence[int], *, now: float) -> list[int]:
        self.asked += 1
        return [id for id in ids if reader == ANN and id in (1, 2, 3)]

    async def set_delivered(self, reader: Principal, ids: Sequence[int], *, now: float) -> None:
        self.delivered += ids


@pytest.fixture
def store() -> Kept:
    return Kept()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
async def service(store: Kept, metrics: Metrics, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> ReceiptService:
    monkeypatch.setattr(receipts, "PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(receipts, "RETRY_SECONDS", 0.0)
    return ReceiptService(store=cast(Store, store), clock=clock, metrics=metrics)


@pytest.fixture
async def working(service: ReceiptService) -> AsyncIterator[ReceiptService]:
    task = asyncio.create_task(service.run())
    yield service
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_what_is_noted_together_is_stored_together(
    working: ReceiptService, store: Kept, clock: FakeClock
) -> None:
    working.note("sent", 1, ANN, "/ websocket 12")
    working.note("read", 1, ANN, at=5.0)
    await until(lambda: store.all)
    assert store.batches == [
        [Receipt(1, "sent", ANN, clock.now, "/ websocket 12"), Receipt(1, "read", ANN, 5.0)],
    ]
    working.note("seen", 2, ANN)
    await until(lambda: len(store.all) == 3)


async def test_a_database_that_is_away_loses_nothing_and_keeps_the_order(working: ReceiptService, store: Kept) -> None:
    store.failing = True
    for id in (1, 2):
        working.note("sent", id, ANN)
    with pytest.raises(StoreUnavailable):
        await working.flush()
    working.note("sent", 3, ANN)
    store.failing = False
    await until(lambda: len(store.all) == 3)
    assert [one.notification for one in store.all] == [1, 2, 3]


async def test_of_too_many_the_oldest_are_dropped_and_counted(
    store: Kept, metrics: Metrics, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receipts, "MAX_WAITING", 3)
    service = ReceiptService(store=cast(Store, store), clock=clock, metrics=metrics)
    for id in range(5):
        service.note("sent", id, ANN)
    await service.flush()
    assert [one.notification for one in store.all] == [2, 3, 4]
    assert metrics.registry.get_sample_value("roomcast_receipts_dropped_total") == 2


async def test_nobody_pushes_out_what_others_did(
    service: ReceiptService, store: Kept, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receipts, "MAX_WAITING", 5)
    monkeypatch.setattr(receipts, "MAX_WAITING_OF_ONE", 2)
    service.note("read", 1, ANN)
    for id in range(10):
        service.note("acknowledged", id, "user:mallory", "phone")
    service.note("seen", 2, ANN)
    await service.flush()
    assert [(one.reader, one.notification) for one in store.all] == [
        (ANN, 1),
        ("user:mallory", 0),
        ("user:mallory", 1),
        (ANN, 2),
    ]
    assert metrics.registry.get_sample_value("roomcast_receipts_dropped_total") == 8
    service.note("acknowledged", 3, "user:mallory", "phone")
    await service.flush()
    assert store.all[-1].notification == 3


async def test_what_the_database_could_not_take_still_counts_as_its_readers(
    service: ReceiptService, store: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receipts, "MAX_WAITING_OF_ONE", 2)
    store.failing = True
    for id in (1, 2):
        service.note("sent", id, ANN)
    with pytest.raises(StoreUnavailable):
        await service.flush()
    service.note("sent", 3, ANN)
    store.failing = False
    await service.flush()
    assert [one.notification for one in store.all] == [1, 2]


async def test_stopping_stores_what_waits(service: ReceiptService, store: Kept) -> None:
    service.note("sent", 1, ANN)
    await service.stop()
    assert len(store.all) == 1
    store.failing = True
    service.note("sent", 2, ANN)
    await service.stop()
    assert len(store.all) == 1


async def test_only_what_the_reader_can_see_is_acknowledged(service: ReceiptService, store: Kept) -> None:
    assert await service.acknowledge(ANN, [1, 2, 2, 99], "phone") == 2
    assert await service.acknowledge("user:bob", [1], "phone") == 0
    await service.flush()
    assert [(one.notification, one.stage, one.reader, one.device) for one in store.all] == [
        (1, "acknowledged", ANN, "phone"),
        (2, "acknowledged", ANN, "phone"),
    ]
    assert store.delivered == [1, 2]


@pytest.mark.parametrize("device", ["", "x" * 101, "a\nb", "\x00"])
async def test_devices_have_printable_names(service: ReceiptService, device: str) -> None:
    with pytest.raises(RealtimeError):
        await service.acknowledge(ANN, [1], device)


async def test_however_many_are_acknowledged_the_database_is_asked_once(service: ReceiptService, store: Kept) -> None:
    assert await service.acknowledge(ANN, range(1, 501), "phone") == 3
    assert store.asked == 1


async def test_too_many_at_once_are_refused(service: ReceiptService) -> None:
    with pytest.raises(RealtimeError):
        await service.acknowledge(ANN, range(501))


# --- what was shown ---


class Shown:
    """Channels on which notifications are shown, and one on which they are not."""

    def __init__(self, service: ReceiptService, store: Kept) -> None:
        self.service, self.store = service, store
        self.root, self.chat = RecordingChannel("/"), RecordingChannel("/ws")
        self.showings = Showings(service, Devices({self.root: "socket.io"}))
        self.row = Notification(7, Target(audience="all"), Content("info", "t", "m"), None, 1.0, 1.0)

    def connect(self, id: str, sid: str, channel: RecordingChannel | None = None, **more: Any) -> Session:
        identity = Identity(id, id, False, "user", None, None, frozenset(), issued_at=0.0, expires_at=None)
        member = Member(id=id, guest=False, roles=frozenset({"user"}), audience="user")
        session = Session(sid, identity, member, 0.0, "127.0.0.1", channel or self.root)
        session.channel.admit(session, auto_rooms(member))
        return session

    async def noted(self) -> list[tuple[Principal, str | None]]:
        await self.service.flush()
        assert {(one.notification, one.stage) for one in self.store.all} <= {(7, "sent")}
        return sorted((one.reader, one.device) for one in self.store.all)


@pytest.fixture
def shown(service: ReceiptService, store: Kept) -> Shown:
    return Shown(service, store)


async def test_each_connection_that_was_shown_a_notification_is_noted(shown: Shown) -> None:
    first, second = shown.connect("ann", "secret-1"), shown.connect("ann", "secret-2")
    muted = shown.connect("ann", "secret-3")
    shown.connect("ann", "secret-4", shown.chat)
    spy = shown.connect("root", "secret-5")
    spy.channel.membership.enter(spy.sid, names.personal(ANN))
    shown.showings.shown(shown.row, {names.personal(ANN): "ann"}, frozenset({muted.sid}))
    devices = Devices({shown.root: "socket.io"})
    assert await shown.noted() == sorted((ANN, devices.of(one)) for one in (first, second))
    assert devices.of(first).startswith("/ socket.io ")
    assert devices.of(first) != devices.of(second)
    assert "secret" not in str(shown.store.all)


async def test_what_a_connection_had_missed_is_noted_too(shown: Shown) -> None:
    shown.showings.shown_to(shown.row, shown.connect("ann", "1"))
    shown.showings.shown_to(shown.row, shown.connect("ann", "2", shown.chat))
    assert [reader for reader, _ in await shown.noted()] == [ANN]


async def test_of_very_many_connections_some_are_noted(shown: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receipts, "NOTED_PER_SHOW", 3)
    people = [f"p{number}" for number in range(5)]
    for id in people:
        shown.connect(id, id)
    shown.showings.shown(shown.row, {names.user(id): id for id in people}, frozenset())
    assert [reader for reader, _ in await shown.noted()] == ["user:p0", "user:p1", "user:p2"]
