"""What one client may cost: JSON, compressed floods, CONNECTs, deadlines, and the writes around an answer."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from realtime import wire
from realtime.engine import RealtimeServer
from realtime.engine.frames import Burst
from realtime.engine.hub import BREATH_SECONDS, Limits
from realtime.engine.server import MAX_CONNECTS
from realtime.engine.session import EngineSession
from realtime.engine.websocket import DEFLATED_SLICE, MESSAGE_SECONDS, SLICE, WebSocketConnection
from tests.engine.protocol import Endpoint, build, socketio_server, until
from tests.engine.wires import PING, Member, closes, deflated, masked, texts, turns

POLICY = 1008


@pytest.fixture
def heard() -> list[Any]:
    return []


@pytest.fixture
def server(heard: list[Any]) -> RealtimeServer:
    """A server that anybody may connect to, and that keeps what clients say."""
    server: RealtimeServer = build()

    async def say(sid: str, value: object) -> None:
        heard.append(value)

    server.on("say", say)
    return server


@pytest.fixture
async def endpoint(server: RealtimeServer) -> AsyncIterator[Endpoint]:
    async with socketio_server(server) as endpoint:
        yield endpoint


def flat(brackets: int, kind: str = "[]") -> str:
    """Return a list of empty lists or objects, with that many brackets in all."""
    return "[" + ",".join([kind] * (brackets - 1)) + "]"


# --- JSON ---


@pytest.mark.parametrize("kind", ["[]", "{}"])
def test_a_text_of_many_lists_is_read(kind: str) -> None:
    text = flat(wire.MAX_BRACKETS, kind)
    assert wire.MAX_BRACKETS == 20_000
    assert len(wire.loads(text)) == len(wire.loads(text.encode())) == 19_999


@pytest.mark.parametrize("kind", ["[]", "{}"])
def test_a_text_of_too_many_lists_is_refused(kind: str) -> None:
    text = flat(wire.MAX_BRACKETS + 1, kind)
    for given in (text, text.encode()):
        with pytest.raises(wire.BadJson, match="20000"):
            wire.loads(given)


def test_too_many_lists_are_refused_before_they_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("realtime.wire.orjson.loads", lambda _: pytest.fail("it was read"))
    with pytest.raises(wire.BadJson):
        wire.loads(flat(wire.MAX_BRACKETS + 1))


@pytest.mark.parametrize("packet", ['40{"a":LISTS}', '42["say",LISTS]', '421["say",LISTS]', "431[LISTS]"])
async def test_a_packet_of_too_many_lists_ends_the_connection(server: RealtimeServer, packet: str) -> None:
    member = Member(server).join()
    with capture_logs() as lines:
        member.say(packet.replace("LISTS", flat(wire.MAX_BRACKETS)))
        await until(lambda: member.wire.aborted or closes(member.wire.written))
    assert closes(member.wire.written) == [POLICY]
    assert [line["event"] for line in lines] == ["websocket client broke the protocol"]


async def test_a_packet_of_many_lists_is_handled(server: RealtimeServer, heard: list[Any], endpoint: Endpoint) -> None:
    client = await endpoint.joined()
    await client.send(f'42["say",{flat(wire.MAX_BRACKETS - 1)}]')
    await until(lambda: heard)
    assert len(heard[0]) == wire.MAX_BRACKETS - 2
    await client.send(f'42["say",{flat(wire.MAX_BRACKETS)}]')
    assert await client.until_closed() == []
    assert client._socket.close_code == POLICY
    assert len(heard) == 1


# --- compressed floods ---


async def test_a_compressed_flood_is_read_in_small_slices(
    server: RealtimeServer, heard: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One byte of it may be a thousand: each slice has a turn of its own."""
    member = Member(server, deflate=True).join()
    member.wire.resume_reading()
    turn = 0
    slices: list[tuple[int, int]] = []
    read = WebSocketConnection._read

    def noted(connection: WebSocketConnection, data: bytes) -> bool:
        slices.append((turn, len(data)))
        return read(connection, data)

    monkeypatch.setattr(WebSocketConnection, "_read", noted)
    message = deflated('42["say","' + "x" * 200_000 + '"]')
    assert len(message) < 400
    flood = masked(message, compressed=True) * 40
    assert len(flood) > 8 * DEFLATED_SLICE
    member.wire.say(flood)
    assert not member.wire.reading
    while sum(size for _, size in slices) < len(flood):
        turn += 1
        await asyncio.sleep(0)
        assert turn < 1000
    await turns(3)
    assert max(size for _, size in slices) <= DEFLATED_SLICE == 512
    assert len({number for number, _ in slices}) == len(slices)
    assert len(slices) >= len(flood) // DEFLATED_SLICE
    assert len(heard) == 40
    assert member.wire.reading


