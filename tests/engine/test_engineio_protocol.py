"""Engine.IO, protocol 4: what a client may count on, told frame by frame."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.engine import protocol
from tests.engine.protocol import SEPARATOR, Endpoint, Frame, Frames, Gone, Heard, Polling, Refused, until

QUICK: dict[str, Any] = {"ping_interval": 0.3, "ping_timeout": 0.2}


@pytest.fixture
async def echo() -> AsyncIterator[Endpoint]:
    async with protocol.engineio_echo() as endpoint:
        yield endpoint


@pytest.fixture
async def quick() -> AsyncIterator[Endpoint]:
    """A server that soon takes a silent client for dead."""
    async with protocol.engineio_echo(**QUICK) as endpoint:
        yield endpoint


@pytest.fixture
async def beating() -> AsyncIterator[Endpoint]:
    """A server that pings often, and waits long for the answer."""
    async with protocol.engineio_echo(ping_interval=0.3) as endpoint:
        yield endpoint


@pytest.fixture
async def small() -> AsyncIterator[Endpoint]:
    """A server that takes a thousand bytes at once."""
    async with protocol.engineio_echo(max_http_buffer_size=1000) as endpoint:
        yield endpoint


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def server() -> Any:
    return protocol.build()


@pytest.fixture
async def watched(server: Any, heard: Heard) -> AsyncIterator[Endpoint]:
    """The echo server with its handlers' side of the story."""
    async with protocol.engineio_server(server, heard) as endpoint:
        yield endpoint


async def refused_or_closed(endpoint: Endpoint, **query: str | None) -> bool:
    """Tell whether a WebSocket is turned away, in either of the two ways."""
    try:
        frames = await endpoint.frames(**query)
    except Refused:
        return True
    return await frames.until_closed() == []


# --- handshake ---


async def test_a_polling_handshake_opens_a_session(quick: Endpoint) -> None:
    session = await quick.poller()
    assert session.sid
    assert session.opening == {
        "sid": session.sid,
        "upgrades": ["websocket"],
        "pingInterval": 300,
        "pingTimeout": 200,
        "maxPayload": 1_000_000,
    }


async def test_a_websocket_handshake_opens_a_session_that_has_nowhere_to_upgrade_to(quick: Endpoint) -> None:
    opening = (await quick.websocket()).opening
    assert opening == {
        "sid": opening["sid"],
        "upgrades": [],
        "pingInterval": 300,
        "pingTimeout": 200,
        "maxPayload": 1_000_000,
    }


async def test_the_handshake_tells_fractions_of_a_second_in_whole_milliseconds() -> None:
    async with protocol.engineio_echo(ping_interval=1.25, ping_timeout=0.07) as endpoint:
        opening = (await endpoint.poller()).opening
    assert (opening["pingInterval"], opening["pingTimeout"]) == (1250, 70)
    assert {type(opening["pingInterval"]), type(opening["pingTimeout"])} == {int}


async def test_the_handshake_tells_how_much_may_be_sent_at_once(small: Endpoint) -> None:
    assert (await small.poller()).opening["maxPayload"] == 1000
    assert (await small.websocket()).opening["maxPayload"] == 1000


async def test_every_session_has_an_id_of_its_own(echo: Endpoint) -> None:
    sessions = [await echo.poller() for _ in range(20)]
    sids = {session.sid for session in sessions} | {(await echo.websocket()).opening["sid"]}
    assert len(sids) == 21


@pytest.mark.parametrize("version", [None, "abc", "3", ""])
async def test_another_version_of_the_protocol_is_refused(echo: Endpoint, version: str | None) -> None:
    assert (await echo.request("GET", EIO=version))[0] == 400
    assert await refused_or_closed(echo, EIO=version)


@pytest.mark.parametrize("transport", [None, "abc", ""])
async def test_another_transport_is_refused(echo: Endpoint, transport: str | None) -> None:
    assert (await echo.request("GET", transport=transport))[0] == 400
    assert await refused_or_closed(echo, transport=transport)


async def test_a_websocket_handshake_without_a_websocket_is_refused(echo: Endpoint) -> None:
    assert (await echo.request("GET", transport="websocket"))[0] == 400


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_a_session_is_opened_with_get_only(echo: Endpoint, method: str) -> None:
    assert (await echo.request(method))[0] == 400


