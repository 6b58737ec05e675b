"""Notifications that a message is there, for people who are not. They never say what it says."""

import asyncio
from collections.abc import Sequence

import structlog

from realtime.errors import Code, RealtimeError
from realtime.events import MessageReceived
from realtime.models import Content, Message, Target, user_principal
from realtime.services.notifications import NotificationService
from realtime.store.base import MessageStore

log = structlog.get_logger(__name__)

TOGETHER = 100
"""Notifications marked at the same time; the store commits them together."""


class MessageNotices:
    """A message has at most one. Reading the message reads it."""

    def __init__(self, store: MessageStore, notifications: NotificationService) -> None:
        self._store = store
        self._notifications = notifications

    async def leave(self, event: MessageReceived) -> None:
        message = event.message
        metadata = {
            "senderId": message.sender,
            "messageId": str(message.id),
            "conversationId": message.sender,
        }
        content = Content(
            type="MESSAGE",
            title="New Message",
            message=f"{event.sender.name} sent you a message",
            priority="high",
            metadata=metadata,
        )
        sent = await self._notifications.send(
            [Target(recipient=user_principal(message.receiver))],
            content,
            sender=user_principal(message.sender),
            dedup_key=f"chat-message:{message.id}",
        )
        await self._store.set_message_notification(message.id, sent.stored[0].notification.id)
        now = await self._store.message(message.id)
        if now is not None and now.read_at is not None:
            # Whoever read it did not know yet that there was a notification to read as well.
            await self._read_one(now)

    async def leave_if_waiting(self, event: MessageReceived) -> None:
        """Leave one unless the message has arrived meanwhile."""
        row = await self._store.message(event.message.id)
        if row is not None and row.delivered_at is None and row.read_at is None and row.notification is None:
            await self.leave(event)

    async def read(self, messages: Sequence[Message]) -> None:
        """Read those of messages that were read. Never raises what the database does: the messages are read."""
        noticed = [message for message in messages if message.notification is not None]
        for start in range(0, len(noticed), TOGETHER):
            await asyncio.gather(*map(self._read_one, noticed[start : start + TOGETHER]))

    async def _read_one(self, message: Message) -> None:
        if message.notification is None:
            return
        try:
            await self._notifications.set_read(user_principal(message.receiver), message.notification, True)
        except RealtimeError as error:
            if error.code is not Code.NOT_FOUND:  # the person may have deleted it
                log.warning("notification of a read message not read", id=message.id, error=repr(error))
