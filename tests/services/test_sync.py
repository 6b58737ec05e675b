"""Pages of what has changed in an inbox, and the tokens between them."""

from dataclasses import replace
from typing import Any, cast

import pytest

from realtime.errors import RealtimeError
from realtime.models import (
    Changes,
    Content,
    Counts,
    InboxChange,
    Notification,
    Place,
    Principal,
    Target,
)
from realtime.places import Cursor, encode
from realtime.services.sync import SyncPage, SyncService
from realtime.store.base import InboxStore
from tests.support import FakeClock

ANN: Principal = "user:ann"
EPOCH = 7


class FakeInbox:
    """One reader's rows; every change takes the next number."""

    def __init__(self) -> None:
        self.epoch = EPOCH
        self.rev = 0
        self.oldest = 0
        self.changed_at: dict[int, int] = {}
        self.rows: dict[int, Notification] = {}

    def put(self, *ids: int, title: str = "t") -> None:
        for id in ids:
            self.rev += 1
            content = Content("info", title, "m")
            self.rows[id] = Notification(id, Target(recipient=ANN), content, None, 1.0, 1.0)
            self.changed_at[id] = self.rev

    def remove(self, *ids: int) -> None:
        for id in ids:
            self.rev += 1
            del self.rows[id]
            self.changed_at[id] = self.rev

    async def place(self, reader: Principal, *, now: float) -> Place:
        return Place(self.epoch, self.rev, 0, 0, now)

    async def changed(self, reader: Principal, since: Place, *, now: float) -> bool:
        return (since.epoch, since.rev) != (self.epoch, self.rev)

    async def counts(self, readers: list[Principal], *, now: float) -> dict[Principal, Counts]:
        return {
            reader: Counts(len(self.rows), len(self.rows), {"info": len(self.rows)}, self.rev) for reader in readers
        }

    async def changes(self, reader: Principal, since: Place | None, *, above: int, limit: int, now: float) -> Changes:
        reset = since is None or since.epoch != self.epoch or since.rev > self.rev or since.rev < self.oldest
        after = -1 if reset or since is None else since.rev
        ids = sorted(id for id, rev in self.changed_at.items() if rev > after and id > above)
        found = [InboxChange(id, self.rows.get(id)) for id in ids if id in self.rows or not reset]
        return Changes(tuple(found[:limit]), await self.place(reader, now=now), reset, len(found) > limit)


class Client:
    """Keeps what it is told."""

    def __init__(self, sync: SyncService) -> None:
        self.sync = sync
        self.known: dict[int, str] = {}
        self.token: str | None = None
        self.pages: list[SyncPage] = []

    async def page(self, limit: int = 2) -> SyncPage:
        page = await self.sync.page(ANN, self.token, limit=limit)
        if page.reset:
            self.known.clear()
        for change in page.changes:
            if change.notification is None:
                self.known.pop(change.id, None)
            else:
                self.known[change.id] = change.notification.content.title
        self.token = page.token
        self.pages.append(page)
        return page

    async def catch_up(self) -> None:
        while (await self.page()).more:
            pass


@pytest.fixture
def store() -> FakeInbox:
    return FakeInbox()


@pytest.fixture
def client(store: FakeInbox, clock: FakeClock) -> Client:
    return Client(SyncService(store=cast(InboxStore, store), clock=clock))


def shown(store: FakeInbox) -> dict[int, str]:
    return {id: row.content.title for id, row in store.rows.items()}


async def test_without_a_token_everything_comes_and_only_the_first_page_resets(
    store: FakeInbox, client: Client
) -> None:
    store.put(1, 2, 3, 4, 5)
    client.known = {99: "old"}
    await client.catch_up()
    assert client.known == shown(store)
    assert [(page.reset, page.more, len(page.changes)) for page in client.pages] == [
        (True, True, 2),
        (False, True, 2),
        (False, False, 1),
    ]
    assert client.pages[0].counts == Counts(5, 5, {"info": 5}, 5)


async def test_then_only_what_has_changed(store: FakeInbox, client: Client) -> None:
    store.put(1, 2, 3)
    await client.catch_up()
    store.remove(2)
    store.put(3, title="new")
    store.put(4)
    page = await client.page(10)
    assert [(change.id, change.notification is None) for change in page.changes] == [(2, True), (3, False), (4, False)]
    assert not page.reset
    assert client.known == shown(store)
    assert (await client.page()).changes == ()


async def test_what_changes_between_pages_is_told_afterwards(store: FakeInbox, client: Client) -> None:
    store.put(1, 2, 3, 4)
    await client.page()
    store.put(1, title="changed behind")
    store.put(4, title="changed ahead")
    store.remove(2)
    store.put(9)
    await client.catch_up()
    await client.catch_up()
    assert client.known == shown(store)


