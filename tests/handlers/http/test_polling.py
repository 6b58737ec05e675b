"""Clients that ask again and again: entity tags, and what has changed since a token."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from realtime.clock import timestamp
from tests.conftest import Starter
from tests.handlers.http.answers import ADMIN, TECHNICIAN, USER, refused
from tests.handlers.http.inboxes import API, done, seen_as, sent
from tests.support import FakeClock, Running, bearer

POLLED = ("", "?limit=3&isRead=false", "?shelf=archived", "/unread-count", "/count", "/sync")
Act = Callable[[Running, int], Awaitable[object]]


def acts() -> dict[str, Act]:
    """Everything that may change what user 5 is answered; each begins with one row in the inbox."""
    marks = {
        name: (lambda running, id, path=path, method=method: done(running, method, path.format(id=id)))
        for name, method, path in [
            ("read", "PATCH", "/{id}/read"),
            ("seen", "PATCH", "/{id}/seen"),
            ("archive", "POST", "/{id}/archive"),
            ("delete", "DELETE", "/{id}"),
            ("all read", "POST", "/mark-all-read"),
            ("all seen", "POST", "/mark-all-seen"),
        ]
    }
    return {
        **marks,
        "direct": lambda running, id: sent(running),
        "broadcast": lambda running, id: sent(running, {"audience": "all"}),
    }


@pytest.mark.parametrize("path", POLLED)
async def test_nothing_new_is_said_in_no_words(running: Running, path: str) -> None:
    await sent(running)
    status, tag, body = await seen_as(running, path, None)
    assert (status, tag[0], tag[-1]) == (200, '"', '"')
    assert body is not None
    for given in (tag, f"W/{tag}", f'"other", {tag}', f'"1.2.3.4.5",W/{tag} , "x"'):
        assert await seen_as(running, path, given) == (304, tag, None), given
    async with running.http.get(running.url + API + path, headers={**USER, "If-None-Match": tag}) as response:
        assert response.headers["Cache-Control"] == "private, no-cache"
        assert {"Authorization", "Cookie", "Origin"} <= set(", ".join(response.headers.getall("Vary")).split(", "))
        assert "Content-Type" not in response.headers


@pytest.mark.parametrize("given", ["*", '""', '"x"', "x", '"9.9.9.9.9"', '"1.2.3.4.5', '"' + "1" * 900 + '"', ", ,"])
async def test_what_is_no_tag_of_ours_matches_nothing(running: Running, given: str) -> None:
    for path in POLLED:
        assert (await seen_as(running, path, given))[0] == 200, path


@pytest.mark.parametrize("name", sorted(acts()))
async def test_every_change_is_news(starter: Starter, clock: FakeClock, name: str) -> None:
    running = await starter(app={"clock": clock})
    row = await sent(running)
    tags = {path: (await seen_as(running, path, None))[1] for path in POLLED}
    await sent(running, {"userId": 6})  # what happens to others may be news, or not
    clock.advance(1)
    await acts()[name](running, row["id"])
    for path, tag in tags.items():
        status, new, body = await seen_as(running, path, tag)
        assert (status, new != tag, body is not None) == (200, True, True), path
        assert (await seen_as(running, path, new))[0] == 304, path


@pytest.mark.parametrize("target", [{"userId": 5}, {"audience": "all"}])
async def test_passing_time_is_news(starter: Starter, clock: FakeClock, target: dict[str, Any]) -> None:
    running = await starter(app={"clock": clock})
    await done(running, "GET", "/unread-count")
    await sent(running, target, expiresAt=timestamp(clock.now + 60))
    row = await sent(running, target)
    await done(running, "POST", f"/{row['id']}/snooze", until=timestamp(clock.now + 120))
    tag = (await seen_as(running, "", None))[1]
    clock.advance(59)
    assert (await seen_as(running, "", tag))[0] == 304
    clock.advance(2)
    status, tag, page = await seen_as(running, "", tag)
    assert (status, page["total"]) == (200, 0)
    assert (await seen_as(running, "", tag))[0] == 304
    clock.advance(60)
    status, _, page = await seen_as(running, "", tag)
    assert (status, [one["id"] for one in page["notifications"]]) == (200, [row["id"]])


async def test_a_role_that_is_lost_is_news(running: Running) -> None:
    await running.call("GET", API, by=TECHNICIAN)
    await sent(running, {"role": "technician"})
    tag = (await seen_as(running, "", None, TECHNICIAN))[1]
    assert (await seen_as(running, "", tag, TECHNICIAN))[0] == 304
    await running.call("PATCH", "/api/users/3", by=ADMIN, json={"role": "user"})
    status, _, page = await seen_as(running, "", tag, TECHNICIAN)
    assert (status, page["total"]) == (200, 0)


async def test_a_row_that_is_gone_is_not_unchanged(running: Running) -> None:
    row = await sent(running)
    status, tag, body = await seen_as(running, f"/{row['id']}", None)
    assert (status, body) == (200, row)
    assert (await seen_as(running, f"/{row['id']}", tag))[0] == 304
    assert (await seen_as(running, "/987654", tag))[0] == 404
    await done(running, "DELETE", f"/{row['id']}")
    assert (await seen_as(running, f"/{row['id']}", tag))[0] == 404


async def test_a_refused_question_is_refused_with_every_tag(running: Running) -> None:
    tag = (await seen_as(running, "", None))[1]
    headers = {"If-None-Match": tag}
    refused(await running.call("GET", f"{API}?shelf=attic", by=USER, headers=headers), 400, "INVALID_PAYLOAD")
    refused(await running.call("GET", f"{API}/sync?since=x", by=USER, headers=headers), 400, "INVALID_PAYLOAD")
    refused(await running.call("GET", API, headers=headers), 401, "AUTH_REQUIRED")


# --- sync ---


class Copy:
    """A client's copy of its inbox, kept by what sync says."""

    def __init__(self, running: Running, by: dict[str, str] = USER, limit: int = 2) -> None:
        self.running, self.by, self.limit = running, by, limit
        self.token: str | None = None
        self.rows: dict[int, Any] = {}
        self.answers: list[Any] = []

    async def page(self) -> Any:
        since = "" if self.token is None else f"&since={self.token}"
        answer = await done(self.running, "GET", f"/sync?limit={self.limit}{since}", self.by)
        if answer["reset"]:
            self.rows.clear()
        for change in answer["changes"]:
            if change["op"] == "upsert":
                assert change["id"] == change["notification"]["id"]
                self.rows[change["id"]] = change["notification"]
            else:
                assert change == {"op": "remove", "id": change["id"]}
                self.rows.pop(change["id"], None)
        self.token = answer["token"]
        self.answers.append(answer)
        return answer

    async def catch_up(self) -> list[Any]:
        """Ask until there is no more; return the answers."""
        begun = len(self.answers)
        while (await self.page())["hasMore"]:
            pass
        return self.answers[begun:]

    async def is_true(self) -> None:
        """Compare the copy and the badges with the list."""
        await self.catch_up()
        page = await done(self.running, "GET", "?limit=100", self.by)
        assert sorted(self.rows.values(), key=lambda row: (row["createdAt"], row["id"]), reverse=True) == sorted(
            page["notifications"], key=lambda row: (row["createdAt"], row["id"]), reverse=True
        )
        for name in ("unreadCount", "unseenCount", "categories", "revision"):
            assert self.answers[-1][name] == page[name]


