"""Every row of docs/hostile-input.md about HTTP and Socket.IO, done to the whole application.

`test_hostile_plain.py` does the rows about plain sockets and streams.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from realtime.engine.hub import Limits
from tests.engine.hostile.behaviour import BEHAVIOUR
from tests.engine.hostile.frames import FRAMES
from tests.engine.hostile.packets import ENGINEIO, SOCKETIO
from tests.engine.hostile.requests import HANDSHAKES, REQUESTS
from tests.engine.hostile.table import Name, limit, rows
from tests.engine.hostile.trial import cases, keeps_its_promise, params
from tests.engine.test_hostile_plain import GROUPS as PLAIN_GROUPS

GROUPS = (REQUESTS, HANDSHAKES, FRAMES, ENGINEIO, SOCKETIO, BEHAVIOUR)
ALL_GROUPS = (*GROUPS, *PLAIN_GROUPS)
LONGEST = 15.0

FAULTS: Mapping[Name, str] = {}
"""Rows that the server does not keep yet, and why not."""


def test_every_row_has_a_case_and_every_case_a_row() -> None:
    assert list(rows()) == list(cases(ALL_GROUPS))


def test_every_limit_in_seconds_is_the_real_one_and_at_most_fifteen() -> None:
    for name, row in rows().items():
        seconds = re.match(r"([0-9.]+) s", row.within)
        made = cases(ALL_GROUPS)[name]
        if made.shorten or made.stall:
            assert seconds, name
            assert float(seconds[1]) == (Limits().stall_seconds if made.stall else limit(made.shorten[0])), name
        if seconds:
            assert float(seconds[1]) <= LONGEST, name


@pytest.mark.parametrize("name", params(GROUPS, FAULTS))
async def test_hostile_input(
    name: Name, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await keeps_its_promise(name, cases(GROUPS)[name], path=tmp_path, patch=monkeypatch, caplog=caplog)
