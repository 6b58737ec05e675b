"""Which id a notification gets that may be asked for again: claimed before its row is stored.

Who finds a claim without its row finishes what was begun, under the same id; so nothing is lost when a process ends
in between, and nothing is stored twice.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from pymongo import ASCENDING, IndexModel
from pymongo.errors import DuplicateKeyError

from realtime.models import Principal, Target
from realtime.store.base import DEDUP_SECONDS, IDEMPOTENCY_SECONDS
from realtime.store.documents import key
from realtime.store.mongo_database import Document
from realtime.store.mongo_inbox import MongoInbox

INDEXES = (
    ("dedup", IndexModel([("expires_at", ASCENDING)])),
    ("dedup", IndexModel([("user", ASCENDING)])),
    ("dedup", IndexModel([("row", ASCENDING)])),
    ("dedup", IndexModel([("sender", ASCENDING)])),
)


@dataclass(frozen=True, slots=True)
class Name:
    """What a claim is known by, and for how many seconds. `of_request`: by an attempt of the same request.

    `sender` is whom the text names besides the target.
    """

    text: str
    seconds: float
    of_request: bool
    sender: Principal | None = None


@dataclass(frozen=True, slots=True)
class Keys:
    """What makes a notification one that may have been asked for before. A dedup key is that of its sender."""

    dedup_key: str | None = None
    request: str | None = None
    sender: Principal | None = None

    def __bool__(self) -> bool:
        return self.dedup_key is not None or self.request is not None

    def names(self, target: Target, turn: int = 0) -> list[Name]:
        """Return the names of its claims. A request may name a target twice and means two rows; `turn` says which."""
        whom = ("to", target.recipient) if target.audience is None else ("at", target.audience)
        names = []
        if self.request is not None:
            names.append(Name(key("request", *whom, self.request, turn), IDEMPOTENCY_SECONDS, True))
        if self.dedup_key is not None:
            text = key("dedup", *whom, self.sender, self.dedup_key)
            names.append(Name(text, DEDUP_SECONDS, False, self.sender))
        return names


def turns(targets: Sequence[Target]) -> Iterator[tuple[Target, int]]:
    """Yield each target and how often it has come before."""
    before: Counter[str] = Counter()
    for target in targets:
        name = f"to {target.recipient}" if target.audience is None else f"at {target.audience}"
        yield target, before[name]
        before[name] += 1


@dataclass(frozen=True, slots=True)
class Claim:
    """An id for a notification. `mine`: nobody has claimed one before."""

    id: int
    at: float
    mine: bool


class MongoClaims(MongoInbox):
    """Claims ids."""

    async def claim(self, name: Name, target: Target, id: int, *, now: float) -> Claim:
        """Claim a key for a notification, or return who has it."""
        claims, by = self.collection("dedup", latest=True), self.writer()
        mine = self.claim_document(name, target, id, by=by, now=now)
        while True:
            try:
                await self.attempt(lambda: claims.insert_one(mine))
            except DuplicateKeyError:
                found = await self.attempt(lambda: claims.find_one({"_id": name.text}))
            else:
                return Claim(id, now, True)
            if found is None:
                continue
            if found["expires_at"] > now:
                return Claim(found["row"], found["at"], found["by"] == by)
            was = {"_id": name.text, "by": found["by"]}
            await self.attempt(partial(claims.replace_one, was, mine))

    def claim_document(self, name: Name, target: Target, id: int, *, by: str, now: float) -> Document:
        until = now + name.seconds
        return {
            "_id": name.text, "row": id, "user": target.recipient, "sender": name.sender,
            "at": now, "expires_at": until, "by": by,
        }  # fmt: skip

    async def reclaim(self, names: Sequence[Name], id: int, row: int) -> None:
        """Let claims of an id be of the row that its notification has become a part of."""
        claims = self.collection("dedup")
        which = {"_id": {"$in": [name.text for name in names]}, "row": id}
        await self.attempt(lambda: claims.update_many(which, {"$set": {"row": row}}))

    async def release(self, id: int) -> None:
        """Free the keys of something that will never be anything."""
        claims = self.collection("dedup")
        await self.attempt(lambda: claims.delete_many({"row": id}))

    async def sweep_claims(self, *, now: float) -> int:
        claims = self.collection("dedup")
        done = await self.attempt(lambda: claims.delete_many({"expires_at": {"$lte": now}}))
        return int(done.deleted_count)
