"""POST /api/activity and /api/stats: who may tell dashboards what."""

from typing import Any

import pytest

from tests.handlers.http.answers import ADMIN, GUEST, MANAGER, SERVICE, TECHNICIAN, USER, refused
from tests.support import Running

ACTIVITY = {"userId": 7, "type": "post_comment", "message": "Bob commented"}
STATS = {"connections": 1, "messages": 2, "posts": 3}


async def test_activity_is_answered_with_how_many_it_reached(running: Running) -> None:
    for id in (7, "7"):
        status, answer = await running.call("POST", "/api/activity", by=ADMIN, json={**ACTIVITY, "userId": id})
        assert (status, answer) == (201, {"status": "success", "data": {**ACTIVITY, "userId": 7, "delivered": 0}})


async def test_figures_that_are_not_given_are_zero(running: Running) -> None:
    status, answer = await running.call("POST", "/api/stats", by=ADMIN, json={"posts": 3})
    figures = {"userId": None, "connections": 0, "messages": 0, "posts": 3, "delivered": 0}
    assert (status, answer) == (201, {"status": "success", "data": figures})


@pytest.mark.parametrize(
    "change",
    [
        {"userId": None},
        {"userId": True},
        {"userId": ""},
        {"type": ""},
        {"type": "x" * 41},
        {"message": ""},
        {"message": "x" * 5001},
        {"message": 7},
        {"unknown": 1},
    ],
)
async def test_bad_activity_is_refused(running: Running, change: dict[str, Any]) -> None:
    answer = await running.call("POST", "/api/activity", by=ADMIN, json={**ACTIVITY, **change})
    refused(answer, 400, "INVALID_PAYLOAD")


@pytest.mark.parametrize("change", [{"posts": -1}, {"posts": "3"}, {"posts": 1.5}, {"posts": 2**53}, {"unknown": 1}])
async def test_bad_figures_are_refused(running: Running, change: dict[str, Any]) -> None:
    refused(await running.call("POST", "/api/stats", by=ADMIN, json={**STATS, **change}), 400, "INVALID_PAYLOAD")


@pytest.mark.parametrize(
    ("by", "activity", "stats"),
    [
        (ADMIN, 201, 201),
        (MANAGER, 201, 201),
        (SERVICE, 201, 201),
        (TECHNICIAN, 201, 403),
        (USER, 403, 403),
        (GUEST, 403, 403),
        ({}, 401, 401),
    ],
)
async def test_staff_tell_of_activity_and_publishers_of_figures(
    running: Running, by: dict[str, str], activity: int, stats: int
) -> None:
    assert (await running.call("POST", "/api/activity", by=by, json=ACTIVITY))[0] == activity
    assert (await running.call("POST", "/api/stats", by=by, json=STATS))[0] == stats
