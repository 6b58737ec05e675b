"""permessage-deflate (RFC 7692): who gets it, what is compressed, how often, and what compressed frames may cost."""

import json
import zlib
from collections.abc import AsyncIterator, Iterable
from typing import Any

import pytest
from aiohttp.test_utils import make_mocked_request

from realtime.engine import RealtimeServer
from realtime.engine.frames import COMPRESS_ABOVE, Burst
from realtime.engine.handshake import accept
from realtime.engine.websocket import SLICE
from tests.engine.protocol import LIMIT, Endpoint, build, socketio_server, until
from tests.engine.wires import (
    COMPRESSED,
    KEY,
    MASKED,
    PING,
    TEXT,
    Member,
    Parser,
    TcpClient,
    closes,
    deflated,
    masked,
    turns,
)

LARGE = "large " * 1000
EXTENSION = "Sec-WebSocket-Extensions"


@pytest.fixture
def heard() -> list[Any]:
    return []


@pytest.fixture
def server(heard: list[Any]) -> RealtimeServer:
    """A server that anybody may connect to; what clients say is kept and answered."""
    server: RealtimeServer = build()

    async def say(sid: str, value: object) -> object:
        heard.append(value)
        return value

    server.on("say", say)
    return server


@pytest.fixture
async def endpoint(server: RealtimeServer) -> AsyncIterator[Endpoint]:
    async with socketio_server(server) as endpoint:
        yield endpoint


# --- negotiation ---


def answered(*offers: str) -> tuple[str | None, bool]:
    """Return what the response says of extensions, and whether the connection compresses."""
    headers = [
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", KEY),
        *((EXTENSION, offer) for offer in offers),
    ]
    request = make_mocked_request("GET", "/", headers=headers)  # a header may come twice
    response, deflate = accept(request)
    lines = response.decode().split("\r\n")
    said = [line.partition(": ")[2] for line in lines if line.startswith(EXTENSION)]
    assert len(said) <= 1
    return (said[0] if said else None), deflate


@pytest.mark.parametrize(
    "offer",
    [
        "permessage-deflate",
        "permessage-deflate; client_max_window_bits",
        "permessage-deflate; client_max_window_bits=15",
        "permessage-deflate; client_max_window_bits=12",
        "permessage-deflate; server_no_context_takeover",
        "permessage-deflate; client_no_context_takeover",
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover; client_max_window_bits",
        "permessage-deflate; server_max_window_bits=10, permessage-deflate",
    ],
)
def test_an_offer_is_taken_without_context_takeover(offer: str) -> None:
    said, deflate = answered(offer)
    assert deflate
    assert said is not None
    name, *parameters = (part.strip() for part in said.split(";"))
    assert name == "permessage-deflate"
    assert {"server_no_context_takeover", "client_no_context_takeover"} <= set(parameters)
    assert not any(parameter.startswith("client_max_window_bits") for parameter in parameters)


@pytest.mark.parametrize(
    "offer",
    [
        "",
        "permessage-deflate; server_max_window_bits=10",
        "permessage-deflate; server_max_window_bits=8",
        "permessage-deflate; server_max_window_bits=99",
        "permessage-deflate; server_max_window_bits",
        "permessage-deflate; unknown_parameter",
        "permessage-deflate-not",
        "x-webkit-deflate-frame",
        "permessage-bzip2",
        ";;;,,,===",
        "permessage-deflate; ; =",
        "permessage-deflate" * 1000,
    ],
)
def test_any_other_offer_is_declined(offer: str) -> None:
    assert answered(offer) == (None, False)


def test_without_an_offer_nothing_is_said() -> None:
    assert answered() == (None, False)


def test_a_window_that_the_client_asks_for_is_confirmed_or_the_offer_declined() -> None:
    """RFC 7692, 7.1.2.1: who accepts `server_max_window_bits` has to say so; strict clients fail otherwise."""
    said, deflate = answered("permessage-deflate; server_max_window_bits=15")
    assert not deflate or "server_max_window_bits=15" in (said or "")


# --- to the client ---


async def test_a_client_library_reads_what_is_compressed(endpoint: Endpoint, server: RealtimeServer) -> None:
    url = f"ws{endpoint.url.removeprefix('http')}?EIO=4&transport=websocket"
    async with endpoint.http.ws_connect(url, compress=15) as socket:
        assert socket.compress == 15
        await socket.receive_str(timeout=LIMIT)
        await socket.send_str("40")
        assert (await socket.receive_str(timeout=LIMIT)).startswith("40")
        for text in (LARGE, "small", LARGE, "ünïcode " * 500):
            await server.emit("news", text)
            assert json.loads((await socket.receive_str(timeout=LIMIT))[2:]) == ["news", text]
        await server.emit("news", LARGE.encode())
        assert (await socket.receive_str(timeout=LIMIT)).startswith("451-")
        assert await socket.receive_bytes(timeout=LIMIT) == LARGE.encode()
        await socket.send_str(f'421["say","{LARGE}"]', compress=15)
        assert await socket.receive_str(timeout=LIMIT) == f'431["{LARGE}"]'


