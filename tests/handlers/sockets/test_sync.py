"""Clients that come back say which place of their inbox they know, and are told what has changed since."""

import asyncio
from typing import Any

import pytest

from realtime.errors import StoreUnavailable
from realtime.services import inbox_pages
from tests.conftest import Starter
from tests.handlers.sockets.held import Held
from tests.support import Client, FakeClock, Plain, Running, bearer, token, until

ADMIN = bearer(1, "admin", lifetime=86400.0)
Talker = Client | Plain
WAYS = ["/", "/notifications", "/dashboard", "raw /notifications", "raw /dashboard"]
SYNC = "notifications_sync"
WHOLE: list[Any] = ["", None]


async def connect(running: Running, way: str, since: Any = ..., *, id: int = 7) -> Talker:
    """Connect, with `since` where such clients say it: in `auth`, or in the query."""
    if way.startswith("raw "):
        query = "" if since is ... else f"since={since or ''}"
        return await running.plain(way.removeprefix("raw "), id, query=query)
    auth = {"token": token(id)} if since is ... else {"token": token(id), "since": since}
    return await running.connect(auth=auth, namespace=way)


async def notify(running: Running, title: str, **more: Any) -> Any:
    body = {"userId": 7, "title": title, "message": "text", **more}
    status, row = await running.call("POST", "/api/notifications", by=ADMIN, json=body)
    assert status == 201, row
    return row


async def place(running: Running) -> str:
    client = await running.connect(7)
    page = await client.ask(SYNC)
    await client.close()
    return str(page["token"])


def changes(*pages: Any) -> list[tuple[str, int]]:
    return [(change["op"], change["id"]) for page in pages for change in page["changes"]]


def titles(*pages: Any) -> list[str]:
    return [change["notification"]["title"] for page in pages for change in page["changes"] if "notification" in change]


# --- at connecting ---


@pytest.mark.parametrize("way", WAYS)
async def test_whoever_says_what_they_know_is_told_what_has_changed(running: Running, way: str) -> None:
    kept, deleted = await notify(running, "Kept"), await notify(running, "Deleted")
    since = await place(running)
    await running.call("DELETE", f"/api/notifications/{deleted['id']}", by=bearer(7))
    await running.call("PATCH", f"/api/notifications/{kept['id']}/read", by=bearer(7))
    new = await notify(running, "New")
    client = await connect(running, way, since)
    page = await client.hears(SYNC)
    assert changes(page) == [("upsert", kept["id"]), ("remove", deleted["id"]), ("upsert", new["id"])]
    assert (page["unreadCount"], page["reset"], page["hasMore"]) == (1, False, False)
    _, listed = await running.call("GET", "/api/notifications", by=bearer(7))
    told = {change["id"]: change["notification"] for change in page["changes"] if change["op"] == "upsert"}
    assert told == {row["id"]: row for row in listed["notifications"]}
    again = await connect(running, way, page["token"])
    assert changes(await again.hears(SYNC)) == []


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("since", ["", None, "nonsense", "1.2.3.4.5", "9" * 5000])
async def test_whoever_knows_nothing_is_told_the_whole_inbox(running: Running, way: str, since: str | None) -> None:
    row = await notify(running, "Here")
    client = await connect(running, way, since)
    page = await client.hears(SYNC)
    assert changes(page) == [("upsert", row["id"])]
    assert (page["reset"], page["hasMore"], page["unreadCount"]) == (True, False, 1)


@pytest.mark.parametrize("since", [7, True, ["1.2.3.4.5"], {"token": 1}])
async def test_what_is_no_text_is_no_reason_to_refuse(running: Running, since: Any) -> None:
    client = await connect(running, "/", since)
    assert (await client.hears(SYNC))["reset"] is True


async def test_a_place_in_the_query_counts_for_socket_io_and_one_in_auth_before_it(running: Running) -> None:
    await notify(running, "Old")
    since = await place(running)
    new = await notify(running, "New")
    client = await running.connect(7, query=f"?since={since}")
    assert changes(await client.hears(SYNC)) == [("upsert", new["id"])]
    other = await running.connect(auth={"token": token(7), "since": ""}, query=f"?since={since}")
    assert titles(await other.hears(SYNC)) == ["Old", "New"]


