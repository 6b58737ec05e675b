"""The rows of docs/hostile-input.md, and what is done for each."""

import importlib
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.engine.hostile.world import World

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "hostile-input.md"
_AN_END = re.compile(r"(closed|1\d{3}|4\d\d|session over)\Z")

SILENCE = "realtime.engine.door.SILENT_SECONDS"
HEADERS = "realtime.serving.HEADER_SECONDS"
CONNECT = "realtime.engine.server.CONNECT_SECONDS"
ATTACHMENT = "realtime.engine.server.ATTACHMENT_SECONDS"
PROBE = "realtime.engine.engineio.UPGRADE_SECONDS"
MESSAGE = "realtime.engine.websocket.MESSAGE_SECONDS"
POST = "realtime.engine.polling.BODY_SECONDS"
BODY = "handlers.http.middleware.BODY_SECONDS"
ANSWER = "handlers.http.middleware.ANSWER_SECONDS"
FAREWELL = "realtime.engine.hub.CLOSE_SECONDS"
OPENING = "handlers.sockets.entrance.CONNECT_SECONDS"

Name = tuple[str, str]
"""The heading and the hostile input."""


@dataclass(frozen=True)
class Row:
    """What the document promises."""

    outcome: str
    within: str
    lines: int

    @property
    def ends(self) -> bool:
        """Whether nothing of the sender is left, even while they hold the connection."""
        return _AN_END.search(self.outcome) is not None


def rows() -> dict[Name, Row]:
    found: dict[Name, Row] = {}
    heading = ""
    for line in DOCUMENT.read_text(encoding="utf-8").splitlines():
        if not line.startswith("| ") or line.startswith("| hostile input"):
            continue
        name, outcome, within, lines, _kept = (cell.strip() for cell in line.strip("|").split("|"))
        if name.startswith("**"):
            heading = name.strip("*")
            continue
        assert (heading, name) not in found, name
        found[heading, name] = Row(outcome.replace("`", ""), within, int(lines))
    return found


Do = Callable[[World], Awaitable[str]]


@dataclass(frozen=True)
class Case:
    """What is done, by how many senders, and the limits in seconds that are shortened for it."""

    do: Do
    shorten: tuple[str, ...]
    stall: bool
    senders: int
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Group:
    """The rows under one heading."""

    heading: str
    cases: dict[str, Case] = field(default_factory=dict)

    def row(
        self, name: str, *shorten: str, stall: bool = False, senders: int = 1, **settings: Any
    ) -> Callable[[Do], Do]:
        """Make a function the test of a row: it does what the row says and returns the outcome as the row spells it."""

        def register(do: Do) -> Do:
            assert name not in self.cases
            self.cases[name] = Case(do, shorten, stall, senders, settings)
            return do

        return register


def limit(path: str) -> float:
    """Return the real limit that a case shortens."""
    module, _, name = path.rpartition(".")
    return float(getattr(importlib.import_module(module), name))