async def test_a_method_that_the_protocol_does_not_have_is_refused_within_a_session(echo: Endpoint) -> None:
    session = await echo.poller()
    assert (await echo.request("PUT", sid=session.sid, data="4hello"))[0] == 400
    await session.send("4hello")
    assert await session.receive(1) == ["4hello"]


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_session_that_does_not_exist_is_refused(echo: Endpoint, method: str) -> None:
    assert (await echo.request(method, sid="nobody"))[0] == 400


async def test_a_websocket_for_a_session_that_does_not_exist_is_refused(echo: Endpoint) -> None:
    assert await refused_or_closed(echo, sid="nobody")


async def test_the_connect_handler_gets_the_request(watched: Endpoint, heard: Heard) -> None:
    session = await watched.poller()
    assert heard.opened == [session.sid]
    assert "EIO=4" in heard.environs[0]["QUERY_STRING"]
    assert heard.environs[0]["REMOTE_ADDR"] == "127.0.0.1"


async def test_anybody_may_read_the_answers_of_a_server_for_every_origin() -> None:
    async with protocol.engineio_echo(cors_allowed_origins="*") as endpoint:
        status, reader = await endpoint.headers(origin="http://shop.example")
    assert status == 200
    assert reader in ("*", "http://shop.example")


async def test_only_a_listed_origin_is_let_in() -> None:
    async with protocol.engineio_echo(cors_allowed_origins=["http://shop.example"]) as endpoint:
        assert await endpoint.headers(origin="http://shop.example") == (200, "http://shop.example")
        assert (await endpoint.headers(origin="http://other.example"))[0] in (400, 403)


# --- messages over polling ---


@pytest.mark.parametrize(
    "packets",
    [
        pytest.param(["4hello"], id="one"),
        pytest.param(["4test1", "4test2", "4test3"], id="several"),
        pytest.param(["4hello", "bAQIDBA=="], id="text and binary"),
        pytest.param(["bAQIDBA=="], id="binary"),
        pytest.param(["4"], id="empty"),
        pytest.param(["4\u20ac \U0001f600 \u0000\u001f"], id="beyond ASCII"),
        pytest.param(["b" + "A" * 4000], id="three thousand zero bytes"),
    ],
)
async def test_what_is_posted_comes_back_with_the_next_poll(echo: Endpoint, packets: list[str]) -> None:
    session = await echo.poller()
    await session.send(*packets)
    assert await session.poll() == packets


async def test_binary_arrives_as_bytes_and_text_as_text(watched: Endpoint, heard: Heard) -> None:
    session = await watched.poller()
    await session.send("4AQID", "bAQIDBA==")
    assert heard.messages == ["AQID", b"\x01\x02\x03\x04"]


async def test_a_waiting_poll_is_answered_when_there_is_something_to_say(echo: Endpoint) -> None:
    session = await echo.poller()
    poll = await session.waiting_poll()
    assert not poll.done()
    await session.send("4hello")
    assert await poll == (200, "4hello")


@pytest.mark.parametrize("count", [16, 17, 200])
async def test_many_packets_fit_in_one_post(echo: Endpoint, count: int) -> None:
    session = await echo.poller()
    packets = [f"4{number}" for number in range(count)]
    await session.send(*packets)
    assert await session.receive(count) == packets


async def test_a_post_may_come_in_chunks(echo: Endpoint) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for piece in (b"4hel", b"lo \xe2\x82", b"\xac\x1e4wor", b"ld"):
            yield piece

    session = await echo.poller()
    assert await session.post(chunks()) == (200, "ok")
    assert await session.poll() == ["4hello \u20ac", "4world"]


@pytest.mark.parametrize("body", ["abc", "", "9", f"4fine{SEPARATOR}abc", f"4fine{SEPARATOR}"])
async def test_a_post_of_something_else_closes_the_session(echo: Endpoint, body: str) -> None:
    session = await echo.poller()
    assert (await session.post(body))[0] == 400
    assert await session.refused() == 400


async def test_a_post_that_is_not_utf8_closes_the_session(echo: Endpoint) -> None:
    session = await echo.poller()
    assert (await session.post(b"4\xff\xfe"))[0] == 400
    assert await session.refused() == 400


