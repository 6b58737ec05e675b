"""Clients that know an inbox only from what a store tells them."""

from dataclasses import dataclass, field, replace

from realtime.models import InboxChange, Notification, Place, Principal
from realtime.store.base import Store
from tests.conformance.naive_inbox import NaiveInbox


@dataclass
class Syncing:
    """A client that keeps its inbox only from pages of `changes`. `target` is set while a page is still missing."""

    reader: Principal
    place: Place | None = None
    rows: dict[int, Notification] = field(default_factory=dict)
    target: Place | None = None
    above: int = 0
    resets: bool = False

    def copy(self) -> "Syncing":
        return replace(self, rows=dict(self.rows))

    async def follow(self, store: Store, *, limit: int, now: float) -> None:
        """Take the pages that are missing, then what has changed since the first, then nothing."""
        if self.target is not None:
            await self._last_page(store, limit=limit, now=now)
        await self._last_page(store, limit=limit, now=now)
        again = await store.changes(self.reader, self.place, limit=limit, now=now)
        assert (again.changes, again.reset, again.more) == ((), False, False)

    async def _last_page(self, store: Store, *, limit: int, now: float) -> None:
        while await self.page(store, limit=limit, now=now):
            pass

    async def page(self, store: Store, *, limit: int, now: float) -> bool:
        """Take one page; returns whether there are more. Starts anew when the place becomes too old in between."""
        page = await store.changes(self.reader, self.place, above=self.above, limit=limit, now=now)
        if self.place is not None and (page.changes or page.reset):
            assert await store.changed(self.reader, self.place, now=now)
        if page.reset and not self.resets:
            self.resets = True
            self.rows.clear()
            if self.above:
                self.place, self.target, self.above = None, None, 0
                return await self.page(store, limit=limit, now=now)
        self.place = None if self.resets else self.place
        self._take(page.changes, more=page.more, limit=limit)
        target = self.target or page.place
        if page.more:
            self.target, self.above = target, page.changes[-1].id
        else:
            self.place, self.target, self.above, self.resets = target, None, 0, False
        return page.more

    def _take(self, changes: tuple[InboxChange, ...], *, more: bool, limit: int) -> None:
        ids = [change.id for change in changes]
        assert ids == sorted({id for id in ids if id > self.above})
        assert len(ids) <= limit
        assert ids or not more
        for change in changes:
            if change.notification is None:
                self.rows.pop(change.id, None)
            else:
                assert change.notification.id == change.id
                self.rows[change.id] = change.notification


@dataclass
class Listening:
    """A client that is shown new rows and afterwards asks only for what it has missed."""

    reader: Principal
    place: Place
    heard: tuple[int, int]

    @classmethod
    async def connected(cls, store: Store, model: NaiveInbox, reader: Principal, *, now: float) -> "Listening":
        return cls(reader, await store.place(reader, now=now), (model.newest(), model.newest()))

    async def ask(
        self, store: Store, model: NaiveInbox, *, now: float
    ) -> tuple[list[Notification], list[Notification]]:
        """Return what the store and what the model say that it has missed; then it knows that."""
        missed = await store.missed(self.reader, self.place, limit=1000, now=now)
        expected = model.missed(self.reader, self.heard, now)
        for row in missed:
            self.place = self.place.after(row)
        for row in expected:
            direct, log = self.heard
            number = model.came[row.id]
            self.heard = (max(direct, number), log) if row.target.recipient else (direct, max(log, number))
        return missed, expected
