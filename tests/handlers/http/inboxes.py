"""What tests of the inbox over REST do all the time."""

from typing import Any

from tests.handlers.http.answers import ADMIN, USER
from tests.support import Running

API = "/api/notifications"
COUNTED = "notification_count_updated"


async def sent(running: Running, to: Any = None, *, by: dict[str, str] = ADMIN, **fields: Any) -> Any:
    """POST a notification that must be taken, to user 5 unless it says; return the answer's body."""
    body = {"title": "Title", "message": "Message", **(to if to is not None else {"userId": 5}), **fields}
    status, row = await running.call("POST", API, by=by, json=body)
    assert status == 201, row
    return row


async def done(running: Running, method: str, path: str, by: dict[str, str] = USER, **body: Any) -> Any:
    """Call a route that must succeed; return the answer's body."""
    status, answer = await running.call(method, API + path, by=by, json=body or None)
    assert status == 200, answer
    return answer


async def ids(running: Running, by: dict[str, str] = USER, query: str = "") -> list[int]:
    return [row["id"] for row in (await done(running, "GET", query, by))["notifications"]]


async def badges(running: Running, by: dict[str, str] = USER) -> tuple[int, int, dict[str, int]]:
    """Return (unread, unseen, unread by category)."""
    answer = await done(running, "GET", "/unread-count", by)
    assert answer["count"] == answer["unreadCount"] == sum(answer["categories"].values())
    return answer["unreadCount"], answer["unseenCount"], answer["categories"]


async def seen_as(running: Running, path: str, tag: str | None, by: dict[str, str] = USER) -> tuple[int, str, Any]:
    """GET a path with an `If-None-Match`; return (status, entity tag, body or None when there is none)."""
    headers = {**by, **({} if tag is None else {"If-None-Match": tag})}
    async with running.http.get(running.url + API + path, headers=headers) as response:
        raw = await response.read()
        return response.status, response.headers.get("ETag", ""), (await response.json() if raw else None)
