"""A notification for many: in pieces, each with few commands, under ids that are taken before.

Whoever is not simple is served alone: whose key was used before, and who has an unread row of the group.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pymongo.errors import BulkWriteError

from realtime.errors import StoreUnavailable
from realtime.models import Content, Principal, Stored, Target
from realtime.store import mongo_rows as rows
from realtime.store.mongo_claims import Keys, Name, turns
from realtime.store.mongo_database import Document
from realtime.store.mongo_publish import MongoPublish
from realtime.store.mongo_readers import BULK_SECONDS

PIECE = 500
"""Rows that are stored with one command."""

FEW = 3
"""So many targets are served one by one."""


@dataclass(frozen=True, slots=True)
class Part:
    """One target of many, and the id that its notification gets if it is new."""

    id: int
    target: Target
    names: Sequence[Name]

    @property
    def user(self) -> Principal:
        return self.target.recipient or ""


class MongoCrowds(MongoPublish):
    """Adds notifications."""

    async def add(
        self,
        targets: Sequence[Target],
        content: Content,
        *,
        sender: Principal | None,
        now: float,
        dedup_key: str | None = None,
        request: str | None = None,
        id: int | None = None,
    ) -> list[Stored]:
        """Raises ValueError for an `id` that was never taken, and for one for several targets."""
        message = rows.Message(content, sender, now)
        keys = Keys(dedup_key, request, sender)
        await self.require(targets, message, keys, id)
        await self.settle_audiences(targets)
        return await self.complete(self._add_all(targets, message, keys, id=id))

    async def _add_all(
        self, targets: Sequence[Target], message: rows.Message, keys: Keys, *, id: int | None
    ) -> list[Stored]:
        """After a failure a repetition finishes what was begun; where none can, what was stored is taken back."""
        ids = [id] if id is not None else await self.take_ids(len(targets))
        parts = [
            Part(taken, target, keys.names(target, turn))
            for taken, (target, turn) in zip(ids, turns(targets), strict=True)
        ]
        try:
            if id is not None:
                return [await self._add_alone(part, message, keeps_id=True) for part in parts]
            pieces = _pieces(parts, alone=bool(keys.dedup_key or message.content.group_key))
            return [stored for piece in pieces for stored in await self._add_piece(piece, message)]
        except StoreUnavailable:
            if not keys and id is None:
                await self.take_back(ids, now=message.now)
            raise

    async def _add_piece(self, parts: Sequence[Part], message: rows.Message) -> list[Stored]:
        if len(parts) <= FEW or parts[0].target.recipient is None:
            return [await self._add_alone(part, message) for part in parts]
        slow = await self._claimed_before(parts, message)
        if message.content.group_key is not None:
            slow |= await self._grouped(parts, message)
        fresh = [self.fresh(part.user, message, part.id) for part in parts if part.id not in slow]
        found = {one["_id"]: one for one in await self.insert_many(fresh)} if fresh else {}
        if message.content.group_key is not None:
            await self._join_groups(found, message)
        await self.trim_many([one["user"] for one in fresh], now=message.now)
        return [
            Stored(rows.notification(found[part.id])) if part.id in found else await self._add_alone(part, message)
            for part in parts
        ]

    async def _add_alone(self, part: Part, message: rows.Message, *, keeps_id: bool = False) -> Stored:
        return await self.add_one(part.target, message, part.names, id=part.id, keeps_id=keeps_id)

    async def _claimed_before(self, parts: Sequence[Part], message: rows.Message) -> set[int]:
        """Claim all keys; returns the ids of those parts of whom somebody had claimed one before."""
        wanted = [(part, name) for part in parts for name in part.names]
        if not wanted:
            return set()
        claims, by = self.collection("dedup", latest=True), self.writer()
        documents = [self.claim_document(name, part.target, part.id, by=by, now=message.now) for part, name in wanted]
        try:
            await self.attempt(lambda: claims.insert_many(documents, ordered=False), within=BULK_SECONDS)
        except BulkWriteError:
            names = [name.text for _, name in wanted]
            mine = {
                one["_id"] for one in await self.found("dedup", {"_id": {"$in": names}, "by": by}, ["_id"], latest=True)
            }
            return {part.id for part, name in wanted if name.text not in mine}
        return set()

    async def _grouped(self, parts: Sequence[Part], message: rows.Message) -> set[int]:
        """Return the ids of those parts whose recipient has an unread row of the group."""
        unread = await self._unread_of_groups([part.user for part in parts], message)
        owners = {one["user"] for one in unread}
        return {part.id for part in parts if part.user in owners}

    async def _join_groups(self, found: dict[int, Document], message: rows.Message) -> None:
        """Let rows take the place of unread ones of their group that came at the same time."""
        unread = await self._unread_of_groups([one["user"] for one in found.values()], message)
        others = {one["user"] for one in unread if one["_id"] not in found}
        for id, one in found.items():
            if one["user"] in others:
                found[id] = await self.without_doubles(one, message)

    async def _unread_of_groups(self, owners: Sequence[Principal], message: rows.Message) -> list[Document]:
        which = {
            "user": {"$in": list(owners)}, "group_key": message.content.group_key, "unread": 1, "gone_at": None,
            "expires_at": {"$gt": message.now},
        }  # fmt: skip
        return await self.found("inbox", which, ["user"], latest=True)


def _pieces(parts: Sequence[Part], *, alone: bool) -> list[list[Part]]:
    """Split parts where somebody is named again (`alone`), and where direct ones and broadcasts meet."""
    pieces: list[list[Part]] = []
    named: set[Principal] = set()
    for part in parts:
        last = pieces[-1] if pieces else []
        same_kind = bool(last) and bool(last[-1].user) == bool(part.user)
        if not same_kind or len(last) >= PIECE or (alone and part.user in named):
            pieces.append([])
            named.clear()
        pieces[-1].append(part)
        named.add(part.user)
    return pieces
