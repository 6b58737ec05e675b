"""Who is subscribed to a room, stored at once or not before it matters: nobody may be able to tell the difference."""

import asyncio
import functools
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from realtime.auth import Identity
from realtime.engine.channel import Session
from realtime.engine.channels import Channels
from realtime.errors import RealtimeError, StoreUnavailable
from realtime.models import Content, InboxQuery, JsonObject, Target
from realtime.services.directory import Directory
from realtime.services.naming import NAME_FIELDS
from realtime.services.rooms import RoomService
from realtime.services.subscriptions import audience_key
from realtime.store import sqlite_membership
from realtime.store.sqlite import SqliteStore
from rooms.policy import auto_rooms
from tests.services.hotel import RecordingChannel

ROOMS = ("work_order_1", "machine_1")
PEOPLE = {"5": "technician", "6": "technician", "7": "user"}
TABS = {"a": "5", "b": "5", "c": "6", "d": "7"}
"""Whose they are."""
NOW = 1000.0
EXAMPLES = 40


class World:
    """A server without a network. What comes and goes is stored at once if `eager`."""

    def __init__(self, store: SqliteStore | None = None, *, eager: bool = False) -> None:
        self.store = store or SqliteStore(":memory:")
        if eager:
            self.store.ask_first = lambda ask: None  # type: ignore[method-assign]
        self.channel = RecordingChannel("/")
        self.channels = Channels([self.channel, RecordingChannel("/other")])
        self.directory = Directory(self.store, lambda: NOW)
        self.rooms = RoomService(
            channels=self.channels, store=self.store, directory=self.directory, clock=lambda: NOW, authority=None
        )
        self.marked: list[str] = []
        self.rooms.tell_counts(self)

    def mark(self, *principals: str) -> None:
        self.marked += principals

    async def __aenter__(self) -> "World":
        await self.store.open()
        await self.directory.start()
        await self.rooms.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.store.close()

    async def connect(self, tab: str, *, guest: bool = False) -> None:
        if self.channel.session(tab):
            return
        id = TABS[tab]
        role = "guest" if guest else PEOPLE[id]
        identity = Identity(id, id, guest, role, None, None, frozenset(), issued_at=0.0, expires_at=None)
        await self.directory.see_connecting(identity)
        session = Session(tab, identity, self.directory.member(identity), NOW, "127.0.0.1", self.channel)
        self.channel.admit(session, auto_rooms(session.member))

    async def go(self, tab: str) -> None:
        session = self.channel.session(tab)
        if session is not None:
            rooms = self.channel.membership.remove(tab)
            self.channel.release(tab)
            self.rooms.disconnected(session, rooms)

    async def join(self, tab: str, *rooms: str) -> bool:
        session = self.channel.session(tab)
        if session is None:
            return False
        try:
            await self.rooms.join(session, rooms)
        except RealtimeError:
            return False
        return True

    async def leave(self, tab: str, room: str) -> None:
        session = self.channel.session(tab)
        if session is not None:
            await self.rooms.leave(session, [room])

    async def send(self, room: str, *, late: bool = False) -> None:
        target = Target(audience=audience_key(room), late_join=late)
        await self.store.add([target], Content("info", "title", room), sender=None, now=NOW)

    async def send_later(self, room: str, *, late: bool = False) -> None:
        """Make a draft, and publish it as the scheduler does."""
        target = Target(audience=audience_key(room), late_join=late)
        content = Content("info", "title", room)
        await self.store.add_drafts([target], content, sender=None, run_at=NOW, now=NOW)
        for draft in await self.store.due_drafts(now=NOW, limit=10):
            await self.store.publish_draft(draft.id, now=NOW)

    async def name(self, room: str, id: str | None) -> None:
        """Let the room's row name one user, or nobody, and everybody live with that."""
        kind, number = room[:-2], room[-1]
        row: JsonObject = {"id": number, "technician_id": id}
        change = await self.store.change_entity(kind, number, lambda _: row, name_fields=NAME_FIELDS[kind])
        before, after = ({str(one["technician_id"])} - {"None"} if one else set() for one in (change.old, change.new))
        await self.rooms.follow_names(before, after, room)
        await self.rooms.recheck_room(room)

    async def give_role(self, id: str, role: str) -> None:
        await self.directory.set_user(id, role=role, name=None)
        await self.rooms.role_changed(id)

    async def titles(self) -> dict[str, list[int]]:
        """Return the ids of everything that each user sees."""
        query = InboxQuery(limit=100)
        pages = await asyncio.gather(*(self.store.inbox(f"user:{id}", query, now=NOW) for id in PEOPLE))
        return {id: sorted(row.id for row in rows) for id, (rows, _) in zip(PEOPLE, pages, strict=True)}

    async def stored(self) -> list[tuple[str, str]]:
        return await self.store.open_memberships("")

    async def audience(self, room: str) -> tuple[list[str], tuple[int, list[str]]]:
        target = Target(audience=audience_key(room), excluded=frozenset({"user:6"}))
        return await self.store.readers(audience_key(room)), await self.store.audience_size(target, limit=10)


