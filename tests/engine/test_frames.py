from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from socketio import packet as sio_packet
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, TextMessage
from wsproto.extensions import PerMessageDeflate

from realtime.engine.frames import (
    COMPRESS_ABOVE,
    MAX_REASON,
    Burst,
    close_frame,
    compressed_frame,
    polling_payload,
    websocket_frame,
)
from realtime.engine.packets import Attachment
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
@pytest.mark.parametrize("reason", ["", "try again", "ü"])
def test_a_close_frame_carries_its_code_and_its_reason(code: int, reason: str) -> None:
    [event] = received(close_frame(code, reason))
    assert isinstance(event, CloseConnection)
    assert (event.code, event.reason or "") == (code, reason)


@given(st.text())
def test_any_reason_fits_into_a_close_frame_and_stays_text(reason: str) -> None:
    [event] = received(close_frame(1000, reason))
    assert isinstance(event, CloseConnection)
    sent = (event.reason or "").encode()
    whole = reason.encode(errors="replace")
    assert whole.startswith(sent)
    assert sent == whole or MAX_REASON - 4 < len(sent) <= MAX_REASON


def test_a_close_frame_may_say_nothing() -> None:
    assert close_frame(0) == close_frame(0, "unheard") == b"\x88\x00"


# --- bursts ---


def polled(burst: Burst) -> list[str]:
    return [packet.decode() for packet in burst.packets]


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


@pytest.mark.parametrize("count", [1, 2, 10])
def test_bursts_joined_keep_their_order(count: int) -> None:
    joined = Burst.join(iter(numbered(range(count))))
    expected = [f'42["n",{number}]' for number in range(count)]
    assert messages(joined.frames) == expected
    assert polled(joined) == expected


def test_joining_one_burst_copies_nothing() -> None:
    [burst] = numbered([1])
    assert Burst.join([burst]) is burst


def test_a_binary_packet_is_a_binary_frame_and_base64_in_a_poll() -> None:
    burst = Burst.of(b'451-["f",{"_placeholder":true,"num":0}]', Attachment(b"\x00\xff"))
    assert messages(burst.frames) == ['451-["f",{"_placeholder":true,"num":0}]', b"\x00\xff"]
    assert polling_payload(burst.packets) == b'451-["f",{"_placeholder":true,"num":0}]\x1ebAP8='


# --- volatile bursts ---


def test_a_burst_is_volatile_only_when_all_of_it_is() -> None:
    one, other = Burst.encode("/", "a", 1).volatile("k"), Burst.encode("/", "b", 2)
    assert Burst.join([one, other]).latest == ()
    joined = Burst.join([one, other.volatile("l")])
    assert [key for key, _ in joined.latest] == ["k", "l"]
    assert [polled(single) for _, single in joined.latest] == [['42["a",1]'], ['42["b",2]']]


# --- compression ---


def inflated(data: bytes) -> list[str | bytes]:
    """Return the messages that a client with permessage-deflate and no context reads."""
    extension = PerMessageDeflate(client_no_context_takeover=True, server_no_context_takeover=True)
    extension._enabled = True
    client = Connection(ConnectionType.CLIENT, extensions=[extension])
    client.receive_data(data)
    whole: list[str | bytes] = []
    parts = ""
    for event in client.events():
        assert isinstance(event, TextMessage)
        parts += event.data
        if event.message_finished:
            whole.append(parts)
            parts = ""
    return whole


def test_large_frames_are_compressed_on_their_own() -> None:
    text = "4" + "x" * 5000
    data = compressed_frame(text.encode()) * 3
    assert len(data) < 200
    assert inflated(data) == [text] * 3


def test_a_burst_compresses_only_what_is_large_and_only_once() -> None:
    small, large = Burst.encode("/", "s", 1), Burst.encode("/", "l", "x" * COMPRESS_ABOVE)
    assert small.deflated is small.frames
    joined = Burst.join([small, large])
    assert len(joined.deflated) < len(joined.frames)
    assert joined.deflated is joined.deflated
    assert joined.deflated.startswith(small.frames)
    assert inflated(joined.deflated) == messages(joined.frames)
