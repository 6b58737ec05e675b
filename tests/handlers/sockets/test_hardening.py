"""What hostile and unlucky clients try: nothing is leaked, nobody keeps what was taken away."""

import asyncio
import base64
import json
from typing import Any

import aiohttp
import jwt
import pytest
import socketio
from aiohttp import web
from aiohttp.test_utils import TestServer

from realtime.clock import timestamp
from realtime.models import User
from tests.conftest import Starter
from tests.support import SECRET, FakeClock, Running, bearer, token, until

UPGRADE = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}


async def polling(running: Running) -> str:
    """Open a polling session and return the URL of its requests."""
    url = f"{running.url}/socket.io/?EIO=4&transport=polling"
    async with running.http.get(url) as response:
        opening = await response.text()
    sid = json.loads(opening[1:])["sid"]
    return f"{url}&sid={sid}"


@pytest.mark.parametrize("missing", ["Connection", "Sec-WebSocket-Key"])
async def test_failed_upgrade_is_remembered_nowhere(running: Running, missing: str) -> None:
    headers = {**UPGRADE, "Sec-WebSocket-Key": base64.b64encode(b"0" * 16).decode()}
    del headers[missing]
    reader, writer = await asyncio.open_connection("127.0.0.1", running.server.port)
    lines = [f"{name}: {value}" for name, value in {"Host": "localhost", **headers}.items()]
    head = "\r\n".join(["GET /socket.io/?EIO=4&transport=websocket HTTP/1.1", *lines])
    writer.write(f"{head}\r\n\r\n".encode())
    assert (await reader.readline()).split()[1] == b"400"
    writer.close()
    assert running.parts.server.eio.sockets == {}


async def test_post_may_hold_many_packets_and_be_chunked(running: Running) -> None:
    url = await polling(running)
    credentials = f'40{{"token":"{token(3, "technician")}"}}'
    async with running.http.post(url, data=credentials) as response:
        assert response.status == 200
    joins = [f'42{n}["join_room","work_order_{n}"]' for n in range(100)]

    async def in_pieces() -> Any:
        for join in joins[:50]:
            yield (join + "\x1e").encode()
        yield joins[50].encode()

    async with running.http.post(url, data=in_pieces()) as response:
        assert response.status == 200
    async with running.http.post(url, data="\x1e".join(joins[51:])) as response:
        assert response.status == 200
    _, answer = await running.call("GET", "/api/websocket/user/3/rooms", by=bearer(1, "admin"))
    assert len(answer["data"]["rooms"]) == 102


@pytest.mark.parametrize("body", ["4x\x1e9", "\xff", "\x1e".join(["2"] * 1001)])
async def test_post_that_is_not_engine_io_ends_the_session(running: Running, body: str) -> None:
    url = await polling(running)
    async with running.http.post(url, data=body.encode("latin-1")) as response:
        assert response.status == 400
    async with running.http.post(url, data="2") as response:
        assert response.status == 400
    await until(lambda: running.parts.server.eio.sockets == {})


async def test_polling_client_that_never_polls_is_cut(running: Running) -> None:
    url = await polling(running)
    async with running.http.post(url, data=f'40{{"token":"{token(5)}"}}') as response:
        assert response.status == 200
    await until(lambda: len(running.parts.channel) == 1)
    big = {"userId": 5, "event": "news", "data": "x" * 200_000}
    for _ in range(6):
        await running.call("POST", "/api/publish", by=bearer(1, "admin"), json=big)
    await until(lambda: len(running.parts.channel) == 0)


async def test_long_namespace_closes_without_an_echo(running: Running) -> None:
    url = f"{running.url}/socket.io/?EIO=4&transport=websocket"
    async with running.http.ws_connect(url) as ws:
        await ws.receive()
        await ws.send_str("40/" + "n" * 200)
        assert (await ws.receive()).type is aiohttp.WSMsgType.CLOSE


async def test_text_in_place_of_an_attachment_closes(running: Running) -> None:
    url = f"{running.url}/socket.io/?EIO=4&transport=websocket"
    async with running.http.ws_connect(url) as ws:
        await ws.receive()
        await ws.send_str(f'40{{"token":"{token(5)}"}}')
        await ws.receive()
        await ws.send_str('451-9["updateStatus",{"status":{"_placeholder":true,"num":0}}]')
        await ws.send_str("4busy")
        assert (await ws.receive()).type is aiohttp.WSMsgType.CLOSE
    await until(lambda: len(running.parts.channel) == 0)


