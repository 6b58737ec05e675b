"""Who of an audience is connected."""

from typing import cast

import pytest

from realtime.auth import Identity
from realtime.engine.channel import Session
from realtime.engine.channels import Channels
from realtime.models import Principal, Target
from realtime.services import audiences as module
from realtime.services.audiences import Audiences
from realtime.services.directory import Directory
from realtime.store.base import Store
from rooms.policy import Member, auto_rooms
from tests.services.hotel import RecordingChannel
from tests.support import FakeClock

ROOM = "room:ticket_7"


class Subscribed:
    """A store that knows who is subscribed to the one room."""

    def __init__(self) -> None:
        self.people: list[Principal] = []

    async def readers(self, audience: str) -> list[Principal]:
        return list(self.people) if audience == ROOM else []


class World:
    def __init__(self, clock: FakeClock) -> None:
        self.store = Subscribed()
        self.channel = RecordingChannel("/")
        channels = Channels([self.channel, RecordingChannel("/other")])
        store = cast(Store, self.store)
        self.audiences = Audiences(store=store, channels=channels, directory=Directory(store, clock))

    def connect(self, id: str, role: str = "user", *, guest: bool = False) -> None:
        identity = Identity(id, int(id), guest, role, None, None, frozenset(), issued_at=0.0, expires_at=None)
        member = Member(id=id, guest=guest, roles=frozenset({role}), audience=role)
        session = Session(f"sid-{id}-{role}", identity, member, 0.0, "127.0.0.1", self.channel)
        self.channel.admit(session, auto_rooms(member))

    async def of(self, audience: str, *excluded: Principal) -> dict[Principal, object]:
        return {**await self.audiences.readers(Target(audience=audience, excluded=frozenset(excluded)))}


@pytest.fixture
def world(clock: FakeClock) -> World:
    world = World(clock)
    for id, role in (("5", "user"), ("6", "technician"), ("7", "user"), ("7", "technician")):
        world.connect(id, role)
    world.connect("5", "guest", guest=True)
    return world


@pytest.mark.parametrize(
    ("audience", "expected"),
    [
        ("all", {"user:5": 5, "user:6": 6, "user:7": 7}),
        ("guests", {"guest:5": 5}),
        ("role:user", {"user:5": 5, "user:7": 7}),
        ("role:technician", {"user:6": 6, "user:7": 7}),
        ("role:admin", {}),
        ("room:ticket_8", {}),
    ],
)
async def test_readers_are_connected_and_of_the_audience(
    world: World, audience: str, expected: dict[Principal, object]
) -> None:
    assert await world.of(audience) == expected
    assert await world.of(audience, "user:5", "guest:5") == {
        who: id for who, id in expected.items() if who not in ("user:5", "guest:5")
    }


@pytest.mark.parametrize("offline", [0, 3 * module.LOOKED_UP])
async def test_of_a_rooms_subscribers_those_who_are_connected(world: World, offline: int) -> None:
    world.store.people = ["user:7", "user:6", *(f"user:{1000 + number}" for number in range(offline))]
    found = await world.of(ROOM)
    assert found == {"user:6": 6, "user:7": 7}
    assert list(found) == sorted(found)
    assert await world.of(ROOM, "user:6") == {"user:7": 7}


async def test_a_few_subscribers_are_found_without_looking_at_everybody(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.store.people = ["user:5", "user:99"]

    def everybody(_: Channels) -> object:
        raise AssertionError("every connection was looked at")

    monkeypatch.setattr(Channels, "sessions", everybody)
    assert await world.of(ROOM) == {"user:5": 5}


def test_broadcasts_of_before_may_have_reached_whoever_any_of_them_was_for(world: World) -> None:
    assert world.audiences.may_have_received(["role:technician", "guests"]) == {"user:6", "user:7", "guest:5"}
    assert world.audiences.may_have_received([ROOM]) == {"user:5", "user:6", "user:7"}
    assert world.audiences.may_have_received(["role:x", "role:y"]) == set()
