"""Every row of docs/hostile-input.md about plain WebSockets and event streams, done to the whole application."""

import gc
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest

from realtime.engine.plain import PlainSession
from tests.engine.hostile import plain_frames, plain_openings, streams
from tests.engine.hostile.guests import GUESTS
from tests.engine.hostile.plain_messages import MESSAGES
from tests.engine.hostile.table import FAREWELL, MESSAGE, Name
from tests.engine.hostile.trial import cases, keeps_its_promise, params
from tests.engine.hostile.wire import Wire
from tests.engine.hostile.world import World, world_of
from tests.support import until

GROUPS = (plain_openings.OPENINGS, plain_frames.FRAMES, MESSAGES, GUESTS, streams.OPENINGS, streams.STREAMS)

FAULTS: Mapping[Name, str] = {}
"""Rows that the server does not keep yet, and why not."""

OFTEN = (
    (plain_openings.OPENINGS, "a token that is none"),
    (plain_openings.OPENINGS, "a guest on `/ws`"),
    (plain_openings.OPENINGS, "connections that are cut in the middle of opening"),
    (plain_openings.OPENINGS, "connections that are reset before they are answered"),
    (plain_frames.FRAMES, "text that is not UTF-8"),
    (plain_frames.FRAMES, "half a frame"),
    (plain_frames.FRAMES, "a compressed frame of 50 MB"),
    (plain_frames.FRAMES, "pongs that nobody asked for"),
    (MESSAGES, "malformed JSON"),
    (MESSAGES, "an event that does not exist"),
    (MESSAGES, "thousands of topics"),
    (GUESTS, "malformed JSON"),
    (streams.OPENINGS, "a token that is none"),
    (streams.OPENINGS, "streams that are cut in the middle of opening"),
    (streams.STREAMS, "a client that says more than 64 KB"),
)
"""Rows that stand for all of them where something is done again and again."""


@pytest.mark.parametrize("name", params(GROUPS, FAULTS))
async def test_hostile_input(
    name: Name, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await keeps_its_promise(name, cases(GROUPS)[name], path=tmp_path, patch=monkeypatch, caplog=caplog)


# --- memory ---


def alive() -> Counter[str]:
    """Count the objects of the project's own classes that somebody can still reach."""
    gc.collect()
    kinds = (type(thing) for thing in gc.get_objects())
    return Counter(
        kind.__name__ for kind in kinds if str(kind.__module__).startswith(("realtime.", "handlers.", "rooms."))
    )


async def test_nothing_grows_however_often_it_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with world_of(tmp_path, monkeypatch, shorten=[MESSAGE, FAREWELL]) as world:
        for _ in range(2):
            await do_all(world)  # what is made once and kept, such as a thread's last answer
        before = alive()
        for _ in range(3):
            await do_all(world)
        after: Counter[str] = Counter()

        def as_before() -> bool:
            after.clear()
            after.update(alive())
            return not after - before

        await until(as_before, what=f"the end of {after - before}")


async def do_all(world: World) -> None:
    for group, name in OFTEN:
        await group.cases[name].do(world)
        world.drop()
        world.wires.clear()
        world.sockets.clear()
        await world.forgotten()
        world.clock.advance(60.0)


async def test_a_connection_that_has_ended_needs_no_garbage_collector(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sessions() -> int:
        return sum(isinstance(thing, PlainSession) for thing in gc.get_objects())

    async with world_of(tmp_path, monkeypatch) as world:
        gc.collect()
        before = sessions()
        gc.disable()
        try:
            for wire in (await world.plain("/notifications"), await world.plain("/ws"), await world.guest()):
                await wire.goes_on()
            await world.stream()
            (await world.plain("/dashboard")).writer.write_eof()
            await (await world.upgraded(Wire, "/ws")).over()
            await until(lambda: not world.kept()["errands"], what="the end of what they are told")
            world.drop()
            await world.forgotten()
            await until(lambda: sessions() == before, what="the end of every session")
        finally:
            gc.enable()
