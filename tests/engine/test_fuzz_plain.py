"""Whatever plain sockets and streams are asked and told, only defined things happen: hypothesis, on the application."""

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from realtime.dialects.dashboard import DASHBOARD
from realtime.dialects.messaging import MESSAGING
from realtime.dialects.notifications import NOTIFICATIONS
from realtime.engine.server import RESERVED_EVENTS
from tests.engine.hostile.table import BODY, FAREWELL, MESSAGE
from tests.engine.hostile.wire import BINARY, CLOSED, DEFLATE, PING, PONG, TEXT, Over, Wire, deflated, frame
from tests.engine.hostile.world import EVENTS, GUESTS, World, world_of
from tests.support import PATIENCE

USERS_PATHS = (NOTIFICATIONS.namespace, DASHBOARD.namespace, MESSAGING.namespace)
CLOSES = {"1000", "1002", "1007", "1008", "1009", "1013", CLOSED}
REFUSALS = {400, 401, 403, 404, 405, 408, 413, 426}
LEFT_OUT = "websocket warnings left out"
REFILL = 600.0
"""Seconds in which everybody may send as much as before."""

some = settings(
    max_examples=80,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


class Stage:
    """The application, for one example after the other."""

    def __init__(self, runner: asyncio.Runner, world: World) -> None:
        self.runner = runner
        self.world = world
        self.failures: list[dict[str, Any]] = []

    def play(self, work: Callable[[World], Coroutine[Any, Any, None]]) -> None:
        """Run one example; fail for everything that nobody caught, and for everything that is left of it."""
        with capture_logs() as lines:
            self.runner.run(self._played(work))
        assert not self.failures
        assert not [line for line in lines if line["log_level"] in ("error", "critical")]
        warnings = [line["event"] for line in lines if line["log_level"] == "warning"]
        assert sum(event != LEFT_OUT for event in warnings) <= 1

    async def _played(self, work: Callable[[World], Coroutine[Any, Any, None]]) -> None:
        world = self.world
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: self.failures.append(context))
        world.clock.advance(REFILL)
        try:
            await work(world)
        finally:
            world.drop()
            world.wires.clear()
            await world.forgotten()
        await world.others_go_on()


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    with asyncio.Runner() as runner:
        opened = world_of(tmp_path, monkeypatch, shorten=[FAREWELL, BODY, MESSAGE])
        world = runner.run(opened.__aenter__())
        yield Stage(runner, world)
        runner.run(opened.__aexit__(None, None, None))


