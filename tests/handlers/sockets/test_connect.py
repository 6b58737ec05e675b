"""Connecting to ``/``: tokens, refusals, expiry and refresh."""

import pytest
import socketio

from realtime.errors import StoreUnavailable
from tests.conftest import Starter
from tests.support import FakeClock, Running, bearer, token, until


@pytest.mark.parametrize(
    ("auth", "message", "code"),
    [
        (None, "Authentication error: No token provided", "AUTH_REQUIRED"),
        ({"token": ""}, "Authentication error: No token provided", "AUTH_REQUIRED"),
        ({"token": "garbage"}, "Authentication error: Invalid token", "AUTH_INVALID"),
        ({"token": token(1, lifetime=-3600)}, "Authentication error: Token expired", "TOKEN_EXPIRED"),
        ({"token": token(1), "userId": 2}, "Authentication error: The token belongs to another user", "USER_MISMATCH"),
        ({"token": token(1, guest=True), "guestId": "2"}, None, "USER_MISMATCH"),
    ],
)
async def test_refused_connects_say_why(
    running: Running, auth: dict[str, object] | None, message: str | None, code: str
) -> None:
    answers: list[object] = []
    sio = socketio.AsyncClient(reconnection=False, http_session=running.http)
    sio.on("connect_error", lambda data: answers.append(data))
    with pytest.raises(socketio.exceptions.ConnectionError):
        await sio.connect(running.url, auth=auth, transports=["websocket"], wait_timeout=5)
    await sio.disconnect()
    assert answers[0]["data"] == {"code": code}  # type: ignore[index]
    assert message is None or answers[0]["message"] == message  # type: ignore[index]
    assert len(running.parts.channel) == 0


async def test_refused_connection_hears_nothing(running: Running) -> None:
    sio = socketio.AsyncClient(reconnection=False, http_session=running.http)
    heard: list[str] = []
    sio.on("*", lambda event, *_: heard.append(event))
    with pytest.raises(socketio.exceptions.ConnectionError):
        await sio.connect(running.url, auth={"token": "no"}, transports=["websocket"], wait_timeout=5)
    status, _ = await running.call(
        "POST", "/api/publish", by=bearer(9, "admin"), json={"audience": "all", "event": "secret", "data": 1}
    )
    assert status == 202
    await sio.disconnect()
    assert heard == []


@pytest.mark.parametrize("place", ["auth", "query", "header", "cookie"])
async def test_token_is_found_in_every_place(running: Running, place: str) -> None:
    value = token(7, "technician")
    ways: dict[str, dict[str, object]] = {
        "auth": {"auth": {"token": f"Bearer {value}"}},
        "query": {"query": f"?token={value}"},
        "header": {"headers": {"Authorization": f"Bearer {value}"}},
        "cookie": {"headers": {"Cookie": f"accessToken={value}", "Origin": running.url}},
    }
    client = await running.connect(**ways[place])  # type: ignore[arg-type]
    assert (await client.ask("register"))["userId"] == 7


async def test_first_present_token_counts_even_when_it_is_invalid(running: Running) -> None:
    with pytest.raises(socketio.exceptions.ConnectionError):
        await running.connect(auth={"token": "garbage"}, headers={"Authorization": f"Bearer {token(7)}"})


async def test_cookie_from_another_site_opens_nothing(running: Running) -> None:
    for headers in ({"Cookie": f"token={token(7)}"}, {"Cookie": f"token={token(7)}", "Origin": "https://evil.example"}):
        for transports in (["websocket"], ["polling"]):
            with pytest.raises(socketio.exceptions.ConnectionError):
                await running.connect(headers=headers, transports=transports)
    assert len(running.parts.channel) == 0


@pytest.mark.parametrize(("id", "kind"), [(5, int), ("5", str), ("507f1f77bcf86cd799439011", str)])
async def test_user_ids_keep_the_type_of_the_claim(running: Running, id: int | str, kind: type) -> None:
    client = await running.connect(id)
    answer = await client.ask("register")
    assert answer == {"success": True, "userId": id}
    assert type(answer["userId"]) is kind


async def test_register_refuses_somebody_elses_id(running: Running) -> None:
    client = await running.connect(5)
    assert (await client.ask("register", "5"))["success"] is True
    assert (await client.ask("register", {"userId": 5}))["success"] is True
    assert (await client.ask("register", "6"))["code"] == "USER_MISMATCH"
    assert (await client.ask("register", [5]))["code"] == "INVALID_PAYLOAD"


