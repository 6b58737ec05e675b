"""What readers see of broadcasts, from plain values (`reading`, `marking`, `holding`, `broadcasts`)."""

from dataclasses import replace

import pytest

from realtime.models import Content, MarkFacts, Notification, Place, Target
from realtime.store import holding, marking, reading
from realtime.store.broadcasts import Broadcast, Log
from realtime.store.marking import EVERYTHING
from realtime.store.reading import Direct, Reader

ANN = "user:1"
HELLO = Content("info", "Hello", "Hello there")
TO_ALL = Target(audience="all")
LATE = Target(audience="all", late_join=True)


class World:
    """One reader and a log to which rows are added. Ids are a hundred times the seqs."""

    def __init__(self) -> None:
        self.log = Log()
        self.ann = Reader(ANN)

    def send(self, target: Target = TO_ALL, *, now: float = 1.0, expires_at: float | None = None) -> int:
        seq = self.log.head + 1
        content = replace(HELLO, expires_at=expires_at)
        self.log.publish(Broadcast(seq, Notification(100 * seq, target, content, None, now, now, rev=seq), seq))
        return seq

    def retract(self, seq: int, *, now: float = 1.0) -> None:
        self.log.end(100 * seq, rev=self.log.head + 1, at=now, retracted=True)

    def open(self, audience: str = "all") -> None:
        self.ann = holding.opened(self.ann, audience, self.log)

    def close(self, audience: str = "all") -> None:
        self.ann = holding.closed(self.ann, audience, self.log)

    def drop(self, audience: str = "all") -> None:
        self.ann = holding.dropped(self.ann, audience)

    def tidy(self) -> None:
        self.ann = marking.tidied(self.ann, self.log)

    def read(self, seq: int, yes: bool = True, *, now: float = 2.0) -> None:
        found, row = self.one(seq)
        self.ann = marking.marked(self.ann, found, marking.read(row, yes, now=now))

    def one(self, seq: int) -> tuple[Broadcast, Notification]:
        found = reading.one(self.ann, self.log, 100 * seq, now=2.0)
        assert found is not None
        return found

    def read_all(self, up_to: tuple[float, float] = EVERYTHING, *, now: float = 3.0) -> int:
        self.ann, count = marking.all_read(self.ann, self.log, up_to, now=now)
        return count

    def see_all(self, *, now: float = 3.0) -> int:
        self.ann, count = marking.all_seen(self.ann, self.log, EVERYTHING, now=now)
        return count

    def visible(self, *, now: float = 5.0) -> list[int]:
        return sorted(row.id // 100 for row in reading.rows(self.ann, self.log, now=now))

    def unread(self, *, now: float = 5.0) -> list[int]:
        return sorted(found.seq for found, _ in reading.unread(self.ann, self.log, now=now))

    def place(self, *, now: float = 5.0) -> Place:
        return Place(1, 0, self.log.head, self.ann.rev, now)

    def told(self, since: Place, *, now: float = 5.0) -> dict[int, bool]:
        changed = reading.changed(self.ann, self.log, since, now=now)
        return {one.seq: reading.shown(self.ann, one, now=now) is not None for one in changed}


@pytest.fixture
def world() -> World:
    return World()


def test_rows_are_seen_whose_seq_is_in_a_membership(world: World) -> None:
    world.send()
    world.open()
    heard = [world.send(), world.send()]
    world.send(Target(audience="room:a"))
    world.close()
    world.send()
    world.open()
    assert world.visible() == heard
    world.drop()
    assert world.visible() == []


def test_late_rows_are_seen_while_the_membership_is_open(world: World) -> None:
    late = world.send(LATE)
    assert world.visible() == []
    world.open()
    assert world.visible() == [late]
    world.close()
    assert world.visible() == []


def test_excluded_hidden_expired_and_retracted_rows_are_not_seen(world: World) -> None:
    world.open()
    world.send(replace(TO_ALL, excluded=frozenset({ANN})))
    hidden, soon, gone, kept = world.send(), world.send(expires_at=5.0), world.send(), world.send()
    world.ann = marking.marked(world.ann, *world.one(hidden), hidden=True)
    world.retract(gone)
    assert world.visible(now=4.9) == [soon, kept]
    assert world.visible(now=5.0) == [kept]


def test_an_interval_that_ended_at_the_head_goes_on(world: World) -> None:
    world.open()
    world.send()
    for _ in range(5):
        world.close()
        world.open()
    assert len(world.ann.intervals) == 1
    assert world.visible() == [1]


def test_intervals_that_received_nothing_do_not_stay(world: World) -> None:
    for _ in range(5):
        world.open()
        world.send(Target(audience="room:other"))
        world.close()
        world.tidy()
    assert world.ann.intervals == ()
    world.send(LATE)
    for _ in range(5):
        world.open()
        world.send(Target(audience="room:other"))
        world.close()
        world.tidy()
    assert len(world.ann.intervals) == 1


def test_what_changes_nothing_takes_no_number(world: World) -> None:
    world.open()
    seq = world.send()
    world.read_all()
    before = world.ann
    world.open()
    world.close("room:a")
    world.drop("room:a")
    assert world.read_all() == 0
    assert world.see_all() == 0
    assert world.ann is before
    row = world.one(seq)[1]
    assert marking.read(row, True, now=9.0) is row
    assert marking.seen(row, now=9.0) is row
    assert marking.archived(row, False, now=9.0) is row
    assert marking.snoozed(row, None) is row


def test_a_cursor_reads_what_it_passes_and_nothing_later(world: World) -> None:
    world.open()
    first = world.send()
    assert world.read_all(now=3.0) == 1
    second = world.send()
    assert world.unread() == [second]
    assert world.read_all(now=4.0) == 1
    assert [world.one(seq)[1].read_at for seq in (first, second)] == [3.0, 4.0]
    assert [world.one(seq)[1].seen_at for seq in (first, second)] == [3.0, 4.0]


def test_a_cursor_stops_before_what_must_stay_unread(world: World) -> None:
    world.open()
    newest = world.send(now=9.0)
    older = world.send(now=1.0)
    assert world.read_all((1.0, 100 * older)) == 1
    assert world.unread() == [newest]
    assert world.ann.read_upto < newest
    assert world.read_all() == 1
    assert world.unread() == []


def test_a_mark_is_the_whole_truth_about_a_row(world: World) -> None:
    world.open()
    seq = world.send()
    world.read_all(now=3.0)
    world.read(seq, False)
    assert world.unread() == [seq]
    row = world.one(seq)[1]
    assert (row.read_at, row.seen_at) == (None, 3.0)
    world.send()
    assert world.read_all(now=4.0) == 2
    assert world.ann.marks[seq].facts == MarkFacts(4.0, 3.0)


def test_late_rows_ignore_cursors(world: World) -> None:
    world.open("room:a")
    late = world.send(LATE)
    world.send(Target(audience="room:a"))
    world.read_all()
    world.open()
    assert world.unread() == [late]


def test_seen_is_the_earlier_of_seen_and_read(world: World) -> None:
    world.open()
    seq = world.send()
    assert world.see_all(now=2.0) == 1
    assert world.see_all(now=3.0) == 0
    world.read_all(now=4.0)
    row = world.one(seq)[1]
    assert (row.read_at, row.seen_at) == (4.0, 2.0)


def test_counts_are_of_unread_rows_of_the_inbox(world: World) -> None:
    world.open()
    rows = [world.send() for _ in range(4)]
    world.ann = marking.marked(world.ann, *archived(world, rows[0]))
    world.ann = marking.marked(world.ann, *snoozed(world, rows[1], until=9.0))
    world.see_all()
    world.send()
    counts = reading.counts(world.ann, world.log, Direct({"chat": 2, "info": 1}, unseen=2), revision=7, now=5.0)
    assert (counts.unread, counts.unseen, counts.categories) == (6, 3, {"chat": 2, "info": 4})
    assert reading.counts(world.ann, world.log, Direct(), revision=7, now=9.0).unread == 4


def archived(world: World, seq: int) -> tuple[Broadcast, Notification]:
    found, row = world.one(seq)
    return found, marking.archived(row, True, now=2.0)


def snoozed(world: World, seq: int, *, until: float) -> tuple[Broadcast, Notification]:
    found, row = world.one(seq)
    return found, marking.snoozed(row, until)


def test_shelves(world: World) -> None:
    world.open()
    put_aside, away, here = world.send(), world.send(), world.send()
    world.ann = marking.marked(world.ann, *snoozed(world, put_aside, until=9.0))
    world.ann = marking.marked(world.ann, *archived(world, away))
    assert world.visible(now=8.0) == [here]
    assert world.visible(now=9.0) == [put_aside, here]
    assert [row.id for row in reading.rows(world.ann, world.log, now=8.0, shelf_="snoozed")] == [100 * put_aside]
    assert [row.id for row in reading.rows(world.ann, world.log, now=9.0, shelf_="archived")] == [100 * away]


def test_what_is_new_retracted_marked_or_passed_is_told(world: World) -> None:
    world.open()
    first, second = world.send(), world.send()
    since = world.place()
    assert world.told(since) == {}
    third = world.send()
    assert world.told(since) == {third: True}
    world.retract(first)
    assert world.told(since) == {first: False, third: True}
    since = world.place()
    world.read(second)
    assert world.told(since) == {second: True}
    since = world.place()
    world.read_all()
    assert world.told(since) == {third: True}
    since = world.place()
    world.see_all()
    assert world.told(since) == {}


def test_what_time_changes_is_told_in_both_directions(world: World) -> None:
    world.open()
    soon, later = world.send(expires_at=7.0), world.send()
    world.ann = marking.marked(world.ann, *snoozed(world, later, until=7.0))
    assert world.told(world.place(now=5.0), now=6.0) == {}
    assert world.told(world.place(now=5.0), now=7.0) == {soon: False, later: True}
    assert world.told(world.place(now=7.0), now=5.0) == {soon: True, later: False}


def test_memberships_that_come_and_go_are_told(world: World) -> None:
    late = world.send(LATE)
    since = world.place()
    world.open()
    assert world.told(since) == {late: True}
    heard = world.send()
    since = world.place()
    world.close()
    assert world.told(since) == {late: False}
    since = world.place()
    world.drop()
    assert world.told(since) == {late: False, heard: False}
    since = world.place()
    world.send(Target(audience="room:a"))
    assert world.told(since) == {}


def test_a_row_published_while_a_membership_opened_is_told(world: World) -> None:
    """The opening took the head of before the row, and was stored after it."""
    before = holding.opened(world.ann, "all", world.log)
    seq = world.send()
    since = world.place()
    world.ann = before
    assert world.visible() == [seq]
    assert world.told(since) == {seq: True}


def test_a_row_published_while_a_membership_closed_stays(world: World) -> None:
    world.open()
    closing = holding.closed(world.ann, "all", world.log)
    seq = world.send()
    since = world.place()
    world.ann = closing
    assert world.told(since) == {seq: False}
    world.ann = holding.prolonged(world.ann, world.ann.intervals[0], seq)
    assert world.visible() == [seq]
    assert world.told(since) == {seq: True}
    world.send()
    assert world.visible() == [seq]


def test_a_membership_that_changes_again_and_again_tells_what_came_by_its_first_change(world: World) -> None:
    since = world.place()
    opened = holding.opened(world.ann, "all", world.log)
    seq = world.send()
    since = replace(since, log_rev=world.log.head)
    world.ann = opened
    for _ in range(10):
        world.close()
        world.send(Target(audience="room:a"))
        world.close()
        world.open()
        world.send()
    assert seq in world.told(since)
    assert all(len(one.turns) <= 5 for one in world.ann.intervals)


def test_what_is_known_of_forgotten_rows_goes(world: World) -> None:
    world.open()
    old, new = world.send(), world.send()
    world.read(old)
    world.ann = marking.delivered(world.ann, [world.one(seq)[0] for seq in (old, new)])
    world.read_all((1.0, 100 * old))
    world.read_all()
    world.log.forget(100 * old)
    world.tidy()
    assert world.ann.marks == {}
    assert world.ann.delivered == {new}
    assert [cursor.upto for cursor in world.ann.read] == [new]
    assert world.unread() == []


def test_delivered_rows_do_not_wait_and_move_no_place(world: World) -> None:
    world.open()
    taken, waiting = world.send(), world.send()
    here = world.place()
    world.ann = marking.delivered(world.ann, [world.one(taken)[0]])
    assert [row.id for row in reading.undelivered(world.ann, world.log, now=5.0)] == [100 * waiting]
    assert world.place() == here


def test_missed_rows_came_after_what_was_shown(world: World) -> None:
    world.open()
    world.send()
    here = world.place()
    shown, missed = world.send(), world.send()
    here = here.after(world.one(shown)[1])
    assert [row.id for row in reading.missed(world.ann, world.log, here, now=5.0)] == [100 * missed]


def test_a_stripped_row_says_nothing_and_is_still_told(world: World) -> None:
    world.open()
    seq = world.send()
    since = world.place()
    world.retract(seq)
    world.log.strip(100 * seq)
    found = world.log.by_id(100 * seq)
    assert found is not None
    assert found.notification.content.message == ""
    assert world.told(since) == {seq: False}
    world.log.forget(100 * seq)
    assert len(world.log) == 0
    assert world.log.head == 2
