"""A store on MongoDB, which several processes may serve at the same time.

What each method does is in the mongo_* modules: of the inbox one above the other from `mongo_log` to `mongo_sweep`.
"""

from collections.abc import Callable

from realtime.models import MembershipChange
from realtime.store import (
    mongo_claims,
    mongo_devices,
    mongo_directory,
    mongo_drafts,
    mongo_entities,
    mongo_inbox,
    mongo_log,
    mongo_messages,
    mongo_readers,
    mongo_receipts,
    mongo_requests,
)
from realtime.store.mongo_backup import MongoBackup
from realtime.store.mongo_chat import MongoChat
from realtime.store.mongo_directory import MongoDirectory
from realtime.store.mongo_people import MongoPeople
from realtime.store.mongo_requests import MongoRequests
from realtime.store.mongo_sweep import MongoSweep


class MongoStore(MongoSweep, MongoPeople, MongoDirectory, MongoChat, MongoRequests, MongoBackup):
    """Implements `realtime.store.base.Store`."""

    INDEXES = (
        *mongo_claims.INDEXES,
        *mongo_devices.INDEXES,
        *mongo_directory.INDEXES,
        *mongo_drafts.INDEXES,
        *mongo_entities.INDEXES,
        *mongo_inbox.INDEXES,
        *mongo_log.INDEXES,
        *mongo_messages.INDEXES,
        *mongo_readers.INDEXES,
        *mongo_receipts.INDEXES,
        *mongo_requests.INDEXES,
    )

    async def settle(self, concerns: Callable[[MembershipChange], bool], *, every_token: bool = False) -> None:
        await self.settle_tokens((lambda _: True) if every_token else concerns)
        await super().settle(concerns)

    async def sweep_more(self, *, now: float) -> dict[str, int]:
        return {"receipts": await self.sweep_receipts(now=now), "responses": await self.sweep_requests(now=now)}