async def test_user_joins_personal_and_role_room(running: Running) -> None:
    await running.connect(1, "admin")
    await running.connect(3, "technician")
    await running.connect("abc")
    rooms = {id: await _rooms(running, id) for id in (1, 3, "abc")}
    assert rooms == {
        1: ["admin_room", "role_admin", "user_1"],
        3: ["role_technician", "user_3"],
        "abc": ["role_user", "user_abc"],
    }


async def _rooms(running: Running, id: int | str) -> list[str]:
    _, answer = await running.call("GET", f"/api/websocket/user/{id}/rooms", by=bearer(1, "admin"))
    rooms: list[str] = answer["data"]["rooms"]
    return rooms


async def test_guest_is_not_the_user_of_the_same_number(running: Running) -> None:
    guest = await running.connect(5, guest=True)
    user = await running.connect(5)
    await running.call("POST", "/api/websocket/emit/5", by=bearer(1, "admin"), json={"event": "hello", "data": 1})
    await user.hears("hello")
    await guest.settle()
    assert "hello" not in guest.names()
    assert (await guest.ask("join_room", "user_5"))["code"] == "ROOM_FORBIDDEN"
    assert await _rooms(running, 5) == ["role_user", "user_5"]


async def test_token_expiry_disconnects_for_good(starter: Starter, clock: FakeClock) -> None:
    running = await starter(app={"clock": clock}, jwt_leeway=10.0)
    client = await running.connect(5, lifetime=60, now=clock.now)
    clock.advance(65)
    await client.settle()
    assert client.sio.connected  # the leeway counts here, too
    clock.advance(6)
    gone = await client.hears("token_expired")
    assert gone["code"] == "TOKEN_EXPIRED"
    assert set(gone) == {"message", "code", "timestamp"}
    await until(lambda: not client.sio.connected)
    await until(lambda: len(running.parts.channel) == 0)


async def test_refresh_keeps_the_session_and_its_rooms(starter: Starter, clock: FakeClock) -> None:
    running = await starter(app={"clock": clock}, jwt_leeway=0.0)
    client = await running.connect(5, "technician", lifetime=60, now=clock.now)
    await client.ask("join_room", "work_order_1")
    clock.advance(50)
    answer = await client.ask("refresh_token", {"token": token(5, "technician", now=clock.now, lifetime=60)})
    assert answer["success"] is True
    assert answer["expiresAt"].endswith("Z")
    clock.advance(30)
    assert (await client.ask("typing_start", "work_order_1"))["success"] is True
    clock.advance(31)
    await client.hears("token_expired")


async def test_refresh_refuses_other_peoples_and_bad_tokens(running: Running) -> None:
    client = await running.connect(5)
    assert (await client.ask("refresh_token", {"token": token(6)}))["code"] == "USER_MISMATCH"
    assert (await client.ask("refresh_token", {"token": token(5, guest=True)}))["code"] == "USER_MISMATCH"
    assert (await client.ask("refresh_token", {"token": "nonsense"}))["code"] == "AUTH_INVALID"
    assert (await client.ask("refresh_token", {}))["code"] == "INVALID_PAYLOAD"
    assert (await client.ask("register"))["success"] is True


async def test_refresh_with_a_lower_role_leaves_the_rooms_of_the_higher(running: Running) -> None:
    client = await running.connect(5, "manager")
    assert "admin_room" in (await client.ask("join_room", "work_order_1"))["rooms"]
    await client.ask("refresh_token", {"token": token(5, "user")})
    assert await _rooms(running, 5) == ["role_user", "user_5"]


async def test_disconnect_leaves_nothing_behind(running: Running) -> None:
    client = await running.connect(5, "technician")
    await client.ask("join_room", "work_order_1")
    await client.close()
    await until(lambda: len(running.parts.channel) == 0)
    assert set(running.parts.channel.membership.room_names()) == set()


async def test_polling_and_upgrade_carry_the_same_session(running: Running) -> None:
    for transports in (["polling"], ["polling", "websocket"]):
        client = await running.connect(5, transports=transports)
        assert (await client.ask("register"))["userId"] == 5
        await running.call("POST", "/api/socket-test/send/5", by=bearer(1, "admin"), json={})
        assert (await client.hears("newNotification"))["title"] == "Direct Message"
        await client.close()


async def test_server_without_a_writable_directory_still_admits(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise StoreUnavailable

    monkeypatch.setattr(running.parts.store, "touch_user", broken)
    monkeypatch.setattr(running.parts.store, "note_user", broken)
    client = await running.connect(77)
    assert (await client.ask("register"))["userId"] == 77
