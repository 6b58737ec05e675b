"""Responses remembered for repeated requests. Of several processes the one whose insertion succeeds has the claim."""

import secrets
from contextlib import suppress

from pymongo import ASCENDING, IndexModel
from pymongo.errors import DuplicateKeyError

from realtime.models import Principal, Replay
from realtime.store.base import CLAIM_SECONDS, IDEMPOTENCY_SECONDS
from realtime.store.documents import key as joined
from realtime.store.mongo_database import Document, MongoDatabase, moment

GRACE_SECONDS = 86400
"""How long a server waits to remove what has expired by its own clock; sweeps go by ours."""

INDEXES = (
    ("requests", IndexModel([("expires_at", ASCENDING)])),
    ("requests", IndexModel([("principal", ASCENDING)])),
    ("requests", IndexModel([("ends", ASCENDING)], expireAfterSeconds=GRACE_SECONDS)),
)


class MongoRequests(MongoDatabase):
    """Implements `IdempotencyStore` of `realtime.store.base`."""

    async def begin_request(self, principal: Principal, key: str, fingerprint: str, *, now: float) -> Replay | None:
        id, claim = joined(principal, key), secrets.token_hex(8)
        requests = self.collection("requests", latest=True)
        mine = {
            "principal": principal, "key": key, "fingerprint": fingerprint, "status": None, "body": b"",
            "claim": claim, "claimed_until": now + CLAIM_SECONDS,
            "expires_at": now + IDEMPOTENCY_SECONDS, "ends": moment(now + IDEMPOTENCY_SECONDS),
        }  # fmt: skip
        while True:
            with suppress(DuplicateKeyError):
                await self.attempt(lambda: requests.insert_one({"_id": id, **mine}))
                return None
            found = await self.attempt(lambda: requests.find_one({"_id": id}))
            if found is None:
                continue
            if found["claim"] == claim:  # the answer was lost
                return None
            if not _free(found, fingerprint, now):
                return Replay(found["fingerprint"], found["status"], bytes(found["body"]))
            if await self._take_request_over(found, mine):
                return None

    async def finish_request(self, principal: Principal, key: str, *, status: int, body: bytes) -> None:
        """Of two processes that both had the claim, as the first took too long, the one that ends first answers."""
        requests, running = self.collection("requests"), {"_id": joined(principal, key), "status": None}
        await self.attempt(lambda: requests.update_one(running, {"$set": {"status": status, "body": body}}))

    async def forget_request(self, principal: Principal, key: str) -> None:
        requests, running = self.collection("requests"), {"_id": joined(principal, key), "status": None}
        await self.attempt(lambda: requests.delete_one(running))

    async def sweep_requests(self, *, now: float) -> int:
        """Remove what has expired; returns how many."""
        requests = self.collection("requests")
        done = await self.attempt(lambda: requests.delete_many({"expires_at": {"$lte": now}}))
        return int(done.deleted_count)

    async def _take_request_over(self, request: Document, mine: Document) -> bool:
        """Make a free claim ours. False when somebody was faster, or the answer was lost."""
        requests = self.collection("requests")
        was = {"_id": request["_id"], "claim": request["claim"], "status": request["status"]}
        done = await self.attempt(lambda: requests.update_one(was, {"$set": mine}))
        return bool(done.matched_count)


def _free(request: Document, fingerprint: str, now: float) -> bool:
    """What was not finished may have stored something: only the same request goes on with it."""
    unfinished = request["status"] is None and request["claimed_until"] <= now
    return bool((unfinished and request["fingerprint"] == fingerprint) or request["expires_at"] <= now)