# --- messages ---

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["5", "9", "news"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
fields = st.sampled_from(
    ["channels", "channel", "receiverId", "content", "messageId", "tempId", "isTyping", "token", "status", "room"]
)
payloads = values | st.dictionaries(fields, values, max_size=4)
known = sorted({*NOTIFICATIONS.inbound, *DASHBOARD.inbound, *MESSAGING.inbound, *RESERVED_EVENTS})
names = st.sampled_from([*known, "ping", "*", "", "x" * 129]) | values


@st.composite
def spoilt(draw: st.DrawFn, texts: st.SearchStrategy[str]) -> str:
    """Return a text with something else in some place."""
    text = draw(texts)
    place = draw(st.integers(0, len(text)))
    return text[:place] + draw(st.text(max_size=3)) + text[place + draw(st.integers(0, 3)) :]


objects = st.fixed_dictionaries({}, optional={"event": names, "type": names, "data": payloads, "id": values}).map(
    json.dumps
)
messages = st.lists(
    objects | spoilt(objects) | values.map(json.dumps) | st.text(max_size=20) | st.binary(max_size=20), max_size=8
)


def framed(message: str | bytes, *, compressed: bool = False) -> bytes:
    opcode = BINARY if isinstance(message, bytes) else TEXT
    data = message if isinstance(message, bytes) else message.encode("utf-8", "replace")
    return frame(opcode, deflated(data), rsv=4) if compressed else frame(opcode, data)


@given(path=st.sampled_from(USERS_PATHS), said=messages, compressed=st.booleans())
@some
def test_any_messages_of_a_user_are_answered_and_the_socket_goes_on(
    stage: Stage, path: str, said: list[str | bytes], compressed: bool
) -> None:
    async def work(world: World) -> None:
        wire = await world.plain(path, DEFLATE if compressed else "")
        good = [json.dumps({"event": "heartbeat", "id": f"good {n}"}) for n in range(len(said))]
        for bad, well in zip(said, good, strict=True):
            await wire.send(framed(bad, compressed=compressed) + framed(well))
        await wire.say('{"event":"heartbeat","id":"the last"}')
        answers = []
        while "the last" not in answers:
            heard = json.loads(await wire.hears())
            assert isinstance(heard["event"], str)
            assert set(heard) <= {"event", "data", "id"}
            answers.append(heard.get("id"))
        assert [id for id in answers if isinstance(id, str) and id.startswith("good ")] == [
            f"good {n}" for n in range(len(said))
        ]

    stage.play(work)


@given(said=messages)
@some
def test_any_messages_of_a_guest_are_ignored_and_the_socket_goes_on(stage: Stage, said: list[str | bytes]) -> None:
    async def work(world: World) -> None:
        wire = await world.guest()
        for message in said:
            await wire.send(framed(message))
        await wire.goes_on()

    stage.play(work)


# --- frames ---

raw_frames = st.lists(
    st.binary(max_size=40)
    | messages.map(lambda said: b"".join(map(framed, said)))
    | st.builds(
        frame,
        st.sampled_from([0x0, TEXT, BINARY, 0x3, 0x8, PING, PONG]) | st.integers(0, 15),
        st.binary(max_size=130),
        fin=st.booleans(),
        rsv=st.sampled_from([0, 0, 0, 4, 1]),
        masked=st.sampled_from([True, True, True, False]),
    ),
    max_size=6,
)


@given(
    path=st.sampled_from([*USERS_PATHS, GUESTS]),
    sent=raw_frames,
    token=st.sampled_from(["good", "bad", "none"]),
    head=st.sampled_from(["", DEFLATE]),
)
@some
def test_any_bytes_on_a_plain_socket_end_in_a_defined_close_or_nothing(
    stage: Stage, path: str, sent: list[bytes], token: str, head: str
) -> None:
    async def work(world: World) -> None:
        place = {"good": world.place(path), "bad": f"{path}?token=wrong&guestId=5", "none": path}[token]
        wire = await world.upgraded(Wire, place, head)
        for data in sent:
            await wire.send(data)
        wire.writer.write_eof()
        code = await wire.over()
        assert code in CLOSES or int(code) >= 3000  # the client's own, sent back

    stage.play(work)


# --- requests ---

printable = st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=30)
headers = st.one_of(
    st.tuples(st.just("Last-Event-ID"), printable | st.from_regex(r"\d{1,22}-\d{1,18}", fullmatch=True)),
    st.tuples(st.just("Authorization"), printable | st.just("Bearer {token}")),
    st.tuples(st.just("Cookie"), printable | st.just("access_token={token}") | st.just('token="{token}"; x')),
    st.tuples(
        st.just("Origin"), printable | st.sampled_from(["null", "http://localhost", "https://elsewhere.example"])
    ),
    st.tuples(st.just("Sec-Fetch-Site"), st.sampled_from(["same-origin", "cross-site", "same-site", "none", ""])),
    st.tuples(st.sampled_from(["Accept", "Range", "X-Forwarded-For", "X-Forwarded-Proto"]), printable),
    st.tuples(st.just("Content-Length"), st.sampled_from(["0", "5", "-1", "x", "9" * 30])),
    st.tuples(st.just("Transfer-Encoding"), st.sampled_from(["chunked", "x"])),
    st.tuples(st.just("Connection"), st.sampled_from(["close", "keep-alive", "Upgrade"])),
    st.tuples(st.just("Upgrade"), st.sampled_from(["websocket", "h2c", ""])),
)
queries = st.sampled_from(
    ["", "?token={token}", "?token=wrong", "?lastEventId=1-1&token={token}", "?token={token}&lastEventId=%ff"]
)


async def asked(world: World, wire: Wire, head: str) -> int:
    """Send a request's head and return the status; 0 when the connection is just closed."""
    await wire.send(head.replace("{token}", world.token()).encode())
    with suppress(Over):
        return (await wire.answer())[0]
    return 0


@given(
    method=st.sampled_from(["GET", "GET", "GET", "POST", "DELETE", "OPTIONS"]),
    path=st.sampled_from([EVENTS, f"/api{EVENTS}", f"{EVENTS}/"]),
    query=queries,
    given_headers=st.lists(headers, max_size=5),
    behind=st.binary(max_size=40),
)
@some
def test_any_request_for_a_stream_gets_one_or_a_refusal(
    stage: Stage, method: str, path: str, query: str, given_headers: list[tuple[str, str]], behind: bytes
) -> None:
    async def work(world: World) -> None:
        wire = await world.wire()
        lines = "".join(f"{name}: {value}\r\n" for name, value in given_headers)
        status = await asked(world, wire, f"{method} {path}{query} HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n")
        assert status in REFUSALS | {0, 200, 204}
        if status == 200:
            async with asyncio.timeout(PATIENCE):
                begun = await wire.reader.readuntil(b"\n\n")
            assert begun == b"retry: 3000\n\n"
            await wire.send(behind)

    stage.play(work)