async def test_the_whole_inbox_comes_in_pages(running: Running) -> None:
    await done(running, "GET", "/unread-count")
    for target in ({"userId": 5}, {"audience": "all"}, {"userId": 5}, {"userId": 5}, {"audience": "all"}):
        await sent(running, target)
    copy = Copy(running)
    answers = await copy.catch_up()
    assert [(answer["reset"], answer["hasMore"], len(answer["changes"])) for answer in answers] == [
        (True, True, 2),
        (False, True, 2),
        (False, False, 1),
    ]
    await copy.is_true()
    assert [answer["changes"] for answer in await copy.catch_up()] == [[]]


async def test_only_what_has_changed_is_told(starter: Starter, clock: FakeClock) -> None:
    running = await starter(app={"clock": clock})
    await done(running, "GET", "/unread-count")
    rows = [await sent(running, target) for target in ({"userId": 5}, {"audience": "all"}) for _ in range(3)]
    untouched = {rows[0]["id"], rows[3]["id"]}
    copy = Copy(running, limit=50)
    await copy.is_true()
    clock.advance(1)
    await done(running, "PATCH", f"/{rows[1]['id']}/read")
    await done(running, "POST", f"/{rows[2]['id']}/archive")
    await done(running, "DELETE", f"/{rows[4]['id']}")
    await done(running, "PATCH", f"/{rows[5]['id']}/seen")
    new = await sent(running)
    [answer] = await copy.catch_up()
    told = {change["id"]: change["op"] for change in answer["changes"]}
    assert told == {
        rows[1]["id"]: "upsert",
        rows[2]["id"]: "remove",
        rows[4]["id"]: "remove",
        rows[5]["id"]: "upsert",
        new["id"]: "upsert",
    }
    assert not untouched & set(told)
    await copy.is_true()


