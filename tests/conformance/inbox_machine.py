"""Random histories of an inbox: the same things happen to a store and to the naive inbox, and they must agree."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from realtime.models import Content, Principal, Target
from realtime.store.base import Store
from tests.conformance.inbox_pair import ACTS, READERS, Pair
from tests.conformance.inbox_watch import Watch
from tests.conformance.people import ANN, BOB, GUEST, HELLO

ROOMS = ("room:a", "room:b")
KEYS = ("all", "room:a", "room:b", "role:user", "role:admin", "guests")
readers = st.sampled_from(READERS)
which = st.integers(0, 20)
soon = st.sampled_from([2, 1, 5, 10, 60])
contents = st.builds(
    lambda lifetime, group, category, stacks: (
        lifetime,
        replace(
            HELLO, title="{count} Hello", group_key=group, category=category, type=category or "info", stacks=stacks
        ),
    ),
    st.sampled_from([None, None, None, 1, 4, 12, 60]),
    st.sampled_from([None, None, "g"]),
    st.sampled_from([None, "a", "b"]),
    st.booleans(),
)
directs = st.builds(lambda reader: Target(recipient=reader), readers)
broadcasts = st.builds(
    lambda key, late, excluded: Target(None, key, frozenset(excluded), late_join=late),
    st.sampled_from(KEYS),
    st.booleans(),
    st.sampled_from([(), (), (), (ANN,), (BOB, GUEST)]),
)
targets = st.one_of(directs, broadcasts)
acts = st.sampled_from(ACTS)
T = TypeVar("T")


class InboxMachine(RuleBasedStateMachine):
    """`make` builds stores over one database that is new; `thorough` as in `Watch`."""

    def __init__(self, make: Callable[[], Store], *, thorough: bool) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.pair = Pair(make)
        self.watch = Watch(self.pair, thorough=thorough)
        self.agreed = True

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Run something to its end; after a failure nothing more is compared."""
        agreed, self.agreed = self.agreed, False
        result = self.loop.run_until_complete(work)
        self.agreed = agreed
        return result

    @initialize()
    def start(self) -> None:
        self.do(self.pair.start())
        self.do(self.watch.start())

    # What is sent

    @rule(to=targets, content=contents)
    def add(self, to: Target, content: tuple[int | None, Content]) -> None:
        self.do(self.pair.add(to, self._dated(content)))

    @rule(to=directs, content=contents)
    def add_direct(self, to: Target, content: tuple[int | None, Content]) -> None:
        self.do(self.pair.add(to, self._dated(content)))

    @rule(to=targets, content=contents, key=st.sampled_from(["id", "dedup_key", "request"]))
    def add_with(self, to: Target, content: tuple[int | None, Content], key: str) -> None:
        if key == "id":
            self.do(self.pair.add_taken(to, self._dated(content)))
        else:
            plain = replace(to, excluded=frozenset(), late_join=False)
            self.do(self.pair.add_again(plain, self._dated(content), key, "x"))

    @rule(to=targets, content=contents, key=st.sampled_from(["", "dedup_key", "request"]))
    def draft(self, to: Target, content: tuple[int | None, Content], key: str) -> None:
        self.do(self.pair.draft(to, self._dated(content), key, "x" if key else ""))

    @rule(n=which, publish=st.sampled_from([True, True, True, False]))
    def end_draft(self, n: int, publish: bool) -> None:
        if self.pair.drafts:
            self.do(self.pair.end_draft(list(self.pair.drafts)[n % len(self.pair.drafts)], publish))

    @rule(n=which)
    def retract(self, n: int) -> None:
        self.do(self.pair.retract(n))

    # What readers do

    @rule(reader=readers, done=st.lists(st.tuples(acts, which, soon), min_size=1, max_size=3))
    def act(self, reader: Principal, done: list[tuple[str, int, int]]) -> None:
        for act, n, later in done:
            self.do(self.pair.act(reader, act, n, later))

    @rule(reader=readers, act=st.sampled_from(["snooze", "archive", "mark", "see"]), n=which, later=soon, wait=soon)
    def act_and_wait(self, reader: Principal, act: str, n: int, later: int, wait: int) -> None:
        """What time alone does is told, too, whether it comes before the next look or after it."""
        self.do(self.pair.act(reader, act, n, later))
        self.do(self.watch.agree())
        self.wait(wait)

    @rule(done=st.lists(st.tuples(acts, which), min_size=2, max_size=4), follow=st.booleans())
    def act_at_once(self, done: list[tuple[str, int]], follow: bool) -> None:
        """Different readers do different things at the same moment."""
        self.do(self._at_once(done, follow=follow))

    @rule(reader=readers, key=st.sampled_from(ROOMS), how=st.sampled_from(["open", "open", "close", "drop"]))
    def membership(self, reader: Principal, key: str, how: str) -> None:
        self.do(self.pair.membership(reader, key, how))

    @rule(
        changes=st.lists(st.tuples(readers, st.sampled_from(ROOMS), st.booleans()), min_size=1, max_size=6),
        to=broadcasts,
    )
    def memberships_and_add(self, changes: list[tuple[Principal, str, bool]], to: Target) -> None:
        self.do(self.pair.memberships_and_add(changes, to))

    @rule(
        id=st.sampled_from("123"), role=st.sampled_from(["user", "admin"]), how=st.sampled_from(["old", "new", "set"])
    )
    def role(self, id: str, role: str, how: str) -> None:
        if how == "set":
            self.do(self.pair.set_role(id, role))
        else:
            self.do(self.pair.touch(id, role, issued_at=0.0 if how == "old" else self.pair.now + 1))

    # What happens to everything

    @rule(seconds=st.sampled_from([1, 2, 3, 5, 10, 30, 70, 150, 90_000]))
    def wait(self, seconds: int) -> None:
        self.pair.now += seconds
        self.watch.only_time = True

    @rule(seconds=st.sampled_from([1, 5, 30]))
    def set_clock_back(self, seconds: int) -> None:
        self.pair.set_clock_back(seconds)
        self.watch.only_time = True

    @rule(sweeps=st.booleans())
    def sweep_or_restart(self, sweeps: bool) -> None:
        self.do(self.pair.sweep() if sweeps else self.pair.restart())

    # What is compared

    @rule(reader=readers)
    def remember(self, reader: Principal) -> None:
        self.watch.remember(reader)
        self.do(self.watch.listen(reader))

    @rule(reader=readers, limit=st.integers(1, 3))
    def page(self, reader: Principal, limit: int) -> None:
        self.do(self.watch.page(reader, limit))

    @rule(seconds=st.sampled_from([1, 5, 30, 200]))
    def moments(self, seconds: int) -> None:
        self.do(self.watch.moments(self.pair.now, self.pair.now + seconds))

    @invariant()
    def agree(self) -> None:
        if self.watch.listening:
            self.do(self.watch.agree())

    def teardown(self) -> None:
        try:
            if self.agreed and self.watch.listening:
                self.do(self.watch.everything())
        finally:
            self.loop.run_until_complete(self.pair.store.close())
            self.loop.run_until_complete(self.loop.shutdown_default_executor())
            self.loop.close()

    def _dated(self, given: tuple[int | None, Content]) -> Content:
        lifetime, content = given
        return replace(content, expires_at=None if lifetime is None else self.pair.now + lifetime)

    async def _at_once(self, done: list[tuple[str, int]], *, follow: bool) -> None:
        work = [self.pair.act(reader, act, n) for reader, (act, n) in zip(READERS, done, strict=False)]
        if follow and len(work) < len(READERS):
            work.append(self.watch.follow(self.watch.syncing[READERS[len(work)]][0], limit=2))
        await asyncio.gather(*work)
