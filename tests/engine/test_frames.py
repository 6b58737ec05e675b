from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from socketio import packet as sio_packet
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, TextMessage

from realtime.engine.frames import MAX_ATTACHMENTS, Burst, WirePacket, websocket_frame
from realtime.wire import BadJson


def received(data: bytes) -> list[Event]:
    """Return the WebSocket events that a strict client makes of these bytes."""
    client = Connection(ConnectionType.CLIENT)
    client.receive_data(data)
    return list(client.events())


def messages(data: bytes) -> list[str | bytes]:
    """Return whole messages, put together from the pieces in which the parser hands them out."""
    whole: list[str | bytes] = []
    texts: list[str] = []
    chunks: list[bytes] = []
    for event in received(data):
        if isinstance(event, TextMessage):
            texts.append(event.data)
            if event.message_finished:
                whole.append("".join(texts))
                texts = []
        elif isinstance(event, BytesMessage):
            chunks.append(bytes(event.data))
            if event.message_finished:
                whole.append(b"".join(chunks))
                chunks = []
    assert not texts
    assert not chunks
    return whole


LENGTHS = [0, 1, 2, 124, 125, 126, 127, 128, 65534, 65535, 65536, 65537, 1_000_000]


@pytest.mark.parametrize("length", LENGTHS)
def test_a_text_frame_of_any_length_parses(length: int) -> None:
    text = "x" * length
    assert messages(websocket_frame(text.encode())) == [text]


@pytest.mark.parametrize("length", LENGTHS)
def test_a_binary_frame_of_any_length_parses(length: int) -> None:
    assert messages(websocket_frame(b"\x00" * length, 0x2)) == [b"\x00" * length]


@pytest.mark.parametrize(("length", "head"), [(125, 2), (126, 4), (65535, 4), (65536, 10)])
def test_the_length_takes_as_few_bytes_as_the_standard_demands(length: int, head: int) -> None:
    assert len(websocket_frame(b"x" * length)) == head + length


@settings(deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]))))
def test_frames_put_together_parse_one_after_the_other(texts: list[str]) -> None:
    assert messages(b"".join(websocket_frame(text.encode()) for text in texts)) == texts


@pytest.mark.parametrize("code", [1000, 1001, 1008, 1009, 1013])
def test_a_close_frame_carries_its_code(code: int) -> None:
    [event] = received(websocket_frame(code.to_bytes(2, "big"), 0x8))
    assert isinstance(event, CloseConnection)
    assert event.code == code


# --- bursts ---


def polled(burst: Burst) -> list[str]:
    return [packet.encode() for packet in burst.packets]


@pytest.mark.parametrize(
    ("namespace", "frame"),
    [("/", '42["price",{"eur":1}]'), ("/dashboard", '42/dashboard,["price",{"eur":1}]')],
)
def test_an_event_is_the_same_over_websocket_and_polling(namespace: str, frame: str) -> None:
    burst = Burst.encode(namespace, "price", {"eur": 1})
    assert messages(burst.frames) == [frame]
    assert polled(burst) == [frame]


@settings(deadline=None)
@given(
    st.text(st.characters(), min_size=1),
    st.recursive(st.none() | st.integers() | st.text(), lambda inner: st.lists(inner), max_leaves=5),
)
def test_any_event_is_read_by_a_socketio_client(name: str, payload: object) -> None:
    [frame] = messages(Burst.encode("/", name, payload).frames)
    assert isinstance(frame, str)
    packet = sio_packet.Packet(encoded_packet=frame[1:])
    assert packet.packet_type == sio_packet.EVENT
    assert packet.data == [name, payload]


@pytest.mark.parametrize("payload", [b"bytes", object(), {"a": b"x"}])
def test_what_is_not_json_is_refused(payload: object) -> None:
    with pytest.raises(BadJson):
        Burst.encode("/", "event", payload)


def numbered(numbers: Iterable[int]) -> list[Burst]:
    return [Burst.encode("/", "n", number) for number in numbers]


@pytest.mark.parametrize("count", [0, 1, 2, 10])
def test_bursts_joined_keep_their_order(count: int) -> None:
    joined = Burst.join(iter(numbered(range(count))))
    expected = [f'42["n",{number}]' for number in range(count)]
    assert messages(joined.frames) == expected
    assert polled(joined) == expected


def test_joining_one_burst_copies_nothing() -> None:
    [burst] = numbered([1])
    assert Burst.join([burst]) is burst


# --- packets that come in ---


@pytest.mark.parametrize("count", [0, 1, MAX_ATTACHMENTS])
def test_a_few_binary_attachments_are_accepted(count: int) -> None:
    packet = WirePacket(encoded_packet=f'5{count}-["file",{{"_placeholder":true,"num":0}}]')
    assert packet.attachment_count == count


@pytest.mark.parametrize("count", [MAX_ATTACHMENTS + 1, 99, 9_999_999_999])
def test_more_than_ten_attachments_are_refused(count: int) -> None:
    with pytest.raises(ValueError, match="attachments"):
        WirePacket(encoded_packet=f'5{count}-["file"]')
    assert MAX_ATTACHMENTS == 10


@pytest.mark.parametrize(
    "text", ['2["a",NaN]', '2["a",Infinity]', '2["a"', "2[" + "[" * 600, "2" + "[" * 70 + "]" * 70]
)
def test_a_packet_with_bad_json_is_refused(text: str) -> None:
    with pytest.raises(BadJson):
        WirePacket(encoded_packet=text)


@pytest.mark.parametrize(
    ("text", "namespace", "id", "data"),
    [
        ('2["a",1]', None, None, ["a", 1]),
        ('217["a"]', None, 17, ["a"]),
        ('2/ns,["a"]', "/ns", None, ["a"]),
        ('2/ns?x=1,3["a"]', "/ns", 3, ["a"]),
        ('0{"token":"x"}', None, None, {"token": "x"}),
        ("0", None, None, None),
    ],
)
def test_a_packet_reads_as_the_protocol_says(text: str, namespace: str | None, id: int | None, data: object) -> None:
    packet = WirePacket(encoded_packet=text)
    assert (packet.namespace, packet.id, packet.data) == (namespace, id, data)


def test_a_packet_of_integers_over_64_bits_can_be_sent() -> None:
    assert WirePacket(sio_packet.EVENT, data=["a", 2**70]).encode() == f'2["a",{2**70}]'