async def test_a_post_up_to_the_limit_is_taken(echo: Endpoint) -> None:
    session = await echo.poller()
    packet = "4" + "x" * 999_999
    await session.send(packet)
    assert await session.receive(1) == [packet]


@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")
async def test_a_limit_of_several_megabytes_holds_for_a_post(heard: Heard) -> None:
    server = protocol.build(max_http_buffer_size=4_000_000)
    async with protocol.engineio_server(server, heard) as endpoint:
        server.eio.on("message", lambda sid, data: heard.messages.append(data))
        session = await endpoint.poller()
        await session.send(*("4" + letter * 500_000 for letter in "abcdef"))
    assert heard.messages == [letter * 500_000 for letter in "abcdef"]


async def test_a_post_above_the_limit_closes_the_session(small: Endpoint) -> None:
    session = await small.poller()
    assert (await session.post("4" + "x" * 1000))[0] in (400, 413)
    assert await session.refused() == 400


async def test_the_limit_of_a_post_counts_all_of_its_packets(small: Endpoint) -> None:
    session = await small.poller()
    assert (await session.post(SEPARATOR.join(["4" + "x" * 400] * 3)))[0] in (400, 413)
    assert await session.refused() == 400


async def test_a_post_in_chunks_above_the_limit_closes_the_session(small: Endpoint) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"4"
        for _ in range(20):
            yield b"x" * 100

    session = await small.poller()
    assert (await session.post(chunks()))[0] in (400, 413)
    assert await session.refused() == 400


async def test_a_second_poll_closes_the_session(echo: Endpoint) -> None:
    session = await echo.poller()
    first = await session.waiting_poll()
    assert (await session.get())[0] == 400
    assert await first == (200, "1")
    assert await session.refused() == 400


async def test_a_second_post_during_another_closes_the_session(echo: Endpoint) -> None:
    session = await echo.poller()
    first = await echo.raw("POST", sid=session.sid, head="Content-Length: 100\r\n", body="4half")
    await echo.settle()
    assert (await session.post("4hello"))[0] == 400
    assert await session.refused() == 400
    first.drop()


async def test_a_poll_whose_client_has_gone_loses_no_message(echo: Endpoint) -> None:
    session = await echo.poller()
    poll = await echo.raw("GET", sid=session.sid)
    await echo.settle()
    poll.drop()
    await echo.settle()
    await session.send("4one", "4two")
    assert await session.receive(2) == ["4one", "4two"]


async def test_polls_whose_clients_have_gone_do_not_count_as_a_second_poll(watched: Endpoint, heard: Heard) -> None:
    session = await watched.poller()
    for _ in range(3):
        poll = await watched.raw("GET", sid=session.sid)
        await watched.settle()
        poll.drop()
        await watched.settle()
    again = await session.waiting_poll()
    await session.send("4hello")
    assert await again == (200, "4hello")
    assert session.sid not in [sid for sid, _ in heard.closed]


async def test_what_the_server_sends_at_once_comes_in_order_over_polling(watched: Endpoint, server: Any) -> None:
    session = await watched.poller()
    for number in range(100):
        await server.eio.send(session.sid, str(number))
    assert await session.receive(100) == [f"4{number}" for number in range(100)]


# --- messages over WebSocket ---


@pytest.mark.parametrize(
    "frame",
    ["4hello", "4", "4\u20ac \U0001f600", bytes([1, 2, 3, 4]), b"", b"4hello", "4" + "x" * 100_000, bytes(70_000)],
)
async def test_what_is_sent_over_websocket_comes_back(echo: Endpoint, frame: Frame) -> None:
    frames = await echo.websocket()
    await frames.send(frame)
    assert await frames.next() == frame


async def test_many_frames_keep_their_order(echo: Endpoint) -> None:
    frames = await echo.websocket()
    many: list[Frame] = [f"4{number}" if number % 3 else bytes([number]) for number in range(200)]
    await frames.send(*many)
    assert await frames.take(200) == many


@pytest.mark.parametrize("frame", ["abc", "", "9"])
async def test_a_frame_of_something_else_closes_the_websocket(echo: Endpoint, frame: str) -> None:
    frames = await echo.websocket()
    await frames.send(frame)
    await frames.until_closed()
    assert (await echo.request("GET", sid=frames.opening["sid"]))[0] == 400


