"""The inbox of every store against a model that is too simple to be wrong."""

import random
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from realtime.models import (
    Content,
    InboxQuery,
    MembershipChange,
    Target,
)
from realtime.store.base import Store
from tests.conformance.naive_inbox import NaiveInbox
from tests.conformance.people import ANN, BOB, GUEST, HELLO


@pytest.mark.parametrize("start", range(8))
async def test_inbox_agrees_with_a_row_per_reader(store: Store, start: int) -> None:
    await _InboxRun(store, random.Random(start)).run(120)


class _InboxRun:
    """Does the same random things to a store and to the naive inbox, and compares what a reader sees."""

    readers = (ANN, BOB, GUEST)
    keys = ("all", "room:a")

    def __init__(self, store: Store, rng: random.Random) -> None:
        self.store = store
        self.model = NaiveInbox()
        self.rng = rng
        self.now = 100.0
        self.drafts: list[int] = []

    async def run(self, steps: int) -> None:
        actions: list[Callable[[], Awaitable[None]]] = [
            self._add, self._add, self._add, self._add_taken, self._draft, self._publish, self._open, self._open,
            self._close, self._change, self._change, self._drop, self._set_read, self._set_read, self._mark_all,
            self._mark_up_to, self._delete, self._set_delivered, self._set_delivered,
        ]  # fmt: skip
        for _ in range(steps):
            self.now += self.rng.choice((0.0, 1.0, 2.0))
            await self.rng.choice(actions)()
            await self._compare(self.rng.choice(self.readers))
        for reader in self.readers:
            await self._compare(reader)

    async def _compare(self, reader: str) -> None:
        expected = self.model.visible(reader, self.now)
        rows, total = await self.store.inbox(reader, InboxQuery(limit=1000), now=self.now)
        assert rows == expected
        assert total == len(expected)
        assert await self.store.unread_count(reader, now=self.now) == sum(not row.read for row in expected)
        page, total = await self.store.inbox(reader, InboxQuery(limit=3, offset=1, read=False), now=self.now)
        waiting = [row for row in expected if not row.read]
        assert (page, total) == (waiting[1:4], len(waiting))
        missed = self.model.undelivered(reader, self.now)
        assert await self.store.undelivered(reader, limit=1000, now=self.now) == missed
        assert await self.store.undelivered(reader, limit=3, now=self.now) == missed[:3]

    def _target(self) -> Target:
        if self.rng.random() < 0.3:
            return Target(recipient=self.rng.choice(self.readers))
        excluded = frozenset(reader for reader in self.readers if self.rng.random() < 0.15)
        return Target(None, self.rng.choice(self.keys), excluded, late_join=self.rng.random() < 0.3)

    def _content(self) -> Content:
        expires_at = self.now + self.rng.randint(1, 20) if self.rng.random() < 0.2 else None
        return replace(HELLO, expires_at=expires_at, group_key=self.rng.choice((None, None, "g")))

    async def _add(self) -> None:
        target, content = self._target(), self._content()
        created_at = self.now - self.rng.choice((0, 0, 3, 9))
        (stored,) = await self.store.add([target], content, sender=None, now=created_at)
        assert self.model.add(stored.notification.id, target, content, created_at) == stored.notification.id

    async def _add_taken(self) -> None:
        target, content, id = self._target(), self._content(), await self.store.take_id()
        (stored,) = await self.store.add([target], content, sender=None, now=self.now, id=id)
        assert self.model.add(id, target, content, self.now, keeps_id=True) == stored.notification.id
        (again,) = await self.store.add([target], HELLO, sender=None, now=self.now, id=id)
        assert again == replace(stored, duplicate=True)

    async def _draft(self) -> None:
        content = replace(self._content(), group_key=None)
        (draft,) = await self.store.add_drafts([self._target()], content, sender=None, run_at=self.now, now=self.now)
        self.drafts.append(draft.id)

    async def _publish(self) -> None:
        if self.drafts:
            stored = await self.store.publish_draft(self.drafts.pop(self.rng.randrange(len(self.drafts))), now=self.now)
            assert stored is not None
            row = stored.notification
            self.model.add(row.id, row.target, row.content, self.now)

    async def _open(self) -> None:
        reader, key = self.rng.choice(self.readers), self.rng.choice(self.keys)
        await self.store.open_membership(reader, key, now=self.now)
        self.model.members.add((reader, key))

    async def _close(self) -> None:
        reader, key = self.rng.choice(self.readers), self.rng.choice(self.keys)
        await self.store.close_membership(reader, key, now=self.now)
        self.model.members.discard((reader, key))

    async def _change(self) -> None:
        changes = []
        for _ in range(self.rng.randint(1, 6)):
            pair = self.rng.choice(self.readers), self.rng.choice(self.keys)
            changes.append(MembershipChange(*pair, open=self.rng.random() < 0.6))
            (self.model.members.add if changes[-1].open else self.model.members.discard)(pair)
        await self.store.change_memberships(changes, now=self.now)

    async def _drop(self) -> None:
        if self.rng.random() < 0.4:
            reader, key = self.rng.choice(self.readers), self.rng.choice(self.keys)
            await self.store.drop_membership(reader, key)
            self.model.drop(reader, key)

    async def _set_read(self) -> None:
        reader, id, read = self.rng.choice(self.readers), self._some_id(), self.rng.random() < 0.5
        row = await self.store.set_read(reader, id, read, now=self.now)
        assert self.model.set_read(reader, id, read, self.now) == (row is not None)

    async def _mark_all(self) -> None:
        reader = self.rng.choice(self.readers)
        expected = self.model.mark_all_read(reader, None, self.now)
        assert await self.store.mark_all_read(reader, up_to=None, now=self.now) == expected

    async def _mark_up_to(self) -> None:
        reader, id = self.rng.choice(self.readers), self._some_id()
        expected = self.model.mark_all_read(reader, id, self.now)
        assert await self.store.mark_all_read(reader, up_to=id, now=self.now) == expected

    async def _delete(self) -> None:
        reader, id = self.rng.choice(self.readers), self._some_id()
        assert await self.store.delete_notification(reader, id, now=self.now) == self.model.delete(reader, id, self.now)

    async def _set_delivered(self) -> None:
        reader, ids = self.rng.choice(self.readers), [self._some_id() for _ in range(self.rng.randint(0, 4))]
        await self.store.set_delivered(reader, ids, now=self.now)
        self.model.set_delivered(reader, ids, self.now)

    def _some_id(self) -> int:
        return self.rng.choice([*self.model.rows, 0])
