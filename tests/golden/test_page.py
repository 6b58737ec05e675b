"""What docs/dialects.md shows is true: its example runs, and its tables say what is sent."""

import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from handlers.commands.dispatch import COMMANDS
from handlers.http.origin import OriginPolicy
from realtime import events, wire
from realtime.dialects.base import Dialect
from realtime.dialects.dashboard import DASHBOARD
from realtime.dialects.guests import GUESTS
from realtime.dialects.messaging import MESSAGING
from realtime.dialects.notifications import NOTIFICATIONS, STREAM
from realtime.dialects.root import ROOT
from realtime.engine.channel import Channel
from realtime.engine.codecs import EventStream, JsonFrames
from realtime.engine.frames import Burst, Template
from realtime.engine.server import RESERVED_EVENTS
from realtime.events import Audience
from realtime.metrics import Metrics
from realtime.models import Content, Target
from realtime.publisher import Outlet, Publisher
from realtime.wiring import connections
from rooms.membership import Membership
from tests.golden.shapes.samples import ANN, AT, BARE, NOTE, frames
from tests.support import settings_for

PAGE = (Path(__file__).parents[2] / "docs" / "dialects.md").read_text()
DIALECTS = {dialect.name: dialect for dialect in (ROOT, NOTIFICATIONS, STREAM, DASHBOARD, MESSAGING, GUESTS)}
HELLO = replace(
    NOTE, target=Target(recipient="user:7"), content=Content(type="info", title="Hello", message="How are you?")
)


def code_blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def table_rows(title: str) -> list[list[str]]:
    """Return the cells of the first table under a heading."""
    part = PAGE.split(f"## {title}\n")[1]
    table = next(text for text in map(str.strip, part.split("\n\n")) if text.startswith("|"))
    return [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]


@pytest.fixture
def lobby() -> Dialect:
    """The example, made from the page's own code."""
    names: dict[str, Any] = {}
    exec(code_blocks()[0], names)
    made: Dialect = names["LOBBY"]
    return made


class Screen(Channel):
    """A connection that keeps what it is told."""

    def __init__(self) -> None:
        super().__init__("/lobby", Membership())
        self.heard: list[Any] = []
        self._codec = JsonFrames("event")

    def __len__(self) -> int:
        return 1

    def encode(self, event: str, payload: object, mark: object = None) -> Burst:
        return self._codec.encode(event, payload)

    def template(self, event: str, payload: object, mark: object = None) -> Template:
        return self._codec.template(event, payload)

    def deliver(self, sids: Iterable[str], burst: Burst) -> int:
        self.heard += [wire.loads(packet) for packet in burst.packets]
        return len(list(sids))


def test_the_example_is_a_vocabulary_like_the_others(lobby: Dialect) -> None:
    assert set(lobby.outbound) == set(events.catalogue())
    assert set(lobby.inbound.values()) <= set(COMMANDS)
    assert not set(lobby.inbound) & RESERVED_EVENTS


def test_what_is_published_is_heard_in_the_words_of_the_example(lobby: Dialect) -> None:
    screen = Screen()
    screen.membership.add("screen")
    publisher = Publisher([Outlet(screen, lobby)], Metrics())
    publisher.publish(events.AnnouncementCreated(AT, BARE, 7), Audience.all())
    publisher.publish(events.CameOnline(AT, ANN), Audience())
    publisher.publish(events.WentOffline(AT, ANN), Audience.all())
    publisher.publish(events.Custom(AT, "menu", {"soup": "onion"}), Audience.all())
    assert screen.heard == [
        {"event": "news", "data": {"headline": "Hello", "text": "All", "at": "2023-11-14T22:13:20.123Z"}},
        {"event": "arrived", "data": {"who": "Ann"}},
        {"event": "menu", "data": {"soup": "onion"}},
    ]


def test_the_line_of_wiring_gives_it_a_namespace_a_path_and_a_place_in_the_publisher(
    lobby: Dialect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: dict[str, Any] = {**vars(connections), "LOBBY": lobby}
    exec(code_blocks()[1], names)
    assert names["TWINS"] == (*connections.TWINS, lobby)
    monkeypatch.setattr(connections, "TWINS", names["TWINS"])
    made = connections.Connections(settings_for(tmp_path), OriginPolicy(allowed=(), dev=False), Metrics())
    ways = [made.namespaces["/lobby"], made.twins["/lobby"]]
    assert [channel for channel in made.channels if channel.path == "/lobby"] == ways


@pytest.mark.parametrize("row", table_rows("One notification in each"), ids=lambda row: " ".join(row[:2]))
def test_a_notification_looks_as_the_page_says(row: list[str]) -> None:
    vocabulary, name, shown = row
    recipient = "guest:7" if vocabulary == GUESTS.name else "user:7"
    event = events.NotificationCreated(AT, replace(HELLO, target=Target(recipient=recipient)), 7)
    payload = dict(frames(DIALECTS[vocabulary], event))[name]
    assert within(payload, wire.loads(shown)) == wire.loads(shown)


def within(payload: Any, shown: Any) -> Any:
    """Return of a payload what is shown of it."""
    if isinstance(payload, dict) and isinstance(shown, dict):
        return {name: within(payload[name], value) for name, value in shown.items()}
    return payload


def test_a_notification_is_shown_in_every_name_it_has() -> None:
    event = events.NotificationCreated(AT, HELLO, 7)
    sent = [[dialect.name, name] for dialect in DIALECTS.values() for name, _ in frames(dialect, event)]
    assert [row[:2] for row in table_rows("One notification in each")] == sent


def test_the_page_names_every_vocabulary_and_where_it_is_spoken() -> None:
    spoken = {cells[0].split(" (")[0]: cells[2] for cells in table_rows("Who speaks what")}
    assert list(spoken) == list(DIALECTS)
    for name, dialect in DIALECTS.items():
        assert (f"{dialect.namespace}/events" if dialect is STREAM else dialect.namespace) in spoken[name]


def test_the_page_shows_how_each_connection_frames_an_event() -> None:
    part = PAGE.split("A vocabulary knows nothing of frames.")[1].split("## ")[0]
    encoded = [
        Burst.encode(MESSAGING.namespace, "price", 5),
        JsonFrames("event").encode("price", 5),
        JsonFrames("type").encode("price", 5),
        EventStream().encode("price", 5),
    ]
    assert re.findall(r"\| `(.*?)` \|\n", part) == [frame.packets[0].decode().strip() for frame in encoded]
