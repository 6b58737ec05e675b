import asyncio
import gc
import sys
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from realtime import eventloop


@pytest.fixture(autouse=True)
def _collector_as_before() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


def test_without_uvloop_the_loop_is_asyncios_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)  # importing it fails
    assert eventloop.loop_factory() is None
    kinds = []

    async def main() -> None:
        kinds.append(type(asyncio.get_running_loop()).__module__.partition(".")[0])

    eventloop.run(main())
    assert kinds == ["asyncio"]


def test_an_installed_uvloop_makes_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    def new_event_loop() -> asyncio.AbstractEventLoop:
        made.append(asyncio.new_event_loop())
        return made[0]

    monkeypatch.setitem(sys.modules, "uvloop", SimpleNamespace(new_event_loop=new_event_loop))

    async def main() -> None:
        assert asyncio.get_running_loop() is made[0]

    eventloop.run(main())
    assert made[0].is_closed()


def test_the_collector_leaves_alone_what_lives_as_long_as_the_process() -> None:
    frozen = []

    async def main() -> None:
        frozen.append(gc.get_freeze_count())
        assert gc.get_threshold() == eventloop.THRESHOLDS

    eventloop.run(main())
    assert frozen[0] > 1000