@pytest.mark.parametrize("frame", ["4" + "x" * 1000, bytes(1001)])
async def test_a_frame_above_the_limit_closes_the_websocket(small: Endpoint, frame: Frame) -> None:
    frames = await small.websocket()
    await frames.send(frame)
    assert await frames.until_closed() == []


# --- heartbeat ---


async def test_a_polling_client_that_answers_pings_lives_on(beating: Endpoint) -> None:
    session = await beating.poller()
    for _ in range(3):
        before = time.monotonic()
        assert await session.poll() == ["2"]
        assert time.monotonic() - before >= 0.25
        await session.send("3")
    await session.send("4hello")
    assert await session.receive(1) == ["4hello"]


async def test_a_websocket_client_that_answers_pings_lives_on(beating: Endpoint) -> None:
    frames = await beating.websocket()
    for _ in range(3):
        before = time.monotonic()
        assert await frames.next() == "2"
        assert time.monotonic() - before >= 0.25
        await frames.send("3")
    await frames.send("4hello")
    assert await frames.next() == "4hello"


async def test_pings_follow_a_session_to_its_websocket(beating: Endpoint) -> None:
    frames = await (await beating.poller()).upgrade()
    for _ in range(2):
        assert await frames.next() == "2"
        await frames.send("3")


async def test_a_polling_client_that_answers_no_ping_is_closed(quick: Endpoint) -> None:
    session = await quick.poller()
    assert await session.poll() == ["2"]
    assert await session.refused() == 400


async def test_a_polling_client_that_never_comes_back_is_closed(heard: Heard) -> None:
    async with protocol.engineio_server(protocol.build(**QUICK), heard) as endpoint:
        session = await endpoint.poller()
        await until(lambda: heard.closed)
        assert heard.closed == [(session.sid, "ping timeout")]
        assert (await session.get())[0] == 400


async def test_a_websocket_client_that_answers_no_ping_is_closed(quick: Endpoint) -> None:
    frames = await quick.websocket()
    assert (await frames.until_closed())[:2] in (["2"], ["2", "1"])


async def test_a_websocket_that_answers_no_ping_is_reported_as_a_ping_timeout(heard: Heard) -> None:
    async with protocol.engineio_server(protocol.build(**QUICK), heard) as endpoint:
        frames = await endpoint.websocket()
        await frames.until_closed()
        await until(lambda: heard.closed)
    assert heard.closed == [(frames.opening["sid"], "ping timeout")]


async def test_messages_are_no_answer_to_a_ping_but_do_not_disturb_it(beating: Endpoint) -> None:
    frames = await beating.websocket()
    for _ in range(2):
        await frames.send("4hello")
        assert await frames.take(2) == ["4hello", "2"]
        await frames.send("3")


# --- close ---


async def test_a_close_packet_ends_the_waiting_poll_and_the_session(echo: Endpoint) -> None:
    session = await echo.poller()
    poll = await session.waiting_poll()
    assert await session.post("1") == (200, "ok")
    assert await poll == (200, "6")
    assert (await session.get())[0] == 400


async def test_a_close_packet_without_a_waiting_poll_ends_the_session(echo: Endpoint) -> None:
    session = await echo.poller()
    await session.send("1")
    assert (await session.get())[0] == 400
    assert (await session.post("4hello"))[0] == 400


async def test_a_close_packet_ends_the_websocket(echo: Endpoint) -> None:
    frames = await echo.websocket()
    await frames.send("1")
    assert await frames.until_closed() == []


async def test_messages_before_a_close_packet_are_still_handled(watched: Endpoint, heard: Heard) -> None:
    session = await watched.poller()
    await session.send("4last words", "1")
    assert heard.messages == ["last words"]
    await until(lambda: heard.closed)