async def test_a_client_library_that_wants_no_compression_gets_none(endpoint: Endpoint, server: RealtimeServer) -> None:
    frames = await endpoint.joined()
    await server.emit("news", LARGE)
    assert await frames.text() == f'42["news","{LARGE}"]'


@pytest.mark.parametrize(("length", "compressed"), [(10, False), (COMPRESS_ABOVE - 20, False), (COMPRESS_ABOVE, True)])
async def test_only_what_is_large_is_compressed(
    endpoint: Endpoint, server: RealtimeServer, length: int, compressed: bool
) -> None:
    async with await TcpClient.open(endpoint, headers=f"{EXTENSION}: permessage-deflate\r\n") as client:
        await client.connect()
        client.frames.clear()
        await server.emit("news", "x" * length)
        await client.until(lambda: client.frames)
        [(head, payload)] = client.frames
        assert bool(head & COMPRESSED) == compressed
        if compressed:
            assert len(payload) < length
            payload = zlib.decompressobj(wbits=-15).decompress(payload + b"\x00\x00\xff\xff")
        assert payload == b'42["news","%s"]' % (b"x" * length)


async def test_of_several_packets_only_the_large_ones_are_compressed() -> None:
    burst = Burst.join([Burst.encode("/", "a", LARGE), Burst.encode("/", "b", 1), Burst.encode("/", "c", LARGE)])
    heads = [head for head, _ in Parser().feed(burst.deflated)]
    assert [bool(head & COMPRESSED) for head in heads] == [True, False, True]


async def test_each_compressed_message_can_be_read_on_its_own(server: RealtimeServer) -> None:
    member = Member(server, deflate=True).join()
    member.wire.writes.clear()
    for _ in range(3):
        await server.emit("news", LARGE)
        await turns(2)
    found = Parser().feed(member.wire.written)
    assert len({payload for _, payload in found}) == 1
    assert len(found) == 3


async def test_one_emit_compresses_once_for_everybody(server: RealtimeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = [Member(server, deflate=True).join() for _ in range(50)]
    plain = [Member(server).join() for _ in range(50)]
    await turns(3)
    made = 0
    compressobj = zlib.compressobj

    def counting(*args: Any, **more: Any) -> Any:
        nonlocal made
        made += 1
        return compressobj(*args, **more)

    monkeypatch.setattr(zlib, "compressobj", counting)
    await server.emit("news", LARGE)
    await turns(3)
    assert made == 1
    server.deliver([member.sid for member in (*packed, *plain)], Burst.encode("/", "news", LARGE))
    await turns(3)
    assert made == 2
    await server.emit("news", LARGE, to=[member.sid for member in plain])
    await server.emit("news", "small")
    await turns(3)
    assert made == 2
    heads = [head for head, _ in Parser().feed(packed[0].wire.written)]
    assert sum(bool(head & COMPRESSED) for head in heads) == 2
    assert [event for event in plain[0].events() if event[1] == LARGE] == [["news", LARGE]] * 3


async def test_what_waited_for_an_upgrade_is_compressed_too(endpoint: Endpoint, server: RealtimeServer) -> None:
    poller = await endpoint.poller()
    await poller.send("40")
    await poller.receive(1)
    await server.emit("news", LARGE)
    url = f"ws{endpoint.url.removeprefix('http')}?EIO=4&transport=websocket&sid={poller.sid}"
    async with endpoint.http.ws_connect(url, compress=15) as socket:
        await socket.send_str("2probe")
        assert await socket.receive_str(timeout=LIMIT) == "3probe"
        await socket.send_str("5")
        assert await socket.receive_str(timeout=LIMIT) == f'42["news","{LARGE}"]'


# --- from the client ---


def said(value: str) -> str:
    return f'42["say","{value}"]'


def squeezed(value: str) -> bytes:
    """Return an event in one compressed frame."""
    return masked(deflated(said(value)), compressed=True)


def pieces_of(data: bytes, size: int) -> Iterable[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


@pytest.mark.parametrize("value", ["", "small", LARGE, "ünïcode " * 300])
async def test_a_compressed_event_is_read(server: RealtimeServer, heard: list[Any], value: str) -> None:
    member = Member(server, deflate=True).join()
    member.wire.say(squeezed(value))
    await until(lambda: heard)
    assert heard == [value]


async def test_many_in_a_row_are_read(server: RealtimeServer, heard: list[Any]) -> None:
    member = Member(server, deflate=True).join()
    for number in range(200):
        member.wire.say(squeezed(f"{number}") if number % 3 else masked(said(f"{number}")))
    await until(lambda: len(heard) == 200)
    assert heard == [f"{number}" for number in range(200)]


async def test_many_in_one_read_are_read(server: RealtimeServer, heard: list[Any]) -> None:
    member = Member(server, deflate=True).join()
    member.wire.say(*(squeezed(f"{number} {LARGE}") for number in range(500)))
    await until(lambda: len(heard) == 500)
    assert heard == [f"{number} {LARGE}" for number in range(500)]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 40, SLICE - 1, SLICE, SLICE + 1])
