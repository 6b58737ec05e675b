"""The engine over TLS, on asyncio's loop and on uvloop: their TLS transports count what is buffered in other ways."""

import asyncio
import datetime
import importlib.util
import ipaddress
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from realtime.engine import RealtimeServer
from realtime.engine.frames import Burst
from realtime.engine.hub import Limits
from realtime.engine.plain import PlainServer
from realtime.engine.websocket import WebSocketConnection
from realtime.eventloop import loop_factory
from tests.engine.plainly import HEAD, IDLE, Seen
from tests.engine.protocol import LIMIT, build, until

GOING_AWAY = 1001
STALL_SECONDS = 0.2
LOOKS = 20
"""How often the hub looks in four stall periods."""

_needs_uvloop = pytest.mark.skipif(importlib.util.find_spec("uvloop") is None, reason="uvloop is not installed")


@pytest.fixture(params=["asyncio", pytest.param("uvloop", marks=_needs_uvloop)])
def run(request: pytest.FixtureRequest) -> Callable[[Callable[[], Awaitable[None]]], None]:
    """Run a scenario to its end on one of the two event loops."""
    factory = asyncio.new_event_loop if request.param == "asyncio" else loop_factory()
    assert factory is not None

    def run(scenario: Callable[[], Awaitable[None]]) -> None:
        async def main() -> None:
            async with asyncio.timeout(LIMIT):
                await scenario()

        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(main())

    return run


@dataclass(frozen=True)
class Contexts:
    server: ssl.SSLContext
    client: ssl.SSLContext


@pytest.fixture
def contexts(tmp_path: Path) -> Contexts:
    """TLS with a certificate that was made for this test."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate_file, key_file = tmp_path / "certificate.pem", tmp_path / "key.pem"
    certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(certificate_file, key_file)
    return Contexts(server, ssl.create_default_context(cafile=certificate_file))


class Served:
    """A server that answers `ask`, and notes who leaves."""

    def __init__(self, **limits: Any) -> None:
        self.left: list[str] = []
        self.server: RealtimeServer = build(limits=Limits(stall_seconds=STALL_SECONDS, **limits))
        self.server.on("ask", self._ask)
        self.server.on("disconnect", self._disconnect)
        self.plain = PlainServer(self.server.eio)
        self.seen = Seen()

    async def _ask(self, sid: str, value: object) -> object:
        await self.server.emit("asked", value, to=sid)
        return value

    async def _disconnect(self, sid: str, reason: str) -> None:
        self.left.append(reason)

    @property
    def connection(self) -> WebSocketConnection:
        """The connection of the only client."""
        (session,) = self.server.eio.sockets.values()
        assert session.ws is not None
        return session.ws

    def open_stream(self, request: web.Request) -> web.StreamResponse:
        return self.plain.open_stream(request, self.seen, head=HEAD, idle=IDLE)[1]

    def open_plainly(self, request: web.Request) -> web.StreamResponse:
        return self.plain.open_websocket(request, self.seen)

    def time_passes(self) -> None:
        """Let the hub look for stalled connections through four stall periods."""
        hub = self.server.eio.hub
        watch, hub._watch = hub._watch, None
        if watch is not None:
            watch.cancel()
        loop, ahead = hub.loop, Ahead(hub.loop)
        hub.loop = ahead  # type: ignore[assignment]
        for _ in range(LOOKS):
            ahead.now += STALL_SECONDS / 5
            hub._look()
        hub.loop, hub._watch = loop, None


class Ahead:
    """The running loop at another time. Its timers never fire."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.now = loop.time()
        self.call_soon = loop.call_soon

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Callable[..., Any]) -> None:
        return None


@dataclass
class Client:
    socket: aiohttp.ClientWebSocketResponse
    sid: str = ""

    async def text(self) -> str:
        text: str = await self.socket.receive_str()
        return text

    def drop(self) -> None:
        connection = self.socket._response.connection
        assert connection is not None
        assert connection.transport is not None
        connection.transport.abort()


@dataclass
class Secure:
    http: aiohttp.ClientSession
    url: str
    context: ssl.SSLContext

    async def joined(self) -> Client:
        url = f"{self.url}/socket.io/?EIO=4&transport=websocket"
        client = Client(await self.http.ws_connect(url, ssl=self.context, max_msg_size=0))
        assert (await client.text()).startswith("0")
        await client.socket.send_str("40")
        client.sid = json.loads((await client.text()).removeprefix("40"))["sid"]
        return client

    async def polled(self, **headers: str) -> int:
        url = f"{self.url}/socket.io/?EIO=4&transport=polling"
        async with self.http.get(url, ssl=self.context, headers=headers) as response:
            await response.read()
            return response.status


@asynccontextmanager
async def secure(served: Served, contexts: Contexts) -> AsyncIterator[Secure]:
    app = web.Application()
    served.server.attach(app)

    async def stream(request: web.Request) -> web.StreamResponse:
        return served.open_stream(request)

    async def plain(request: web.Request) -> web.StreamResponse:
        return served.open_plainly(request)

    app.router.add_get("/stream", stream)
    app.router.add_get("/plain", plain)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=contexts.server).start()
        ((_, port),) = runner.addresses
        async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:
            yield Secure(http, f"https://127.0.0.1:{port}", contexts.client)
    finally:
        await runner.cleanup()


Run = Callable[[Callable[[], Awaitable[None]]], None]