@pytest.mark.parametrize("how", ["close packet", "closing handshake", "lost connection"])
async def test_the_end_of_a_websocket_is_reported_once(watched: Endpoint, heard: Heard, how: str) -> None:
    frames = await watched.websocket()
    if how == "close packet":
        await frames.send("1")
        await frames.until_closed()
    elif how == "closing handshake":
        await frames.leave()
    else:
        frames.drop()
    await until(lambda: heard.closed)
    other = await watched.poller()
    await other.send("4hello")
    [(sid, reason)] = heard.closed
    assert sid == frames.opening["sid"]
    assert reason in (["client disconnect", "transport close"] if how == "close packet" else ["transport close"])


async def test_the_server_can_disconnect_a_polling_client(watched: Endpoint, server: Any, heard: Heard) -> None:
    session = await watched.poller()
    poll = await session.waiting_poll()
    await server.eio.disconnect(session.sid)
    assert (await poll)[0] in (200, 400)
    assert await session.refused() == 400
    assert (session.sid, "server disconnect") in heard.closed


async def test_the_server_can_disconnect_a_websocket_client(watched: Endpoint, server: Any, heard: Heard) -> None:
    frames = await watched.websocket()
    await server.eio.disconnect(frames.opening["sid"])
    assert await frames.until_closed() in ([], ["1"])
    assert heard.closed == [(frames.opening["sid"], "server disconnect")]


# --- upgrade ---


async def test_a_session_moves_from_polling_to_websocket(echo: Endpoint) -> None:
    session = await echo.poller()
    frames = await session.probed()
    assert await session.poll() == ["6"]
    await frames.send("5", "4hello")
    assert await frames.next() == "4hello"


async def test_the_probe_ends_a_waiting_poll(echo: Endpoint) -> None:
    session = await echo.poller()
    poll = await session.waiting_poll()
    frames = await session.probed()
    assert await poll == (200, "6")
    await frames.send("5", "4hello")
    assert await frames.next() == "4hello"


async def test_a_session_that_has_moved_refuses_polling(echo: Endpoint) -> None:
    session = await echo.poller()
    frames = await session.upgrade()
    await frames.send("4one")
    assert await frames.next() == "4one"
    assert (await session.get())[0] == 400
    assert (await session.post("4hello"))[0] == 400
    await frames.send("4two")
    assert await frames.next() == "4two"


async def test_probe_and_upgrade_sent_in_one_go_are_enough(echo: Endpoint) -> None:
    session = await echo.poller()
    frames = await echo.frames(sid=session.sid)
    await frames.send("2probe", "5", "4hello")
    assert await frames.take(2) == ["3probe", "4hello"]
    assert (await session.get())[0] == 400


async def test_a_session_that_has_moved_takes_no_other_websocket(echo: Endpoint) -> None:
    session = await echo.poller()
    frames = await session.upgrade()
    assert await refused_or_closed(echo, sid=session.sid)
    await frames.send("4hello")
    assert await frames.next() == "4hello"


async def test_a_session_that_began_on_a_websocket_takes_no_other(echo: Endpoint) -> None:
    frames = await echo.websocket()
    assert await refused_or_closed(echo, sid=frames.opening["sid"])
    await frames.send("4hello")
    assert await frames.next() == "4hello"


async def test_what_waits_for_a_poll_moves_to_the_websocket(echo: Endpoint) -> None:
    session = await echo.poller()
    await session.send("4one", "4two")
    frames = await session.upgrade()
    await frames.send("4three")
    assert await frames.take(3) == ["4one", "4two", "4three"]


async def test_what_is_said_at_every_step_of_an_upgrade_arrives_once_and_in_order(echo: Endpoint) -> None:
    session = await echo.poller()
    await session.send("4before")
    frames = await echo.frames(sid=session.sid)
    await session.send("4opened")
    await frames.send("2probe")
    assert await frames.next() == "3probe"
    await session.send("4probed")
    await frames.send("5", "4moved")
    assert await frames.take(4) == ["4before", "4opened", "4probed", "4moved"]


class Moving:
    """A client that goes on polling until its probe is answered, as those of browsers do."""

    def __init__(self, session: Polling) -> None:
        self._session = session
        self._paused = False
        self.heard: list[Frame] = []

    async def move(self) -> Frames:
        polling = asyncio.create_task(self._poll())
        frames = await self._session.probed()
        self._paused = True
        await polling
        await frames.send("5")
        return frames

    async def _poll(self) -> None:
        while not self._paused:
            self.heard += [packet for packet in await self._session.poll() if packet != "6"]


