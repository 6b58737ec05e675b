"""Client events on ``/``: rooms, presence, typing, bookings, acknowledgements and rates."""

import asyncio
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.conftest import Starter
from tests.support import FakeClock, Running, bearer, until


@pytest.mark.parametrize(
    ("payload", "room"),
    [
        ("work_order_7", "work_order_7"),
        ({"room": "ticket_7"}, "ticket_7"),
        ({"roomName": "booking_7"}, "booking_7"),
        ({"roomId": "machine_7"}, "machine_7"),
        ({"workOrderId": 7}, "work_order_7"),
        ({"workOrderId": "7"}, "work_order_7"),
        ({"ticketId": 7}, "ticket_7"),
        ({"bookingId": "a/b"}, "booking_a%2Fb"),
        (["customer_7"], "customer_7"),
        ({"rooms": ["assigned_machine_7"]}, "assigned_machine_7"),
    ],
)
async def test_every_form_of_joining_and_leaving(running: Running, payload: Any, room: str) -> None:
    client = await running.connect(3, "technician")
    joined = await client.ask("join_room", payload)
    assert joined == {"success": True, "room": room, "rooms": sorted(["role_technician", room, "user_3"])}
    left = await client.ask("leave_room", payload)
    assert left == {"success": True, "room": room, "rooms": ["role_technician", "user_3"]}


@pytest.mark.parametrize(
    "payload", [None, "", 7, {}, {"room": 7}, {"room": {"a": 1}}, "a b", "x" * 129, "röom", [], {"workOrderId": True}]
)
async def test_bad_room_names_are_invalid(running: Running, payload: Any) -> None:
    client = await running.connect(3, "technician")
    answer = await client.ask("join_room", payload)
    assert answer["success"] is False
    assert answer["code"] == "INVALID_PAYLOAD"
    assert answer["error"] == answer["message"]


async def test_strangers_may_not_join(running: Running) -> None:
    client = await running.connect(4)
    for room in ("work_order_1", "user_5", "role_admin", "admin_room", "channel:news", "anything"):
        assert (await client.ask("join_room", room))["code"] == "ROOM_FORBIDDEN", room


async def test_customer_joins_the_row_that_names_them_and_leaves_with_it(running: Running) -> None:
    admin = bearer(1, "admin")
    await running.call("PUT", "/api/work-orders/9", by=admin, json={"customer_id": 4, "status": "open"})
    client = await running.connect(4)
    assert (await client.ask("join_room", "work_order_9"))["success"] is True
    await running.call("PATCH", "/api/work-orders/9", by=admin, json={"customer_id": 5})
    await running.call("PATCH", "/api/work-orders/9", by=admin, json={"status": "done"})
    await client.settle()
    assert client.payloads("work_order_updated") == []  # the row may hold the next customer's data by now
    assert (await client.ask("join_room", "work_order_9"))["code"] == "ROOM_FORBIDDEN"


