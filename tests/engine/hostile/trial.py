"""Doing one row: what the document promises has to come true, with its log lines and with nothing left behind."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.engine.hostile.table import Case, Group, Name, rows
from tests.engine.hostile.world import world_of


def cases(groups: Sequence[Group]) -> dict[Name, Case]:
    return {(group.heading, name): made for group in groups for name, made in group.cases.items()}


def params(groups: Sequence[Group], faults: Mapping[Name, str]) -> list[Any]:
    """Return the rows of some groups for pytest; those in `faults` are known to fail, for the reason given."""
    return [
        pytest.param(
            name,
            id=": ".join(name),
            marks=[pytest.mark.xfail(strict=True, reason=faults[name])] if name in faults else [],
        )
        for name in cases(groups)
    ]


@contextmanager
def warnings(caplog: pytest.LogCaptureFixture) -> Iterator[list[object]]:
    """Collect every log line of level warning or above, the libraries' and asyncio's own too."""
    found: list[object] = []
    with capture_logs() as lines, caplog.at_level(logging.WARNING):
        yield found
    found += [line for line in lines if line["log_level"] in ("warning", "error", "critical")]
    found += [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


async def keeps_its_promise(
    name: Name, made: Case, *, path: Path, patch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    row = rows()[name]
    with warnings(caplog) as lines:
        async with world_of(path, patch, shorten=made.shorten, stall=made.stall, settings=made.settings) as world:
            assert await made.do(world) == row.outcome
            if row.ends:
                await world.forgotten()
            await world.cleaned()
            await world.emptied()
    assert len(lines) == row.lines * made.senders, lines
    assert row.lines <= 1
