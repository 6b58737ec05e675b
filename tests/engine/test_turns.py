"""Nothing that many connections do at once stops the loop for long, and nothing changes the order on the way."""

import asyncio
import json
from collections import Counter
from typing import Any

import pytest

from realtime.engine import RealtimeServer
from realtime.engine.frames import Burst
from realtime.engine.hub import DEPARTURES_PER_TURN, MESSAGES_PER_TURN, WRITES_PER_TURN
from realtime.engine.ordered import MAX_HELD
from tests.engine.protocol import build, socketio_server, until
from tests.engine.wires import Member, TcpClient, masked, turns


@pytest.fixture
def server() -> RealtimeServer:
    """A server that anybody may connect to, and that answers `ask`."""
    server: RealtimeServer = build()

    async def ask(sid: str, value: object) -> object:
        return value

    server.on("ask", ask)
    return server


class Turns:
    """Counts how often the loop has turned."""

    def __init__(self) -> None:
        self.count = 0
        self._loop = asyncio.get_running_loop()
        self._next = self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self.count += 1
        self._next = self._loop.call_soon(self._turn)

    def stop(self) -> None:
        self._next.cancel()


async def crowd(server: RealtimeServer, size: int) -> list[Member]:
    members: list[Member] = []
    while len(members) < size:
        members += [Member(server).join() for _ in range(min(size - len(members), MESSAGES_PER_TURN // 2))]
        await turns(2)
    for member in members:
        member.wire.writes.clear()
    return members


def ask(id: int, value: object = 1) -> str:
    return f"42{id}{json.dumps(['ask', value])}"


# --- writes ---


async def test_what_is_sent_in_one_turn_is_one_write(server: RealtimeServer) -> None:
    [member] = await crowd(server, 1)
    for number in range(10):
        await server.emit("news", number, to=member.sid)
        server.deliver([member.sid], Burst.encode("/", "more", number))
    assert member.wire.writes == []
    await turns(2)
    assert len(member.wire.writes) == 1
    expected = [event for number in range(10) for event in (["news", number], ["more", number])]
    assert member.events() == expected


async def test_the_answer_to_a_handshake_and_the_opening_packet_are_one_write(server: RealtimeServer) -> None:
    member = Member(server)
    await turns(2)
    assert len(member.wire.writes) == 1


async def test_answers_to_what_came_in_one_read_are_one_write(server: RealtimeServer) -> None:
    [member] = await crowd(server, 1)
    member.say(*(ask(id) for id in range(50)))
    await turns(2)
    assert len(member.wire.writes) == 1
    assert member.heard == [f"43{id}[1]" for id in range(50)]


async def test_much_does_not_wait_for_the_end_of_the_turn(server: RealtimeServer) -> None:
    [member] = await crowd(server, 1)
    for number in range(40):
        await server.emit("news", [number, "x" * 16_000], to=member.sid)
    assert member.wire.writes != []
    await turns(2)
    assert [event[1][0] for event in member.events()] == list(range(40))


async def test_order_is_kept_over_every_way_to_send(server: RealtimeServer) -> None:
    one, other = members = await crowd(server, 2)
    for member in members:
        await server.enter_room(member.sid, "room")
    sids = [one.sid, other.sid]

    async def work(sid: str) -> str:
        server.deliver(sids, Burst.encode("/", "1", None))
        await server.emit("2", to="room")
        await server.emit("3", b"binary", to=sids)
        await server.emit("4", "x" * 70_000, to=sid)
        await server.emit("5", callback=lambda: None, to="room")
        server.deliver(sids, Burst.join([Burst.encode("/", "6", None), Burst.encode("/", "7", None).volatile("k")]))
        await server.emit("8")
        return "9"

    server.on("work", work)
    one.say('421["work"]')
    await turns(3)
    order = [text[text.index("[") + 1 :].strip('"')[0] for text in one.heard]
    assert order == list("123456789")
    order = [text[text.index("[") + 1 :].strip('"')[0] for text in other.heard]
    assert order == list("1235678")


async def test_every_recipient_has_an_order_of_its_own(server: RealtimeServer) -> None:
    members = await crowd(server, 20)
    expected: dict[str, list[Any]] = {member.sid: [] for member in members}
    for number in range(300):
        chosen = [m.sid for index, m in enumerate(members) if (number * 7 + index * 3) % 5 < 2]
        for sid in chosen:
            expected[sid].append(["news", number])
        if number % 2:
            await server.emit("news", number, to=chosen)
        else:
            server.deliver(chosen, Burst.encode("/", "news", number))
        if number % 11 == 0:
            await turns(1)
    await turns(3)
    assert {member.sid: member.events() for member in members} == expected


async def test_thousands_are_written_to_in_several_turns_and_nothing_is_overtaken(server: RealtimeServer) -> None:
    members = await crowd(server, 5000)
    sids = [member.sid for member in members]

    def reached() -> int:
        return sum(bool(member.wire.writes) for member in members)

    server.deliver(sids, Burst.encode("/", "news", 1))
    assert reached() == 0
    await turns(2)
    first = reached()
    assert 0 < first <= 2 * WRITES_PER_TURN
    server.deliver(reversed(sids), Burst.encode("/", "news", 2))
    await server.emit("news", 3)
    await turns(1)
    assert reached() < len(members)
    await until(lambda: reached() == len(members))
    await turns(20)
    assert all(member.events() == [["news", 1], ["news", 2], ["news", 3]] for member in members)
    assert max(len(member.wire.writes) for member in members) <= 3


@pytest.mark.parametrize(("recipients", "emits"), [(1, 30_000), (10, 10_000), (1500, 300)])
async def test_who_emits_without_end_does_not_keep_others_from_being_read(
    server: RealtimeServer, recipients: int, emits: int
) -> None:
    async with socketio_server(server) as endpoint, await TcpClient.open(endpoint) as client:
        await client.connect()
        for member in await crowd(server, recipients):
            await server.enter_room(member.sid, "room")
        handled = asyncio.Event()

        async def hello(sid: str) -> None:
            handled.set()

        server.on("hello", hello)
        await client.send(masked('42["hello"]'))
        for _ in range(emits):
            await server.emit("news", 1, to="room")
            if handled.is_set():
                break
        assert handled.is_set()


@pytest.mark.parametrize(("recipients", "emits"), [(1, 30_000), (10, 10_000), (1500, 300)])
async def test_the_loop_turns_between_the_emits_of_a_tight_loop(
    server: RealtimeServer, recipients: int, emits: int
) -> None:
    members = await crowd(server, recipients)
    for member in members:
        await server.enter_room(member.sid, "room")
    counter = Turns()
    for _ in range(emits):
        await server.emit("news", 1, to="room")
    counter.stop()
    assert counter.count >= emits * recipients // 20_000


# --- reads ---


async def test_a_flood_of_one_client_does_not_stop_another(server: RealtimeServer) -> None:
    flooder, other = await crowd(server, 2)
    total, handled = 30_000, 0

    async def flood(sid: str) -> None:
        nonlocal handled
        handled += 1

    server.on("flood", flood)
    flooder.wire.say(*[masked('42["flood"]')] * total)
    assert handled < total // 2
    for id in range(5):
        before = handled
        other.say(ask(id))
        await turns(3)
        assert f"43{id}[1]" in other.heard
        assert before < handled < total
    await until(lambda: handled == total)


async def test_a_flood_of_events_that_wait_does_not_stop_another(server: RealtimeServer) -> None:
    flooder, other = await crowd(server, 2)
    total, handled = 5000, 0

    async def flood(sid: str) -> None:
        nonlocal handled
        await asyncio.sleep(0)
        handled += 1

    server.on("flood", flood)
    flooder.wire.say(*[masked('42["flood"]')] * total)
    other.say(ask(1))
    await turns(3)
    assert other.heard == ["431[1]"]
    assert handled < total
    await until(lambda: handled == total)


async def test_what_was_held_is_run_in_several_turns(server: RealtimeServer) -> None:
    [member] = await crowd(server, 1)
    gate = asyncio.Event()
    counter = Turns()
    when: list[int] = []

    async def wait(sid: str) -> None:
        await gate.wait()

    def note(sid: str) -> None:
        when.append(counter.count)

    server.on("wait", wait)
    server.on("note", note)
    member.say('42["wait"]', *['42["note"]'] * (3 * MAX_HELD))
    await turns(2)
    gate.set()
    await until(lambda: len(when) == 3 * MAX_HELD)
    counter.stop()
    assert max(Counter(when).values()) <= MAX_HELD


async def test_messages_of_many_clients_at_once_are_handled_in_several_turns(server: RealtimeServer) -> None:
    members = await crowd(server, 3 * MESSAGES_PER_TURN)
    counter = Turns()
    await turns(2)
    when: list[int] = []

    def note(sid: str, number: int) -> int:
        when.append(counter.count)
        return number

    server.on("note", note)
    for id, member in enumerate(members):
        member.say(f'42{id}["note",{id}]')
    for id, member in enumerate(members):
        if member.wire.reading:  # the others' transports have nothing to say for now
            member.say(f'42{id}["note",{id}]')
    assert len(when) <= MESSAGES_PER_TURN
    await until(lambda: all(f"43{id}[{id}]" in member.heard for id, member in enumerate(members)))
    counter.stop()
    assert max(Counter(when).values()) <= MESSAGES_PER_TURN + DEPARTURES_PER_TURN
    assert all(member.wire.reading for member in members)


# --- departures ---


@pytest.mark.parametrize("waits", [False, True], ids=["plain", "waiting"])
async def test_a_crowd_that_is_lost_at_once_leaves_in_several_turns(server: RealtimeServer, waits: bool) -> None:
    members = await crowd(server, 2000)
    left: list[tuple[str, int]] = []
    done: list[str] = []

    async def disconnect(sid: str) -> None:
        left.append((sid, counter.count))
        if waits:
            await asyncio.sleep(0)
        done.append(sid)

    server.on("disconnect", disconnect)
    counter = Turns()
    for member in members:
        member.wire.hang_up()
    assert left == []
    await until(lambda: len(done) == len(members))
    await turns(5)
    counter.stop()
    assert Counter(done) == Counter(member.sid for member in members)
    assert max(Counter(turn for _, turn in left).values()) <= DEPARTURES_PER_TURN
    assert not server.eio.sockets
    assert not server.manager.eio_of
    assert not server.manager.membership("/").all()


async def test_what_fails_in_a_later_turn_does_not_end_the_rest(server: RealtimeServer) -> None:
    """What is put off is put off for everybody in one queue: reading, departures, held events."""
    [member] = await crowd(server, 1)
    done: list[int] = []

    def fail() -> None:
        raise RuntimeError("on purpose")

    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    for number in range(3):
        server.eio.hub.later(fail)
        server.eio.hub.later(lambda number=number: done.append(number))  # type: ignore[misc]
    await turns(10)
    assert done == [0, 1, 2]
    member.wire.hang_up()
    await until(lambda: not server.manager.eio_of)


async def test_who_stays_is_served_while_a_crowd_leaves(server: RealtimeServer) -> None:
    *members, other = await crowd(server, 2001)
    left: list[str] = []

    async def disconnect(sid: str) -> None:
        left.append(sid)

    server.on("disconnect", disconnect)
    for member in members:
        member.wire.hang_up()
    other.say(ask(1))
    await turns(2)
    assert other.heard == ["431[1]"]
    assert len(left) < len(members)
    await until(lambda: len(left) == len(members))


async def test_a_disconnect_handler_that_fails_does_not_keep_others_from_leaving(server: RealtimeServer) -> None:
    members = await crowd(server, 3 * DEPARTURES_PER_TURN)
    left: list[str] = []

    async def disconnect(sid: str) -> None:
        left.append(sid)
        raise RuntimeError("on purpose")

    server.on("disconnect", disconnect)
    for member in members:
        member.wire.hang_up()
    await until(lambda: len(left) == len(members))
    await turns(3)
    assert not server.manager.eio_of