async def test_changes_come_in_pages_too(store: FakeInbox, client: Client) -> None:
    store.put(1, 2, 3, 4, 5)
    await client.catch_up()
    store.put(1, 2, 3, title="new")
    store.remove(4, 5)
    client.pages.clear()
    await client.page()
    store.remove(1)
    await client.catch_up()
    assert [(page.reset, page.more) for page in client.pages] == [(False, True), (False, True), (False, False)]
    await client.catch_up()
    assert client.known == shown(store)


@pytest.mark.parametrize("pages", [0, 1])
async def test_another_database_starts_anew_also_between_pages(store: FakeInbox, client: Client, pages: int) -> None:
    store.put(1, 2, 3, 4)
    await client.page(10 if not pages else 2)
    store.epoch, store.rows, store.changed_at = 8, {}, {}
    store.put(3, 5)
    await client.catch_up()
    assert client.pages[1].reset
    assert client.known == shown(store)


async def test_a_place_that_is_too_old_between_pages_starts_anew(store: FakeInbox, client: Client) -> None:
    store.put(1, 2, 3)
    await client.catch_up()
    store.put(1, 2, 3, title="new")
    assert (await client.page()).more
    store.remove(1)
    store.changed_at.pop(1)
    store.oldest = store.rev
    page = await client.page()
    assert page.reset
    await client.catch_up()
    assert client.known == shown(store)


async def test_after_a_reset_all_pages_are_of_the_whole_inbox(store: FakeInbox, client: Client) -> None:
    """The place was of no use when the first page was made, and would be again when the clock is set back."""
    store.put(1, 2, 3, 4, 5)
    await client.catch_up()
    client.known.clear()  # what the client would go on with is that it knows nothing
    store.put(1)
    store.oldest = store.rev
    page = await client.page()
    assert (page.reset, page.more) == (True, True)
    store.oldest = 0
    await client.catch_up()
    assert client.known == shown(store)
    assert not any(page.reset for page in client.pages[-2:])


async def test_a_page_of_large_rows_has_fewer_of_them(
    store: FakeInbox, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put(*range(1, 8), title="x" * 1000)
    page = await client.sync.page(ANN, None, limit=5, size=4000)
    assert [change.id for change in page.changes] == [1, 2]
    assert page.more
    one = await client.sync.page(ANN, None, limit=5, size=10)
    assert ([change.id for change in one.changes], one.more) == ([1], True)
    last = await client.sync.page(ANN, page.token, limit=5, size=100_000)
    assert ([change.id for change in last.changes], last.more) == ([3, 4, 5, 6, 7], False)


async def test_pages_that_bytes_end_lead_to_the_whole_inbox(store: FakeInbox, client: Client) -> None:
    store.put(*range(1, 30), title="x" * 100_000)
    while (await client.page(500)).more:
        assert len(client.pages[-1].changes) < 11
    assert client.known == shown(store)


@pytest.mark.parametrize("text", ["", "x", "1.2.3", "1.2.3.4.5~", "~~", "1.2.3.4.5~1.2.3.4.5", "9" * 500, "1.2.3.4.x"])
async def test_what_is_no_token_is_refused(client: Client, text: str) -> None:
    client.token = text
    with pytest.raises(RealtimeError) as refusal:
        await client.page()
    assert refusal.value.code == "INVALID_PAYLOAD"
    assert not await client.sync.unchanged(ANN, text)


async def test_a_token_is_unchanged_until_something_changes(store: FakeInbox, client: Client) -> None:
    store.put(1, 2, 3)
    first = await client.page()
    assert first.more
    assert not await client.sync.unchanged(ANN, first.token)
    await client.catch_up()
    token = client.token or ""
    assert await client.sync.unchanged(ANN, token)
    assert await client.sync.token(ANN) == token
    assert await client.sync.unchanged_since_any(ANN, ["x", token]) == token
    store.put(4)
    assert not await client.sync.unchanged(ANN, token)
    assert await client.sync.unchanged_since_any(ANN, ["x", token]) is None


async def test_the_place_of_a_stream_is_one_to_go_on_from(store: FakeInbox, client: Client, clock: FakeClock) -> None:
    store.put(1, 2)
    from_stream = replace(await store.place(ANN, now=clock()), shown=(5, 6))
    store.put(3)
    found: Any = await client.sync.page(ANN, encode(Cursor(from_stream)), limit=10)
    assert [change.id for change in found.changes] == [3]
