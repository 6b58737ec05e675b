"""Broadcasts of a turn: written as a group where that makes no difference, and never out of order."""

import asyncio
import os
import random
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from realtime.engine.frames import Burst
from realtime.engine.hub import DIRECT_FROM, MAX_GROUP_BYTES, WRITES_PER_TURN, Hub, Limits
from realtime.engine.outflow import Outflow, deliver_to_all
from tests.engine.protocol import build, socketio_server, until
from tests.engine.wires import FakeLoop, TcpClient, turns


class Pipe(asyncio.Transport):
    """A transport that keeps what is written; it can be slow, and it can fail."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.buffered = 0
        self.broken = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self.broken:
            raise RuntimeError("broken")
        self.writes.append(bytes(data))
        self.send(bytes(data))

    def send(self, data: bytes) -> None:
        pass

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        pass

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return self.buffered

    def abort(self) -> None:
        pass

    def close(self) -> None:
        pass


class SocketPipe(Pipe):
    """A pipe over a socket that may be written to beside it, as those of TCP."""

    def __init__(self, *, tls: bool = False, buffered: int = 0) -> None:
        super().__init__()
        self.mine, self.others = socket.socketpair()
        for end in (self.mine, self.others):
            end.setblocking(False)
        self.tls = tls
        self.buffered = buffered

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"socket": self.mine, "sslcontext": "one" if self.tls else None}.get(name, default)

    def send(self, data: bytes) -> None:
        self.mine.sendall(data)

    def heard(self) -> bytes:
        """What has come at the other end since the last call."""
        heard = b""
        while True:
            try:
                heard += self.others.recv(1 << 20)
            except BlockingIOError:
                return heard

    def shut(self) -> None:
        self.mine.close()
        self.others.close()


class Peer(Outflow):
    """A session and its connection in one."""

    def __init__(self, hub: Hub, *, deflate: bool = False, pipe: Pipe | None = None) -> None:
        super().__init__(hub, deflate=deflate)
        self.pipe = pipe or Pipe()
        self._take_over(self.pipe)

    @property
    def ws(self) -> Outflow:
        return self

    def deliver(self, burst: Burst) -> bool:
        return self.write_burst(burst)

    def lost(self, reason: str) -> None:
        pass

    @property
    def heard(self) -> bytes:
        return self.pipe.heard() if isinstance(self.pipe, SocketPipe) else b"".join(self.pipe.writes)


def frame(text: str) -> Burst:
    return Burst.of(text.encode())


@pytest.fixture
def loop() -> FakeLoop:
    return FakeLoop()


@pytest.fixture
def hub(loop: FakeLoop) -> Hub:
    return Hub(loop, Limits(), None)  # type: ignore[arg-type]


def peers(hub: Hub, count: int) -> list[Peer]:
    return [Peer(hub) for _ in range(count)]


def test_a_broadcast_is_one_write_of_the_same_bytes_to_each(loop: FakeLoop, hub: Hub) -> None:
    crowd, burst = peers(hub, 3), frame("one")
    assert deliver_to_all(hub, crowd, burst) == 3
    assert all(peer.pipe.writes == [] for peer in crowd)
    loop.advance(0)
    assert [peer.pipe.writes for peer in crowd] == [[burst.frames]] * 3


def test_broadcasts_of_one_turn_to_the_same_are_one_write(loop: FakeLoop, hub: Hub) -> None:
    crowd = peers(hub, 3)
    for text in ("one", "two", "three"):
        deliver_to_all(hub, crowd, frame(text))
    loop.advance(0)
    whole = b"".join(frame(text).frames for text in ("one", "two", "three"))
    assert [peer.pipe.writes for peer in crowd] == [[whole]] * 3


def test_a_crowd_takes_turns(loop: FakeLoop, hub: Hub) -> None:
    crowd = peers(hub, WRITES_PER_TURN + 1)
    deliver_to_all(hub, crowd, frame("one"))
    hub._flush()
    assert sum(len(peer.pipe.writes) for peer in crowd) == WRITES_PER_TURN
    loop.advance(0)
    assert all(len(peer.pipe.writes) == 1 for peer in crowd)


def test_what_comes_between_two_turns_of_a_broadcast_follows_it(loop: FakeLoop, hub: Hub) -> None:
    crowd = peers(hub, WRITES_PER_TURN + 1)
    deliver_to_all(hub, crowd, frame("one"))
    hub._flush()
    crowd[-1].write(frame("two").frames)
    crowd[0].write(frame("two").frames)
    loop.advance(0)
    assert crowd[0].heard == crowd[-1].heard == frame("one").frames + frame("two").frames


def test_one_that_fails_does_not_keep_the_others_from_hearing(loop: FakeLoop, hub: Hub) -> None:
    crowd = peers(hub, 3)
    crowd[1].pipe.broken = True
    deliver_to_all(hub, crowd, frame("one"))
    loop.advance(0)
    assert [len(peer.pipe.writes) for peer in crowd] == [1, 0, 1]


def test_one_that_becomes_slow_meanwhile_gets_it_later(loop: FakeLoop, hub: Hub) -> None:
    crowd = peers(hub, 3)
    deliver_to_all(hub, crowd, frame("one"))
    crowd[1].pipe.buffered = hub.limits.soft_buffer + 1
    crowd[1].pause_writing()
    loop.advance(0)
    assert [len(peer.pipe.writes) for peer in crowd] == [1, 0, 1]
    crowd[1].pipe.buffered = 0
    crowd[1].resume_writing()
    assert crowd[1].heard == frame("one").frames


def test_one_that_ends_meanwhile_gets_nothing_more(loop: FakeLoop, hub: Hub) -> None:
    crowd = peers(hub, 3)
    deliver_to_all(hub, crowd, frame("one"))
    crowd[0].abort()
    crowd[1].connection_lost(None)
    loop.advance(0)
    assert [len(peer.pipe.writes) for peer in crowd] == [0, 0, 1]


def test_a_farewell_follows_the_broadcast(loop: FakeLoop, hub: Hub) -> None:
    crowd = peers(hub, 2)
    deliver_to_all(hub, crowd, frame("one"))
    crowd[0].close()
    assert crowd[0].heard.startswith(frame("one").frames + b"\x88")
    loop.advance(0)
    assert crowd[1].heard == frame("one").frames


def test_much_is_not_kept_for_a_group(loop: FakeLoop, hub: Hub) -> None:
    crowd, large = peers(hub, 2), frame("x" * (MAX_GROUP_BYTES // 2))
    for _ in range(3):
        deliver_to_all(hub, crowd, large)
    loop.advance(0)
    assert all(peer.heard == large.frames * 3 for peer in crowd)


# --- large groups ---


@pytest.fixture
def crowd(hub: Hub) -> Iterator[list[Peer]]:
    """As many as are written to without their transports, each over a socket."""
    pipes = [SocketPipe() for _ in range(DIRECT_FROM)]
    yield [Peer(hub, pipe=pipe) for pipe in pipes]
    for pipe in pipes:
        pipe.shut()


def written(crowd: list[Peer]) -> list[list[bytes]]:
    return [peer.pipe.writes for peer in crowd]


def test_a_large_group_is_written_to_without_its_transports(loop: FakeLoop, hub: Hub, crowd: list[Peer]) -> None:
    burst = frame("one")
    assert deliver_to_all(hub, crowd, burst) == DIRECT_FROM
    loop.advance(0)
    assert written(crowd) == [[]] * DIRECT_FROM
    assert [peer.heard for peer in crowd] == [burst.frames] * DIRECT_FROM


def test_a_small_group_is_written_to_by_its_transports(loop: FakeLoop, hub: Hub, crowd: list[Peer]) -> None:
    deliver_to_all(hub, crowd[1:], frame("one"))
    loop.advance(0)
    assert written(crowd[1:]) == [[frame("one").frames]] * (DIRECT_FROM - 1)


def test_the_transport_gets_the_rest_of_what_did_not_fit(
    loop: FakeLoop, hub: Hub, crowd: list[Peer], monkeypatch: pytest.MonkeyPatch
) -> None:
    write, short = os.write, crowd[3].fd
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:2] if fd == short else data))
    deliver_to_all(hub, crowd, frame("one"))
    loop.advance(0)
    assert written(crowd) == [[frame("one").frames[2:]] if peer is crowd[3] else [] for peer in crowd]
    assert [peer.heard for peer in crowd] == [frame("one").frames] * DIRECT_FROM


@pytest.mark.parametrize("failure", ["full", "broken"])
def test_the_transport_sees_to_a_socket_that_takes_nothing(
    loop: FakeLoop, hub: Hub, crowd: list[Peer], monkeypatch: pytest.MonkeyPatch, failure: str
) -> None:
    pipe = crowd[3].pipe
    assert isinstance(pipe, SocketPipe)
    if failure == "full":
        while True:
            try:
                pipe.mine.send(b"x" * 4096)
            except BlockingIOError:
                break
    else:
        pipe.others.close()
    monkeypatch.setattr(SocketPipe, "send", lambda self, data: None)
    deliver_to_all(hub, crowd, frame("one"))
    loop.advance(0)
    assert written(crowd) == [[frame("one").frames] if peer is crowd[3] else [] for peer in crowd]


def test_the_descriptor_of_a_connection_that_is_gone_is_never_written_to(
    loop: FakeLoop, hub: Hub, crowd: list[Peer]
) -> None:
    """It may be somebody else's already."""
    deliver_to_all(hub, crowd, frame("one"))
    crowd[0].connection_lost(None)
    crowd[1].abort()
    crowd[2].close()
    farewell = crowd[2].heard
    assert farewell.startswith(frame("one").frames + b"\x88")
    loop.advance(0)
    assert crowd[0].fd == -1
    assert [peer.heard for peer in crowd[:3]] == [b""] * 3
    assert [peer.heard for peer in crowd[3:]] == [frame("one").frames] * (DIRECT_FROM - 3)


