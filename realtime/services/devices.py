"""Device tokens: where push messages of a person may go."""

from realtime.clock import Clock
from realtime.models import Device, Principal
from realtime.store.base import Store


class DeviceService:
    def __init__(self, *, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def register(self, owner: Principal, token: str, platform: str | None) -> None:
        """A token that somebody else had moves: a device belongs to who uses it now."""
        await self._store.register_device(owner, token, platform=platform, now=self._clock())

    async def unregister(self, owner: Principal, token: str | None) -> int:
        """Forget one token, or all of them (None); returns how many."""
        return await self._store.unregister_devices(owner, token)

    async def of(self, owner: Principal) -> list[Device]:
        return await self._store.devices(owner)
