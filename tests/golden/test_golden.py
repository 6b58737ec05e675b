"""Every client of every system, byte for byte: the transcripts beside this file are played against a server."""

import re
from pathlib import Path

import pytest

from realtime.dialects.base import Dialect
from realtime.dialects.dashboard import DASHBOARD
from realtime.dialects.guests import GUESTS
from realtime.dialects.messaging import MESSAGING
from realtime.dialects.notifications import NOTIFICATIONS, STREAM
from realtime.dialects.root import ROOT
from tests.conftest import Starter
from tests.golden.player import Player
from tests.golden.shapes import dashboard, guests, messaging, notifications, root
from tests.golden.shapes.samples import EVERYWHERE, Shapes
from tests.golden.transcripts import Hear, Memory, Say, Scene, Unreadable, read
from tests.support import FakeClock

HERE = Path(__file__).parent
SCENES = {path.name: read(path) for path in sorted(HERE.glob("*.txt"))}

SPOKEN = [
    ("root.txt", ROOT, root.SHAPES),
    ("notifications-namespace.txt", NOTIFICATIONS, notifications.SHAPES),
    ("notifications-plain.txt", NOTIFICATIONS, notifications.SHAPES),
    ("notifications-stream.txt", STREAM, notifications.STREAM_SHAPES),
    ("dashboard.txt", DASHBOARD, dashboard.SHAPES),
    ("dashboard-plain.txt", DASHBOARD, dashboard.SHAPES),
    ("messaging.txt", MESSAGING, messaging.SHAPES),
    ("messaging-plain.txt", MESSAGING, messaging.SHAPES),
    ("hotel-guests.txt", GUESTS, guests.SHAPES),
]
ONE_WAY = (STREAM, GUESTS)
"""Whose clients cannot ask for anything that could go wrong."""

NAME = re.compile(r'\["([\w:-]+)"[,\]]|"(?:event|type)":"([\w:-]+)"')


@pytest.mark.parametrize("scene", [scene for scenes in SCENES.values() for scene in scenes], ids=str)
async def test_clients_hear_what_the_transcript_says(scene: Scene, starter: Starter, clock: FakeClock) -> None:
    running = await starter(app={"clock": clock}, jwt_leeway=0.0, **scene.settings)
    await Player(scene, running, clock).play()


def names(file: str, kind: type[Say] | type[Hear]) -> set[str]:
    """Return the names of all events that are said, or heard, in a file."""
    texts = [step.text for scene in SCENES[file] for _, step in scene.steps if isinstance(step, kind)]
    return {found[1] or found[2] for text in texts if (found := NAME.search(text))}


def test_every_transcript_belongs_to_a_vocabulary() -> None:
    assert set(SCENES) == {file for file, _, _ in SPOKEN}


@pytest.mark.parametrize(("file", "dialect", "shapes"), SPOKEN, ids=[file for file, _, _ in SPOKEN])
def test_a_transcript_has_everything_that_the_server_says(file: str, dialect: Dialect, shapes: Shapes) -> None:
    made_up = {name for what in ("custom object", "custom scalar") for name, _ in EVERYWHERE[what].frames}
    sent = {name for golden in shapes.values() for name, _ in golden.frames} - made_up
    assert sent - names(file, Hear) == ({"error"} if dialect in ONE_WAY else set())


@pytest.mark.parametrize(("file", "dialect", "shapes"), SPOKEN, ids=[file for file, _, _ in SPOKEN])
def test_a_transcript_has_everything_that_clients_say(file: str, dialect: Dialect, shapes: Shapes) -> None:
    assert set(dialect.inbound) - names(file, Say) == set()


# --- how transcripts are read ---


def test_a_mask_stands_for_the_same_as_before() -> None:
    memory = Memory({})
    assert memory.matches('{"id":<id>,"_id":"<id>"}', '{"id":12,"_id":"12"}')
    assert memory.matches("<id> <id2>", "12 13")
    assert not memory.matches("<id2>", "12")
    assert not Memory({}).matches("<id> <id>", "12 13")
    assert memory.filled("/<id2>/<id>") == "/13/12"


def test_what_is_not_masked_is_compared_as_it_is() -> None:
    memory = Memory({})
    assert memory.matches('at "<time>".', 'at "2026-01-01T00:00:00.000Z".')
    assert not memory.matches('at "<time>".', 'at "2026-01-01T00:00:00.000Z"!')
    assert not memory.matches('{"id":<id>}', '{"id":"12"}')


def test_a_line_that_means_nothing_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "odd.txt"
    path.write_text("Prose.\n\n== a scene\nwho knows\n")
    with pytest.raises(Unreadable, match=r"odd\.txt:4"):
        read(path)


async def test_what_is_not_in_the_transcript_fails_the_scene(
    starter: Starter, clock: FakeClock, tmp_path: Path
) -> None:
    path = tmp_path / "short.txt"
    path.write_text("== too short\n+ WS /dashboard?token=<token of ann>\n")
    [scene] = read(path)
    running = await starter(app={"clock": clock})
    with pytest.raises(AssertionError, match="heard more than the transcript says"):
        await Player(scene, running, clock).play()


async def test_what_is_wrong_is_shown_with_its_line(starter: Starter, clock: FakeClock, tmp_path: Path) -> None:
    path = tmp_path / "wrong.txt"
    path.write_text('== wrong\n+ WS /dashboard?token=<token of ann>\n< {"event":"hello"}\n')
    [scene] = read(path)
    running = await starter(app={"clock": clock})
    with pytest.raises(AssertionError, match=r'wrong.txt: wrong, line 3[^$]*- \{"event":"hello"\}'):
        await Player(scene, running, clock).play()