@pytest.mark.parametrize("messages", range(4))
def test_a_client_that_hears_nothing_for_long_is_not_cut(run: Run, contexts: Contexts, messages: int) -> None:
    """Whether what was written before was an odd number of times or an even one."""

    async def scenario() -> None:
        served = Served()
        async with secure(served, contexts) as endpoint:
            client = await endpoint.joined()
            connection = served.connection
            for number in range(messages):
                await served.server.emit("news", number, to=client.sid)
                assert await client.text() == f'42["news",{number}]'
            assert not connection.choked
            assert connection not in served.server.eio.hub._stalled
            served.time_passes()
            assert not connection.closing
            await served.server.emit("news", "late", to=client.sid)
            assert await client.text() == '42["news","late"]'
            assert served.left == []
            await client.socket.close()

    run(scenario)


def test_events_and_acknowledgements(run: Run, contexts: Contexts) -> None:
    async def scenario() -> None:
        served = Served()
        large = "large " * 50_000
        async with secure(served, contexts) as endpoint:
            client = await endpoint.joined()
            for id, value in enumerate([1, "two", large, [3]], 1):
                await client.socket.send_str(f"42{id}" + json.dumps(["ask", value]))
                assert json.loads((await client.text()).removeprefix("42")) == ["asked", value]
                assert json.loads((await client.text()).removeprefix(f"43{id}")) == [value]
            answer = asyncio.create_task(served.server.call("question", 1, to=client.sid, timeout=LIMIT))
            question = await client.text()
            assert question.endswith('["question",1]')
            await client.socket.send_str("43" + question[2 : question.index("[")] + '["answer"]')
            assert await answer == "answer"
            await until(lambda: not served.connection.choked)
            await client.socket.close()

    run(scenario)


@pytest.mark.parametrize("way", ["close", "drop"])
def test_a_peer_that_goes_away_ends_its_session(run: Run, contexts: Contexts, way: str) -> None:
    async def scenario() -> None:
        served = Served()
        async with secure(served, contexts) as endpoint:
            client = await endpoint.joined()
            if way == "close":
                await client.socket.close()
            else:
                client.drop()
            await until(lambda: served.left)
            assert served.left == ["transport close"]
            await until(lambda: not served.server.eio.sockets)
            await until(lambda: not served.server.eio.hub.closing)

    run(scenario)


def test_the_end_of_the_server_closes_with_going_away(run: Run, contexts: Contexts) -> None:
    async def scenario() -> None:
        served = Served()
        async with secure(served, contexts) as endpoint:
            client = await endpoint.joined()
            stopping = asyncio.create_task(served.server.eio.close_all(GOING_AWAY, grace=LIMIT))
            message = await client.socket.receive()
            assert (message.type, client.socket.close_code) == (aiohttp.WSMsgType.CLOSE, GOING_AWAY)
            await stopping
            assert served.left == ["server disconnect"]
            assert not served.server.eio.sockets

    run(scenario)


def test_a_client_that_does_not_read_is_cut(run: Run, contexts: Contexts) -> None:
    async def scenario() -> None:
        served = Served(hard_buffer=1 << 30)
        async with secure(served, contexts) as endpoint:
            client = await endpoint.joined()
            connection = served.connection
            for _ in range(64):
                await served.server.emit("news", "x" * (1 << 20), to=client.sid)
                await asyncio.sleep(0)
            assert connection.choked
            served.time_passes()
            assert connection.closing
            await until(lambda: served.left)
            assert served.left == ["transport error"]
            client.drop()

    run(scenario)


@pytest.mark.parametrize("events", [1, 10])
def test_a_stream_is_flushed_to_its_end(run: Run, contexts: Contexts, events: int) -> None:
    async def scenario() -> None:
        served = Served()
        async with secure(served, contexts) as endpoint:
            async with endpoint.http.get(f"{endpoint.url}/stream", ssl=endpoint.context) as response:
                await until(lambda: served.seen.sessions)
                [session] = served.seen.sessions
                data = b"data: " + b"x" * 60_000 + b"\n\n"
                for _ in range(events):
                    session.deliver(Burst(data, (data,)))
                session.end("done")
                assert await response.read() == data * events
            await until(lambda: not served.plain.sockets)
            assert served.seen.ends == ["done"]
            await until(lambda: not served.server.eio.hub.closing)

    run(scenario)


def test_the_client_of_a_stream_that_goes_ends_it(run: Run, contexts: Contexts) -> None:
    async def scenario() -> None:
        served = Served()
        async with secure(served, contexts) as endpoint:
            async with endpoint.http.get(f"{endpoint.url}/stream", ssl=endpoint.context) as response:
                await until(lambda: served.seen.sessions)
                response.close()
            await until(lambda: served.seen.ends)
            assert served.seen.ends == ["transport close"]
            await until(lambda: not served.plain.sockets)

    run(scenario)


def test_a_plain_socket_talks_and_ends(run: Run, contexts: Contexts) -> None:
    async def scenario() -> None:
        served = Served()
        served.seen.on_received = lambda session, text: session.end("asked", code=4000, text=str(text))
        async with secure(served, contexts) as endpoint:
            async with endpoint.http.ws_connect(f"{endpoint.url}/plain", ssl=endpoint.context) as socket:
                await socket.send_str("bye")
                message = await socket.receive()
                assert (message.data, message.extra) == (4000, "bye")
            await until(lambda: not served.plain.sockets)
            assert served.seen.ends == ["asked"]

    run(scenario)


def test_the_servers_own_pages_are_those_of_https(run: Run, contexts: Contexts) -> None:
    async def scenario() -> None:
        async with secure(Served(), contexts) as endpoint:
            assert await endpoint.polled(Origin=endpoint.url) == 200
            assert await endpoint.polled(Origin=endpoint.url.replace("https", "http")) == 403

    run(scenario)