async def test_what_changes_while_pages_are_read_is_told(starter: Starter, clock: FakeClock) -> None:
    running = await starter(app={"clock": clock})
    rows = [await sent(running) for _ in range(6)]
    copy = Copy(running)
    await copy.page()
    clock.advance(1)
    for row, path in [(rows[0], "read"), (rows[4], "seen")]:
        await done(running, "PATCH", f"/{row['id']}/{path}")
    await done(running, "DELETE", f"/{rows[1]['id']}")
    await done(running, "DELETE", f"/{rows[5]['id']}")
    await sent(running)
    await copy.catch_up()
    await copy.is_true()


async def test_rows_that_expire_or_come_back_are_told(starter: Starter, clock: FakeClock) -> None:
    running = await starter(app={"clock": clock})
    await done(running, "GET", "/unread-count")
    ends = await sent(running, {"audience": "all"}, expiresAt=timestamp(clock.now + 60))
    sleeps = await sent(running)
    await done(running, "POST", f"/{sleeps['id']}/snooze", until=timestamp(clock.now + 120))
    copy = Copy(running)
    await copy.is_true()
    clock.advance(61)
    [answer] = await copy.catch_up()
    assert answer["changes"] == [{"op": "remove", "id": ends["id"]}]
    clock.advance(60)
    [answer] = await copy.catch_up()
    assert [(change["op"], change["id"]) for change in answer["changes"]] == [("upsert", sleeps["id"])]
    await copy.is_true()


async def test_a_role_that_is_lost_takes_its_rows_away(starter: Starter, clock: FakeClock) -> None:
    running = await starter(app={"clock": clock})
    await running.call("GET", API, by=TECHNICIAN)
    row = await sent(running, {"role": "technician"})
    copy = Copy(running, TECHNICIAN)
    await copy.is_true()
    await running.call("PATCH", "/api/users/3", by=ADMIN, json={"role": "user"})
    [answer] = await copy.catch_up()
    assert answer["changes"] == [{"op": "remove", "id": row["id"]}]


async def test_retracted_rows_are_taken_away(running: Running) -> None:
    await done(running, "GET", "/unread-count")
    row = await sent(running, {"audience": "all"})
    copy = Copy(running)
    await copy.is_true()
    await done(running, "DELETE", f"/broadcasts/{row['id']}", ADMIN)
    [answer] = await copy.catch_up()
    assert answer["changes"] == [{"op": "remove", "id": row["id"]}]
    await copy.is_true()


async def test_a_token_outlives_a_restart_and_not_another_database(
    starter: Starter, clock: FakeClock, tmp_path: Any
) -> None:
    running = await starter(app={"clock": clock})
    await sent(running)
    copy = Copy(running)
    await copy.is_true()
    await running.server.close()
    copy.running = await starter(app={"clock": clock})
    [answer] = await copy.catch_up()
    assert (answer["reset"], answer["changes"]) == (False, [])
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    copy.running = await starter(app={"clock": clock}, path=elsewhere)
    [answer] = await copy.catch_up()
    assert (answer["reset"], copy.rows) == (True, {})


async def test_somebody_elses_token_shows_nothing_of_theirs(running: Running) -> None:
    await sent(running)
    mine = Copy(running)
    await mine.is_true()
    stranger = Copy(running, bearer(6))
    stranger.token = mine.token
    await stranger.catch_up()
    assert stranger.rows == {}


@pytest.mark.parametrize("since", ["x", "1.2.3", "~~", "0" * 500, "1.2.3.4.5~6", "%00", "1.2.3.4.5~1.2.3.4.5~x"])
async def test_what_is_no_token_is_refused(running: Running, since: str) -> None:
    answer = await running.call("GET", f"{API}/sync?since={since}", by=USER)
    refused(answer, 400, "INVALID_PAYLOAD")


@pytest.mark.parametrize(("limit", "status"), [("0", 200), ("-5", 200), ("501", 200), ("99999999999", 200), ("x", 400)])
async def test_sizes_of_pages_are_clamped(running: Running, limit: str, status: int) -> None:
    await sent(running)
    got, answer = await running.call("GET", f"{API}/sync?limit={limit}", by=USER)
    assert got == status
    assert status != 200 or len(answer["changes"]) == 1


async def test_a_page_of_large_rows_is_about_a_megabyte(running: Running) -> None:
    large = {"userId": 5, "title": "t", "message": "\u6e29" * 5000, "metadata": {"x": "y" * 8000}}
    for _ in range(40):
        await sent(running, large)
    found: list[int] = []
    token, more = "", True
    while more:
        query = f"?limit=500&since={token}" if token else "?limit=500"
        async with running.http.get(f"{running.url}{API}/sync{query}", headers=USER) as response:
            raw = await response.read()
            page = await response.json()
        assert len(raw) < (1 << 20) + 8192
        found += [change["id"] for change in page["changes"]]
        token, more = page["token"], page["hasMore"]
    assert len(found) == len(set(found)) == 40
    assert page["changes"][-1]["id"] == found[-1] != found[0]
    assert len(page["changes"]) < 40
