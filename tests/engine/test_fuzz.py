"""Whatever comes in, only defined things happen: hypothesis on every path from bytes to handlers, in one process."""

import asyncio
import contextlib
import itertools
import json
import zlib
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from aiohttp import StreamReader
from aiohttp.base_protocol import BaseProtocol
from aiohttp.test_utils import make_mocked_request
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from realtime.engine import RealtimeServer, create_server
from realtime.engine.handshake import BadHandshake, Handshake, accept
from realtime.engine.hub import Hub, Limits
from realtime.engine.packets import MAX_ATTACHMENTS
from realtime.engine.polling import PollingQueue
from realtime.engine.session import EngineSession
from realtime.engine.websocket import Readers, WebSocketConnection
from realtime.remote import Remote

PATH = "/socket.io/?EIO=4&transport="
TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA
LIMIT = 20_000
"""Bytes of a message: several slices of what is parsed at a time."""

TURNS = 10_000
CLOSES = {1000, 1002, 1007, 1008, 1009}
"""What the server says by itself; a code of the client's is sent back."""

some = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run one example on a loop of its own, and fail for everything that nobody caught."""
    failures: list[dict[str, Any]] = []

    async def watched() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: failures.append(context))
        await work()

    with capture_logs() as lines:
        asyncio.run(watched())
    assert not failures
    assert not [line for line in lines if line["log_level"] in ("error", "critical")]
    assert sum(line["log_level"] == "warning" for line in lines) <= 1


# --- frames ---


def frame(opcode: int, payload: bytes, *, fin: bool = True, compressed: bool = False, mask: bytes = bytes(4)) -> bytes:
    size = len(payload)
    head = bytes([fin << 7 | compressed << 6 | opcode])
    head += bytes([0x80 | size]) if size < 126 else bytes([0xFE]) + size.to_bytes(2, "big")
    return head + mask + bytes(byte ^ mask[n % 4] for n, byte in enumerate(payload))


def deflated(payload: bytes) -> bytes:
    deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return (deflate.compress(payload) + deflate.flush(zlib.Z_SYNC_FLUSH))[:-4]


def pieces(data: bytes, cuts: Sequence[int]) -> list[bytes]:
    """Cut data into reads, anywhere."""
    places = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    return [data[a:b] for a, b in itertools.pairwise(places)]


class Wire(asyncio.Transport):
    """A transport in memory: what comes in waits while nobody reads, what goes out is kept."""

    def __init__(self) -> None:
        super().__init__()
        self.protocol: Any = None
        self.reading = True
        self.gone = False
        self.inbox: list[bytes] = []
        self.out = b""

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0

    def write(self, data: Any) -> None:
        assert not self.gone
        self.out += data

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def is_closing(self) -> bool:
        return self.gone

    def abort(self) -> None:
        self.close()

    def close(self) -> None:
        if not self.gone:
            self.gone = True
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    async def bring(self, reads: Sequence[bytes], protocol: WebSocketConnection) -> None:
        """Hand over reads as TCP does, until everything has been taken or the connection is over."""
        self.inbox.extend(reads)
        for _ in range(TURNS):
            while self.inbox and self.reading and not self.gone:
                protocol.data_received(self.inbox.pop(0))
            await asyncio.sleep(0)
            if self.gone or (not self.inbox and not protocol._backlog and self.reading):
                await asyncio.sleep(0)
                return
        raise AssertionError("the connection does not read on")

    def frames(self) -> list[tuple[int, bytes]]:
        """Take apart what the server wrote; every frame has to be whole."""
        found, at = [], 0
        while at < len(self.out):
            first, size = self.out[at : at + 2]
            at += 2
            if size > 125:
                length = 2 if size == 126 else 8
                size = int.from_bytes(self.out[at : at + length], "big")
                at += length
            assert first & 0x80, "servers send whole messages"
            assert at + size <= len(self.out)
            found.append((first & 0xF, self.out[at : at + size]))
            at += size
        return found

    def check_close(self, sent: set[int]) -> int | None:
        """Return the code of the Close frame, which is the last one, and one that the server may send."""
        opcodes = [opcode for opcode, _ in self.frames()]
        assert opcodes.count(CLOSE) <= 1
        if CLOSE not in opcodes:
            return None
        assert opcodes[-1] == CLOSE
        code = int.from_bytes(self.frames()[-1][1][:2], "big")
        assert code in CLOSES | sent
        return code


class Recorder:
    """An owner that has sometimes enough for a moment."""

    def __init__(self, patience: int) -> None:
        self.messages: list[str | bytes] = []
        self.losses: list[str] = []
        self.patience = patience
        self.full = False
        self.connection: WebSocketConnection | None = None

    def received(self, message: str | bytes) -> bool:
        self.messages.append(message)
        if self.patience and len(self.messages) % self.patience == 0:
            self.full = True
            asyncio.get_running_loop().call_soon(self._again)
        return not self.full

    def _again(self) -> None:
        assert self.connection is not None
        self.full = False
        self.connection.go_on()

    def lost(self, connection: WebSocketConnection, reason: str) -> None:
        self.losses.append(reason)

    def ponged(self, payload: bytes) -> None:
        pass


def shared() -> tuple[Hub, Readers]:
    """Return what all connections of a server have in common."""
    loop = asyncio.get_running_loop()
    return Hub(loop, Limits(max_payload=LIMIT), None), Readers(loop, LIMIT)


def recorded(
    hub: Hub, readers: Readers, *, deflate: bool, patience: int = 0
) -> tuple[Wire, Recorder, WebSocketConnection]:
    wire, owner = Wire(), Recorder(patience)
    connection = WebSocketConnection(hub, readers, owner, deflate=deflate)
    owner.connection = connection
    connection.attach(wire, b"", b"")
    return wire, owner, connection


masks = st.binary(min_size=4, max_size=4)
payloads = st.one_of(
    st.text(max_size=40), st.binary(max_size=40), st.builds(lambda n: "x" * n, st.integers(100, LIMIT // 4))
)


@st.composite
def conversations(draw: st.DrawFn, deflate: bool) -> tuple[bytes, list[str | bytes], list[bytes]]:
    """Return what an honest client sends, the messages in it, and the pongs that it should get."""
    data, messages, pongs = b"", [], []
    for message in draw(st.lists(payloads, max_size=6)):
        messages.append(message)
        raw = message.encode() if isinstance(message, str) else message
        compressed = deflate and draw(st.booleans())
        if compressed:
            raw = deflated(raw)
        fragments = pieces(raw, draw(st.lists(st.integers(0, LIMIT), max_size=3))) or [b""]
        for n, fragment in enumerate(fragments):
            opcode = 0 if n else TEXT if isinstance(message, str) else BINARY
            final = n == len(fragments) - 1
            data += frame(opcode, fragment, fin=final, compressed=compressed and n == 0, mask=draw(masks))
            if draw(st.booleans()):
                pongs.append(draw(st.binary(max_size=5)))
                data += frame(PING, pongs[-1], mask=draw(masks))
    return data, messages, pongs


cuts = st.lists(st.integers(0, 3 * LIMIT), max_size=8) | st.just(range(60))


def check_splits(conversation: tuple[bytes, list[str | bytes], list[bytes]], cut: Sequence[int], patience: int) -> None:
    """Two clients say the same in turns, so that whatever connections share would be seen."""
    data, messages, pongs = conversation

    async def work() -> None:
        hub, readers = shared()
        deflates = [True] if any(byte & 0x40 for byte in heads(data)) else [True, False]
        clients = [recorded(hub, readers, deflate=deflate, patience=patience) for deflate in [*deflates, True]]
        for read in pieces(data, cut):
            for wire, _, connection in clients:
                await wire.bring([read], connection)
        for wire, owner, connection in clients:
            assert owner.messages == messages
            assert wire.frames() == [(PONG, pong) for pong in pongs]
            connection.connection_lost(None)
            assert set(owner.losses) == {"transport close"}

    run(work)


def heads(data: bytes) -> list[int]:
    """Return the first byte of each frame."""
    found, at = [], 0
    while at < len(data):
        found.append(data[at])
        size = data[at + 1] & 0x7F
        long = size == 126
        at += 2 + 4 + (2 + int.from_bytes(data[at + 2 : at + 4], "big") if long else size)
    return found


@given(conversation=conversations(False), cut=cuts, patience=st.integers(0, 3))
@some
def test_a_conversation_is_the_same_however_it_is_cut_into_reads(
    conversation: tuple[bytes, list[str | bytes], list[bytes]], cut: Sequence[int], patience: int
) -> None:
    check_splits(conversation, cut, patience)


@given(conversation=conversations(True), cut=cuts, patience=st.integers(0, 3))
@some
def test_a_compressed_conversation_is_the_same_however_it_is_cut_into_reads(
    conversation: tuple[bytes, list[str | bytes], list[bytes]], cut: Sequence[int], patience: int
) -> None:
    check_splits(conversation, cut, patience)


@st.composite
def wild_frames(draw: st.DrawFn) -> bytes:
    """Return a frame that need not be one: any bits in its first byte, any length, perhaps no mask."""
    payload = draw(st.binary(max_size=130))
    claimed = draw(st.sampled_from([len(payload), len(payload) + 1, 126, 127]) | st.integers(0, 127)) & 0x7F
    extra = {126: 2, 127: 8}.get(claimed, 0)
    length = draw(st.binary(min_size=extra, max_size=extra))
    masked = draw(st.integers(0, 9)) > 0
    first = draw(st.sampled_from([0x81, 0x82, 0x88, 0x89, 0x8A, 0x01, 0x00, 0x80, 0xC1]) | st.integers(0, 255))
    return bytes([first, masked << 7 | claimed]) + length + (draw(masks) if masked else b"") + payload


wild = st.lists(
    st.binary(max_size=40) | wild_frames() | st.builds(lambda data: frame(TEXT, data), st.binary(max_size=30)),
    max_size=12,
)


@given(parts=wild, cut=cuts, deflate=st.booleans())
@settings(some, max_examples=200)
def test_any_bytes_end_in_a_defined_close_or_nothing(parts: list[bytes], cut: Sequence[int], deflate: bool) -> None:
    data = b"".join(parts)

    async def work() -> None:
        hub, readers = shared()
        wire, owner, connection = recorded(hub, readers, deflate=deflate)
        other, witness, bystander = recorded(hub, readers, deflate=deflate)
        await wire.bring(pieces(data, cut), connection)
        code = wire.check_close({connection.close_code})
        assert connection.closing == (code is not None)
        if not wire.gone:
            connection.connection_lost(None)
        await asyncio.sleep(0)
        assert connection.gone
        assert owner.losses
        await other.bring([frame(TEXT, b"here")], bystander)
        assert witness.messages == ["here"]

    run(work)


# --- a whole server ---


def build() -> RealtimeServer:
    """A server that lets anybody in and sends everything back, in several ways."""
    server = create_server(namespaces=["/quiet"], max_http_buffer_size=LIMIT)

    async def connect(sid: str, environ: dict[str, Any], auth: object) -> bool:
        if isinstance(auth, dict) and auth.get("wait"):
            await asyncio.sleep(0)
        return not (isinstance(auth, dict) and auth.get("refuse"))

    async def wait(sid: str, *args: object) -> tuple[object, ...]:
        await asyncio.sleep(0)
        return args

    async def back(event: str, sid: str, *args: object) -> dict[str, object]:
        await server.emit("back", args, to=sid)
        return {"success": True}

    server.on("connect", connect)
    server.on("wait", wait)
    server.on("*", back)
    server.eio.start()
    return server


def handshake() -> Handshake:
    remote = Remote(address="192.0.2.1", host="localhost", scheme="http")
    return Handshake(make_mocked_request("GET", f"{PATH}websocket"), remote)


def over_websocket(server: RealtimeServer) -> tuple[Wire, WebSocketConnection, EngineSession]:
    eio, wire = server.eio, Wire()
    session = EngineSession(eio, eio.generate_id(), handshake())
    connection = session.ws = WebSocketConnection(eio.hub, eio.readers, session, deflate=False)
    connection.attach(wire, b"", b"")
    eio._begin(session, may_upgrade=False)
    return wire, connection, session


async def settle(condition: Callable[[], bool]) -> None:
    for _ in range(TURNS):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never came true")


async def check_empty(server: RealtimeServer) -> None:
    """Everybody has gone: nothing may be left of anybody."""
    manager = server.manager
    await settle(lambda: not server.eio.sockets and not manager.eio_of)
    assert not any(manager.membership(namespace).all() for namespace in manager.get_namespaces())
    assert not manager._pending
    assert not manager.early
    assert not server._leaving
    assert not server.eio.hub._dirty
    await server.shutdown()


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.builds(lambda num: {"_placeholder": True, "num": num}, st.integers(-1, 3) | st.none() | st.booleans()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
names = st.sampled_from(["wait", "other", "connect", "disconnect", "*", ""]) | values
namespaces = st.sampled_from(["", "", "/quiet,", "/nowhere,", "/quiet?x=1,", "/" + "n" * 200 + ",", "/,", "/quiet"])
ids = st.just("") | st.integers(0, 10**18).map(str)


@st.composite
def socketio_packets(draw: st.DrawFn) -> list[str | bytes]:
    """Return a packet, mostly a good one, and about as many attachments as it wants."""
    kind = draw(st.sampled_from("0012222335567"))
    attachments = draw(st.integers(0, MAX_ATTACHMENTS + 1)) if kind in "56" else 0
    count = f"{attachments}-" if kind in "56" else ""
    arguments = st.lists(values, max_size=3)
    data: Any = draw(st.dictionaries(st.sampled_from(["wait", "refuse", "x"]), values) if kind == "0" else arguments)
    if kind in "25":
        data = [draw(names), *data]
    text = "" if kind == "1" else json.dumps(data)
    packet = f"4{kind}{count}{draw(namespaces)}{draw(ids) if kind in '2356' else ''}{text}"
    if draw(st.integers(0, 9)) == 0:
        place = draw(st.integers(0, len(packet)))
        packet = packet[:place] + draw(st.text(max_size=3)) + packet[place + draw(st.integers(0, 3)) :]
    binary = draw(st.lists(st.binary(max_size=10), min_size=attachments, max_size=attachments))
    return [packet, *binary]


engineio_packets = st.sampled_from(["1", "2", "2probe", "3", "3probe", "5", "6", "", "0{}", "4", "40", "41"])
conversation = st.lists(
    socketio_packets()
    | engineio_packets.map(lambda packet: [packet])
    | st.text(max_size=10).map(lambda packet: [packet])
    | st.binary(max_size=10).map(lambda packet: [packet]),
    max_size=12,
).map(lambda parts: ["40", *itertools.chain.from_iterable(parts)])


def encoded(packet: str | bytes) -> bytes:
    return frame(BINARY, packet) if isinstance(packet, bytes) else frame(TEXT, packet.encode("utf-8", "surrogatepass"))


@given(packets=conversation, cut=cuts)
@settings(some, max_examples=400)
def test_any_packets_over_websocket_end_in_order_and_leave_no_ghost(
    packets: list[str | bytes], cut: Sequence[int]
) -> None:
    async def work() -> None:
        server = build()
        other, other_connection, _ = over_websocket(server)
        await other.bring([frame(TEXT, b"40")], other_connection)
        wire, connection, _ = over_websocket(server)
        await wire.bring(pieces(b"".join(map(encoded, packets)), cut), connection)
        wire.check_close(set())
        wire.close()
        await settle(lambda: len(server.eio.sockets) == 1)
        await other.bring([frame(TEXT, b'427["wait","here"]')], other_connection)
        await settle(lambda: (TEXT, b'437["here"]') in other.frames())
        other.close()
        await check_empty(server)

    run(work)


async def request(server: RealtimeServer, session: EngineSession, method: str, reads: Sequence[bytes] = ()) -> int:
    """Return the status of a request whose body comes in these reads."""
    loop = asyncio.get_running_loop()
    protocol = BaseProtocol(loop)
    protocol.connection_made(Wire())
    payload = StreamReader(protocol, 1 << 16, loop=loop)
    for read in reads:
        loop.call_soon(payload.feed_data, read)
    loop.call_soon(payload.feed_eof)
    path = f"{PATH}polling&sid={session.sid}"
    response = await server.eio.handle_request(make_mocked_request(method, path, payload=payload))
    return response.status


@given(
    bodies=st.lists(
        st.binary(max_size=40)
        | conversation.map(
            lambda packets: b"\x1e".join(
                b"b" + p.hex().encode() if isinstance(p, bytes) else p.encode("utf-8", "surrogatepass") for p in packets
            )
        )
        | st.integers(LIMIT - 1, LIMIT + 1).map(lambda size: b"4" + b"x" * (size - 1)),
        max_size=4,
    ),
    cut=cuts,
)
@settings(some, max_examples=250)
def test_any_bodies_over_polling_are_taken_or_refused_and_leave_no_ghost(
    bodies: list[bytes], cut: Sequence[int]
) -> None:
    async def work() -> None:
        server = build()
        eio = server.eio
        session = EngineSession(eio, eio.generate_id(), handshake())
        session.polling = PollingQueue()
        eio._begin(session, may_upgrade=True)
        for body in [b"40", *bodies]:
            ended = session.ending
            status = await request(server, session, "POST", pieces(body, cut))
            assert status == 400 if ended else status in (200, 400)
            assert session.ending or status == 200
        assert session.ending or await request(server, session, "POST", [b"1"]) == 200
        await check_empty(server)

    run(work)


header = st.text(st.characters(min_codepoint=32, max_codepoint=0x10FFFF, exclude_categories=["Cs"]), max_size=30)


@given(
    key=header | st.just("dGhlIHNhbXBsZSBub25jZQ=="),
    version=header | st.just("13"),
    connection=header | st.just("keep-alive, Upgrade"),
    extensions=header
    | st.lists(
        st.sampled_from(["permessage-deflate", ";", ",", "=", "server_max_window_bits", "8", "client_max_window_bits"])
    ).map("".join),
)
@settings(some, max_examples=200)
def test_any_handshake_is_accepted_or_refused(key: str, version: str, connection: str, extensions: str) -> None:
    given_headers = {
        "Upgrade": "websocket",
        "Connection": connection,
        "Sec-WebSocket-Key": key,
        "Sec-WebSocket-Version": version,
        "Sec-WebSocket-Extensions": extensions,
    }
    with contextlib.suppress(BadHandshake):
        response, _ = accept(make_mocked_request("GET", f"{PATH}websocket", headers=given_headers))
        assert response.startswith(b"HTTP/1.1 101 ")
        assert response.endswith(b"\r\n\r\n")
        assert response.count(b"\r\n\r\n") == 1
