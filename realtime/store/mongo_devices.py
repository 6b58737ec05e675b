"""Device tokens. `num` rises with each registration, so the order holds when the clock is set back."""

from pymongo import ASCENDING, DESCENDING, IndexModel
from pymongo.errors import DuplicateKeyError

from realtime.models import Device, Principal
from realtime.store.base import MAX_DEVICES
from realtime.store.documents import dumps, key
from realtime.store.mongo_database import Document, MongoDatabase

INDEXES = (("devices", IndexModel([("owner", ASCENDING), ("num", DESCENDING)])),)


class MongoDevices(MongoDatabase):
    """Implements `DeviceStore` of `realtime.store.base`."""

    async def register_device(self, owner: Principal, token: str, *, platform: str | None, now: float) -> None:
        dumps([owner, token, platform])
        devices = self.collection("devices")
        num = await self.take_numbers("device")
        row = {"token": token, "owner": owner, "platform": platform, "registered_at": float(now), "num": num}
        while True:
            try:
                await self.attempt(lambda: devices.update_one({"_id": key(token)}, {"$set": row}, upsert=True))
            except DuplicateKeyError:
                continue  # somebody else registered it for the first time, at the same time
            break
        await self._forget_surplus(owner)

    async def unregister_devices(self, owner: Principal, token: str | None) -> int:
        devices = self.collection("devices")
        which: Document = {"owner": owner} if token is None else {"_id": key(token), "owner": owner}
        done = await self.attempt(lambda: devices.delete_many(which))
        return int(done.deleted_count)

    async def devices(self, owner: Principal) -> list[Device]:
        found = await self._newest_devices(owner, skip=0)
        return [Device(one["token"], one["owner"], one["platform"], one["registered_at"]) for one in found]

    async def _newest_devices(self, owner: Principal, *, skip: int) -> list[Document]:
        devices = self.collection("devices", latest=bool(skip))
        cursor = devices.find({"owner": owner}).sort("num", DESCENDING)
        return await self.attempt(lambda: cursor.clone().skip(skip).limit(MAX_DEVICES).to_list(None))

    async def _forget_surplus(self, owner: Principal) -> None:
        while surplus := await self._newest_devices(owner, skip=MAX_DEVICES):
            await self._forget_devices(owner, up_to=surplus[0]["num"])

    async def _forget_devices(self, owner: Principal, *, up_to: int) -> None:
        devices = self.collection("devices")
        await self.attempt(lambda: devices.delete_many({"owner": owner, "num": {"$lte": up_to}}))
