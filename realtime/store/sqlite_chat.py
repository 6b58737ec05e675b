"""Who runs what sqlite_messages and sqlite_devices do: the methods of `MessageStore` and `DeviceStore`."""

from collections.abc import Sequence

from realtime.models import Conversation, Device, Message, NewMessage, Principal, StoredMessage
from realtime.store import sqlite_devices as devices
from realtime.store import sqlite_messages as messages
from realtime.store.sqlite_database import SqliteDatabase


class SqliteChat(SqliteDatabase):
    """Implements `MessageStore` and `DeviceStore` of `realtime.store.base`."""

    async def add_message(self, new: NewMessage, *, now: float) -> StoredMessage:
        return await self._write(lambda db: messages.add(db, new, now=now))

    async def message(self, id: int) -> Message | None:
        return await self._read(lambda db: messages.message(db, id))

    async def read_message(self, id: int, reader: str, *, now: float) -> tuple[Message, bool] | None:
        return await self._write(lambda db: messages.read(db, id, reader, now=now))

    async def read_conversation(
        self, reader: str, other: str, *, up_to: int | None, now: float, limit: int = 500
    ) -> list[Message]:
        return await self._write(
            lambda db: messages.read_conversation(db, reader, other, up_to=up_to, now=now, limit=limit)
        )

    async def set_messages_delivered(self, ids: Sequence[int], *, now: float) -> list[Message]:
        return await self._write(lambda db: messages.set_delivered(db, ids, now=now))

    async def set_message_notification(self, id: int, notification: int) -> None:
        await self._write(lambda db: messages.set_notification(db, id, notification))

    async def undelivered_messages(self, receiver: str, *, limit: int) -> list[Message]:
        return await self._read(lambda db: messages.undelivered(db, receiver, limit=limit))

    async def conversations(self, user: str, *, limit: int, offset: int) -> tuple[list[Conversation], int]:
        return await self._read(lambda db: messages.conversations(db, user, limit=limit, offset=offset))

    async def history(self, user: str, other: str, *, before: int | None, limit: int) -> list[Message]:
        return await self._read(lambda db: messages.history(db, user, other, before=before, limit=limit))

    async def search_messages(
        self, user: str, text: str, *, other: str | None, before: int | None, limit: int
    ) -> list[Message]:
        return await self._read(lambda db: messages.search(db, user, text, other=other, before=before, limit=limit))

    async def unread_messages(self, user: str) -> int:
        return await self._read(lambda db: messages.unread(db, user))

    async def message_count(self) -> int:
        return await self._read(messages.count)

    async def register_device(self, owner: Principal, token: str, *, platform: str | None, now: float) -> None:
        await self._write(lambda db: devices.register(db, Device(token, owner, platform, now)))

    async def unregister_devices(self, owner: Principal, token: str | None) -> int:
        return await self._write(lambda db: devices.unregister(db, owner, token))

    async def devices(self, owner: Principal) -> list[Device]:
        return await self._read(lambda db: devices.of(db, owner))
