"""Seen, archived, snoozed: what people do with their notifications over REST, and the badges that follow."""

import time
from typing import Any

import pytest

from realtime.clock import timestamp
from tests.conftest import Starter
from tests.handlers.http.answers import ADMIN, MONTH, TECHNICIAN, USER, refused
from tests.handlers.http.inboxes import API, COUNTED, badges, done, ids, sent
from tests.support import Client, FakeClock, Running, bearer, until

DAY = 86400.0
TARGETS: list[dict[str, Any]] = [{"userId": 5}, {"audience": "all"}]


async def hears(client: Client, unread: int, unseen: int) -> Any:
    """Wait until the newest count is the expected one and return it. Changes that come together are one count."""

    def newest() -> Any:
        return (client.payloads(COUNTED) or [{"count": None, "unseenCount": None}])[-1]

    await until(lambda: (newest()["count"], newest()["unseenCount"]) == (unread, unseen), what=f"{unread}, {unseen}")
    return newest()


@pytest.mark.parametrize("target", TARGETS)
async def test_seeing_is_not_reading(running: Running, target: dict[str, Any]) -> None:
    client = await running.connect(5)
    row = await sent(running, target)
    await hears(client, 1, 1)
    for verb in ("PATCH", "POST"):
        seen = await done(running, verb, f"/{row['id']}/seen")
        assert (seen["seen"], seen["read"], seen["message"]) == (True, False, "Notification marked as seen")
    assert seen["seenAt"] is not None
    await hears(client, 1, 0)
    read = await done(running, "PATCH", f"/{row['id']}/read")
    assert (read["seen"], read["seenAt"]) == (True, seen["seenAt"])
    unread = await done(running, "PATCH", f"/{row['id']}/unread")
    assert (unread["read"], unread["seen"]) == (False, True)
    assert await badges(running) == (1, 0, {"info": 1})


@pytest.mark.parametrize("target", TARGETS)
async def test_reading_is_seeing(running: Running, target: dict[str, Any]) -> None:
    await running.connect(5)
    row = await sent(running, target)
    read = await done(running, "PATCH", f"/{row['id']}/read")
    assert (read["seen"], read["seenAt"]) == (True, read["readAt"])
    assert await badges(running) == (0, 0, {})


async def test_everything_is_seen_at_once_up_to_a_row(starter: Starter, clock: FakeClock) -> None:
    running = await starter(app={"clock": clock})
    client = await running.connect(5)
    rows = []
    for target in (*TARGETS, *TARGETS):
        rows.append(await sent(running, target))
        clock.advance(1)
    answer = await done(running, "POST", "/mark-all-seen", upTo=rows[1]["id"])
    assert (answer["count"], answer["updatedCount"]) == (2, 2)
    assert (await badges(running))[:2] == (4, 2)
    assert (await done(running, "PATCH", "/mark-all-seen"))["count"] == 2
    assert (await done(running, "POST", "/mark-all-seen"))["count"] == 0
    assert (await badges(running))[:2] == (4, 0)
    await hears(client, 4, 0)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("verb", ["POST", "PATCH"])
async def test_archived_rows_are_on_their_own_shelf(running: Running, target: dict[str, Any], verb: str) -> None:
    client = await running.connect(5)
    row, other = await sent(running, target), await sent(running)
    archived = await done(running, verb, f"/{row['id']}/archive")
    assert (archived["archived"], archived["read"], archived["message"]) == (True, False, "Notification archived")
    assert archived["archivedAt"] is not None
    await hears(client, 1, 1)
    assert await ids(running) == [other["id"]]
    for query in ("?archived=true", "?shelf=archived", "?archived=1&snoozed=true", "?shelf=archived&snoozed=true"):
        assert await ids(running, query=query) == [row["id"]], query
    one = await done(running, "GET", f"/{row['id']}")
    assert (one["archived"], one["archivedAt"]) == (True, archived["archivedAt"])
    back = await done(running, verb, f"/{row['id']}/unarchive")
    assert (back["archived"], back["archivedAt"], back["message"]) == (False, None, "Notification unarchived")
    await hears(client, 2, 2)
    assert sorted(await ids(running)) == sorted([row["id"], other["id"]])
    assert await ids(running, query="?shelf=archived") == []


@pytest.mark.parametrize("target", TARGETS)
async def test_snoozed_rows_come_back_by_themselves(starter: Starter, clock: FakeClock, target: dict[str, Any]) -> None:
    running = await starter(app={"clock": clock})
    client = await running.connect(5, lifetime=MONTH)
    row = await sent(running, target)
    await done(running, "PATCH", f"/{row['id']}/read")
    await hears(client, 0, 0)
    until = timestamp(clock.now + DAY)
    snoozed = await done(running, "POST", f"/{row['id']}/snooze", until=until)
    assert (snoozed["snoozedUntil"], snoozed["read"], snoozed["message"]) == (until, False, "Notification snoozed")
    await hears(client, 0, 0)
    assert (await ids(running), await ids(running, query="?snoozed=true")) == ([], [row["id"]])
    clock.advance(DAY + 1)
    await hears(client, 1, 0)
    assert (await ids(running), await ids(running, query="?shelf=snoozed")) == ([row["id"]], [])


