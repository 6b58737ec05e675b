"""Broadcasts of a turn: written as a group where that makes no difference, and never out of order."""

import asyncio
import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realtime.engine.frames import Burst
from realtime.engine.hub import MAX_GROUP_BYTES, WRITES_PER_TURN, Hub, Limits
from realtime.engine.outflow import Outflow, deliver_to_all
from tests.engine.wires import FakeLoop


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


class Peer(Outflow):
    """A session and its connection in one."""

    def __init__(self, hub: Hub, *, deflate: bool = False) -> None:
        super().__init__(hub, deflate=deflate)
        self.pipe = Pipe()
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
        return b"".join(self.pipe.writes)


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


Step = tuple[str, int, int]
steps = st.lists(
    st.tuples(
        st.sampled_from(["all", "even", "one", "flush", "breathe", "slow", "quick", "turn", "half turn"]),
        st.integers(0, 4),
        st.integers(0, 2**16),
    ),
    max_size=40,
)


@settings(max_examples=300)
@given(steps)
def test_every_peer_hears_everything_that_was_for_it_in_order(plan: list[Step]) -> None:
    loop = FakeLoop()
    hub = Hub(loop, Limits(), None)  # type: ignore[arg-type]
    crowd, wanted = peers(hub, 5), [b""] * 5
    sizes = random.Random(7)

    def told(indices: list[int], deliver: Callable[[Burst], object]) -> None:
        burst = frame(str(sizes.random()))
        for index in indices:
            wanted[index] += burst.frames
        deliver(burst)

    for kind, who, _ in plan:
        peer = crowd[who]
        if kind == "all":
            told([*range(5)], lambda burst: deliver_to_all(hub, crowd, burst))
        elif kind == "even":
            told([0, 2, 4], lambda burst: deliver_to_all(hub, crowd[::2], burst))
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
