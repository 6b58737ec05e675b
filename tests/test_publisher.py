from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, cast

import pytest
from wsproto.connection import Connection, ConnectionType
from wsproto.events import TextMessage

from realtime import events, wire
from realtime.auth import Identity
from realtime.dialects.base import NOT_SENT, Dialect, Row
from realtime.dialects.root import ROOT
from realtime.engine import packets
from realtime.engine.channel import NamespaceChannel, Session
from realtime.engine.frames import Burst, Template
from realtime.engine.manager import RoomManager
from realtime.engine.server import RealtimeServer
from realtime.events import Audience, Custom, Event, Person
from realtime.metrics import Metrics
from realtime.models import Content, Notification, Target, WireId
from realtime.publisher import Outlet, Publisher
from rooms import names
from rooms.policy import Member, auto_rooms

AT = 1_700_000_000.0
ANN = Person(id="ann", wire_id="ann", name="Ann", role="technician")
BOB = Person(id="bob", wire_id="bob", name="Bob", role="technician")


class StubServer:
    """Rooms without sockets: what is written to each connection is kept, and some connections take nothing."""

    def __init__(self) -> None:
        self.manager = RoomManager(max_rooms=500)
        self.writes: dict[str, list[Burst]] = defaultdict(list)
        self.deaf: set[str] = set()

    def deliver(self, sids: Iterable[str], burst: Burst) -> int:
        taken = 0
        for sid in sids:
            if sid not in self.deaf:
                self.writes[sid].append(burst)
                taken += 1
        return taken

    def heard(self, sid: str) -> list[tuple[str, Any]]:
        """Return the events that a connection got, in order."""
        frames = [packet.decode() for burst in self.writes[sid] for packet in burst.packets]
        return [(name, payload) for frame in frames for name, payload in [wire.loads(frame[frame.index("[") :])]]

    def names(self, sid: str) -> list[str]:
        return [name for name, _ in self.heard(sid)]