async def test_claim_grants_rooms(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    import jwt

    from tests.support import SECRET

    claims = {"id": 4, "exp": 4_000_000_00 * 5, "rooms": ["ticket_1", "work_order_*", "*", "user_*"]}
    client = await running.connect(auth={"token": jwt.encode(claims, SECRET)})
    assert (await client.ask("join_room", "ticket_1"))["success"] is True
    assert (await client.ask("join_room", "work_order_55"))["success"] is True
    assert (await client.ask("join_room", "ticket_2"))["code"] == "ROOM_FORBIDDEN"
    assert (await client.ask("join_room", "user_5"))["code"] == "ROOM_FORBIDDEN"


async def test_room_caps(running: Running) -> None:
    client = await running.connect(1, "admin")
    answer = await client.ask("join_room", {"rooms": [f"work_order_{n}" for n in range(101)]})
    assert answer["code"] == "ROOM_LIMIT"
    for start in range(0, 400, 100):
        await client.ask("join_room", {"rooms": [f"work_order_{n}" for n in range(start, start + 100)]})
    answer = await client.ask("join_room", {"rooms": [f"work_order_{n}" for n in range(400, 500)]})
    assert answer["code"] == "ROOM_LIMIT"


async def test_personal_room_cannot_be_left(running: Running) -> None:
    client = await running.connect(3)
    assert (await client.ask("leave_room", "user_3"))["code"] == "ROOM_FORBIDDEN"


async def authority(
    answer: Any, *, status: int = 200, asked: list[Any], wait: asyncio.Event | None = None
) -> TestServer:
    """Another backend that decides about rooms."""

    async def decide(request: web.Request) -> web.Response:
        asked.append((request.headers.get("X-Roomcast-Signature"), await request.read()))
        if wait is not None:
            await wait.wait()
        return web.json_response(answer, status=status)

    app = web.Application()
    app.router.add_post("/rooms", decide)
    server = TestServer(app, host="127.0.0.1")
    await server.start_server()
    return server


async def test_room_authority_is_asked_with_a_signature(starter: Starter) -> None:
    import hashlib
    import hmac
    import json

    asked: list[Any] = []
    backend = await authority({"allow": True}, asked=asked)
    running = await starter(room_auth_url=str(backend.make_url("/rooms")), room_auth_secret="s3cret")
    client = await running.connect(4)
    first, second = await asyncio.gather(client.ask("join_room", "ticket_8"), client.ask("join_room", "ticket_8"))
    assert first["success"]
    assert second["success"]
    assert (await client.ask("join_room", "user_9"))["code"] == "ROOM_FORBIDDEN"
    assert len(asked) == 1
    signature, body = asked[0]
    assert json.loads(body) == {"user": {"id": "4", "role": "user"}, "room": "ticket_8", "action": "join"}
    stamp = signature.split(",")[0].removeprefix("t=")
    expected = hmac.new(b"s3cret", f"{stamp}.".encode() + body, hashlib.sha256).hexdigest()
    assert signature == f"t={stamp},v1={expected}"
    await backend.close()


@pytest.mark.parametrize(
    ("answer", "status"), [({"allow": False}, 200), ({"allow": "yes"}, 200), ({"allow": True}, 500), ([], 200)]
)
async def test_room_authority_says_no(starter: Starter, answer: Any, status: int) -> None:
    backend = await authority(answer, status=status, asked=[])
    running = await starter(room_auth_url=str(backend.make_url("/rooms")), room_auth_secret="s3cret")
    client = await running.connect(4)
    assert (await client.ask("join_room", "ticket_8"))["code"] == "ROOM_FORBIDDEN"
    await backend.close()


async def test_silent_room_authority_is_a_no(starter: Starter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("realtime.outbound.ROOM_AUTH_TIMEOUT", 0.05)
    release = asyncio.Event()
    backend = await authority({"allow": True}, asked=[], wait=release)
    running = await starter(room_auth_url=str(backend.make_url("/rooms")), room_auth_secret="s3cret")
    client = await running.connect(4)
    assert (await client.ask("join_room", "ticket_8"))["code"] == "ROOM_FORBIDDEN"
    release.set()
    await backend.close()


async def test_presence_is_per_person_not_per_socket(running: Running) -> None:
    watcher = await running.connect(1, "admin", name="Ada")
    running.parts.fanout.flush()
    first = await running.connect(5, "technician", name="Tess")
    online = await watcher.hears("userOnline")
    assert online == {"userId": 5}
    assert await watcher.hears("user_online") == {
        "userId": 5,
        "userName": "Tess",
        "timestamp": watcher.payloads("user_online")[0]["timestamp"],
    }
    activity = await watcher.hears("user_activity_update")
    assert set(activity) == {"userId", "userName", "userRole", "status", "actionsCount", "timestamp"}
    second = await running.connect(5, "technician")
    await first.close()
    await second.settle()
    await watcher.settle()
    assert "userOffline" not in watcher.names()
    await second.close()
    assert await watcher.hears("userOffline") == {"userId": 5}
    await watcher.hears("user_offline")
    assert len(watcher.payloads("userOnline")) == 1
    assert "userOnline" not in first.names()


async def test_colleagues_of_one_role_hear_user_online_once(running: Running) -> None:
    colleague = await running.connect(2, "technician")
    stranger = await running.connect("s", "user")
    await running.connect(5, "technician")
    await colleague.hears("user_online")
    await stranger.hears("userOnline")
    await colleague.settle()
    assert len(colleague.payloads("user_online")) == 1
    assert "user_online" not in stranger.names()
    assert "user_activity_update" not in colleague.names()


async def test_grace_bridges_a_reload(starter: Starter, clock: FakeClock) -> None:
    running = await starter(app={"clock": clock}, presence_grace=5.0)
    watcher = await running.connect(1, "admin")
    client = await running.connect(5)
    await watcher.hears("userOnline")
    await client.ask("updateStatus", "busy")
    await client.close()
    await until(lambda: len(running.parts.channel) == 1)
    clock.advance(4)
    client = await running.connect(5)
    clock.advance(10)
    await client.settle()
    _, view = await running.call("GET", "/api/presence/5", by=bearer(1, "admin"))
    assert (view["online"], view["status"]) == (True, "busy")
    await client.close()
    await until(lambda: len(running.parts.channel) == 1)
    clock.advance(6)
    await watcher.hears("userOffline")
    assert len(watcher.payloads("userOnline")) == 1
    _, view = await running.call("GET", "/api/presence/5", by=bearer(1, "admin"))
    assert (view["online"], view["status"], view["connections"]) == (False, "offline", 0)
    assert view["lastSeen"] is not None


async def test_status_is_relayed_and_identity_forced(running: Running) -> None:
    watcher = await running.connect(1, "admin")
    client = await running.connect(5)
    answer = await client.ask("updateStatus", {"status": "away", "mood": "fine", "userId": 99})
    assert answer == {"success": True, "status": "away"}
    heard = await watcher.hears("statusUpdated")
    assert heard == {"status": "away", "mood": "fine", "userId": 5, "timestamp": heard["timestamp"]}
    await client.settle()
    assert "statusUpdated" not in client.names()


@pytest.mark.parametrize(
    "payload",
    [
        None,
        {},
        5,
        {"status": ""},
        {"status": "x" * 41},
        {"status": "a", "b": "x" * 3000},
        {"status": "a", "b": [[[[1]]]]},
    ],
)
async def test_bad_statuses_are_invalid(running: Running, payload: Any) -> None:
    client = await running.connect(5)
    assert (await client.ask("updateStatus", payload))["code"] == "INVALID_PAYLOAD"


async def test_presence_note_needs_membership(running: Running) -> None:
    one, two = await running.connect(5, "technician", name="Tess"), await running.connect(6, "technician")
    assert (await one.ask("user_presence", {"status": "viewing", "workOrderId": 3}))["code"] == "ROOM_FORBIDDEN"
    for client in (one, two):
        await client.ask("join_room", "work_order_3")
    await one.ask("user_presence", {"status": "viewing", "workOrderId": "3"})
    note = await two.hears("user_presence_update")
    assert note == {
        "userId": 5,
        "userName": "Tess",
        "status": "viewing",
        "workOrderId": 3,
        "timestamp": note["timestamp"],
    }


async def test_presence_audience_none_is_silent(starter: Starter) -> None:
    running = await starter(presence_audience="none")
    watcher = await running.connect(1, "admin")
    client = await running.connect(5)
    await client.ask("updateStatus", "away")
    running.parts.fanout.flush()
    await watcher.settle()
    assert watcher.heard == []


async def test_presence_audience_rooms_reaches_those_who_share_one(starter: Starter) -> None:
    running = await starter(presence_audience="rooms")
    sharer = await running.connect(2, "technician")
    stranger = await running.connect(3, "technician")
    await sharer.ask("join_room", "work_order_1")
    client = await running.connect(5, "technician")
    await client.ask("join_room", "work_order_1")
    await sharer.hears("userOnline")
    await client.close()
    await sharer.hears("userOffline")
    await stranger.settle()
    assert stranger.heard == []


async def test_storm_of_connects_is_one_write_per_socket(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    watcher = await running.connect("watcher")
    sid = watcher.sio.get_sid("/")
    writes: list[int] = []
    deliver = running.parts.server.deliver

    def counted(sids: Any, burst: Any) -> int:
        targets = list(sids)
        if sid in targets:
            writes.append(burst.frames.count(b"userOnline"))
        return deliver(targets, burst)

    monkeypatch.setattr(running.parts.server, "deliver", counted)
    running.parts.fanout.window = 3600.0
    await asyncio.gather(*(running.connect(n) for n in range(20)))
    running.parts.fanout.flush()
    await watcher.hears("userOnline", 20)
    assert writes == [20]


async def test_typing_reaches_the_room_but_not_the_sender(running: Running) -> None:
    one, two = await running.connect(5, "technician", name="Tess"), await running.connect(6, "technician")
    assert (await one.ask("typing_start", "work_order_3"))["code"] == "ROOM_FORBIDDEN"
    for client in (one, two):
        await client.ask("join_room", "work_order_3")
    await one.ask("typing_start", {"roomName": "work_order_3", "message": "hm", "userId": 6})
    start = await two.hears("user_typing_start")
    assert start == {
        "userId": 5,
        "userName": "Tess",
        "message": "hm",
        "roomName": "work_order_3",
        "workOrderId": 3,
        "timestamp": start["timestamp"],
    }
    await one.ask("typing_stop", {"workOrderId": 3})
    stop = await two.hears("user_typing_stop")
    assert set(stop) == {"userId", "userName", "roomName", "workOrderId", "timestamp"}
    await one.settle()
    assert "user_typing_start" not in one.names()


async def test_typing_ends_by_itself_and_on_disconnect(starter: Starter, clock: FakeClock) -> None:
    running = await starter(app={"clock": clock})
    one, two = await running.connect(5, "technician"), await running.connect(6, "technician")
    for client in (one, two):
        await client.ask("join_room", "work_order_3")
    await one.ask("typing_start", "work_order_3")
    clock.advance(4)
    await one.ask("typing_start", "work_order_3")
    clock.advance(4)
    await two.settle()
    assert "user_typing_stop" not in two.names()
    clock.advance(1.1)
    await two.hears("user_typing_stop")
    await one.ask("typing_start", "work_order_3")
    await one.ask("leave_room", "work_order_3")
    await two.hears("user_typing_stop", 2)
    await one.ask("join_room", "work_order_3")
    await one.ask("typing_start", "work_order_3")
    await one.ask("typing")
    await one.close()
    await two.hears("user_typing_stop", 3)
    assert (await two.hears("userTyping", 2))["isTyping"] is False


async def test_typing_to_everybody_a_person_or_a_room(running: Running) -> None:
    one, two, three = [await running.connect(n, "technician") for n in (5, 6, 7)]
    assert (await one.ask("typing", {"userId": 99, "isTyping": True, "field": "notes"}))["success"] is True
    assert await three.hears("userTyping") == {"userId": 5, "isTyping": True, "field": "notes"}
    await one.ask("typing", {"receiverId": 6, "isTyping": False})
    assert (await two.hears("userTyping", 2))["isTyping"] is False
    await three.settle()
    assert len(three.payloads("userTyping")) == 1
    assert (await one.ask("typing", {"room": "work_order_1"}))["code"] == "ROOM_FORBIDDEN"
    assert (await one.ask("typing", "yes"))["code"] == "INVALID_PAYLOAD"


async def test_booking_update_is_relayed_within_its_rules(running: Running) -> None:
    staff, customer, stranger = await running.connect(2, "staff"), await running.connect(4), await running.connect(5)
    sent = await staff.ask("bookingUpdate", {"bookingId": "b1", "status": "confirmed", "userId": 4, "note": "hi"})
    assert sent == {"success": True, "delivered": 1}
    assert await customer.hears("bookingUpdated") == {
        "bookingId": "b1",
        "status": "confirmed",
        "userId": 4,
        "note": "hi",
    }
    refused = await stranger.ask("bookingUpdate", {"bookingId": "b1", "status": "x", "userId": 4})
    assert refused["code"] == "FORBIDDEN"
    assert (await customer.ask("bookingUpdate", {"bookingId": "b1", "status": "x"}))["code"] == "FORBIDDEN"
    await running.call("PUT", "/api/bookings/b1", by=bearer(1, "admin"), json={"userId": 4, "ownerId": 5})
    await stranger.hears("bookingUpdated")
    assert (await stranger.ask("bookingUpdate", {"bookingId": "b1", "status": "x", "userId": 4}))["delivered"] == 1
    assert (await staff.ask("bookingUpdate", {}))["code"] == "INVALID_PAYLOAD"


async def test_booking_update_without_a_user_goes_to_room_and_admins(running: Running) -> None:
    admin, staff = await running.connect(1, "admin"), await running.connect(2, "staff")
    assert (await staff.ask("bookingUpdate", {"bookingId": 3, "status": "late"}))["delivered"] == 1
    assert (await admin.hears("bookingUpdated"))["bookingId"] == 3


@pytest.mark.parametrize("event", ["nonsense", "connect_error", "newListener", "disconnecting", "__disconnect_final"])
async def test_unknown_and_reserved_events_are_acked(running: Running, event: str) -> None:
    client = await running.connect(5)
    answer = await client.ask(event, {"a": 1})
    assert answer["success"] is False
    assert answer["code"] == "UNKNOWN_EVENT"
    assert set(answer) == {"success", "code", "message", "error"}
    assert (await client.ask("register"))["success"] is True


async def test_binary_payload_is_invalid_not_fatal(running: Running) -> None:
    client = await running.connect(5)
    assert (await client.ask("join_room", b"\x00\x01"))["code"] == "INVALID_PAYLOAD"
    assert (await client.ask("updateStatus", {"status": "away", "file": b"x"}))["code"] == "INVALID_PAYLOAD"
    assert (await client.ask("register"))["success"] is True


async def test_fault_of_ours_is_acked_as_internal(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    client = await running.connect(5)

    async def broken(*_: object, **__: object) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr(running.parts.store, "entity", broken)
    answer = await client.ask("join_room", "work_order_1")
    assert answer == {
        "success": False,
        "code": "INTERNAL",
        "message": "Internal server error",
        "error": "Internal server error",
    }


async def test_messages_over_the_rate_are_refused_not_cut(starter: Starter, clock: FakeClock) -> None:
    running = await starter(app={"clock": clock})
    one, two = await running.connect(5), await running.connect(5)
    answers = [await client.ask("nonsense") for client in (one, two) for _ in range(50)]
    assert {answer["code"] for answer in answers} == {"UNKNOWN_EVENT"}
    refused = await one.ask("nonsense")
    assert (refused["code"], refused["retryAfter"]) == ("RATE_LIMIT_EXCEEDED", 0.6)
    error = await one.hears("error")
    assert error["code"] == "RATE_LIMIT_EXCEEDED"
    assert error["event"] == "nonsense"
    await two.ask("nonsense")
    await two.settle()
    assert len(one.payloads("error")) + len(two.payloads("error")) == 1
    assert (await one.ask("heartbeat"))["success"] is True
    assert (await one.ask("typing", {"isTyping": True}))["success"] is True
    clock.advance(0.61)
    assert (await one.ask("nonsense"))["code"] == "UNKNOWN_EVENT"


async def test_signals_have_a_bucket_of_their_own(starter: Starter, clock: FakeClock) -> None:
    running = await starter(app={"clock": clock})
    client = await running.connect(5, "technician")
    for _ in range(200):
        assert (await client.ask("leave_room", "work_order_1"))["success"] is True
    assert (await client.ask("leave_room", "work_order_1"))["code"] == "RATE_LIMIT_EXCEEDED"
    assert (await client.ask("register"))["success"] is True


async def test_events_of_one_client_run_in_order(running: Running) -> None:
    client = await running.connect(5, "technician")
    other = await running.connect(6, "technician")
    await other.ask("join_room", "work_order_1")
    await client.sio.emit("join_room", "work_order_1")
    await client.sio.emit("typing_start", "work_order_1")
    await client.sio.emit("typing_stop", "work_order_1")
    await other.hears("user_typing_stop")
    names = [name for name in other.names() if name.startswith("user_typing")]
    assert names == ["user_typing_start", "user_typing_stop"]


async def test_role_change_takes_live_sockets_out_at_once(running: Running) -> None:
    client = await running.connect(5, "manager")
    await client.ask("join_room", "work_order_1")
    status, _ = await running.call("PATCH", "/api/users/5", by=bearer(1, "admin"), json={"role": "user"})
    assert status == 200
    _, answer = await running.call("GET", "/api/websocket/user/5/rooms", by=bearer(1, "admin"))
    assert answer["data"]["rooms"] == ["role_user", "user_5"]
    for room in ("admin_room", "role_manager", "work_order_1"):
        assert (await client.ask("join_room", room))["code"] == "ROOM_FORBIDDEN"


async def test_lost_right_hides_what_was_received_in_the_room(running: Running) -> None:
    admin = bearer(1, "admin")
    client = await running.connect(5, "technician")
    await client.ask("join_room", "work_order_1")
    sent = {"room": "work_order_1", "title": "Parts", "message": "are here"}
    await running.call("POST", "/api/notifications", by=admin, json=sent)
    await client.ask("leave_room", "work_order_1")
    _, answer = await running.call("GET", "/api/notifications", by=bearer(5, "technician"))
    assert (answer["total"], answer["unreadCount"]) == (1, 1)
    await running.call("PATCH", "/api/users/5", by=admin, json={"role": "user"})
    _, answer = await running.call("GET", "/api/notifications", by=bearer(5, "technician"))
    assert (answer["total"], answer["unreadCount"]) == (0, 0)


async def test_guests_hear_nothing_of_people(running: Running) -> None:
    guest = await running.connect(9, guest=True)
    client = await running.connect(5)
    await client.ask("updateStatus", "away")
    await client.ask("typing")
    running.parts.fanout.flush()
    await guest.settle()
    assert guest.heard == []
    assert (await guest.ask("typing"))["code"] == "FORBIDDEN"
    assert (await guest.ask("updateStatus", "away"))["code"] == "FORBIDDEN"


async def test_join_of_many_rooms_is_all_or_nothing(running: Running) -> None:
    client = await running.connect(5, "technician")
    for start in range(0, 497, 71):
        await client.ask("join_room", {"rooms": [f"work_order_{n}" for n in range(start, start + 71)]})
    refused = await client.ask("join_room", {"rooms": ["ticket_1", "ticket_2"]})
    assert refused["code"] == "ROOM_LIMIT"
    assert len((await client.ask("join_room", "ticket_1"))["rooms"]) == 500


async def test_user_and_guest_of_one_id_hear_each_others_room(running: Running) -> None:
    import jwt

    from tests.support import SECRET, token

    claims = jwt.decode(token(5, guest=True), SECRET, algorithms=["HS256"])
    guest = await running.connect(auth={"token": jwt.encode({**claims, "rooms": ["ticket_1"]}, SECRET)})
    user, other = await running.connect(5, "technician"), await running.connect(6, "technician")
    for client in (guest, user, other):
        await client.ask("join_room", "ticket_1")
    await user.ask("typing_start", "ticket_1")
    assert (await guest.hears("user_typing_start"))["userId"] == 5
    await other.hears("user_typing_start")
    await user.settle()
    assert "user_typing_start" not in user.names()
    for client in (guest, user):  # one refusal each: they are two people
        await client.sio.emit("nonsense")
        await client.hears("error")
    await guest.close()
    await user.ask("typing_stop", "ticket_1")
    await other.hears("user_typing_stop")
    assert "userOffline" not in other.names()


async def test_refusals_are_one_error_event_a_person_in_five_seconds(starter: Starter, clock: FakeClock) -> None:
    running = await starter(app={"clock": clock})
    one, two, somebody = [await running.connect(id) for id in (5, 5, 6)]
    for client in (one, two, somebody):
        await client.sio.emit("join_room", "work_order_1")
        await client.sio.emit("x" * 200)
        await client.settle()
    error = await one.hears("error")
    assert error == {
        "message": "You may not join work_order_1",
        "error": "You may not join work_order_1",
        "code": "ROOM_FORBIDDEN",
        "event": "join_room",
        "timestamp": error["timestamp"],
    }
    assert [len(client.payloads("error")) for client in (one, two, somebody)] == [1, 0, 1]
    clock.advance(5.01)
    await two.ask("nonsense")  # whoever asks for an acknowledgement gets nothing else
    await two.sio.emit("x" * 200)
    assert (await two.hears("error"))["event"] == "x" * 128
    await two.settle()
    assert len(two.payloads("error")) == 1


async def test_what_is_accepted_raises_no_error_event(running: Running) -> None:
    client = await running.connect(5)
    for event in ("register", "heartbeat", "typing"):
        await client.sio.emit(event)
    await client.settle()
    assert "error" not in client.names()


async def test_typing_that_ends_by_itself_has_the_time_of_its_end(starter: Starter, clock: FakeClock) -> None:
    from realtime.clock import timestamp

    running = await starter(app={"clock": clock})
    one, two = await running.connect(5, "technician"), await running.connect(6, "technician")
    for client in (one, two):
        await client.ask("join_room", "work_order_3")
    await one.ask("typing_start", "work_order_3")
    started = await two.hears("user_typing_start")
    assert started["timestamp"] == timestamp(clock.now)
    clock.advance(60)
    assert (await two.hears("user_typing_stop"))["timestamp"] == timestamp(clock.now)