async def test_frames_may_be_split_over_reads_anywhere(server: RealtimeServer, heard: list[Any], size: int) -> None:
    member = Member(server, deflate=True).join()
    noise = "".join(f"{number * 7919 % 10_007:x}" for number in range(3000))  # which stays long when it is compressed
    values = ["a", LARGE, noise, "b", noise * 3]
    frames = [masked(said(v)) if index % 2 else squeezed(v) for index, v in enumerate(values * 2)]
    for piece in pieces_of(b"".join(frames), size):
        member.wire.say(piece)
    await until(lambda: len(heard) == len(values) * 2)
    assert heard == values * 2


async def test_the_first_frame_may_be_split_after_its_first_byte(server: RealtimeServer) -> None:
    """Of the second read, the first byte says whether the frame is masked, not the second one."""
    member = Member(server)
    frame = masked("40")
    member.wire.say(frame[:1])
    member.wire.say(frame[1:])
    await turns(2)
    assert closes(member.wire.written) == []
    assert any(text.startswith("40") for text in member.heard)


def test_the_first_byte_of_the_mask_says_nothing() -> None:
    assert masked("40")[1] & MASKED
    assert not masked("40")[2] & MASKED


@pytest.mark.parametrize("together", [True, False], ids=["one read", "a read for each"])
@pytest.mark.parametrize("between", [b"", masked("", PING)], ids=["", "ping between"])
async def test_a_compressed_message_may_be_fragmented(
    server: RealtimeServer, heard: list[Any], together: bool, between: bytes
) -> None:
    member = Member(server, deflate=True).join()
    data = deflated(said(LARGE))
    third = len(data) // 3
    parts = [
        masked(data[:third], TEXT, fin=False, compressed=True),
        between,
        masked(data[third : 2 * third], 0, fin=False),
        between,
        masked(data[2 * third :], 0),
        squeezed("next"),
    ]
    for read in [b"".join(parts)] if together else parts:
        if read:
            member.wire.say(read)
    await turns(2)
    assert closes(member.wire.written) == []
    assert heard == [LARGE, "next"]


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 10, 1000])
async def test_the_inflater_is_not_kept(server: RealtimeServer, heard: list[Any], size: int) -> None:
    """However a compressed message came in pieces, nothing that it needed is left."""
    member = Member(server, deflate=True).join()
    for number in range(3):
        for piece in pieces_of(squeezed(LARGE) + masked(said("plain")) + squeezed(str(number)), size):
            member.wire.say(piece)
        assert member.connection._reader is None
    assert heard == [value for number in range(3) for value in (LARGE, "plain", str(number))]


async def test_the_inflater_is_kept_while_a_message_is_not_whole(server: RealtimeServer, heard: list[Any]) -> None:
    member = Member(server, deflate=True).join()
    data = deflated(said(LARGE))
    kept: list[bool] = []
    for frame in (masked(data[:10], TEXT, fin=False, compressed=True), masked("", PING), masked(data[10:], 0)):
        member.wire.say(frame)
        kept.append(member.connection._reader is not None)
    assert kept == [True, True, False]
    assert heard == [LARGE]


# --- what must not be ---


@pytest.mark.parametrize("size", [1_000_001, 50_000_000])
async def test_a_bomb_is_refused(server: RealtimeServer, heard: list[Any], size: int) -> None:
    member = Member(server, deflate=True).join()
    for piece in pieces_of(masked(deflated("4" + "x" * size), compressed=True), SLICE):
        member.wire.say(piece)
    await until(lambda: closes(member.wire.written))
    assert closes(member.wire.written) == [1009]
    await until(lambda: not server.manager.eio_of)


async def test_a_fragmented_bomb_is_refused(server: RealtimeServer) -> None:
    member = Member(server, deflate=True).join()
    data = deflated("4" + "x" * 5_000_000)
    half = len(data) // 2
    member.wire.say(masked(data[:half], TEXT, fin=False, compressed=True), masked(data[half:], 0))
    await until(lambda: closes(member.wire.written))
    assert closes(member.wire.written) == [1009]


async def test_as_much_as_is_allowed_may_be_compressed(server: RealtimeServer, heard: list[Any]) -> None:
    member = Member(server, deflate=True).join()
    value = "x" * (1_000_000 - len(said("")))
    member.wire.say(squeezed(value))
    await until(lambda: heard)
    assert heard == [value]


async def test_a_compressed_frame_without_an_agreement_is_refused(server: RealtimeServer, heard: list[Any]) -> None:
    member = Member(server).join()
    member.wire.say(squeezed("x"))
    await turns(2)
    assert closes(member.wire.written) == [1002]
    assert heard == []


async def test_garbage_in_a_compressed_frame_closes(server: RealtimeServer, heard: list[Any]) -> None:
    member = Member(server, deflate=True).join()
    other = Member(server, deflate=True).join()
    member.wire.say(masked(b"\xff\xfe\xfd" * 20, compressed=True))
    other.wire.say(squeezed("goes on"))
    await turns(2)
    assert len(closes(member.wire.written)) == 1
    assert heard == ["goes on"]
