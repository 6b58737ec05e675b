"""Ids of a stream's events: each stream counts by itself, and what it is told is encoded once for all."""

from realtime.auth import Identity
from realtime.engine.channel import Session
from realtime.engine.codecs import EventStream, JsonFrames, id_line, numbered
from realtime.engine.frames import Burst
from realtime.engine.plain_channel import PlainChannel, StreamChannel
from rooms.policy import Member
from tests.engine.plainly import Member as Wired
from tests.engine.plainly import Plain, plain
from tests.engine.wires import turns

CODEC = EventStream()


class Tally:
    """Counts what one stream is shown."""

    def __init__(self, start: int = 0) -> None:
        self.seen: list[object] = []
        self._number = start

    def __call__(self, mark: object) -> str:
        self.seen.append(mark)
        self._number += 1
        return str(self._number)


async def admitted(made: Plain, channel: PlainChannel) -> Wired:
    member = made.stream()
    await turns(2)
    sid = member.session.sid
    who = Identity(
        id=sid,
        wire_id=sid,
        guest=False,
        role="user",
        name=None,
        email=None,
        grants=frozenset(),
        issued_at=0.0,
        expires_at=None,
    )
    session = Session(sid, who, Member(sid, False, frozenset({"user"}), "user"), 0.0, "address", channel)
    channel.admit(session, ())
    member.wire.writes.clear()
    return member


def streams(made: Plain) -> StreamChannel:
    return StreamChannel(made.server, "/events", CODEC, max_rooms=10)


async def heard(member: Wired) -> str:
    await turns(2)
    return b"".join(member.wire.writes).decode()


async def test_each_stream_has_ids_of_its_own_for_the_same_event() -> None:
    made = plain()
    channel = streams(made)
    one, two = await admitted(made, channel), await admitted(made, channel)
    channel.count(one.session.sid, Tally())
    channel.count(two.session.sid, Tally(40))
    burst = channel.encode("news", 5, mark="row")
    assert channel.deliver([one.session.sid, two.session.sid], burst) == 2
    assert await heard(one) == 'id: 1\ndata: {"type":"news","data":5}\n\n'
    assert await heard(two) == 'id: 41\ndata: {"type":"news","data":5}\n\n'


async def test_what_has_no_mark_has_no_id_and_is_the_same_for_all() -> None:
    made = plain()
    channel = streams(made)
    one = await admitted(made, channel)
    channel.count(one.session.sid, Tally())
    channel.deliver([one.session.sid], channel.encode("price", 1))
    assert await heard(one) == 'data: {"type":"price","data":1}\n\n'


async def test_of_events_that_come_together_each_with_a_mark_gets_the_id_after_those_before_it() -> None:
    made = plain()
    channel = streams(made)
    one = await admitted(made, channel)
    tally = Tally()
    channel.count(one.session.sid, tally)
    parts = [channel.encode("a", 1, "first"), channel.encode("b", 2), channel.encode("a", 3, "second")]
    channel.deliver([one.session.sid], Burst.join(parts))
    assert tally.seen == ["first", "second"]
    lines = (await heard(one)).split("\n\n")
    assert lines == [
        'id: 1\ndata: {"type":"a","data":1}',
        'data: {"type":"b","data":2}',
        'id: 2\ndata: {"type":"a","data":3}',
        "",
    ]


async def test_an_event_that_differs_by_its_reader_has_ids_too() -> None:
    made = plain()
    channel = streams(made)
    one = await admitted(made, channel)
    channel.count(one.session.sid, Tally())
    template = channel.template("news", {"for": "\ue000roomcast\ue000"}, "row")
    channel.deliver([one.session.sid], template.fill("5"))
    assert await heard(one) == 'id: 1\ndata: {"type":"news","data":{"for":"5"}}\n\n'


async def test_a_stream_that_does_not_count_gets_no_ids() -> None:
    made = plain()
    channel = streams(made)
    one = await admitted(made, channel)
    channel.deliver([one.session.sid], channel.encode("news", 5, "row"))
    assert await heard(one) == 'data: {"type":"news","data":5}\n\n'


async def test_a_stream_that_is_gone_counts_no_more() -> None:
    made = plain()
    channel = streams(made)
    one = await admitted(made, channel)
    tally = Tally()
    channel.count(one.session.sid, tally)
    assert channel.release(one.session.sid) is not None
    channel.deliver([one.session.sid], channel.encode("news", 5, "row"))
    assert tally.seen == []


def test_connections_that_do_not_count_have_no_marks() -> None:
    for burst in (JsonFrames("event").encode("news", 5, "row"), JsonFrames("event").template("news", 5, "row").fill(1)):
        assert burst.marks == ()


def test_an_id_alone_is_the_beginning_of_the_next_event() -> None:
    assert id_line("1.2.3").frames == b"id: 1.2.3\n"


def test_events_that_are_replaced_by_later_ones_keep_their_marks() -> None:
    burst = CODEC.encode("news", 5, "row").volatile("key")
    assert numbered(burst, lambda mark: str(mark)).frames == b"id: row\n" + CODEC.encode("news", 5).frames
