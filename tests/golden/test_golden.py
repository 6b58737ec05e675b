"""Every client of every system, byte for byte: the transcripts beside this file are played against a server."""

from pathlib import Path

import pytest

from tests.conftest import Starter
from tests.golden.player import Player
from tests.golden.transcripts import Scene, read
from tests.support import FakeClock

SCENES = [scene for path in sorted(Path(__file__).parent.glob("*.txt")) for scene in read(path)]


@pytest.mark.parametrize("scene", SCENES, ids=str)
async def test_clients_hear_what_the_transcript_says(scene: Scene, starter: Starter, clock: FakeClock) -> None:
    running = await starter(app={"clock": clock}, jwt_leeway=0.0, **scene.settings)
    await Player(scene, running, clock).play()