async def test_a_client_that_cannot_compress_is_read_in_larger_slices(
    server: RealtimeServer, heard: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    member = Member(server).join()
    sizes: list[int] = []
    read = WebSocketConnection._read

    def noted(connection: WebSocketConnection, data: bytes) -> bool:
        sizes.append(len(data))
        return read(connection, data)

    monkeypatch.setattr(WebSocketConnection, "_read", noted)
    member.wire.say(masked('42["say","' + "x" * (2 * SLICE) + '"]'))
    await until(lambda: heard)
    assert sizes[:2] == [SLICE, SLICE]


# --- CONNECTs ---


def came_and_went(member: Member, times: int) -> None:
    for _ in range(times):
        member.say("40", "41")


async def test_a_session_may_connect_a_hundred_times(server: RealtimeServer) -> None:
    assert MAX_CONNECTS == 100
    member = Member(server)
    with capture_logs() as lines:
        for _ in range(MAX_CONNECTS):
            came_and_went(member, 1)
            await turns(1)
        member.connection.speak()
        await turns(2)
        assert closes(member.wire.written) == []
        assert sum(text.startswith("40{") for text in member.heard) == MAX_CONNECTS
        member.say("40", "40", "40")
        await turns(5)
    assert closes(member.wire.written) == [POLICY]
    assert sum(text.startswith("40{") for text in member.heard) == MAX_CONNECTS
    assert [line["reason"] for line in lines] == ["too many CONNECTs"]
    assert not server.manager.eio_of


async def test_too_many_connects_over_a_socket(server: RealtimeServer, endpoint: Endpoint) -> None:
    client = await endpoint.websocket()
    with capture_logs() as lines:
        await client.send(*["40", "41"] * MAX_CONNECTS, "40")
        answers = await client.until_closed()
    assert client._socket.close_code == POLICY
    assert len(answers) <= MAX_CONNECTS
    assert [line["reason"] for line in lines if line["log_level"] != "info"] == ["too many CONNECTs"]


# --- the end of a session ---


class Ends:
    """Counts how often the server is told that a session has ended."""

    def __init__(self, server: RealtimeServer, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reasons: list[str] = []
        self._ended = server.eio.ended
        monkeypatch.setattr(server.eio, "ended", self._note)

    def _note(self, session: EngineSession, reason: str) -> None:
        self.reasons.append(reason)
        self._ended(session, reason)


async def test_a_polling_session_whose_goodbye_overflows_ends_once(
    server: RealtimeServer, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = Ends(server, monkeypatch)
    client = await endpoint.poller()
    session = server.eio.sockets[client.sid]
    session.deliver(Burst.of(b"4x"))
    assert session.polling is not None
    server.eio.max_queued = len(session.polling)
    session.end("server disconnect", goodbye=True)
    session.end("server disconnect", goodbye=True)
    await until(lambda: not server.eio.sockets)
    assert ends.reasons == ["transport error"]


async def test_a_websocket_session_whose_goodbye_overflows_ends_once(monkeypatch: pytest.MonkeyPatch) -> None:
    server: RealtimeServer = build(limits=Limits(soft_buffer=1024, hard_buffer=100_000))
    ends = Ends(server, monkeypatch)
    member = Member(server).join()
    member.wire.stuck = True
    await server.emit("news", "x" * 2000, to=member.sid)
    await turns(2)
    assert member.connection.choked
    member.connection.write(bytes(100_000 - member.connection._buffered()))
    assert ends.reasons == []
    member.session.end("server disconnect", goodbye=True)
    await turns(5)
    assert ends.reasons == ["transport error"]
    assert member.wire.aborted
    assert not server.eio.sockets


async def test_a_goodbye_that_fits_ends_a_session_once(server: RealtimeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    ends = Ends(server, monkeypatch)
    member = Member(server).join()
    await turns(1)
    member.session.end("server disconnect", goodbye=True)
    await turns(5)
    assert ends.reasons == ["server disconnect"]
    assert member.heard[-1] == "1"


# --- deadlines ---


async def test_frames_that_are_split_over_reads_leave_one_deadline(server: RealtimeServer) -> None:
    member = Member(server).join()
    frame = masked(b"", PING)
    deadlines = member.connection._readers.unfinished._items
    for _ in range(500):
        member.wire.say(frame[:3])
        member.wire.say(frame[3:])
        assert len(deadlines) == 1
        await turns(1)
    other = Member(server).join()
    other.wire.say(frame[:3])
    assert len(deadlines) == 2


async def test_a_message_that_does_not_end_is_noticed_after_others_that_did(
    server: RealtimeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    member = Member(server).join()
    frame = masked('42["say",1]')
    unfinished = member.connection._readers.unfinished
    for _ in range(3):
        member.wire.say(frame[:3])
        member.wire.say(frame[3:])
    member.wire.say(frame[:3])
    for closed in ([], [POLICY]):  # the first deadline was that of an earlier message
        assert len(unfinished._items) == 1
        _, begun = unfinished._items.popleft()
        WebSocketConnection.check_message(begun)
        member.connection.flush()
        assert closes(member.wire.written) == closed
    assert not unfinished._items
    assert unfinished.seconds == MESSAGE_SECONDS


async def test_a_whole_message_leaves_nothing_to_watch_after_its_deadline(server: RealtimeServer) -> None:
    member = Member(server).join()
    frame = masked('42["say",1]')
    unfinished = member.connection._readers.unfinished
    for _ in range(2):
        member.wire.say(frame[:3])
        member.wire.say(frame[3:])
        _, begun = unfinished._items.popleft()
        WebSocketConnection.check_message(begun)
        assert not unfinished._items
    assert closes(member.wire.written) == []


# --- the silence after the answer to CONNECT ---


@pytest.mark.parametrize("size", [1, 100_000])
@pytest.mark.parametrize("waits", [False, True])
async def test_early_events_are_not_in_the_write_of_the_answer(
    server: RealtimeServer, monkeypatch: pytest.MonkeyPatch, size: int, *, waits: bool
) -> None:
    async def connect(sid: str, environ: dict[str, Any]) -> None:
        await server.emit("early", "x" * size, to=sid)
        if waits:
            await asyncio.sleep(0)

    server.on("connect", connect)
    member = Member(server)
    await turns(1)
    breaths = server.eio.hub.breaths
    clock = _Clock(asyncio.get_running_loop())
    monkeypatch.setattr(breaths, "_loop", clock)
    member.wire.writes.clear()
    member.say("40")
    await turns(3)
    await server.emit("later", 1)
    await turns(10)
    (answer,) = member.wire.writes
    assert [text[:3] for text in texts(answer)] == ["40{"]
    clock.now += BREATH_SECONDS
    breaths._run()
    await turns(2)
    assert [json.loads(text[2:])[0] for text in member.heard[1:]] == ["early", "later"]
    await server.emit("at once", 1)
    await turns(2)
    assert member.heard[-1] == '42["at once",1]'


class _Clock:
    """An event loop whose time passes only when told, and whose timers never fire."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.now = loop.time()

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: object) -> "_Clock":
        return self

    def cancel(self) -> None:
        return None