class Stage:
    """A publisher over the real channel, dialects and rooms, with a stub for sockets."""

    def __init__(self, dialect: Dialect = ROOT) -> None:
        self.server = StubServer()
        self.metrics = Metrics()
        self.channel = NamespaceChannel(cast(RealtimeServer, self.server), dialect.namespace)
        self.publisher = Publisher([Outlet(self.channel, dialect)], self.metrics)

    def connect(self, sid: str, id: str, *rooms: str, role: str = "technician", guest: bool = False) -> None:
        member = Member(id=id, guest=guest, roles=frozenset({role}), audience=role)
        identity = Identity(
            id=id,
            wire_id=id,
            guest=guest,
            role=role,
            name=None,
            email=None,
            grants=frozenset(),
            issued_at=0.0,
            expires_at=None,
        )
        session = Session(sid, identity, member, AT, "127.0.0.1", self.channel)
        self.channel.admit(session, [*auto_rooms(member), *rooms])

    def session(self, sid: str) -> Session:
        session = self.channel.session(sid)
        assert session is not None
        return session

    def reached(self) -> set[str]:
        return {sid for sid, writes in self.server.writes.items() if writes}

    def counted(self, metric: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(metric, labels) or 0.0


@pytest.fixture
def stage() -> Stage:
    stage = Stage()
    stage.connect("a1", "ann")
    stage.connect("a2", "ann", "work_order_7")
    stage.connect("b1", "bob", "work_order_7")
    stage.connect("c1", "cid", role="admin")
    stage.connect("g1", "ann", role="guest", guest=True)
    return stage


def custom(name: str = "ping", data: object = None) -> Custom:
    return Custom(AT, name, data)


def note() -> events.NotificationCreated:
    content = Content(type="info", title="Hi", message="There")
    row = Notification(
        id=1, target=Target(recipient="user:ann"), content=content, sender=None, created_at=AT, updated_at=AT
    )
    return events.NotificationCreated(AT, row, "ann")


def received(frames: bytes) -> list[str]:
    """Return the messages that a WebSocket client reads."""
    client = Connection(ConnectionType.CLIENT)
    client.receive_data(frames)
    return [event.data for event in client.events() if isinstance(event, TextMessage)]


# --- who is reached ---


def test_a_users_event_reaches_every_tab_of_theirs(stage: Stage) -> None:
    assert stage.publisher.publish(custom(), Audience.user("ann")) == 2
    assert stage.reached() == {"a1", "a2"}


def test_an_event_for_several_rooms_reaches_each_connection_once(stage: Stage) -> None:
    stage.publisher.publish(custom(), Audience.room("work_order_7", "user_ann", "role_technician"))
    assert {sid: stage.server.names(sid) for sid in stage.reached()} == {
        "a1": ["ping"],
        "a2": ["ping"],
        "b1": ["ping"],
    }


def test_everyone_is_every_connection(stage: Stage) -> None:
    assert stage.publisher.publish(custom(), Audience.all()) == 5
    assert stage.reached() == {"a1", "a2", "b1", "c1", "g1"}


@pytest.mark.parametrize(
    "audience", [Audience(), Audience.user(), Audience.room(), Audience.room("empty"), Audience(without="ann")]
)
def test_an_empty_audience_reaches_nobody(stage: Stage, audience: Audience) -> None:
    assert stage.publisher.publish(custom(), audience) == 0
    assert stage.reached() == set()


def test_a_user_who_is_left_out_hears_it_on_no_device(stage: Stage) -> None:
    stage.publisher.publish(custom(), Audience.room("work_order_7", "role_technician", without="ann"))
    assert stage.reached() == {"b1"}


def test_leaving_out_a_user_does_not_leave_out_the_guest_of_that_id(stage: Stage) -> None:
    stage.publisher.publish(custom(), Audience.all(without="ann"))
    assert stage.reached() == {"b1", "c1", "g1"}


def test_what_is_for_all_users_is_not_for_guests(stage: Stage) -> None:
    assert stage.publisher.publish(custom(), Audience.all_users()) == 4
    assert stage.reached() == {"a1", "a2", "b1", "c1"}


def test_a_room_holds_its_guests_too(stage: Stage) -> None:
    stage.channel.membership.enter("g1", "work_order_7")
    stage.publisher.publish(custom(), Audience.room("work_order_7"))
    assert stage.reached() == {"a2", "b1", "g1"}


def test_an_administrator_in_somebodys_personal_room_is_not_left_out_with_them(stage: Stage) -> None:
    stage.channel.membership.enter("c1", "user_ann")
    stage.publisher.publish(custom(), Audience.all(without="ann"))
    assert "c1" in stage.reached()


def test_connections_that_take_nothing_are_not_counted(stage: Stage) -> None:
    stage.server.deaf = {"a1", "b1"}
    assert stage.publisher.publish(custom(), Audience.all()) == 3


def test_one_connection_can_be_addressed(stage: Stage) -> None:
    stage.publisher.publish_to_connection(custom(), stage.session("a2"))
    assert stage.reached() == {"a2"}


def test_a_connection_of_another_server_is_not_addressed(stage: Stage) -> None:
    other = Stage()
    other.connect("a1", "ann")
    stage.publisher.publish_to_connection(custom(), other.session("a1"))
    assert stage.reached() == other.reached() == set()


def test_a_released_connection_is_no_longer_addressed(stage: Stage) -> None:
    gone = stage.session("a2")
    stage.channel.release("a2")
    stage.publisher.publish_to_connection(custom(), gone)
    assert stage.reached() == set()


def test_single_connections_can_be_left_out(stage: Stage) -> None:
    stage.publisher.publish(custom(), replace(Audience.user("ann"), skip=frozenset({"a1"})))
    stage.publisher.publish_personally(note_for, {"user_ann": 1}, skip=frozenset({"a1"}))
    assert stage.reached() == {"a2"}


def test_a_vocabulary_of_text_ids_gets_text() -> None:
    outbound = dict.fromkeys(events.catalogue(), NOT_SENT)
    words = Dialect(
        name="words",
        namespace="/",
        outbound={**outbound, events.NotificationCreated: [Row("one", lambda event: {"user": event.reader})]},
        inbound={},
        text_ids=True,
    )
    stage = Stage(words)
    stage.connect("a1", "ann")
    stage.publisher.publish_personally(note_for, {"user_ann": 7})
    assert stage.server.heard("a1") == [("one", {"user": "7"})]


# --- how it is written ---


def test_a_payload_is_encoded_once_however_many_connections_get_it() -> None:
    encoded: list[Event] = []

    def shape(event: Custom) -> object:
        encoded.append(event)
        return event.data

    rows = dict.fromkeys(events.catalogue(), NOT_SENT)
    stage = Stage(Dialect(name="counting", namespace="/", outbound={**rows, Custom: [Row("ping", shape)]}, inbound={}))
    for number in range(50):
        stage.connect(f"s{number}", f"user{number % 5}", "lobby")
    stage.publisher.publish(custom(), Audience.all(without="user1"))
    stage.publisher.publish(custom(), Audience.room("lobby"))
    assert len(encoded) == 2


def test_connections_share_the_bytes(stage: Stage) -> None:
    stage.publisher.publish(custom(), Audience.all())
    assert len({id(writes[0]) for writes in stage.server.writes.values()}) == 1


def test_an_event_with_two_names_is_one_write(stage: Stage) -> None:
    stage.publisher.publish(note(), Audience.user("ann"))
    assert stage.server.names("a1") == ["newNotification", "notification_received"]
    assert len(stage.server.writes["a1"]) == 1


def test_many_audiences_are_one_write_per_connection(stage: Stage) -> None:
    items: list[tuple[Event, Audience]] = [
        (custom("to all"), Audience.all()),
        (custom("to the room"), Audience.room("work_order_7")),
        (custom("to ann"), Audience.user("ann")),
        (custom("to nobody"), Audience()),
    ]
    stage.publisher.publish_together(items)
    assert {sid: len(writes) for sid, writes in stage.server.writes.items()} == dict.fromkeys(
        ("a1", "a2", "b1", "c1", "g1"), 1
    )
    assert stage.server.names("a2") == ["to all", "to the room", "to ann"]
    assert stage.server.names("c1") == ["to all"]


def test_events_published_together_arrive_in_their_order(stage: Stage) -> None:
    items: list[tuple[Event, Audience]] = [
        (custom("1"), Audience.room("work_order_7")),
        (custom("2"), Audience.all()),
        (custom("3"), Audience.room("work_order_7")),
        (custom("4"), Audience.all(without="bob")),
    ]
    stage.publisher.publish_together(items)
    assert stage.server.names("a2") == ["1", "2", "3", "4"]
    assert stage.server.names("b1") == ["1", "2", "3"]
    assert stage.server.names("c1") == ["2", "4"]


def test_two_people_hear_of_each_other_but_not_of_themselves(stage: Stage) -> None:
    stage.publisher.publish_together(
        [
            (events.CameOnline(AT, ANN), Audience.all(without="ann")),
            (events.CameOnline(AT, BOB), Audience.all(without="bob")),
        ]
    )
    assert {payload["userId"] for _, payload in stage.server.heard("a1")} == {"bob"}
    assert {payload["userId"] for _, payload in stage.server.heard("b1")} == {"ann"}
    assert sorted(stage.server.names("c1")) == ["userOnline", "userOnline", "user_online", "user_online"]
    assert stage.server.names("g1") == ["userOnline", "userOnline"]
    assert max(len(writes) for writes in stage.server.writes.values()) == 1


def test_nothing_together_is_nothing(stage: Stage) -> None:
    assert stage.publisher.publish_together([]) == 0
    assert stage.reached() == set()


def test_each_vocabulary_gets_its_own_frames() -> None:
    one, other = Stage(), Stage()
    other_words = Dialect(
        name="other",
        namespace="/other",
        outbound={**dict.fromkeys(events.catalogue(), NOT_SENT), Custom: [Row("renamed", lambda _: {"n": 1})]},
        inbound={},
    )
    one.connect("a1", "ann")
    other.connect("x1", "ann")
    publisher = Publisher([Outlet(one.channel, ROOT), Outlet(other.channel, other_words)], Metrics())
    assert publisher.publish(custom("original"), Audience.user("ann")) == 2
    assert one.server.names("a1") == ["original"]
    assert other.server.names("x1") == ["renamed"]
    publisher.publish(note(), Audience.user("ann"))
    assert other.server.names("x1") == ["renamed"]


# --- each reader their own copy ---

READERS: dict[str, WireId] = {"ann": 7, "bob": "507f1f77bcf86cd799439011", "cid": 'a"b\\ü\n', "gone": 9}
AWKWARD = 'A "quoted" \\ title,\n\u2028 <é> 🙂'


def counting(shaped: list[Event]) -> Dialect:
    def shape(event: events.NotificationCreated) -> object:
        shaped.append(event)
        return {"before": AWKWARD, "user": event.reader, "also": [event.reader], "after": event.notification.id}

    rows = dict.fromkeys(events.catalogue(), NOT_SENT)
    outbound = {**rows, events.NotificationCreated: [Row("one", shape), Row("two", shape)]}
    return Dialect(name="counting", namespace="/", outbound=outbound, inbound={})


def note_for(reader: WireId) -> events.NotificationCreated:
    return replace(note(), reader=reader)


def test_every_reader_gets_their_own_id_with_its_type() -> None:
    shaped: list[Event] = []
    stage = Stage(counting(shaped))
    sids = {"a1": "ann", "a2": "ann", "b1": "bob", "c1": "cid"}
    for sid, user in sids.items():
        stage.connect(sid, user)
    stage.connect("g1", "ann", role="guest", guest=True)
    stage.connect("x1", "not a reader")
    stage.publisher.publish_personally(note_for, {names.user(user): id for user, id in READERS.items()})
    for sid, user in sids.items():
        expected = {"before": AWKWARD, "user": READERS[user], "also": [READERS[user]], "after": 1}
        assert stage.server.heard(sid) == [("one", expected), ("two", expected)]
        [burst] = stage.server.writes[sid]
        texts = [packet.decode() for packet in burst.packets]
        assert received(burst.frames) == texts
    assert stage.reached() == set(sids)
    assert len(shaped) == 2  # once per row, however many readers
    assert stage.counted("roomcast_deliveries_total", event="one") == 4


def test_a_personal_copy_is_what_publishing_it_alone_would_send(stage: Stage) -> None:
    alone = Stage()
    alone.connect("b1", "bob")
    alone.publisher.publish(note_for(8), Audience.user("bob"))
    stage.publisher.publish_personally(note_for, {"user_bob": 8})
    assert stage.server.heard("b1") == alone.server.heard("b1")
    assert stage.server.writes["b1"][0].frames == alone.server.writes["b1"][0].frames


def test_a_failing_personal_publish_raises_nothing_and_is_counted() -> None:
    def broken(_event: Event) -> object:
        raise RuntimeError("a bug in a shape")

    one, other = Stage(), Stage()
    one.connect("a1", "ann")
    other.connect("x1", "ann")
    rows = dict.fromkeys(events.catalogue(), NOT_SENT)
    outbound = {**rows, events.NotificationCreated: [Row("x", broken)]}
    faulty = Dialect(name="faulty", namespace="/", outbound=outbound, inbound={})
    publisher = Publisher([Outlet(one.channel, faulty), Outlet(other.channel, ROOT)], one.metrics)
    publisher.publish_personally(note_for, {"user_ann": "ann"})
    assert one.reached() == set()
    assert other.server.names("x1") == ["newNotification", "notification_received"]
    assert one.counted("roomcast_publish_failures_total") == 1


@pytest.mark.parametrize("value", [0, 7, "", "7", 'a"b', "back\\slash", "line\nbreak", "ü", "🙂", Template.PLACEHOLDER])
@pytest.mark.parametrize("namespace", ["/", "/other"])
def test_a_filled_template_is_the_event_with_that_value(value: WireId, namespace: str) -> None:
    def payload(id: WireId) -> object:
        return {"a": AWKWARD, "id": id, "rows": [{"id": id}, id], "z": 1}

    text = packets.event_text(namespace, ["news", payload(Template.PLACEHOLDER)])
    filled = Template(text).fill(value)
    whole = Burst.encode(namespace, "news", payload(value))
    assert filled.frames == whole.frames
    assert [packet.decode() for packet in filled.packets] == [packet.decode() for packet in whole.packets]


# --- what is counted ---


def test_the_answer_is_the_number_of_frames_taken(stage: Stage) -> None:
    assert stage.publisher.publish(note(), Audience.user("ann")) == 4
    stage.channel.membership.enter("c1", "ticket_7")
    ticket = events.TicketChanged(AT, 7, "updated", {"id": 7}, {})
    assert stage.publisher.publish(ticket, Audience.room("ticket_7")) == 2


def test_every_name_is_counted_as_its_own(stage: Stage) -> None:
    stage.publisher.publish(note(), Audience.user("ann"))
    stage.publisher.publish(custom("anything"), Audience.all())
    assert stage.counted("roomcast_deliveries_total", event="newNotification") == 2
    assert stage.counted("roomcast_deliveries_total", event="notification_received") == 2
    assert stage.counted("roomcast_deliveries_total", event="custom") == 5


# --- what fails ---

UNENCODABLE = custom("bad", b"bytes are no JSON")


def test_a_failing_publish_raises_nothing_and_is_counted(stage: Stage) -> None:
    assert stage.publisher.publish(UNENCODABLE, Audience.all()) == 0
    assert stage.publisher.publish_together([(UNENCODABLE, Audience.all()), (note(), Audience.user("ann"))]) == 0
    assert stage.counted("roomcast_publish_failures_total") == 2
    assert stage.publisher.publish(custom(), Audience.all()) == 5


def test_a_failing_message_to_one_connection_raises_nothing_and_is_counted(stage: Stage) -> None:
    stage.publisher.publish_to_connection(UNENCODABLE, stage.session("a1"))
    assert stage.counted("roomcast_publish_failures_total") == 1
    assert stage.reached() == set()


def test_a_vocabulary_that_fails_does_not_silence_the_others() -> None:
    def broken(_event: Custom) -> object:
        raise RuntimeError("a bug in a shape")

    one, other = Stage(), Stage()
    rows = dict.fromkeys(events.catalogue(), NOT_SENT)
    faulty = Dialect(name="faulty", namespace="/", outbound={**rows, Custom: [Row("x", broken)]}, inbound={})
    one.connect("a1", "ann")
    other.connect("x1", "ann")
    publisher = Publisher([Outlet(one.channel, faulty), Outlet(other.channel, ROOT)], one.metrics)
    assert publisher.publish(custom(), Audience.user("ann")) == 1
    assert other.server.names("x1") == ["ping"]
    assert one.counted("roomcast_publish_failures_total") == 1
