"""Every row of docs/hostile-input.md, done to the whole application, with the outcome that the row promises."""

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from realtime.engine.hub import Limits
from tests.engine.hostile.behaviour import BEHAVIOUR
from tests.engine.hostile.frames import FRAMES
from tests.engine.hostile.packets import ENGINEIO, SOCKETIO
from tests.engine.hostile.requests import HANDSHAKES, REQUESTS
from tests.engine.hostile.table import Case, Name, limit, rows
from tests.engine.hostile.world import world_of

GROUPS = (REQUESTS, HANDSHAKES, FRAMES, ENGINEIO, SOCKETIO, BEHAVIOUR)
LONGEST = 15.0

FAULTS: Mapping[Name, str] = {}
"""Rows that the server does not keep yet, and why not."""


def cases() -> dict[Name, Case]:
    return {(group.heading, name): made for group in GROUPS for name, made in group.cases.items()}


def test_every_row_has_a_case_and_every_case_a_row() -> None:
    assert list(rows()) == list(cases())


def test_every_limit_in_seconds_is_the_real_one_and_at_most_fifteen() -> None:
    for name, row in rows().items():
        seconds = re.match(r"([0-9.]+) s", row.within)
        made = cases()[name]
        if made.shorten or made.stall:
            assert seconds, name
            assert float(seconds[1]) == (Limits().stall_seconds if made.stall else limit(made.shorten[0])), name
        if seconds:
            assert float(seconds[1]) <= LONGEST, name


@contextmanager
def warnings(caplog: pytest.LogCaptureFixture) -> Iterator[list[object]]:
    """Collect every log line of level warning or above, the libraries' and asyncio's own too."""
    found: list[object] = []
    with capture_logs() as lines, caplog.at_level(logging.WARNING):
        yield found
    found += [line for line in lines if line["log_level"] in ("warning", "error", "critical")]
    found += [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def _param(name: Name) -> Any:
    faulty = FAULTS.get(name)
    marks = [pytest.mark.xfail(strict=True, reason=faulty)] if faulty else []
    return pytest.param(name, id=": ".join(name), marks=marks)


@pytest.mark.parametrize("name", [_param(name) for name in rows()])
async def test_hostile_input(
    name: Name, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    row, made = rows()[name], cases()[name]
    with warnings(caplog) as lines:
        async with world_of(
            tmp_path, monkeypatch, shorten=made.shorten, stall=made.stall, settings=made.settings
        ) as world:
            assert await made.do(world) == row.outcome
            if row.ends:
                await world.forgotten()
            await world.cleaned()
            await world.emptied()
    assert len(lines) == row.lines, lines
    assert row.lines <= 1
