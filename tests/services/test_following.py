"""How streams count what they have shown, whatever the order of times."""

from dataclasses import replace
from typing import Any, cast

import pytest

from realtime.metrics import Metrics
from realtime.models import Content, Counts, Notification, Place, Target
from realtime.places import Cursor, decode, encode
from realtime.publisher import Publisher
from realtime.services.following import Following
from realtime.store.base import Store

READER = "user:7"
NOW = Place(epoch=9, rev=20, log_rev=10, marks=3, at=1000.0)
COUNTS = Counts(unread=2, unseen=1, categories={"info": 2}, revision=33)


class Shelf:
    """A store with an inbox that is at one place."""

    def __init__(self, *rows: Notification, place: Place = NOW) -> None:
        self._rows = rows
        self._place = place

    async def place(self, reader: str, *, now: float) -> Place:
        return self._place

    async def counts(self, readers: list[str], *, now: float) -> dict[str, Counts]:
        return dict.fromkeys(readers, COUNTS)

    async def missed(self, reader: str, since: Place, *, limit: int, now: float) -> list[Notification]:
        """As the promise of a store has it: by time, then id."""
        rev, log_rev = since.heard
        came = [row for row in self._rows if row.rev > (rev if row.target.recipient else log_rev)]
        return sorted(came, key=lambda row: (row.created_at, row.id))[-limit:]


def direct(id: int, rev: int, at: float) -> Notification:
    content = Content(type="info", title=str(id), message="m")
    return Notification(id, Target(recipient=READER), content, None, at, at, rev=rev)


def broadcast(id: int, rev: int, at: float) -> Notification:
    return replace(direct(id, rev, at), target=Target(audience="all"))


def following(*rows: Notification, place: Place = NOW) -> Following:
    store = cast(Store, Shelf(*rows, place=place))
    return Following(store=store, publisher=Publisher([], Metrics()), clock=lambda: 1000.0)


async def test_a_stream_begins_where_the_inbox_is() -> None:
    follower = await following().begin(READER, "")
    assert (follower.place, follower.counts) == (NOW, COUNTS)
    assert decode(follower.id) == Cursor(NOW)


async def test_a_stream_goes_on_where_its_client_has_got_to() -> None:
    earlier = replace(NOW, rev=5, log_rev=2, shown=(7, 2))
    assert (await following().begin(READER, encode(Cursor(earlier)))).place == earlier


@pytest.mark.parametrize(
    "useless",
    [
        replace(NOW, epoch=8),
        replace(NOW, rev=21),
        replace(NOW, log_rev=11),
        replace(NOW, shown=(21, 0)),
    ],
)
async def test_a_place_where_the_inbox_has_never_been_means_now(useless: Place) -> None:
    assert (await following().begin(READER, encode(Cursor(useless)))).place == NOW


async def test_between_pages_of_sync_a_client_knows_what_it_knew_before_them() -> None:
    earlier = replace(NOW, rev=5)
    assert (await following().begin(READER, encode(Cursor(earlier, NOW, 12)))).place == earlier
    assert (await following().begin(READER, encode(Cursor(None, NOW, 12)))).place == NOW


async def test_what_is_shown_moves_a_stream_on_and_keeps_what_its_client_knew() -> None:
    follower = await following().begin(READER, "")
    ids = [follower.shown(row) for row in (direct(1, 21, 5.0), broadcast(2, 11, 4.0), direct(3, 22, 3.0))]
    places = [cursor.since for id in ids if (cursor := decode(id)) is not None]
    assert [place.shown for place in places if place] == [(21, 10), (21, 11), (22, 11)]
    assert {replace(place, shown=None) for place in places if place} == {NOW}


@pytest.mark.parametrize("broken", range(6))
async def test_wherever_it_breaks_nothing_is_lost_or_told_twice_though_the_clock_was_set_back(broken: int) -> None:
    rows = (
        direct(1, 21, 500.0),
        direct(2, 22, 100.0),
        broadcast(3, 11, 300.0),
        broadcast(4, 12, 50.0),
        direct(5, 23, 400.0),
    )
    service = following(*rows, place=replace(NOW, rev=23, log_rev=12))
    first = await service.begin(READER, encode(Cursor(NOW)))
    told: list[Any] = await service.missed(first)
    ids = [first.id, *(first.shown(row) for row in told)]
    again = await service.begin(READER, ids[broken])
    assert await service.missed(again) == told[broken:]
    assert {row.id for row in told} == {1, 2, 3, 4, 5}
    assert [row.rev for row in told if row.target.recipient] == [21, 22, 23]
    assert [row.rev for row in told if row.target.audience] == [11, 12]


async def test_with_a_clock_that_only_goes_on_the_order_is_that_of_time() -> None:
    rows = (direct(1, 21, 10.0), broadcast(2, 11, 20.0), direct(3, 22, 30.0), broadcast(4, 12, 40.0))
    service = following(*rows, place=replace(NOW, rev=22, log_rev=12))
    told = await service.missed(await service.begin(READER, encode(Cursor(NOW))))
    assert [row.id for row in told] == [1, 2, 3, 4]