tab, room = st.sampled_from(list(TABS)), st.sampled_from(ROOMS)
person = st.sampled_from(list(PEOPLE))
step = st.one_of(
    st.tuples(st.just("connect"), tab),
    st.tuples(st.just("join"), tab, room),
    st.tuples(st.just("join"), tab, room),
    st.tuples(st.just("join"), tab, room),
    st.tuples(st.just("leave"), tab, room),
    st.tuples(st.just("go"), tab),
    st.tuples(st.just("send"), room),
    st.tuples(st.just("send late"), room),
    st.tuples(st.just("send later"), room),
    st.tuples(st.just("name"), st.just("work_order_1"), st.one_of(st.none(), person)),
    st.tuples(st.just("give_role"), person, st.sampled_from(["technician", "user", "manager"])),
    st.tuples(st.just("audience"), room),
)


async def do(world: World, what: tuple[str, ...]) -> object:
    """Return what the step has shown, and what everybody sees afterwards."""
    name, *args = what
    late = functools.partial(world.send, late=True)
    step: Any = late if name == "send late" else getattr(world, name.replace(" ", "_"))
    shown = await step(*args)
    return shown, await world.titles()


@settings(deadline=None, max_examples=EXAMPLES)
@example([("join", "a", "machine_1"), ("audience", "machine_1")])
@example([("join", "c", "machine_1"), ("send", "machine_1"), ("go", "c"), ("send", "machine_1")])
@example([("name", "work_order_1", "6"), ("join", "c", "work_order_1"), ("name", "work_order_1", None), ("go", "c")])
@example([("name", "work_order_1", "6"), ("join", "c", "work_order_1"), ("go", "c")])
@given(st.lists(step, min_size=10, max_size=40))
def test_nobody_can_tell_what_is_stored_at_once_from_what_is_stored_when_it_matters(
    steps: list[tuple[str, ...]],
) -> None:
    async def compare() -> None:
        begin, end = [("connect", tab) for tab in TABS], [("go", tab) for tab in TABS]
        afterwards = [("send", room) for room in ROOMS]
        async with waiting, eager:
            for number, what in enumerate([*begin, *steps, *end, *afterwards, ("stored",)]):
                one, other = await asyncio.gather(do(waiting, what), do(eager, what))
                assert one == other, (number, what)

    waiting, eager = World(), World(eager=True)
    asyncio.run(compare())
    assert not waiting.rooms._subscriptions._written


moving = st.one_of(
    st.tuples(st.just("connect"), tab),
    st.tuples(st.just("join"), tab, st.just("machine_1")),
    st.tuples(st.just("join"), tab, st.just("machine_1")),
    st.tuples(st.just("leave"), tab, st.just("machine_1")),
    st.tuples(st.just("go"), tab),
    st.tuples(st.just("send"), st.just("machine_1")),
    st.tuples(st.just("fails")),
    st.tuples(st.just("works")),
)


def refuse(*_: object) -> Any:
    raise StoreUnavailable


async def fail() -> Any:
    raise OSError("disk I/O error")


@pytest.mark.parametrize("how", ["is full", "fails in the middle"])
@settings(deadline=None, max_examples=EXAMPLES)
@example([("join", "c"), ("fails",), ("send",), ("works",), ("send",)])
@example([("join", "a"), ("send",), ("fails",), ("leave", "a"), ("send",)])
@example([("join", "c"), ("send",), ("fails",), ("go", "c"), ("works",), ("connect", "c"), ("join", "c"), ("go", "c")])
@example(
    [("join", "c"), ("send",), ("fails",), ("join", "a"), ("works",), ("send",), ("fails",), ("go", "a"), ("works",)]
)
@given(st.lists(moving, min_size=10, max_size=40))
def test_whoever_is_inside_receives_what_was_accepted_and_nobody_else_whatever_failed_before(
    how: str, steps: list[tuple[str, ...]]
) -> None:
    async def check() -> None:
        received: dict[str, int] = dict.fromkeys(PEOPLE, 0)
        async with World() as world:
            submit = world.store._submit
            changes = ("open_all", "change")
            for what in [*(("connect", tab) for tab in TABS), *steps, ("works",), ("send", "machine_1")]:
                name, *args = what
                if name in ("join", "leave", "send") and args[-1:] != ["machine_1"]:
                    args.append("machine_1")
                inside = {id for id in PEOPLE if world.channels.is_inside(id, "machine_1")}
                if name == "fails" and how == "is full":
                    world.store._submit = refuse  # type: ignore[method-assign,assignment]
                elif name == "fails":
                    world.store._submit = failing(submit, changes)  # type: ignore[method-assign]
                elif name == "works":
                    world.store._submit = submit  # type: ignore[method-assign]
                elif name != "send":
                    await getattr(world, name)(*args)
                elif await accepted(world.send(*args)):
                    received.update({id: received[id] + 1 for id in inside})
                if world.store._submit == submit:
                    found = await world.titles()
                    assert {id: len(ids) for id, ids in found.items()} == received, what

    asyncio.run(check())


