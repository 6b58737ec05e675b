"""Counting again, by the rules of the inbox."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from realtime.models import Content, LogFacts, MarkFacts, Notification, Principal, ReaderFacts, Sweep, Target
from realtime.services.recount import naive_unread, recount
from realtime.store.sqlite import SqliteStore

ANN: Principal = "user:ann"
NOW = 100.0
TO_ANN = Target(recipient=ANN)
ROOM = Target(audience="room:a")
LATE = Target(audience="room:a", late_join=True)


def row(id: int, target: Target = TO_ANN, **more: Any) -> Notification:
    content = Content("info", "t", "m", expires_at=more.pop("expires_at", None))
    return Notification(id, target, content, None, 1.0, 1.0, **more)


def entry(seq: int, target: Target = ROOM, *, retracted: bool = False, **more: Any) -> LogFacts:
    return LogFacts(seq, row(1000 + seq, target, **more), retracted)


def facts(*rows: Notification, **more: Any) -> ReaderFacts:
    given: dict[str, Any] = {"unread": 0, "intervals": (("room:a", 0, None),), "read_upto": 0, "marks": {}, **more}
    return ReaderFacts(reader=ANN, rows=rows, **given)


@pytest.mark.parametrize(
    ("more", "counts"),
    [
        ({}, 1),
        ({"read_at": 5.0}, 0),
        ({"seen_at": 5.0}, 1),
        ({"expires_at": NOW}, 0),
        ({"expires_at": NOW + 1}, 1),
        ({"archived_at": 5.0}, 0),
        ({"snoozed_until": NOW + 1}, 0),
        ({"snoozed_until": NOW}, 1),
    ],
)
def test_direct_rows(more: dict[str, Any], counts: int) -> None:
    assert naive_unread(facts(row(1, **more)), [], NOW) == counts


@pytest.mark.parametrize(
    ("one", "about", "counts"),
    [
        (entry(3), {}, 1),
        (entry(3, retracted=True), {}, 0),
        (entry(3, expires_at=NOW), {}, 0),
        (entry(3, replace(ROOM, excluded=frozenset({ANN}))), {}, 0),
        (entry(3, Target(audience="room:b")), {}, 0),
        (entry(3), {"read_upto": 3}, 0),
        (entry(3), {"read_upto": 2}, 1),
        (entry(3), {"intervals": (("room:a", 3, None),)}, 0),
        (entry(3), {"intervals": (("room:a", 2, 3),)}, 1),
        (entry(3), {"intervals": (("room:a", 1, 2),)}, 0),
        (entry(3), {"intervals": (("room:a", 5, 5),)}, 0),
        (entry(3, LATE), {"intervals": (("room:a", 3, None),)}, 1),
        (entry(3, LATE), {"intervals": (("room:a", 3, 4),)}, 0),
        (entry(3, LATE), {"read_upto": 9}, 1),
        (entry(3), {"marks": {3: MarkFacts(None, None)}, "read_upto": 9}, 1),
        (entry(3), {"marks": {3: MarkFacts(5.0, 5.0)}}, 0),
        (entry(3), {"marks": {3: MarkFacts(None, None, hidden=True)}}, 0),
        (entry(3), {"marks": {3: MarkFacts(None, None, archived_at=5.0)}}, 0),
        (entry(3), {"marks": {3: MarkFacts(None, None, snoozed_until=NOW + 1)}}, 0),
        (entry(3), {"marks": {3: MarkFacts(None, None, snoozed_until=NOW)}}, 1),
    ],
)
def test_broadcasts(one: LogFacts, about: dict[str, Any], counts: int) -> None:
    assert naive_unread(facts(**about), [one], NOW) == counts


def test_everything_together() -> None:
    found = facts(row(1), row(2, read_at=1.0), marks={2: MarkFacts(1.0, 1.0)}, read_upto=1)
    assert naive_unread(found, [entry(1), entry(2), entry(3), entry(4)], NOW) == 3


class Facts:
    """A store of which only the facts are asked. `unread` are what it says, each time, the last again and again."""

    def __init__(self, unread: dict[Principal, list[int]]) -> None:
        self.unread = unread
        self.looks: list[Principal] = []

    async def sweeps(self, limit: int) -> list[Sweep]:
        return []

    async def readers_after(self, reader: Principal, limit: int) -> list[Principal]:
        return sorted(one for one in self.unread if one > reader)[:2]

    async def reader_facts(self, reader: Principal, *, now: float) -> ReaderFacts:
        self.looks.append(reader)
        said = self.unread[reader]
        return replace(facts(row(1)), reader=reader, unread=said.pop(0) if len(said) > 1 else said[0])

    async def log_facts(self) -> list[LogFacts]:
        return []


async def test_everybody_is_counted_once_in_order() -> None:
    store = Facts({f"user:{id}": [1] for id in "abcde"})
    assert [one async for one in recount(store, lambda: NOW)] == [(f"user:{id}", 1, 1) for id in "abcde"]
    assert store.looks == sorted(store.unread)


async def test_only_those_who_are_named() -> None:
    store = Facts({f"user:{id}": [1] for id in "abc"})
    assert [one async for one in recount(store, lambda: NOW, ["user:b"])] == [("user:b", 1, 1)]


async def test_a_difference_is_looked_at_three_times() -> None:
    store = Facts({"user:a": [7], "user:b": [7, 7, 1], "user:c": [1]})
    found = [one async for one in recount(store, lambda: NOW)]
    assert found == [("user:a", 7, 1), ("user:b", 1, 1), ("user:c", 1, 1)]
    assert store.looks == ["user:a"] * 3 + ["user:b"] * 3 + ["user:c"]


async def test_a_real_inbox_is_counted_alike(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "test.db")
    await store.open()
    try:
        await store.open_membership(ANN, "room:a", now=1.0)
        content, ends = Content("info", "t", "m"), Content("info", "t", "m", expires_at=50.0)
        made = []
        for target in (TO_ANN, ROOM):
            made += [(await store.add([target], content, sender=None, now=2.0))[0].notification.id for _ in range(6)]
            await store.add([target], ends, sender=None, now=2.0)
        await store.mark_all_read(ANN, up_to=made[6], now=3.0)
        for id in (made[0], made[6], made[7], made[8]):
            await store.set_read(ANN, id, False, now=4.0)
        await store.set_archived(ANN, made[1], True, now=5.0)
        await store.set_archived(ANN, made[7], True, now=5.0)
        await store.snooze(ANN, made[2], 60.0, now=5.0)
        await store.snooze(ANN, made[9], 600.0, now=5.0)
        await store.delete_notification(ANN, made[8], now=5.0)
        await store.retract(made[10], now=6.0)
        await store.add([LATE], content, sender=None, now=7.0)
        await store.open_membership("user:bob", "room:a", now=8.0)
        counts = {reader: (stored, naive) async for reader, stored, naive in recount(store, lambda: NOW)}
        assert counts.keys() == {ANN, "user:bob"}
        assert counts["user:bob"] == (1, 1)
        assert counts[ANN][0] == counts[ANN][1] > 3
    finally:
        await store.close()