async def test_connect_that_takes_too_long_leaves_no_ghost(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handlers.sockets.entrance.CONNECT_SECONDS", 0.05)

    async def never(*_: object, **__: object) -> User:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(running.parts.store, "touch_user", never)
    with pytest.raises(socketio.exceptions.ConnectionError):
        await running.connect(5, "manager")
    assert len(running.parts.channel) == 0
    assert len(running.parts.channel.membership) == 0


async def slow_authority(release: asyncio.Event, asked: list[str]) -> TestServer:
    """A backend that says yes, once it is released."""

    async def decide(request: web.Request) -> web.Response:
        asked.append((await request.json())["room"])
        await release.wait()
        return web.json_response({"allow": True})

    app = web.Application()
    app.router.add_post("/rooms", decide)
    server = TestServer(app, host="127.0.0.1")
    await server.start_server()
    return server


async def test_demotion_does_not_wait_for_anybody(starter: Starter) -> None:
    release, asked = asyncio.Event(), list[str]()
    backend = await slow_authority(release, asked)
    running = await starter(room_auth_url=str(backend.make_url("/rooms")), room_auth_secret="s3cret")
    client = await running.connect(5, "manager")
    await client.ask("join_room", "ticket_1")
    patch = asyncio.create_task(running.call("PATCH", "/api/users/5", by=bearer(1, "admin"), json={"role": "user"}))
    await until(lambda: asked)
    [sid] = running.parts.channel.sids_of_user("5")
    assert running.parts.channel.membership.rooms(sid) == {"user_5", "role_user"}
    release.set()
    assert (await patch)[0] == 200
    assert running.parts.channel.membership.rooms(sid) == {"user_5", "role_user", "ticket_1"}
    await backend.close()


async def test_subscription_ends_when_a_demoted_connection_goes_while_it_is_asked_about(starter: Starter) -> None:
    release, asked = asyncio.Event(), list[str]()
    backend = await slow_authority(release, asked)
    running = await starter(room_auth_url=str(backend.make_url("/rooms")), room_auth_secret="s3cret")
    client = await running.connect(5, "manager")
    await client.ask("join_room", "ticket_1")
    patch = asyncio.create_task(running.call("PATCH", "/api/users/5", by=bearer(1, "admin"), json={"role": "user"}))
    await until(lambda: asked)
    await client.close()
    await until(lambda: not running.parts.channel.sids_of_user("5"))
    release.set()
    assert (await patch)[0] == 200
    assert await running.parts.store.open_memberships("room:ticket_1") == []
    await backend.close()


@pytest.mark.parametrize("another", [False, True], ids=["alone", "while another comes and goes"])
async def test_what_is_sent_while_a_right_is_asked_about_is_received(starter: Starter, another: bool) -> None:
    release, asked = asyncio.Event(), list[str]()
    backend = await slow_authority(release, asked)
    running = await starter(room_auth_url=str(backend.make_url("/rooms")), room_auth_secret="s3cret")
    admin = bearer(1, "admin")

    async def send(title: str) -> None:
        sent = {"room": "ticket_1", "title": title, "message": "text"}
        assert (await running.call("POST", "/api/notifications", by=admin, json=sent))[0] == 201

    client = await running.connect(5, "manager")
    await client.ask("join_room", "ticket_1")
    patch = asyncio.create_task(running.call("PATCH", "/api/users/5", by=admin, json={"role": "user"}))
    await until(lambda: asked)
    if another:
        other = await running.connect(6, "technician")
        await other.ask("join_room", "ticket_1")
        await other.ask("leave_room", "ticket_1")
    await send("meanwhile")
    release.set()
    assert (await patch)[0] == 200
    await client.ask("leave_room", "ticket_1")
    await send("afterwards")
    _, answer = await running.call("GET", "/api/notifications", by=bearer(5))
    assert [row["title"] for row in answer["notifications"]] == ["meanwhile"]
    await backend.close()


async def test_nothing_is_sent_to_whom_a_row_has_stopped_naming_while_it_is_asked_whether_they_may_stay(
    starter: Starter,
) -> None:
    release, asked = asyncio.Event(), list[str]()
    release.set()
    backend = await slow_authority(release, asked)
    running = await starter(room_auth_url=str(backend.make_url("/rooms")), room_auth_secret="s3cret")
    admin = bearer(1, "admin")
    await running.call("PUT", "/api/work-orders/1", by=admin, json={"customer_id": 5})
    client = await running.connect(5)
    assert (await client.ask("join_room", "work_order_1"))["success"] is True
    release.clear()
    asked.clear()
    change = running.call("PATCH", "/api/work-orders/1", by=admin, json={"customer_id": 6})
    patch = asyncio.create_task(change)
    await until(lambda: asked)
    sent = {"room": "work_order_1", "title": "for the next customer", "message": "text"}
    assert (await running.call("POST", "/api/notifications", by=admin, json=sent))[0] == 201
    _, answer = await running.call("GET", "/api/notifications", by=bearer(5))
    assert answer["notifications"] == []
    release.set()
    assert (await patch)[0] == 200
    assert not [event for event, _ in client.heard if event == "newNotification"]
    await backend.close()


async def test_refresh_with_the_same_role_asks_nobody(starter: Starter) -> None:
    release, asked = asyncio.Event(), list[str]()
    release.set()
    backend = await slow_authority(release, asked)
    running = await starter(room_auth_url=str(backend.make_url("/rooms")), room_auth_secret="s3cret")
    client = await running.connect(5)
    assert (await client.ask("join_room", "ticket_1"))["success"] is True
    assert (await client.ask("refresh_token", {"token": token(5)}))["success"] is True
    assert asked == ["ticket_1"]
    await backend.close()


async def test_failed_refresh_still_ends_with_its_token(
    starter: Starter, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = await starter(app={"clock": clock}, jwt_leeway=0.0)
    client = await running.connect(5, "technician", lifetime=600)
    await client.ask("join_room", "ticket_1")

    async def broken(*_: object) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr(running.parts.store, "entity", broken)
    answer = await client.ask("refresh_token", {"token": token(5, "user", now=clock.now, lifetime=60)})
    assert answer["code"] == "INTERNAL"
    [sid] = running.parts.channel.sids_of_user("5")
    assert "ticket_1" not in running.parts.channel.membership.rooms(sid)
    assert await running.parts.store.readers("room:ticket_1") == []
    clock.advance(61)
    await client.hears("token_expired")


async def test_right_that_ends_while_a_join_is_asked_about(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    admin = bearer(1, "admin")
    for id in (1, 2):
        await running.call("PUT", f"/api/work-orders/{id}", by=admin, json={"customer_id": 5})
    client = await running.connect(5)
    reading, resume = asyncio.Event(), asyncio.Event()
    entity = running.parts.store.entity

    async def held(kind: str, id: str) -> Any:
        if id == "2" and not resume.is_set():
            reading.set()
            await resume.wait()
        return await entity(kind, id)

    monkeypatch.setattr(running.parts.store, "entity", held)
    joining = asyncio.create_task(client.ask("join_room", ["work_order_1", "work_order_2"]))
    await reading.wait()
    await running.call("PATCH", "/api/work-orders/1", by=admin, json={"customer_id": 6})
    resume.set()
    assert (await joining)["code"] == "ROOM_FORBIDDEN"
    assert not running.parts.channel.membership.members("work_order_1")


async def test_tab_that_joins_while_another_leaves_keeps_receiving(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = await running.connect(3, "technician"), await running.connect(3, "technician")
    await one.ask("join_room", "ticket_1")
    assert await running.parts.store.readers("room:ticket_1") == ["user:3"]
    reading, resume = asyncio.Event(), asyncio.Event()
    change = running.parts.store.change_memberships

    def held(*args: Any, **named: Any) -> Any:
        """The first caller, who leaves, hears late that it has been done."""
        asked = change(*args, **named)
        monkeypatch.setattr(running.parts.store, "change_memberships", change)
        return asyncio.ensure_future(answered_late(asked))

    async def answered_late(asked: Any) -> Any:
        reading.set()
        await resume.wait()
        return await asked

    monkeypatch.setattr(running.parts.store, "change_memberships", held)
    leaving = asyncio.create_task(one.ask("leave_room", "ticket_1"))
    await reading.wait()
    assert (await two.ask("join_room", "ticket_1"))["success"] is True
    resume.set()
    await leaving
    sent = {"room": "ticket_1", "title": "Parts", "message": "are here"}
    await running.call("POST", "/api/notifications", by=bearer(1, "admin"), json=sent)
    assert (await two.hears("newNotification"))["title"] == "Parts"


async def test_draft_added_while_others_are_sent_keeps_its_time(
    starter: Starter, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = await starter(app={"clock": clock})
    client = await running.connect(5)
    reading, resume = asyncio.Event(), asyncio.Event()
    next_run = running.parts.store.next_run

    async def held() -> float | None:
        found = await next_run()
        reading.set()
        await resume.wait()
        return found

    async def schedule(title: str, seconds: float) -> None:
        when = timestamp(clock.now + seconds)
        body = {"userId": 5, "title": title, "message": "m", "scheduledAt": when}
        assert (await running.call("POST", "/api/notifications", by=bearer(1, "admin"), json=body))[0] == 201

    await schedule("first", 5)
    monkeypatch.setattr(running.parts.store, "next_run", held)
    clock.advance(6)
    await reading.wait()
    await schedule("second", 5)
    resume.set()
    clock.advance(6)
    assert (await client.hears("newNotification", 2))["title"] == "second"


async def test_refusal_without_an_ack_is_an_error_event(running: Running) -> None:
    client = await running.connect(5)
    await client.sio.emit("join_room", "work_order_1")
    await client.sio.emit("nonsense")
    error = await client.hears("error")
    assert (error["code"], error["event"]) == ("ROOM_FORBIDDEN", "join_room")
    assert set(error) == {"message", "error", "code", "event", "timestamp"}
    assert (await client.ask("nonsense"))["code"] == "UNKNOWN_EVENT"
    await client.settle()
    assert len(client.payloads("error")) == 1


async def test_activity_of_somebody_who_left_is_counted(running: Running) -> None:
    admin = await running.connect(1, "admin")
    client = await running.connect(5)
    for _ in range(3):
        await client.ask("register")
    await client.close()

    def offline() -> list[int]:
        return [a["actionsCount"] for a in admin.payloads("user_activity_update") if a["status"] == "offline"]

    await until(offline, what="the activity of somebody who left")
    assert offline() == [3]


async def test_broadcast_names_each_reader_in_their_own_type(running: Running) -> None:
    number, text = await running.connect(7, "technician"), await running.connect("u-8", "technician")
    sent = {"role": "technician", "title": 'A "quoted" title', "message": "m"}
    await running.call("POST", "/api/notifications", by=bearer(1, "admin"), json=sent)
    assert (await number.hears("newNotification"))["user"] == 7
    assert (await number.hears("notification_received"))["notification"]["user_id"] == 7
    assert (await text.hears("newNotification"))["user"] == "u-8"
    assert (await text.hears("newNotification"))["title"] == 'A "quoted" title'


async def test_guests_do_not_show_that_they_type(running: Running) -> None:
    claim = {"rooms": ["ticket_1"]}
    guest = await running.connect(auth={"token": _guest_token(claim)})
    assert (await guest.ask("join_room", "ticket_1"))["success"] is True
    for event in ("typing", "typing_start", "typing_stop"):
        assert (await guest.ask(event, {"room": "ticket_1"}))["code"] == "FORBIDDEN"


def _guest_token(more: dict[str, Any]) -> str:
    claims = jwt.decode(token(5, guest=True), SECRET, algorithms=["HS256"])
    return jwt.encode({**claims, **more}, SECRET, algorithm="HS256")


async def test_leaving_hides_what_joining_late_had_shown(running: Running) -> None:
    sent = {"room": "ticket_1", "title": "t", "message": "m", "lateJoin": True}
    await running.call("POST", "/api/notifications", by=bearer(1, "admin"), json=sent)
    client = await running.connect(3, "technician")
    await client.ask("join_room", "ticket_1")
    assert (await client.hears("notification_count_updated"))["count"] == 1
    await client.ask("leave_room", "ticket_1")
    assert (await client.hears("notification_count_updated", 2))["count"] == 0