def failing(submit: Any, which: Sequence[str]) -> Any:
    """Let jobs that change memberships fail on the writer's thread, and do all others."""

    def submitted(work: Any) -> asyncio.Future[Any]:
        if any(name in work.__code__.co_names for name in which):
            return asyncio.ensure_future(fail())
        return submit(work)  # type: ignore[no-any-return]

    return submitted


async def accepted(sending: Coroutine[Any, Any, None]) -> bool:
    try:
        await sending
    except (StoreUnavailable, OSError):
        return False
    return True


async def test_nobody_is_asked_about_rooms_that_nothing_is_sent_to(monkeypatch: pytest.MonkeyPatch) -> None:
    async with World() as world:
        monkeypatch.setattr(world.store, "change_memberships", None)
        for tab in TABS:
            await world.connect(tab)
            await world.join(tab, "machine_1")
        await world.leave("a", "machine_1")
        for tab in TABS:
            await world.go(tab)


async def test_a_person_with_two_tabs_is_written_down_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async with World() as world:
        asked: list[tuple[str, Sequence[str]]] = []
        open_memberships_of = world.store.open_memberships_of

        def noted(audience: str, readers: Sequence[str], *, now: float) -> asyncio.Future[frozenset[str]]:
            asked.append((audience, readers))
            return open_memberships_of(audience, readers, now=now)

        monkeypatch.setattr(world.store, "open_memberships_of", noted)
        for tab in TABS:
            await world.connect(tab)
            await world.join(tab, "machine_1")
        for _ in range(2):
            await world.send("machine_1")
        assert asked == [("room:machine_1", ["user:5", "user:6"])]


@pytest.mark.parametrize("known", [sqlite_membership.LATE_MAX, 0])
async def test_rows_for_late_comers_of_an_earlier_run_are_seen_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: int
) -> None:
    """Also in a room that is not among the first of those which have such rows."""
    path = tmp_path / "late.db"
    async with World(SqliteStore(path)) as world:
        await world.send("machine_0", late=True)
        await world.send("machine_1", late=True)
    monkeypatch.setattr(sqlite_membership, "LATE_MAX", known)
    async with World(SqliteStore(path)) as world:
        await world.connect("c")
        await world.join("c", "machine_1")
        assert (await world.titles())["6"] == [2]
        assert world.marked == ["user:6"]
        await world.leave("c", "machine_1")
        assert (await world.titles())["6"] == []
        assert world.marked == ["user:6"] * 2


async def test_a_room_of_guests_is_not_remembered() -> None:
    async with World() as world:
        await world.connect("d", guest=True)
        session = world.channel.session("d")
        assert session is not None
        world.channel.membership.enter("d", "booking_1")
        await world.send("booking_1")
        await world.connect("c")
        await world.join("c", "booking_1")
        await world.send("booking_1")
        await world.go("c")
        await world.go("d")
        assert not world.rooms._subscriptions._written


async def test_a_process_that_ends_leaves_no_subscription_of_a_connection(tmp_path: Path) -> None:
    path = tmp_path / "ended.db"
    async with World(SqliteStore(path)) as world:
        await world.name("work_order_1", "5")
        for tab in TABS:
            await world.connect(tab)
            await world.join(tab, "work_order_1", "machine_1")
        await world.send("machine_1")
    async with World(SqliteStore(path)) as world:
        assert await world.store.open_memberships("room:") == [("user:5", "room:work_order_1")]


async def test_a_store_that_others_serve_too_wants_to_be_told_at_once(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "shared.db", exclusive=False)
    assert store.ask_first(lambda audience, again: None) is None
    async with World(store) as world:
        await world.connect("c")
        await world.join("c", "machine_1")
        assert await store.open_memberships("room:") == [("user:6", "room:machine_1")]
