"""Who holds an audience key, and since and until which broadcast.

A membership opens and closes at the head of the log as its writer knows it. A broadcast that somebody publishes
between that look and the write came while the membership was still open: whoever closes one looks again, and lets it
end with what came meanwhile.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from realtime.models import MembershipChange, Principal, Target
from realtime.store import holding
from realtime.store.broadcasts import Log
from realtime.store.documents import key
from realtime.store.gathering import Gathering
from realtime.store.mongo_database import Document, MongoDatabase
from realtime.store.mongo_log import BY_ID
from realtime.store.mongo_readers import MongoReaders, Step
from realtime.store.reading import Interval, Reader
from realtime.store.users import is_role

AFTER_ALL = "\U0010ffff"

Calls = Sequence[Sequence[MembershipChange]]


@dataclass(frozen=True, slots=True)
class Turned:
    """What changes of one reader did: the audiences whose late-join rows came or went, and the intervals that ended
    at a head of the log."""

    late: frozenset[str]
    ended: tuple[Interval, ...]
    head: int


class MongoMembership(MongoReaders):
    """Memberships as `InboxStore` of `realtime.store.base` has them."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._changes = Gathering(self._change_gathered)
        self._changing = asyncio.Lock()

    async def close(self) -> None:
        self._changes.hand_over()
        await super().close()

    async def readers(self, audience: str) -> list[Principal]:
        await self.settle(lambda change: change.audience == audience, every_token=is_role(audience))
        return sorted(one["_id"] for one in await self.found("readers", {"open": audience}, ["_id"]))

    async def audience_size(self, target: Target, *, limit: int) -> tuple[int, list[Principal]]:
        if target.recipient is not None:
            return 1, [target.recipient][:limit]
        await self.settle(lambda change: change.audience == target.audience, every_token=is_role(target.audience))
        documents = self.collection("readers")
        which: Document = {"open": target.audience}
        if target.excluded:
            which["_id"] = {"$nin": sorted(target.excluded)}
        total = await self.attempt(lambda: documents.count_documents(which))
        if limit <= 0:
            return total, []
        found = await self.found("readers", which, ["_id"], order=BY_ID, limit=limit)
        return total, [one["_id"] for one in found]

    async def open_memberships(self, prefix: str) -> list[tuple[Principal, str]]:
        await self.settle(lambda change: change.audience.startswith(prefix))
        found = await self.found("readers", {"open": {"$gte": prefix, "$lt": prefix + AFTER_ALL}}, ["open"])
        return [(one["_id"], audience) for one in found for audience in one["open"] if audience.startswith(prefix)]

    async def audiences_of(self, reader: Principal, prefix: str) -> list[str]:
        await self.settle_reader(reader)
        held = (await self.reader(reader)).intervals
        return sorted({one.audience for one in held if not one.dropped and one.audience.startswith(prefix)})

    async def open_membership(self, reader: Principal, audience: str, *, now: float) -> bool:
        return reader in await self._changes.add([MembershipChange(reader, audience, open=True)])

    async def close_membership(self, reader: Principal, audience: str, *, now: float) -> None:
        await self._changes.add([MembershipChange(reader, audience, open=False)])

    async def drop_membership(self, reader: Principal, audience: str) -> None:
        await self.settle_reader(reader)
        await self.drop_now(reader, audience)

    async def drop_now(self, reader: Principal, audience: str) -> None:
        await self.complete(self._drop(reader, audience))

    def change_memberships(
        self, changes: Sequence[MembershipChange], *, now: float
    ) -> asyncio.Future[frozenset[Principal]]:
        return self._changes.add(changes)

    def ask_first(self, ask: Callable[[str, bool], asyncio.Future[Any] | None]) -> None:
        """Other processes may publish here."""

    async def settle(self, concerns: Callable[[MembershipChange], bool], *, every_token: bool = False) -> None:
        """Let what is asked now come after the changes of memberships, and the tokens, that it depends on."""
        await self.settle_changes(concerns)

    async def settle_changes(self, concerns: Callable[[MembershipChange], bool]) -> None:
        await self._changes.settle(lambda changes: any(map(concerns, changes)))

    async def settle_reader(self, *readers: Principal) -> None:
        await self.settle(lambda change: change.reader in readers)

    async def change_together(self, changes: Sequence[MembershipChange]) -> frozenset[Principal]:
        """Do changes now, in order; returns the readers whose late-join rows came or went."""
        return (await self.complete(self._change([changes])))[0]

    def _change_gathered(self, calls: Calls) -> asyncio.Future[Sequence[frozenset[Principal]]]:
        return asyncio.ensure_future(self.complete(self._in_turn(calls)))

    async def _in_turn(self, calls: Calls) -> Sequence[frozenset[Principal]]:
        async with self._changing:
            return await self._change(calls)

    async def _change(self, calls: Calls) -> list[frozenset[Principal]]:
        """Do what all calls want, in order, each reader's in one write."""
        wanted: dict[Principal, list[MembershipChange]] = defaultdict(list)
        named = await self._named([one for call in calls for one in call])
        for call in calls:
            for one in call:
                if (one.unless_named, one.reader) not in named or one.open:
                    wanted[one.reader].append(one)
        steps = {reader: _step(changes) for reader, changes in wanted.items()}
        if len(steps) == 1:
            turned = {reader: await self.change_reader(reader, step) for reader, step in steps.items()}
        else:
            turned = await self.change_readers(steps)
        await self._prolong({reader: one for reader, one in turned.items() if one.ended})
        return [
            frozenset(one.reader for one in call if one.reader in turned and one.audience in turned[one.reader].late)
            for call in calls
        ]

    async def _named(self, changes: Sequence[MembershipChange]) -> set[tuple[tuple[str, str] | None, Principal]]:
        """Return (row, principal) of those that business rows name, of the rows that changes ask about."""
        asked = {key(*one.unless_named): one.unless_named for one in changes if one.unless_named is not None}
        if not asked:
            return set()
        found = await self.found("entities", {"_id": {"$in": list(asked)}}, ["names"], latest=True)
        return {(asked[one["_id"]], f"user:{name}") for one in found for name in one["names"]}

    async def _drop(self, reader: Principal, audience: str) -> None:
        def step(before: Reader, log: Log) -> tuple[Reader, Turned]:
            after = holding.dropped(before, audience)
            return after, _turned(before, after, log)

        await self._prolong({reader: await self.change_reader(reader, step)})

    async def _prolong(self, turned: Mapping[Principal, Turned]) -> None:
        """Let intervals end with what was published before they did."""
        if not turned:
            return
        log = await self.log()
        for reader, one in turned.items():
            for ended in one.ended:
                seq = log.last(ended.audience)
                if seq > one.head:
                    await self.change_reader(reader, _prolonging(ended, seq))


