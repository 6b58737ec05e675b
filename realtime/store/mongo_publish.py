"""How a notification comes into being: a few writes, each of which may be done again without harm.

The id comes first. With a dedup key or the name of a request it is claimed (`mongo_claims`), then the row is stored
under it, or becomes a part of the unread row of its group (`mongo_groups`).
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from realtime.errors import StoreUnavailable
from realtime.models import Notification, Principal, Stored, Target
from realtime.store import mongo_rows as rows
from realtime.store.documents import dumps
from realtime.store.mongo_claims import Keys, Name
from realtime.store.mongo_database import BLOCK, Document
from realtime.store.mongo_groups import MongoGroups
from realtime.store.mongo_inbox import NEWEST
from realtime.store.users import is_role

HEAD = "notification"

ROOM_MAX = 100_000
"""Owners of whom a process remembers that they have room for more rows; then it begins anew."""

COUNTED_AT_ONCE = 200
TAKE_BACK_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Earlier:
    """What was asked for before: a row, or a draft that waits. Neither: it was deleted since."""

    row: Notification | None = None
    draft: Document | None = None


@dataclass(frozen=True, slots=True)
class Begun:
    """An id under which a notification is to be stored, unless that was done `earlier`.

    `name` is that of the claim by which somebody else had taken the id, at the time `at`.
    """

    id: int
    name: Name | None
    at: float
    earlier: Earlier | None = None

    @property
    def of_request(self) -> bool:
        return self.name is not None and self.name.of_request


class MongoPublish(MongoGroups):
    """Stores one notification."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._room: dict[Principal, int] = {}

    async def take_id(self) -> int:
        return await self.take_number(HEAD)

    async def require(self, targets: Sequence[Target], message: rows.Message, keys: Keys, id: int | None) -> None:
        """Raise ValueError for targets that are none, and for an id that was not taken for a single one.

        Raises INVALID_PAYLOAD for what is no text.
        """
        said = message.said
        whom = [[target.recipient, target.audience, *target.excluded] for target in targets]
        dumps([said["type"], said["category"], said["group_key"], message.sender, keys.dedup_key, keys.request, whom])
        if any((target.recipient is None) == (target.audience is None) for target in targets):
            raise ValueError("a target has a recipient or an audience")
        if id is None:
            return
        if len(targets) != 1:
            raise ValueError("an id is for a single target")
        if not 0 < id < self._blocks.get(HEAD, (0, 0))[1]:
            heads = self.collection("heads", latest=True)
            head = await self.attempt(lambda: heads.find_one({"_id": HEAD}))
            if id <= 0 or head is None or id > head["value"]:
                raise ValueError("an id is one that take_id gave")

    async def settle_audiences(self, targets: Sequence[Target]) -> None:
        audiences = {target.audience for target in targets}
        await self.settle(lambda change: change.audience in audiences, every_token=any(map(is_role, audiences)))

    async def take_ids(self, count: int) -> list[int]:
        """Return ids that rise, and after which all come that this process takes later."""
        if count <= BLOCK:
            return [await self.take_number(HEAD) for _ in range(count)]
        first = await self.take_numbers(HEAD, count)
        self._blocks.pop(HEAD, None)
        return list(range(first, first + count))

    async def take_back(self, ids: Sequence[int], *, now: float) -> None:
        """Remove what was stored before something failed, if the database answers soon."""
        with suppress(StoreUnavailable, TimeoutError):
            async with asyncio.timeout(TAKE_BACK_SECONDS):
                log = await self.log()
                for id in ids:
                    if log.by_id(id) is not None:
                        await self.end_broadcast(id, at=now, retracted=False)
                which = {"_id": {"$in": list(ids)}, "gone_at": None}
                for row in await self.found("inbox", which, ["user", "rev"], latest=True):
                    await self.bury(row["user"], [row], now=now)

    async def add_one(
        self, target: Target, message: rows.Message, names: Sequence[Name], *, id: int, keeps_id: bool = False
    ) -> Stored:
        """Store one row, or return the one that is there."""
        begun = await self.begin(target, message, names, id=id)
        if begun.earlier is not None:
            return self.told(begun, begun.earlier, target, message)
        stored = await self.put(target, message, names, id=begun.id, keeps_id=keeps_id)
        return replace(stored, repeated=stored.duplicate and begun.of_request)

    async def begin(self, target: Target, message: rows.Message, names: Sequence[Name], *, id: int) -> Begun:
        """Claim the names for an id. One that somebody else has claimed and not used is the id from then on."""
        begun = Begun(id, None, message.now)
        for name in names:
            claim = await self.claim(name, target, begun.id, now=message.now)
            if claim.mine or (begun.name is not None and claim.id == begun.id):
                continue
            begun = Begun(claim.id, name, claim.at, await self.earlier(claim.id, target, message))
            if begun.earlier is not None:
                break
        return begun

    def told(self, begun: Begun, earlier: Earlier, target: Target, message: rows.Message) -> Stored:
        """Return a row that was stored before. One deleted since is told again from the repeated request."""
        row = earlier.row or rows.Message(message.content, message.sender, begun.at).row(begun.id, target)
        return Stored(row, duplicate=True, repeated=begun.of_request)

    async def earlier(self, id: int, target: Target, message: rows.Message) -> Earlier | None:
        """Return what an id has become; None when nothing was stored yet."""
        if target.recipient is None:
            found = (await self.log()).by_id(id)
            if found is not None:
                return Earlier(found.notification)
        elif there := await self.stored(id) or await self.part_of(target.recipient, message, id):
            return Earlier(rows.notification(there) if there["gone_at"] is None else None)
        waiting = await self.waiting(id)
        return None if waiting is None else Earlier(draft=waiting)

    async def waiting(self, id: int) -> Document | None:
        """Return a draft."""
        if not 0 < id <= rows.ID_MAX:
            return None
        documents = self.collection("drafts", latest=True)
        return await self.attempt(lambda: documents.find_one({"_id": id}))

    async def put(
        self, target: Target, message: rows.Message, names: Sequence[Name], *, id: int, keeps_id: bool
    ) -> Stored:
        """Store a row. With `keeps_id` it takes the place of the unread one of its group under its own id."""
        if target.recipient is None:
            row, new = await self.publish(id, target, message)
            return Stored(row, duplicate=not new)
        async with self.lock(f"inbox {target.recipient}"):
            document, new = await self.put_direct(target.recipient, message, id=id, keeps_id=keeps_id)
            if names and document["_id"] != id:
                await self.reclaim(names, id, document["_id"])
        if document["gone_at"] is not None:
            return Stored(message.row(id, target), duplicate=True)
        if new:
            await self.trim_many([target.recipient], now=message.now)
        return Stored(rows.notification(document), duplicate=not new)

    async def trim_many(self, users: Sequence[Principal], *, now: float) -> None:
        """Keep owners to the limit. Who had room for many lately is not looked at, so that others may add too."""
        if self._retention.max_rows <= 0:
            return
        if len(self._room) > ROOM_MAX:
            self._room.clear()
        for user in users:
            self._room[user] = self._room.get(user, 0) - 1
        full = sorted({user for user in users if self._room[user] < 0})
        for start in range(0, len(full), COUNTED_AT_ONCE):
            some = full[start : start + COUNTED_AT_ONCE]
            counts = await self._row_counts(some)
            for user in some:
                if counts.get(user, 0) > self._retention.max_rows:
                    await self.trim(user, now=now)
                self._room[user] = max(0, self._retention.max_rows - counts.get(user, 0)) // 4

    async def _row_counts(self, users: Sequence[Principal]) -> dict[Principal, int]:
        documents = self.collection("inbox", latest=True)
        which: Document = {"user": {"$in": list(users)}, "gone_at": None}
        steps = [{"$match": which}, {"$group": {"_id": "$user", "rows": {"$sum": 1}}}]
        found = await self.attempt(lambda: documents.aggregate(steps).to_list(None))
        return {one["_id"]: int(one["rows"]) for one in found}

    async def trim(self, user: Principal, *, now: float) -> int:
        """Take the oldest rows away of an owner who has too many; returns how many."""
        most = self._retention.max_rows
        if most <= 0:
            return 0
        which = {"user": user, "gone_at": None}
        surplus = await self.found("inbox", which, ["rev"], order=NEWEST, skip=most, latest=True)
        return await self.bury(user, surplus[::-1], now=now)