async def test_a_stream_of_messages_survives_an_upgrade(watched: Endpoint, server: Any) -> None:
    session = await watched.poller()
    moving = Moving(session)
    moved = asyncio.Event()
    sent: list[Frame] = []

    async def talk() -> None:
        while not moved.is_set() or len(sent) < 100:
            sent.append(f"4{len(sent)}")
            await server.eio.send(session.sid, str(len(sent) - 1))
            await asyncio.sleep(0)

    talking = asyncio.create_task(talk())
    frames = await moving.move()
    moved.set()
    await talking
    while len(moving.heard) < len(sent):
        moving.heard.append(await frames.next())
    assert moving.heard == sent


async def test_of_two_websockets_at_once_one_wins(watched: Endpoint, heard: Heard) -> None:
    session = await watched.poller()
    both = [await watched.frames(sid=session.sid), await watched.frames(sid=session.sid)]

    async def try_to_move(frames: Frames) -> bool:
        try:
            await frames.send("2probe")
            assert await frames.next() == "3probe"
            await frames.send("5", "4hello")
            return await frames.next() == "4hello"
        except (Gone, ConnectionError):
            return False

    won = await asyncio.gather(*map(try_to_move, both))
    assert sorted(won) == [False, True]
    winner = both[won.index(True)]
    await winner.send("4still here")
    assert await winner.next() == "4still here"
    assert heard.messages == ["hello", "still here"]
    assert heard.closed == []


async def quiet_poll(session: Polling) -> "asyncio.Task[tuple[int, str]]":
    """Return a poll that waits. What an upgrade has left behind may end one or two before it."""
    for _ in range(3):
        poll = await session.waiting_poll()
        if not poll.done():
            return poll
        assert await poll == (200, "6")
    raise AssertionError("every poll is answered at once with nothing")


def lose(frames: Frames, how: str) -> Any:
    if how == "closing handshake":
        return frames.leave()
    frames.drop()
    return asyncio.sleep(0)


@pytest.mark.parametrize("how", ["closing handshake", "lost connection"])
@pytest.mark.parametrize("probed", [False, True])
async def test_an_upgrade_that_is_given_up_leaves_the_session_polling(echo: Endpoint, how: str, probed: bool) -> None:
    session = await echo.poller()
    frames = await (session.probed() if probed else echo.frames(sid=session.sid))
    await lose(frames, how)
    await echo.settle()
    poll = await quiet_poll(session)
    await session.send("4hello")
    assert await poll == (200, "4hello")


@pytest.mark.parametrize("how", ["closing handshake", "lost connection"])
@pytest.mark.parametrize("probed", [False, True])
async def test_an_upgrade_that_is_given_up_loses_no_message(echo: Endpoint, how: str, probed: bool) -> None:
    session = await echo.poller()
    await session.send("4before")
    frames = await (session.probed() if probed else echo.frames(sid=session.sid))
    await session.send("4during")
    await lose(frames, how)
    await session.send("4after")
    assert await session.receive(3) == ["4before", "4during", "4after"]


async def test_after_an_upgrade_that_was_given_up_another_succeeds(echo: Endpoint) -> None:
    session = await echo.poller()
    await (await session.probed()).leave()
    await echo.settle()
    frames = await session.upgrade()
    await frames.send("4hello")
    assert await frames.next() == "4hello"


@pytest.mark.parametrize("frame", ["2", "2other", "5", "4hello", "abc", b"2probe"])
async def test_an_upgrade_begins_with_a_probe(echo: Endpoint, frame: Frame) -> None:
    session = await echo.poller()
    frames = await echo.frames(sid=session.sid)
    await frames.send(frame)
    assert await frames.until_closed() == []
    await session.send("4hello")
    assert await session.receive(1) == ["4hello"]


async def test_the_end_of_the_websocket_ends_a_session_that_has_moved(watched: Endpoint, heard: Heard) -> None:
    session = await watched.poller()
    frames = await session.upgrade()
    await frames.send("4hello")
    assert await frames.next() == "4hello"
    await frames.leave()
    await until(lambda: heard.closed)
    assert heard.closed == [(session.sid, "transport close")]
    assert (await session.get())[0] == 400