def _step(changes: Iterable[MembershipChange]) -> Step[Turned]:
    def step(before: Reader, log: Log) -> tuple[Reader, Turned]:
        after = before
        late = set()
        for change in changes:
            left = holding.changed(after, change, log)
            if left is not after and log.waits_late(change.audience):
                late.add(change.audience)
            after = left
        turned = _turned(before, after, log)
        return after, Turned(frozenset(late), turned.ended, turned.head)

    return step


def _turned(before: Reader, after: Reader, log: Log) -> Turned:
    known = set(before.intervals)
    return Turned(frozenset(), tuple(one for one in after.intervals if not one.open and one not in known), log.head)


def _prolonging(ended: Interval, seq: int) -> Step[None]:
    return lambda before, _: (holding.prolonged(before, ended, seq), None)


async def open_many(db: MongoDatabase, pairs: Sequence[tuple[Principal, str]], *, now: float) -> None:
    """Open memberships of many readers."""
    await change(db, [MembershipChange(reader, audience, open=True) for reader, audience in pairs], now=now)


async def change(db: MongoDatabase, changes: Sequence[MembershipChange], *, now: float) -> None:
    """Open and close in the given order, after what `change_memberships` was asked before."""
    store, readers = cast(MongoMembership, db), {one.reader for one in changes}
    await store.settle_changes(lambda other: other.reader in readers)
    await store.change_together(changes)


async def drop(db: MongoDatabase, reader: Principal, audience: str, *, now: float) -> None:
    """As `change`."""
    store = cast(MongoMembership, db)
    await store.settle_changes(lambda other: other.reader == reader)
    await store.drop_now(reader, audience)