@pytest.mark.parametrize("way", WAYS)
async def test_whoever_asks_for_nothing_is_sent_nothing_and_nothing_is_read(
    running: Running, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await notify(running, "Here")
    asked: list[str] = []
    for name in ("inbox", "changes", "changed", "missed", "place", "undelivered"):
        monkeypatch.setattr(running.parts.store, name, lambda *_, name=name, **__: asked.append(name))
    client = await connect(running, way)
    await client.settle()
    assert client.names().count(SYNC) == 0
    assert asked == []


async def test_a_chat_has_no_inbox_to_come_back_to(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    await notify(running, "Here")
    asked: list[object] = []
    monkeypatch.setattr(running.parts.store, "changes", lambda *_, **__: asked.append(1))
    client = await connect(running, "/ws", "")
    await client.hears("connected")
    await client.settle()
    assert SYNC not in client.names()
    assert asked == []
    assert (await client.ask(SYNC))["code"] == "UNKNOWN_EVENT"


async def test_a_client_is_greeted_first(running: Running) -> None:
    client = await connect(running, "/dashboard", "")
    await client.hears(SYNC)
    assert client.names() == ["connected", SYNC]


@pytest.mark.parametrize("way", WAYS)
async def test_a_large_inbox_comes_in_pages_each_whole(running: Running, way: str) -> None:
    number = 2 * inbox_pages.PAGE + 5
    await asyncio.gather(*(notify(running, str(n)) for n in range(number)))
    client = await connect(running, way, "")
    await until(lambda: client.payloads(SYNC) and not client.payloads(SYNC)[-1]["hasMore"])
    pages = client.payloads(SYNC)
    assert [len(page["changes"]) for page in pages] == [inbox_pages.PAGE, inbox_pages.PAGE, 5]
    assert [page["reset"] for page in pages] == [True, False, False]
    assert sorted(titles(*pages), key=int) == [str(n) for n in range(number)]
    assert {page["unreadCount"] for page in pages} == {number}
    rest = await connect(running, way, pages[0]["token"])
    await until(lambda: rest.payloads(SYNC) and not rest.payloads(SYNC)[-1]["hasMore"])
    assert changes(*rest.payloads(SYNC)) == changes(*pages[1:])


async def test_large_rows_come_in_smaller_pages(running: Running) -> None:
    long = "ä" * 5000
    rows = [await notify(running, str(n), message=long) for n in range(10)]
    client = await connect(running, "/", "")
    await until(lambda: client.payloads(SYNC) and not client.payloads(SYNC)[-1]["hasMore"])
    pages = client.payloads(SYNC)
    assert [len(page["changes"]) for page in pages] == [2, 2, 2, 2, 2]
    assert changes(*pages) == [("upsert", row["id"]) for row in rows]


async def test_the_next_page_waits_until_the_client_has_taken_the_one_before(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    await asyncio.gather(*(notify(running, str(n)) for n in range(inbox_pages.PAGE + 1)))
    taken = asyncio.Event()
    channel = running.parts.channel
    real = channel.drain

    async def drain(sid: str) -> bool:
        await taken.wait()
        return await real(sid)

    monkeypatch.setattr(channel, "drain", drain)
    client = await connect(running, "/", "")
    await client.hears(SYNC)
    await client.settle()
    assert len(client.payloads(SYNC)) == 1
    taken.set()
    await client.hears(SYNC, 2)


async def test_a_client_that_goes_in_between_is_told_no_more(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    await asyncio.gather(*(notify(running, str(n)) for n in range(inbox_pages.PAGE + 1)))
    asked: list[object] = []
    real = running.parts.store.changes
    held = asyncio.Event()

    async def drain(sid: str) -> bool:
        await held.wait()
        return False

    def changes_asked(*args: Any, **more: Any) -> Any:
        asked.append(args)
        return real(*args, **more)

    monkeypatch.setattr(running.parts.channel, "drain", drain)
    monkeypatch.setattr(running.parts.store, "changes", changes_asked)
    client = await connect(running, "/", "")
    await client.hears(SYNC)
    held.set()
    await client.settle()
    assert len(asked) == 1


@pytest.mark.parametrize("answered", [False, True])
async def test_what_comes_while_pages_are_told_is_shown_after_them(
    running: Running, monkeypatch: pytest.MonkeyPatch, answered: bool
) -> None:
    await notify(running, "Before")
    held = Held(monkeypatch, running.parts.store, "changes", answered=answered)
    client = await connect(running, "/", "")
    await held.reached.wait()
    row = await notify(running, "Meanwhile")
    await client.settle()
    assert "newNotification" not in client.names()
    held.let_go()
    assert (await client.hears("newNotification"))["id"] == row["id"]
    names = [name for name in client.names() if name in (SYNC, "newNotification")]
    assert names == [SYNC, "newNotification"]
    await notify(running, "After")
    await client.hears("newNotification", 2)


async def test_while_the_database_cannot_answer_nobody_is_refused_and_counts_come_later(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    await notify(running, "Here")

    async def unavailable(*_: Any, **__: Any) -> Any:
        raise StoreUnavailable

    monkeypatch.setattr(running.parts.store, "changes", unavailable)
    client = await connect(running, "/notifications", "")
    assert (await client.hears("unread_count"))["count"] == 1
    assert SYNC not in client.names()
    monkeypatch.undo()
    assert titles(await client.ask(SYNC)) == ["Here"]


async def test_guests_have_an_inbox_too(running: Running) -> None:
    client = await running.connect(auth={"token": token(7, guest=True), "since": ""})
    assert changes(await client.hears(SYNC)) == []
    page = await client.ask(SYNC)
    assert (page["success"], page["reset"], page["unreadCount"]) == (True, True, 0)


# --- by asking ---


@pytest.mark.parametrize("way", WAYS)
async def test_a_client_may_ask_what_has_changed(running: Running, way: str) -> None:
    client = await connect(running, way)
    row = await notify(running, "One")
    whole = await client.ask(SYNC, {})
    assert whole.pop("success") is True
    assert set(whole) == {"token", "changes", "unreadCount", "reset", "hasMore", "timestamp"}
    assert (changes(whole), whole["reset"], whole["unreadCount"]) == ([("upsert", row["id"])], True, 1)
    nothing = await client.ask(SYNC, {"since": whole["token"]})
    assert (changes(nothing), nothing["reset"], nothing["hasMore"]) == ([], False, False)


async def test_pages_are_as_large_as_asked(running: Running) -> None:
    client = await connect(running, "/")
    rows = [await notify(running, str(n)) for n in range(5)]
    pages = [await client.ask(SYNC, {"limit": 2})]
    while pages[-1]["hasMore"]:
        pages.append(await client.ask(SYNC, {"since": pages[-1]["token"], "limit": 2}))
    assert [len(page["changes"]) for page in pages] == [2, 2, 1]
    assert changes(*pages) == [("upsert", row["id"]) for row in rows]


@pytest.mark.parametrize("limit", [0, -1])
async def test_a_limit_is_at_least_one(running: Running, limit: int) -> None:
    client = await connect(running, "/")
    rows = [await notify(running, str(n)) for n in range(2)]
    page = await client.ask(SYNC, {"limit": limit})
    assert (changes(page), page["hasMore"]) == ([("upsert", rows[0]["id"])], True)


@pytest.mark.parametrize("payload", ["text", [], {"since": 5}, {"since": "nonsense"}, {"limit": "9"}, {"limit": True}])
async def test_what_is_no_question_is_refused(running: Running, payload: Any) -> None:
    client = await connect(running, "/")
    answer = await client.ask(SYNC, payload)
    assert (answer["success"], answer["code"]) == (False, "INVALID_PAYLOAD")


# --- counts ---


@pytest.mark.parametrize(
    ("way", "event"),
    [
        ("/", "notification_count_updated"),
        ("/notifications", "unread_count"),
        ("/dashboard", "unread_count"),
        ("raw /notifications", "unread_count"),
        ("raw /dashboard", "unread_count"),
    ],
)
async def test_every_change_is_counted_exactly_for_all_of_a_persons_connections(
    starter: Starter, clock: FakeClock, way: str, event: str
) -> None:
    running = await starter(app={"clock": clock})
    clients = [await connect(running, way), await connect(running, way), await running.connect(7)]
    mine, stranger = clients[:2], await connect(running, way, id=8)
    for client in (*clients, stranger):
        await client.settle()
    first = await notify(running, "One", type="alpha")
    await heard(mine, event, count=1, unseenCount=1, categories={"alpha": 1})
    await notify(running, "Two", type="beta")
    await heard(mine, event, count=2, unseenCount=2, categories={"alpha": 1, "beta": 1})
    await running.call("PATCH", f"/api/notifications/{first['id']}/read", by=bearer(7))
    await heard(mine, event, count=1, unseenCount=1, categories={"beta": 1})
    await heard(clients[2:], "notification_count_updated", count=1, unseenCount=1, categories={"beta": 1})
    await running.call("POST", "/api/notifications/mark-all-read", by=bearer(7))
    await heard(mine, event, count=0, unseenCount=0, categories={})
    for client in mine:
        revisions = [count["revision"] for count in client.payloads(event)]
        assert revisions == sorted(revisions)
    assert all(count["count"] == 0 for count in stranger.payloads(event))


async def heard(clients: list[Talker], event: str, **fields: object) -> None:
    for client in clients:
        await until(
            lambda client=client: any(fields.items() <= count.items() for count in client.payloads(event)),  # type: ignore[misc]
            what=f"{event} {fields} (heard {client.payloads(event)})",
        )
