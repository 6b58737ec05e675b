"""What is a Socket.IO packet and what is not."""

from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from socketio import packet as sio_packet

from realtime.engine.packets import (
    ACK,
    BINARY_ACK,
    BINARY_EVENT,
    CONNECT,
    DISCONNECT,
    EVENT,
    MAX_ATTACHMENTS,
    MAX_ID_DIGITS,
    MAX_NAMESPACE,
    Assembly,
    Attachment,
    BadPacket,
    Packet,
    decode,
    decode_any,
    encode,
)


@pytest.mark.parametrize(
    ("text", "packet"),
    [
        ('2["a",1]', Packet(EVENT, "/", None, ["a", 1])),
        ('217["a"]', Packet(EVENT, "/", 17, ["a"])),
        ('20["a"]', Packet(EVENT, "/", 0, ["a"])),
        ('2/ns,["a"]', Packet(EVENT, "/ns", None, ["a"])),
        ('2/ns?x=1,3["a"]', Packet(EVENT, "/ns", 3, ["a"])),
        ("2[7]", Packet(EVENT, "/", None, [7])),
        ('0{"token":"x"}', Packet(CONNECT, "/", None, {"token": "x"})),
        ("0", Packet(CONNECT)),
        ("0/ns", Packet(CONNECT, "/ns")),
        ('0/ns,{"a":1}', Packet(CONNECT, "/ns", None, {"a": 1})),
        ("1", Packet(DISCONNECT)),
        ("1/ns,", Packet(DISCONNECT, "/ns")),
        ("312[]", Packet(ACK, "/", 12, [])),
        ("3[]", Packet(ACK, "/", None, [])),
        (f'2{"9" * MAX_ID_DIGITS}["a"]', Packet(EVENT, "/", int("9" * MAX_ID_DIGITS), ["a"])),
    ],
)
def test_a_packet_reads_as_the_protocol_says(text: str, packet: Packet) -> None:
    assert decode(text) == (packet, 0)


@pytest.mark.parametrize(
    "text",
    [
        *("", "7", "9", "x", "\x00", "2", "2[]", "2{}", '2"a"', "2[null]", "2[[]]", '2{"0":"a"}', '2["a"', '2abc["a"]'),
        *("3{}", "3", '4{"message":"x"}', "4", "0[]", '0"token"', "0{", "0[1]", "1{}", "1[]", '1["a"]'),
        *('2["a",NaN]', '2["a",Infinity]', "2[" + "[" * 600, "2" + "[" * 70 + "]" * 70, '21-["a"]', '5["a"]'),
        *('599-["a"]', '5-1["a"]', f'5{MAX_ATTACHMENTS + 1}-["a"]', '59999999999-["a"]', f'2{"9" * 17}["a"]'),
        *("0/" + "n" * MAX_NAMESPACE, '2\u0661["a"]', '5\u0661-["a"]', '2["\ud800"', "-1", " 2[]", '2 ["a"]x'),
    ],
)
def test_whatever_is_not_exactly_a_packet_is_refused(text: str) -> None:
    with pytest.raises(BadPacket):
        decode(text)


TEXTS = st.text() | st.from_regex(r"[0-6][0-9-]{0,3}(/[a-z]{0,3},?)?[0-9]{0,3}[\[{\"].{0,20}", fullmatch=True)
EVENTS = st.from_regex(
    r'2[0-9\u0661\u00b2/,-]{0,18}\[("[a-z]{0,2}"|[0-9]|\[)(,[{\["0-9a-z:]{0,4}[\]}]{0,2})?\]?', fullmatch=True
)


def outcome(read: Callable[[str], tuple[Packet, int]], text: str) -> object:
    try:
        return read(text)
    except BadPacket as error:
        return str(error)


@settings(deadline=None, max_examples=500)
@given(TEXTS | EVENTS)
@example("1")
@example("1[]")
@example("2")
@example("12[")
@example('3["a"]')
def test_usual_packets_are_read_as_all_others(text: str) -> None:
    assert outcome(decode, text) == outcome(decode_any, text)


@settings(deadline=None, max_examples=500)
@given(TEXTS)
def test_any_text_is_a_packet_or_refused(text: str) -> None:
    try:
        packet, attachments = decode(text)
    except BadPacket:
        return
    assert 0 <= packet.type <= BINARY_ACK
    assert 0 <= attachments <= MAX_ATTACHMENTS
    assert packet.namespace.startswith("/")
    assert len(packet.namespace) <= MAX_NAMESPACE


@settings(deadline=None, max_examples=300)
@given(st.lists(st.binary(max_size=8), max_size=4), st.recursive(st.none() | st.integers() | st.text(), st.lists))
def test_a_binary_packet_comes_together_or_is_refused(attachments: list[bytes], data: object) -> None:
    holes = [{"_placeholder": True, "num": number} for number in range(len(attachments))]
    assembly = Assembly(Packet(BINARY_EVENT, data=["e", *holes, data]), len(attachments))
    whole = None
    for attachment in attachments:
        assert whole is None
        whole = assembly.add(attachment)
    packet = whole or assembly.whole()
    assert packet.data == ["e", *attachments, data]


@pytest.mark.parametrize("number", [-1, 1, 10**30, True, None, "0", 0.0])
def test_a_placeholder_for_nothing_is_refused(number: object) -> None:
    assembly = Assembly(Packet(BINARY_EVENT, data=["e", {"_placeholder": True, "num": number}]), 1)
    with pytest.raises(BadPacket):
        assembly.add(b"x")


def test_an_object_that_only_looks_like_a_placeholder_is_data() -> None:
    data = ["e", {"_placeholder": 1, "num": 0}, {"_placeholder": True, "num": 0}]
    packet = Assembly(Packet(BINARY_EVENT, data=data), 1).add(b"x")
    assert packet is not None
    assert packet.data == ["e", {"_placeholder": 1, "num": 0}, b"x"]


# --- packets that go out ---


def test_bytes_become_attachments() -> None:
    text, *attachments = encode(EVENT, "/ns", ["e", b"one", {"deep": [bytearray(b"two")]}], id=7)
    assert text == b'452-/ns,7["e",{"_placeholder":true,"num":0},{"deep":[{"_placeholder":true,"num":1}]}]'
    assert attachments == [b"one", b"two"]
    assert all(type(attachment) is Attachment for attachment in attachments)
    assert encode(ACK, "/", [b"x"], id=0)[0] == b'461-0[{"_placeholder":true,"num":0}]'


def test_integers_over_64_bits_can_be_sent() -> None:
    assert encode(EVENT, "/", ["a", 2**70]) == [f'42["a",{2**70}]'.encode()]


@settings(deadline=None)
@given(
    st.sampled_from(["/", "/ns"]),
    st.integers(1, 10**15) | st.none(),
    st.lists(st.integers(-(2**63), 2**63) | st.text()),
)
def test_what_is_sent_is_read_by_a_client(namespace: str, id: int | None, values: list[object]) -> None:
    [text] = encode(EVENT, namespace, ["name", *values], id=id)
    packet = sio_packet.Packet(encoded_packet=text.decode()[1:])
    assert (packet.packet_type, packet.namespace or "/", packet.id) == (sio_packet.EVENT, namespace, id)
    assert packet.data == ["name", *values]
    assert decode(text.decode()[1:]) == (Packet(EVENT, namespace, id, ["name", *values]), 0)
