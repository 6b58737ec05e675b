"""What happens to rooms, rights and audiences while something slow is under way."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import jwt
import pytest
import socketio
from aiohttp import web
from aiohttp.test_utils import TestServer

from realtime.clock import timestamp
from realtime.errors import StoreUnavailable
from realtime.events import Audience, Custom
from realtime.services.directory import ADMIN_AUDIENCE
from tests.conftest import Starter
from tests.handlers.sockets.held import Held
from tests.support import PATIENCE, SECRET, Client, FakeClock, Running, bearer, token, until

ADMIN = bearer(1, "admin")


def rooms_of(running: Running, id: str) -> set[str]:
    channel = running.parts.channel
    return {room for session in channel.of_user(id) for room in channel.membership.rooms(session.sid)}


def reached(running: Running, room: str) -> int:
    """Return how many connections hear what is sent to a room now."""
    return running.parts.publisher.publish(Custom(0.0, "probe", None), Audience.room(room))


async def set_role(running: Running, id: int, role: str) -> None:
    status, answer = await running.call("PATCH", f"/api/users/{id}", by=ADMIN, json={"role": role})
    assert status == 200, answer


async def send(running: Running, target: dict[str, Any], title: str) -> None:
    body = {**target, "title": title, "message": "text"}
    status, answer = await running.call("POST", "/api/notifications", by=ADMIN, json=body)
    assert status < 300, answer


async def titles(running: Running, by: dict[str, str]) -> list[str]:
    _, answer = await running.call("GET", "/api/notifications", by=by)
    return [row["title"] for row in answer["notifications"]]


# --- refreshing a token ---


async def failing(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object) -> None:
        raise StoreUnavailable

    monkeypatch.setattr(running.parts.store, "entity", broken)


async def hanging(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handlers.commands.dispatch.COMMAND_SECONDS", 0.02)
    Held(monkeypatch, running.parts.store, "entity")


async def hanging_early(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handlers.commands.dispatch.COMMAND_SECONDS", 0.02)
    Held(monkeypatch, running.parts.store, "touch_user")


@pytest.mark.parametrize(
    ("fault", "code"), [(failing, "UNAVAILABLE"), (hanging, "INTERNAL"), (hanging_early, "INTERNAL")]
)
@pytest.mark.parametrize("lifetime", [30, 120])
async def test_a_connection_ends_with_its_new_token_whatever_becomes_of_the_refresh(
    starter: Starter,
    clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
    fault: Callable[[Running, pytest.MonkeyPatch], Awaitable[None]],
    code: str,
    lifetime: int,
) -> None:
    running = await starter(app={"clock": clock}, jwt_leeway=0.0)
    client = await running.connect(5, "technician", lifetime=60, now=clock.now)
    other = await running.connect(6, lifetime=lifetime - 5, now=clock.now)
    await client.ask("join_room", "work_order_1")
    await fault(running, monkeypatch)
    given = token(5, "user", now=clock.now, lifetime=lifetime)
    expires_at: float = jwt.decode(given, options={"verify_signature": False})["exp"]
    assert (await client.ask("refresh_token", given))["code"] == code
    clock.now = expires_at - 5
    await other.hears("token_expired")
    await client.settle()
    assert "token_expired" not in client.names()
    clock.now = expires_at
    assert (await client.hears("token_expired"))["timestamp"] == timestamp(expires_at)
    await until(lambda: not client.sio.connected, what="the end of the connection")


# --- losing a role ---


class Authority:
    """Another backend that lets people into `rooms`, when it may answer."""

    def __init__(self) -> None:
        self.rooms: set[str] = set()
        self.asked: list[str] = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def decide(self, request: web.Request) -> web.Response:
        room = json.loads(await request.read())["room"]
        self.asked.append(room)
        await self.may_answer.wait()
        return web.json_response({"allow": room in self.rooms})


@pytest.fixture
async def authority() -> Authority:
    return Authority()


@pytest.fixture
async def asking(starter: Starter, authority: Authority, clock: FakeClock) -> AsyncIterator[Running]:
    """A server that asks `authority`."""
    app = web.Application()
    app.router.add_post("/", authority.decide)
    backend = TestServer(app, host="127.0.0.1")
    await backend.start_server()
    yield await starter(app={"clock": clock}, room_auth_url=str(backend.make_url("/")), room_auth_secret="s3cret")
    authority.may_answer.set()
    await backend.close()


async def test_a_lost_role_counts_before_a_slow_authority_answers(
    asking: Running, authority: Authority, clock: FakeClock
) -> None:
    authority.rooms = {"machine_2"}
    client = await asking.connect(5, "manager", now=clock.now)
    await client.ask("join_room", {"rooms": ["work_order_1", "machine_2"]})
    authority.may_answer.clear()
    patch = asyncio.create_task(set_role(asking, 5, "user"))
    await until(lambda: sorted(authority.asked) == ["machine_2", "work_order_1"], what="both questions")
    assert rooms_of(asking, "5") == {"user_5", "role_user"}
    assert [reached(asking, room) for room in ("admin_room", "role_manager", "work_order_1", "machine_2")] == [0] * 4
    authority.may_answer.set()
    await patch
    assert rooms_of(asking, "5") == {"user_5", "role_user", "machine_2"}
    assert reached(asking, "machine_2") == 1
    await client.settle()
    assert client.names().count("probe") == 1


async def test_a_refresh_with_the_same_role_keeps_rooms_and_asks_nobody(
    asking: Running, authority: Authority, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority.rooms = {"ticket_8"}
    client = await asking.connect(5)
    assert (await client.ask("join_room", "ticket_8"))["success"] is True
    assert authority.asked == ["ticket_8"]
    clock.advance(60)  # what the authority said is no longer remembered
    authority.rooms = set()
    Held(monkeypatch, asking.parts.store, "entity")
    assert (await client.ask("refresh_token", token(5, now=clock.now)))["success"] is True
    assert authority.asked == ["ticket_8"]
    assert rooms_of(asking, "5") == {"user_5", "role_user", "ticket_8"}


async def test_a_changed_role_keeps_what_the_tokens_own_rooms_grant(running: Running) -> None:
    claims = {"id": 4, "exp": 4_000_000_000 // 2, "rooms": ["ticket_1", "machine_*"]}
    client = await running.connect(auth={"token": jwt.encode(claims, SECRET)})
    await client.ask("join_room", {"rooms": ["ticket_1", "machine_7"]})
    for room in ("ticket_1", "machine_7"):
        await send(running, {"room": room}, room)
    await client.ask("leave_room", "machine_7")
    await set_role(running, 4, "customer")
    assert rooms_of(running, "4") == {"user_4", "role_customer", "ticket_1"}
    assert sorted(await titles(running, bearer(4))) == ["machine_7", "ticket_1"]
    await client.close()
    await until(lambda: len(running.parts.channel) == 0, what="the end of the connection")
    await set_role(running, 4, "user")  # without a token nothing is granted
    assert await titles(running, bearer(4)) == []


# --- connecting ---


async def test_a_connect_that_takes_too_long_is_refused_and_leaves_no_ghost(
    starter: Starter, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = await starter(connections_per_ip=1)
    held = Held(monkeypatch, running.parts.store, "touch_user")
    answers: list[Any] = []
    sio = socketio.AsyncClient(reconnection=False, http_session=running.http)
    sio.on("connect_error", answers.append)
    with monkeypatch.context() as patched:
        patched.setattr("handlers.sockets.entrance.CONNECT_SECONDS", 0.02)
        with pytest.raises(socketio.exceptions.ConnectionError):
            await sio.connect(
                running.url, auth={"token": token(5, "manager")}, transports=["websocket"], wait_timeout=PATIENCE
            )
    assert held.reached.is_set()
    assert answers[0]["data"] == {"code": "UNAVAILABLE"}
    held.let_go()
    assert len(running.parts.channel) == 0
    assert not running.parts.channel.membership.all()
    assert not running.parts.channel.membership.room_names()
    await sio.disconnect()
    client = await running.connect(5)  # the only place of this address is free again
    _, view = await running.call("GET", "/api/presence/5", by=ADMIN)
    assert view["connections"] == 1
    assert (await client.ask("register"))["success"] is True


async def test_a_connect_that_races_with_a_demotion_does_not_get_the_admin_audience(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(monkeypatch, running.parts.store, "touch_user", answered=True)
    connecting = asyncio.create_task(running.connect(5, "manager"))
    await held.reached.wait()
    await set_role(running, 5, "user")
    held.let_go()
    client = await connecting
    assert rooms_of(running, "5") == {"user_5", "role_user"}
    assert await running.parts.store.readers(ADMIN_AUDIENCE) == ["user:1"]
    await send(running, {"room": "admin_room"}, "for administrators")
    assert await titles(running, bearer(5)) == []
    await client.settle()
    assert "newNotification" not in client.names()


async def test_a_connect_that_races_with_a_promotion_gets_the_admin_audience(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(monkeypatch, running.parts.store, "note_user", answered=True)
    await running.connect(5)
    await held.reached.wait()
    await set_role(running, 5, "manager")
    held.let_go()
    assert sorted(await running.parts.store.readers(ADMIN_AUDIENCE)) == ["user:1", "user:5"]


# --- joining ---


async def two_work_orders(running: Running) -> Client:
    for id in (1, 2):
        await running.call("PUT", f"/api/work-orders/{id}", by=ADMIN, json={"customer_id": 4})
    return await running.connect(4)


async def test_a_row_that_stops_naming_somebody_while_they_join_keeps_them_out(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await two_work_orders(running)
    held = Held(monkeypatch, running.parts.store, "entity", which=lambda _, id: id == "2")
    joining = asyncio.create_task(client.ask("join_room", {"rooms": ["work_order_1", "work_order_2"]}))
    await held.reached.wait()
    await running.call("PATCH", "/api/work-orders/1", by=ADMIN, json={"customer_id": 5})
    held.let_go()
    assert (await joining)["code"] == "ROOM_FORBIDDEN"
    assert rooms_of(running, "4") == {"user_4", "role_user"}
    assert reached(running, "work_order_1") == 0
    await send(running, {"room": "work_order_1"}, "for the next customer")
    assert await titles(running, bearer(4)) == []


async def test_a_row_that_stops_naming_somebody_while_they_are_subscribed_ends_that(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await two_work_orders(running)
    await running.write_down("work_order_1", "work_order_2")
    held = Held(monkeypatch, running.parts.store, "change_memberships", answered=True)
    joining = asyncio.create_task(client.ask("join_room", {"rooms": ["work_order_1", "work_order_2"]}))
    await held.reached.wait()
    await running.call("PATCH", "/api/work-orders/2", by=ADMIN, json={"customer_id": 5})
    held.let_go()
    await joining
    assert rooms_of(running, "4") == {"user_4", "role_user", "work_order_1"}
    await send(running, {"room": "work_order_1"}, "theirs")
    await send(running, {"room": "work_order_2"}, "for the next customer")
    assert await titles(running, bearer(4)) == ["theirs"]


async def test_a_role_that_is_lost_while_somebody_joins_keeps_them_out(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await running.connect(5, "technician")
    await running.write_down("machine_1", "machine_2")
    held = Held(monkeypatch, running.parts.store, "change_memberships", answered=True)
    joining = asyncio.create_task(client.ask("join_room", {"rooms": ["machine_1", "machine_2"]}))
    await held.reached.wait()
    patch = asyncio.create_task(set_role(running, 5, "user"))
    await until(lambda: "role_user" in rooms_of(running, "5"), what="the new role")
    held.let_go()
    await asyncio.gather(joining, patch)
    assert rooms_of(running, "5") == {"user_5", "role_user"}
    for room in ("machine_1", "machine_2"):
        await send(running, {"room": room}, room)
    assert await titles(running, bearer(5)) == []


@pytest.mark.parametrize("way", ["leaves", "ends"])
async def test_one_tab_that_goes_takes_nothing_from_another_that_comes(
    running: Running, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    one, two = [await running.connect(5, "technician") for _ in range(2)]
    await one.ask("join_room", "work_order_1")
    assert await running.parts.store.readers("room:work_order_1") == ["user:5"]
    held = Held(monkeypatch, running.parts.store, "change_memberships", answered=True)
    [sid] = running.parts.channel.membership.members("work_order_1")
    leaving = one.ask("leave_room", "work_order_1") if way == "leaves" else running.parts.channel.dismiss(sid)
    going = asyncio.create_task(leaving)
    await held.reached.wait()  # the end of the subscription is stored, but whoever asked for it does not know
    assert reached(running, "work_order_1") == 0
    assert (await two.ask("join_room", "work_order_1"))["success"] is True
    held.let_go()
    await going
    await send(running, {"room": "work_order_1"}, "parts are here")
    assert (await two.hears("newNotification"))["title"] == "parts are here"
    assert await titles(running, bearer(5, "technician")) == ["parts are here"]


# --- scheduled notifications ---


@pytest.mark.parametrize("answered", [False, True])
async def test_a_draft_that_is_added_while_others_are_sent_is_sent_in_time(
    starter: Starter, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, answered: bool
) -> None:
    running = await starter(app={"clock": clock})
    client = await running.connect(5)
    start = clock.now
    held = Held(monkeypatch, running.parts.store, "next_run", answered=answered)
    await send(running, {"userId": 5, "scheduledAt": timestamp(start + 10)}, "first")
    clock.now = start + 11
    assert (await client.hears("newNotification"))["title"] == "first"
    await held.reached.wait()
    await send(running, {"userId": 5, "scheduledAt": timestamp(start + 20)}, "second")
    held.let_go()
    clock.now = start + 21
    assert (await client.hears("newNotification", 2))["title"] == "second"
