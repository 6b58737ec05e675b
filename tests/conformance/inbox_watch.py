"""What a pair of a store and the naive inbox is asked, by whoever looks in and by clients that follow."""

from dataclasses import replace

from realtime.models import Counts, InboxQuery, Place, Principal, Shelf
from realtime.services.recount import naive_unread
from tests.conformance.inbox_clients import Listening, Syncing
from tests.conformance.inbox_pair import READERS, Pair

SHELVES: tuple[Shelf, ...] = ("inbox", "archived", "snoozed")
PLACES = 4
"""Places of one reader that are remembered to go on from."""


class Watch:
    """Compares a pair; `thorough`, for all readers each time and not for one after the other.

    The first of the clients of `syncing` always goes on from where it is, the others stay behind.
    """

    def __init__(self, pair: Pair, *, thorough: bool) -> None:
        self.pair = pair
        self.thorough = thorough
        self.turn = 0
        self.only_time = False
        self.syncing: dict[Principal, list[Syncing]] = {reader: [Syncing(reader)] for reader in READERS}
        self.paging = {reader: Syncing(reader) for reader in READERS}
        self.listening: dict[Principal, Listening] = {}
        self.counted: dict[Principal, Counts] = {}
        self.places: dict[Principal, Place] = {}

    async def start(self) -> None:
        for reader in READERS:
            now = self.pair.now
            self.listening[reader] = await Listening.connected(self.pair.store, self.pair.model, reader, now=now)

    async def agree(self) -> None:
        self.turn += 1
        await self._counts()
        for reader in READERS if self.thorough else (READERS[self.turn % len(READERS)],):
            await self.one(reader)
        self.only_time = False

    def remember(self, reader: Principal) -> None:
        clients = self.syncing[reader]
        clients.append(clients[0].copy())
        del clients[1:-PLACES]

    async def page(self, reader: Principal, limit: int) -> None:
        """Take one page, whatever has happened since the page before."""
        await self.paging[reader].page(self.pair.store, limit=limit, now=self.pair.now)

    async def listen(self, reader: Principal) -> None:
        client = self.listening[reader]
        missed, expected = await client.ask(self.pair.store, self.pair.model, now=self.pair.now)
        assert self.pair.told(missed) == self.pair.told(expected)

    async def moments(self, after: float, until: float) -> None:
        """Whoever's inbox changes by time is named, or an audience of theirs."""
        model = self.pair.model
        found = await self.pair.store.moments(after, until)
        for reader in READERS:
            before, then = ({row.id for row in model.on("inbox", reader, at)} for at in (after, until))
            gone = {model.log[id].target.audience for id in before ^ then if id in model.log}
            assert before == then or reader in found.readers or gone & found.audiences

    async def everything(self) -> None:
        await self._counts()
        for reader in READERS:
            await self.one(reader)
            for client in (*self.syncing[reader], self.paging[reader]):
                await self.follow(client, limit=2)
            await self.listen(reader)

    async def one(self, reader: Principal) -> None:
        for shelf in SHELVES:
            expected = self.pair.model.on(shelf, reader, self.pair.now)
            rows, total = await self.pair.store.inbox(reader, InboxQuery(limit=1000, shelf=shelf), now=self.pair.now)
            assert self.pair.told(rows) == self.pair.told(expected), shelf
            assert total == len(expected)
        some = [
            row
            for row in self.pair.model.on("inbox", reader, self.pair.now)
            if not row.read and row.content.type == "a"
        ]
        query = InboxQuery(limit=1, offset=1, read=False, type="a")
        page, total = await self.pair.store.inbox(reader, query, now=self.pair.now)
        assert (self.pair.told(page), total) == (self.pair.told(some[1:2]), len(some))
        waiting = self.pair.told(self.pair.model.undelivered(reader, self.pair.now))
        assert self.pair.told(await self.pair.store.undelivered(reader, limit=1000, now=self.pair.now)) == waiting
        assert self.pair.told(await self.pair.store.undelivered(reader, limit=1, now=self.pair.now)) == waiting[:1]
        visible = {row.id for row in self.pair.model.visible(reader, self.pair.now)}
        asked = sorted({id for _, id in self.pair.model.rows} | visible, reverse=True)
        found = await self.pair.store.visible(reader, asked, now=self.pair.now)
        assert found == [id for id in asked if id in visible]
        await self._facts(reader)
        clients = self.syncing[reader]
        await self.follow(clients[0], limit=1 + self.turn % 3)
        await self.follow(clients[self.turn // 4 % len(clients)].copy(), limit=1 + self.turn % 2)

    async def _counts(self) -> None:
        found = await self.pair.store.counts(READERS, now=self.pair.now)
        assert set(found) == set(READERS)
        for reader, counts in found.items():
            before = self.counted.get(reader, replace(counts, revision=0))
            assert counts == self.pair.model.counts(reader, self.pair.now, counts.revision)
            assert counts.revision >= before.revision
            if self.only_time:
                assert counts.revision == before.revision
            elif counts.revision == before.revision:
                assert counts == before
        self.counted = found

    async def _facts(self, reader: Principal) -> None:
        facts = await self.pair.store.reader_facts(reader, now=self.pair.now)
        unread = len([row for row in self.pair.model.on("inbox", reader, self.pair.now) if not row.read])
        assert facts.unread == unread == await self.pair.store.unread_count(reader, now=self.pair.now)
        assert naive_unread(facts, await self.pair.store.log_facts(), self.pair.now) == unread
        place = await self.pair.store.place(reader, now=self.pair.now)
        before = self.places.get(reader, replace(place, rev=0, marks=0, log_rev=0))
        assert place.epoch == before.epoch
        assert (place.rev >= before.rev, place.marks >= before.marks, place.log_rev >= before.log_rev) == (True,) * 3
        self.places[reader] = place

    async def follow(self, client: Syncing, *, limit: int) -> None:
        await client.follow(self.pair.store, limit=limit, now=self.pair.now)
        expected = {row.id: row for row in self.pair.model.on("inbox", client.reader, self.pair.now)}
        assert self.pair.told(client.rows.values()) == self.pair.told(sorted(expected.values(), key=lambda row: row.id))
