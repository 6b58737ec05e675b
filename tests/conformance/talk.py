"""Three users who talk, for the suites of chat."""

from realtime.models import Conversation, Message, NewMessage
from realtime.store.base import Store

ANN, BOB, CY = "1", "2", "3"


async def say(store: Store, sender: str, receiver: str, content: str = "Hello", *, now: float = 1.0) -> int:
    """Store a message that repeats no other; return its id."""
    new = NewMessage(sender, receiver, content, client_id=f"after {await store.message_count()}")
    stored = await store.add_message(new, now=now)
    assert not stored.duplicate
    return stored.message.id


async def history(store: Store, user: str, other: str, *, before: int | None = None, limit: int = 1000) -> list[int]:
    return _ids(await store.history(user, other, before=before, limit=limit))


async def search(store: Store, user: str, text: str, *, other: str | None = None) -> list[int]:
    return _ids(await store.search_messages(user, text, other=other, before=None, limit=1000))


async def conversations(store: Store, user: str) -> list[Conversation]:
    found, total = await store.conversations(user, limit=1000, offset=0)
    assert total == len(found)
    assert sum(one.unread for one in found) == await store.unread_messages(user)
    return found


def _ids(messages: list[Message]) -> list[int]:
    return [message.id for message in messages]
