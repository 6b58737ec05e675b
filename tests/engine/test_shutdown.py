"""The end of a server: everybody is told to come back, everything is cleaned up, nothing stays behind."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from realtime.engine import RealtimeServer
from realtime.engine.hub import DEPARTURES_PER_TURN
from realtime.engine.ordered import MAX_HELD
from tests.engine.protocol import LIMIT, Endpoint, Frames, build, socketio_server, until
from tests.engine.wires import CLOSE, Member, TcpClient, closes, masked, turns

AWAY = 1001
SOON = 0.05
"""Seconds of grace in tests whose clients do not answer."""


@dataclass
class Served:
    server: RealtimeServer
    left: list[tuple[str, str]] = field(default_factory=list)

    def is_empty(self) -> bool:
        manager = self.server.manager
        assert not self.server.eio.sockets
        assert not manager.eio_of
        assert not manager.early
        assert not manager._pending
        return not any(manager.membership(namespace).all() for namespace in manager.get_namespaces())

    async def stop(self, *, grace: float = LIMIT) -> None:
        await self.server.eio.close_all(AWAY, grace=grace)


@pytest.fixture
def served() -> Served:
    """A server that anybody may connect to, and that notes who leaves."""
    served = Served(build())

    async def disconnect(sid: str, reason: str) -> None:
        served.left.append((sid, reason))

    async def connect(sid: str, environ: object) -> None:
        served.server.manager.admit(sid, "/").enter(sid, "room")

    served.server.on("connect", connect)
    served.server.on("disconnect", disconnect)
    return served


@pytest.fixture
async def endpoint(served: Served) -> AsyncIterator[Endpoint]:
    async with socketio_server(served.server) as endpoint:
        yield endpoint


def timers() -> list[Any]:
    """Return the callbacks that the running loop will call some time."""
    loop: Any = asyncio.get_running_loop()
    return [handle for handle in loop._scheduled if not handle.cancelled()]


def goodbye(member: Member) -> None:
    """The client answers a Close frame."""
    member.wire.say(masked(AWAY.to_bytes(2, "big"), CLOSE))


# --- WebSockets ---


async def close_code(frames: Frames) -> int | None:
    assert await frames.until_closed() == []  # neither CLOSE nor DISCONNECT
    return frames._socket.close_code


async def test_every_client_is_told_to_come_back(served: Served, endpoint: Endpoint) -> None:
    clients = [await endpoint.joined() for _ in range(5)]
    codes = [asyncio.create_task(close_code(client)) for client in clients]
    await served.stop()
    assert await asyncio.gather(*codes) == [AWAY] * 5
    assert Counter(sid for sid, _ in served.left) == Counter(client.sid for client in clients)
    assert {reason for _, reason in served.left} == {"server disconnect"}
    assert served.is_empty()


async def test_who_does_not_answer_is_aborted(served: Served, endpoint: Endpoint) -> None:
    async with await TcpClient.open(endpoint) as silent:
        sid = await silent.connect()
        await served.stop(grace=SOON)
        assert [reason for _, reason in served.left] == ["server disconnect"]
        assert served.left[0][0] == sid
        assert served.is_empty()
        await silent.until_gone()
        assert [payload for head, payload in silent.frames if head & 0xF == CLOSE] == [AWAY.to_bytes(2, "big")]
        assert not {"1", "41"} & set(silent.texts())


async def test_it_waits_for_the_answers_and_not_longer(served: Served) -> None:
    members = [Member(served.server).join() for _ in range(3)]
    stopping = asyncio.create_task(served.stop())
    await until(lambda: all(closes(member.wire.written) for member in members))
    for member in members:
        assert not stopping.done()
        goodbye(member)
    await stopping
    assert [closes(member.wire.written) for member in members] == [[AWAY]] * 3
    assert not any(member.wire.aborted for member in members)
    assert not any({"1", "41"} & set(member.heard) for member in members)
    assert all(member.wire.is_closing() for member in members)


async def test_what_was_sent_before_still_goes_out(served: Served) -> None:
    member = Member(served.server).join()
    await served.server.emit("last", 1)
    stopping = asyncio.create_task(served.stop())
    await until(lambda: closes(member.wire.written))
    goodbye(member)
    await stopping
    assert member.events() == [["last", 1]]
    assert member.wire.written.endswith(AWAY.to_bytes(2, "big"))  # and nothing after it


async def test_a_client_that_is_not_read_can_answer_too(served: Served) -> None:
    """Its events wait for a handler; its Close frame must not."""
    gate = asyncio.Event()

    async def wait(sid: str) -> None:
        await gate.wait()

    served.server.on("wait", wait)
    member = Member(served.server).join()
    member.say(*['42["wait"]'] * (MAX_HELD + 1))
    assert not member.wire.is_reading()
    stopping = asyncio.create_task(served.stop())
    await until(lambda: closes(member.wire.written))
    await turns(3)
    assert member.wire.is_reading()
    goodbye(member)
    await stopping
    assert not member.wire.aborted
    gate.set()
    await turns(3)


async def test_who_does_not_read_is_aborted_in_the_end(served: Served) -> None:
    member = Member(served.server).join()
    await turns(3)
    member.wire.stuck = True
    await served.server.emit("news", "x" * 500_000)
    await served.stop(grace=SOON)
    assert member.wire.aborted
    assert len(served.left) == 1
    assert served.is_empty()


async def test_a_websocket_that_is_still_probed_is_closed_too(served: Served, endpoint: Endpoint) -> None:
    poller = await endpoint.poller()
    await poller.send("40")
    await poller.receive(1)
    frames = await poller.probed()
    closing = asyncio.create_task(close_code(frames))
    await served.stop()
    assert await closing == AWAY
    assert len(served.left) == 1


async def test_a_websocket_that_is_closing_already_does_not_stay(served: Served) -> None:
    """The server has just disconnected its client, which has not answered yet."""
    member = Member(served.server).join()
    await served.server.disconnect(member.sid)
    await turns(3)
    assert not served.server.eio.sockets
    await served.stop(grace=SOON)
    assert member.wire.is_closing()


async def test_who_has_joined_no_namespace_is_closed(served: Served, endpoint: Endpoint) -> None:
    frames = await endpoint.websocket()
    closing = asyncio.create_task(close_code(frames))
    await served.stop()
    assert await closing == AWAY
    assert served.left == []
    assert served.is_empty()


async def test_a_crowd_leaves_in_several_turns(served: Served) -> None:
    members: list[Member] = []
    for _ in range(10):
        members += [Member(served.server).join() for _ in range(100)]
        await turns(2)
    when: list[int] = []
    turned = 0

    def turn() -> None:
        nonlocal turned
        turned += 1
        if len(when) < len(members):
            asyncio.get_running_loop().call_soon(turn)

    async def disconnect(sid: str, reason: str) -> None:
        served.left.append((sid, reason))
        when.append(turned)

    served.server.on("disconnect", disconnect)
    asyncio.get_running_loop().call_soon(turn)
    await served.stop(grace=0)
    assert Counter(sid for sid, _ in served.left) == Counter(member.sid for member in members)
    assert max(Counter(when).values()) <= DEPARTURES_PER_TURN
    assert served.is_empty()


# --- polling ---


async def test_a_poll_that_waits_is_answered(served: Served, endpoint: Endpoint) -> None:
    poller = await endpoint.poller()
    await poller.send("40")
    await poller.receive(1)
    waiting = await poller.waiting_poll()
    served.left.clear()
    await served.stop()
    assert await waiting == (200, "6")
    assert len(served.left) == 1
    assert served.is_empty()
    assert (await poller.get())[0] == 400


async def test_a_polling_session_with_something_to_fetch_is_gone_too(served: Served, endpoint: Endpoint) -> None:
    poller = await endpoint.poller()
    await poller.send("40")
    await poller.receive(1)
    await served.server.emit("news", 1)
    await served.stop(grace=SOON)
    assert len(served.left) == 1
    assert served.is_empty()


# --- handlers ---


async def test_a_handler_that_runs_can_end(served: Served) -> None:
    gate, ended = asyncio.Event(), asyncio.Event()

    async def wait(sid: str) -> None:
        await gate.wait()
        ended.set()

    served.server.on("wait", wait)
    member = Member(served.server).join()
    member.say('42["wait"]', '42["wait"]')
    await served.stop(grace=0)
    gate.set()
    await asyncio.wait_for(ended.wait(), LIMIT)
    await turns(3)
    assert len(served.left) == 1


async def test_it_returns_when_every_disconnect_handler_has_begun(served: Served) -> None:
    begun: list[str] = []
    gate = asyncio.Event()

    async def disconnect(sid: str, reason: str) -> None:
        begun.append(sid)
        await gate.wait()
        served.left.append((sid, reason))

    served.server.on("disconnect", disconnect)
    members = [Member(served.server).join() for _ in range(100)]
    await served.stop(grace=0)
    assert Counter(begun) == Counter(member.sid for member in members)
    assert served.left == []
    gate.set()
    await until(lambda: len(served.left) == len(members))
    await turns(3)
    assert served.is_empty()


async def test_a_disconnect_handler_that_fails_harms_nobody(served: Served) -> None:
    begun: list[str] = []

    def disconnect(sid: str, reason: str) -> None:
        begun.append(sid)
        raise RuntimeError("on purpose")

    served.server.on("disconnect", disconnect)
    members = [Member(served.server).join() for _ in range(10)]
    await served.stop(grace=0)
    assert Counter(begun) == Counter(member.sid for member in members)
    assert served.is_empty()


async def test_a_connect_handler_that_hangs_leaves_no_ghost(served: Served) -> None:
    gate = asyncio.Event()

    async def connect(sid: str, environ: object) -> None:
        await gate.wait()

    served.server.on("connect", connect)
    member = Member(served.server)
    member.say("40")
    await served.stop(grace=0)
    await served.server.eio.shutdown()
    assert served.left == []
    assert served.is_empty()


# --- nothing stays ---


async def test_no_task_and_no_timer_stays(served: Served) -> None:
    tasks, before = asyncio.all_tasks(), timers()
    hang = asyncio.Event()

    async def wait(sid: str) -> None:
        await hang.wait()

    served.server.on("wait", wait)
    members = [Member(served.server).join() for _ in range(20)]
    members[0].say('42["wait"]')
    members[1].wire.stuck = True
    await served.server.emit("news", "x" * 100_000)
    await turns(3)
    assert timers() != before
    await served.stop(grace=0)
    await served.server.eio.shutdown()
    await turns(3)
    assert asyncio.all_tasks() == tasks
    assert [str(timer) for timer in timers() if timer not in before] == []


async def test_no_timer_stays_when_everybody_answers(served: Served) -> None:
    before = timers()
    members = [Member(served.server).join() for _ in range(20)]
    stopping = asyncio.create_task(served.stop())
    await until(lambda: all(closes(member.wire.written) for member in members))
    for member in members:
        goodbye(member)
    await stopping
    await served.server.eio.shutdown()
    await turns(3)
    assert [str(timer) for timer in timers() if timer not in before] == []


async def test_a_polling_session_leaves_no_timer(served: Served, endpoint: Endpoint) -> None:
    poller = await endpoint.poller()
    await poller.send("40")
    await served.server.emit("news", 1)
    await served.stop(grace=SOON)
    await served.server.eio.shutdown()
    names = [str(timer) for timer in timers()]
    assert [name for name in names if "realtime" in name or "dict.pop" in name or "method pop" in name] == []


async def test_a_server_that_nobody_asked_can_stop(served: Served) -> None:
    await served.stop()
    await served.server.eio.shutdown()
    assert served.is_empty()


async def test_it_can_be_stopped_twice(served: Served) -> None:
    Member(served.server).join()
    await served.stop(grace=0)
    await served.stop(grace=0)
    await served.server.eio.shutdown()
    await served.server.eio.shutdown()
    assert len(served.left) == 1


async def test_heartbeats_end(served: Served) -> None:
    member = Member(served.server).join()
    await turns(3)
    await served.server.eio.shutdown()
    served.server.eio.pings._run()
    assert "2" not in member.heard