@pytest.mark.parametrize("pipe", [{"tls": True}, {"buffered": 1}], ids=["tls", "not empty"])
def test_only_a_plain_and_empty_transport_is_passed_by(hub: Hub, pipe: dict[str, Any]) -> None:
    guarded = SocketPipe(**pipe)
    assert Peer(hub, pipe=guarded).fd == -1
    guarded.shut()


OPENING = 2
"""Frames before the first event: Engine.IO's opening packet, and the answer to CONNECT."""


both_loops = pytest.mark.parametrize(
    "new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
)


@both_loops
@pytest.mark.parametrize("end", ["close", "abort", "reset", "broken pipe", "end of file"])
def test_event_loops_close_a_descriptor_after_they_have_said_so(
    new_loop: Callable[[], asyncio.AbstractEventLoop], end: str
) -> None:
    """What `Outflow.fd` relies on."""
    lost: list[int] = []

    class Watching(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            self.transport = transport
            self.fd = transport.get_extra_info("socket").fileno()

        def connection_lost(self, exc: Exception | None) -> None:
            os.fstat(self.fd)  # raises when it is closed
            lost.append(self.fd)
            self.transport = None

    async def run() -> None:
        loop = asyncio.get_running_loop()
        mine, others = socket.socketpair()
        transport, _ = await loop.create_connection(Watching, sock=mine)
        if end == "close":
            transport.close()
        elif end == "abort":
            transport.abort()
        elif end == "reset":
            transport.write(b"never read")
            others.close()
        elif end == "broken pipe":
            others.close()
            transport.write(b"x")
        others.close()
        await until(lambda: lost)
        await turns(3)
        with pytest.raises(OSError, match="descriptor"):
            os.fstat(lost[0])

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(run())


@both_loops
def test_one_who_stops_reading_for_a_while_misses_nothing_and_hears_it_in_order(
    new_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    async def run() -> None:
        server = build()
        async with socketio_server(server) as endpoint:
            slow = await TcpClient.open(endpoint)
            sid = await slow.connect()
            others = [await TcpClient.open(endpoint, buffer=1 << 20) for _ in range(DIRECT_FROM)]
            for other in others:
                await other.connect()
            connection = server.manager.session_of[sid].ws
            number = behind = 0
            while behind < 5:
                await server.emit("news", [number, "x" * 15_000])
                await turns(1)  # else they would not be written to as a group
                await server.emit("own", number, to=sid)
                number += 1
                await turns(1)
                behind += connection.choked
            await slow.until(lambda: len(slow.frames) >= 2 * number + OPENING)
            assert [event[1] for event in slow.events()[1::2]] == [*range(number)]
            assert [event[1][0] for event in slow.events()[::2]] == [*range(number)]
            for other in others:
                await other.until(lambda other=other: len(other.frames) >= number + OPENING)  # type: ignore[misc]
                assert [event[1][0] for event in other.events()] == [*range(number)]
            for client in (slow, *others):
                async with client:
                    pass

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(run())


# --- everything together ---

Step = tuple[str, int, int]
steps = st.lists(
    st.tuples(
        st.sampled_from(["all", "even", "one", "flush", "breathe", "slow", "quick", "turn", "half turn"]),
        st.integers(0, 4),
        st.integers(0, 2**16),
    ),
    max_size=40,
)


@pytest.mark.parametrize("size", [5, DIRECT_FROM + 4], ids=["few", "many"])
@settings(max_examples=300)
@given(steps)
def test_every_peer_hears_everything_that_was_for_it_in_order(size: int, plan: list[Step]) -> None:
    """Many are written to without their transports, where those have nothing left to write."""
    loop = FakeLoop()
    hub = Hub(loop, Limits(), None)  # type: ignore[arg-type]
    pipes = [SocketPipe() if size > DIRECT_FROM else Pipe() for _ in range(size)]
    crowd, wanted = [Peer(hub, pipe=pipe) for pipe in pipes], [b""] * size
    sizes = random.Random(7)

    def told(indices: list[int], deliver: Callable[[Burst], object]) -> None:
        burst = frame(str(sizes.random()))
        for index in indices:
            wanted[index] += burst.frames
        deliver(burst)

    for kind, who, _ in plan:
        peer = crowd[who]
        if kind == "all":
            told([*range(size)], lambda burst: deliver_to_all(hub, crowd, burst))
        elif kind == "even":
            told([*range(0, size, 2)], lambda burst: deliver_to_all(hub, crowd[::2], burst))
        elif kind == "one":
            told([who], peer.deliver)
        elif kind == "flush":
            peer.flush()
        elif kind == "breathe":
            peer.breathe()
        elif kind == "slow" and not peer.choked:
            peer.pipe.buffered = 1
            peer.pause_writing()
        elif kind == "quick" and peer.choked:
            peer.pipe.buffered = 0
            peer.resume_writing()
        elif kind == "turn":
            loop.advance(0.01)
        elif kind == "half turn" and hub._flushing:
            hub._flush()
    for peer in crowd:
        if peer.choked:
            peer.pipe.buffered = 0
            peer.resume_writing()
    loop.advance(1.0)
    assert [peer.heard for peer in crowd] == wanted
    for pipe in pipes:
        if isinstance(pipe, SocketPipe):
            pipe.shut()