@pytest.mark.parametrize(("verb", "path"), [("POST", "unsnooze"), ("PATCH", "unsnooze"), ("DELETE", "snooze")])
async def test_a_snooze_is_taken_back(running: Running, verb: str, path: str) -> None:
    client = await running.connect(5)
    row = await sent(running)
    await done(running, "PATCH", f"/{row['id']}/snooze", until=_tomorrow())
    await hears(client, 0, 0)
    back = await done(running, verb, f"/{row['id']}/{path}")
    assert (back["snoozedUntil"], back["read"], back["message"]) == (None, False, "Notification unsnoozed")
    await hears(client, 1, 1)
    assert await ids(running) == [row["id"]]


@pytest.mark.parametrize(
    "until", [None, "", 5, "soon", "2001-01-01T00:00:00Z", "2999-01-01T00:00:00Z", "9999-99-99", ["2030-01-01"]]
)
async def test_a_snooze_ends_within_a_year(running: Running, until: object) -> None:
    row = await sent(running)
    body = {} if until is None else {"until": until}
    answer = await running.call("POST", f"{API}/{row['id']}/snooze", by=USER, json=body)
    refused(answer, 400, "INVALID_PAYLOAD")
    assert await ids(running) == [row["id"]]


async def test_somebody_elses_row_is_on_nobody_elses_shelf(running: Running) -> None:
    row = await sent(running)
    for who in (bearer(6), ADMIN, TECHNICIAN):
        answer = await running.call("POST", f"{API}/{row['id']}/snooze", by=who, json={"until": _tomorrow()})
        refused(answer, 404, "NOT_FOUND")
    assert await badges(running) == (1, 1, {"info": 1})


async def test_shelves_have_names(running: Running) -> None:
    refused(await running.call("GET", f"{API}?shelf=attic", by=USER), 400, "INVALID_PAYLOAD")
    assert await ids(running, query="?shelf=") == []


async def test_badges_are_by_category(running: Running) -> None:
    client = await running.connect(5)
    await sent(running, type="comment")
    await sent(running, type="comment", category="social")
    row = await sent(running, {"audience": "all"}, type="like", category="social")
    assert row["category"] == "social"
    assert await badges(running) == (3, 3, {"comment": 1, "social": 2})
    assert (await hears(client, 3, 3))["categories"] == {"comment": 1, "social": 2}
    page = await done(running, "GET", "")
    assert (page["unreadCount"], page["unseenCount"], page["categories"]) == (3, 3, {"comment": 1, "social": 2})
    assert [row["category"] for row in page["notifications"]] == ["social", "social", "comment"]
    await done(running, "PATCH", f"/{row['id']}/read")
    assert (await hears(client, 2, 2))["categories"] == {"comment": 1, "social": 1}
    body = {"userId": 5, "title": "t", "message": "m", "category": "x" * 41}
    refused(await running.call("POST", API, by=ADMIN, json=body), 400, "INVALID_PAYLOAD")


async def test_later_counts_have_greater_revisions(running: Running) -> None:
    client = await running.connect(5)
    revisions = []
    for nth, (method, path) in enumerate(
        [("PATCH", "seen"), ("PATCH", "read"), ("PATCH", "unread"), ("POST", "archive"), ("POST", "unarchive")], 2
    ):
        if nth == 2:
            id = (await sent(running))["id"]
            revisions.append((await client.hears(COUNTED))["revision"])
        await done(running, method, f"/{id}/{path}")
        revisions.append((await client.hears(COUNTED, nth))["revision"])
        assert (await done(running, "GET", "/unread-count"))["revision"] == revisions[-1]
    assert revisions == sorted(set(revisions))


async def test_group_that_stacks_says_how_many_it_stands_for(starter: Starter, clock: FakeClock) -> None:
    running = await starter(app={"clock": clock})
    client = await running.connect(5)
    group: dict[str, Any] = {
        "groupKey": "post-7",
        "groupMode": "stack",
        "title": "{count} new comments",
        "message": "All {count}",
    }
    first = await sent(running, **group)
    assert (first["title"], first["message"], first["groupCount"]) == ("1 new comments", "All 1", 1)
    await done(running, "PATCH", f"/{first['id']}/seen")
    for count in (2, 3):
        clock.advance(1)
        row = await sent(running, **group)
        assert (row["id"], row["title"], row["groupCount"]) == (first["id"], f"{count} new comments", count)
        assert not row["seen"]
    heard = await client.hears("newNotification", 3)
    assert (heard["title"], heard["message"]) == ("3 new comments", "All 3")
    assert await badges(running) == (1, 1, {"info": 1})
    plain = await sent(running, {"userId": 6}, title="{count} of them", groupKey="g")
    assert plain["title"] == "{count} of them"
    body = {"userId": 5, "title": "t", "message": "m", "groupKey": "g", "groupMode": "pile"}
    refused(await running.call("POST", API, by=ADMIN, json=body), 400, "INVALID_PAYLOAD")


async def test_counts_are_pushed_when_a_role_is_set(running: Running) -> None:
    client = await running.connect(3, "technician")
    await sent(running, {"role": "technician"}, category="jobs")
    await sent(running, {"userId": 3})
    await hears(client, 2, 2)
    await running.call("PATCH", "/api/users/3", by=ADMIN, json={"role": "user"})
    pushed = await hears(client, 1, 1)
    assert pushed["categories"] == {"info": 1}


async def test_counts_are_pushed_when_another_token_says_another_role(running: Running) -> None:
    client = await running.connect(3, "technician")
    await sent(running, {"role": "technician"})
    await hears(client, 1, 1)
    await done(running, "GET", "/unread-count", bearer(3, "manager"))
    await hears(client, 0, 0)


def _tomorrow() -> str:
    return timestamp(time.time() + DAY)
