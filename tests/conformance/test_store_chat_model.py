"""Chat in every store against a list of messages."""

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

import pytest

from realtime.models import Conversation, Message, NewMessage
from realtime.store.base import MESSAGE_DEDUP_SECONDS, MESSAGE_REPEAT_SECONDS, Store
from tests.conformance.conftest import Opener
from tests.conformance.talk import ANN, BOB, CY

PEOPLE = (ANN, BOB, CY)


@pytest.mark.parametrize("start", range(6))
async def test_chat_agrees_with_a_list_of_messages(opener: Opener, start: int) -> None:
    run = _ChatRun(await opener(), random.Random(start))
    await run.run(60)
    await run.store.close()
    run.store = await opener()
    await run.run(20)


@dataclass
class _ChatRun:
    """Does the same random things to a store and to a list, and compares what one user sees."""

    store: Store
    rng: random.Random
    now: float = 1000.0
    rows: dict[int, Message] = field(default_factory=dict)

    async def run(self, steps: int) -> None:
        actions: list[Callable[[], Awaitable[None]]] = [
            self._add, self._add, self._add, self._read, self._read_up_to, self._deliver, self._notify,
        ]  # fmt: skip
        for _ in range(steps):
            self.now += self.rng.choice((0.0, 1.0, 2.0, 250.0))
            await self.rng.choice(actions)()
            await self._compare(self.rng.choice(PEOPLE))
        for user in PEOPLE:
            await self._compare(user)
        assert await self.store.message_count() == len(self.rows)

    async def _compare(self, user: str) -> None:
        newest_first = sorted(self.rows.values(), key=lambda row: row.id, reverse=True)
        mine = [row for row in newest_first if user in (row.sender, row.receiver)]
        unread = [row for row in mine if row.receiver == user and row.read_at is None]
        expected = []
        for other in dict.fromkeys(row.receiver if row.sender == user else row.sender for row in mine):
            talk = [row for row in mine if {row.sender, row.receiver} == {user, other}]
            assert await self.store.history(user, other, before=None, limit=1000) == talk
            expected.append(Conversation(other, talk[0], sum(row.sender == other for row in unread)))
        assert await self.store.conversations(user, limit=1000, offset=0) == (expected, len(expected))
        assert (
            await self.store.search_messages(user, "O", other=None, before=None, limit=5)
            == [row for row in mine if "o" in row.content][:5]
        )
        assert await self.store.unread_messages(user) == len(unread)
        waiting = [row for row in unread[::-1] if row.delivered_at is None]
        assert await self.store.undelivered_messages(user, limit=1000) == waiting

    async def _add(self) -> None:
        new = NewMessage(*self._pair(), self.rng.choice(("ok", "no", "yes")), self.rng.choice((None, "c1", "c2")))
        stored = await self.store.add_message(new, now=self.now)
        earlier = [row for row in self.rows.values() if self._repeats(new, row)]
        if earlier:
            assert (stored.message, stored.duplicate) == (earlier[-1], True)
        else:
            assert stored.message.id > max(self.rows, default=0)
            assert stored.message == Message(
                stored.message.id, new.sender, new.receiver, new.content, new.client_id, self.now
            )
            self.rows[stored.message.id] = stored.message

    def _repeats(self, new: NewMessage, row: Message) -> bool:
        same = (new.sender, new.receiver, new.client_id) == (row.sender, row.receiver, row.client_id)
        age = self.now - row.created_at
        if new.client_id is None:
            return same and new.content == row.content and age <= MESSAGE_REPEAT_SECONDS
        return same and age <= MESSAGE_DEDUP_SECONDS

    async def _read(self) -> None:
        id, reader = self._some_id(), self.rng.choice(PEOPLE)
        found = await self.store.read_message(id, reader, now=self.now)
        old = self.rows.get(id)
        if old is None or old.receiver != reader:
            assert found is None
        else:
            self._set_read(old)
            assert found == (self.rows[id], self.rows[id] != old)

    async def _read_up_to(self) -> None:
        (other, reader), up_to = self._pair(), self.rng.choice((None, self._some_id()))
        changed = await self.store.read_conversation(reader, other, up_to=up_to, now=self.now)
        due = [
            row
            for row in self.rows.values()
            if (row.sender, row.receiver, row.read_at) == (other, reader, None) and (up_to is None or row.id <= up_to)
        ]
        for row in due:
            self._set_read(row)
        assert changed == [self.rows[row.id] for row in due]

    async def _deliver(self) -> None:
        ids = sorted({self._some_id() for _ in range(3)})
        changed = await self.store.set_messages_delivered(ids, now=self.now)
        due = [self.rows[id] for id in ids if id in self.rows and self.rows[id].delivered_at is None]
        for row in due:
            self.rows[row.id] = replace(row, delivered_at=self.now)
        assert sorted(changed, key=lambda row: row.id) == [self.rows[row.id] for row in due]

    async def _notify(self) -> None:
        id, notification = self._some_id(), self.rng.randrange(100)
        await self.store.set_message_notification(id, notification)
        if id in self.rows:
            self.rows[id] = replace(self.rows[id], notification=notification)

    def _set_read(self, row: Message) -> None:
        if row.read_at is None:
            delivered_at = self.now if row.delivered_at is None else row.delivered_at
            self.rows[row.id] = replace(row, delivered_at=delivered_at, read_at=self.now)

    def _pair(self) -> tuple[str, str]:
        return self.rng.choice(PEOPLE), self.rng.choice(PEOPLE)

    def _some_id(self) -> int:
        return self.rng.choice([*self.rows, 0])
