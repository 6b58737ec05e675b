"""What one connection can send in one go, and what it can make the server keep."""

import io
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from realtime.engine.hub import Limits
from realtime.engine.packets import MAX_NAMESPACE
from realtime.engine.polling import MAX_PACKETS_PER_POST, MAX_PACKETS_QUEUED
from realtime.events import Audience, Custom
from tests.engine.raw import SEPARATOR, Polling, connected, until_closed, websocket
from tests.support import Running, token, until

# --- a polling session that does not poll ---

MAX_BUFFER = Limits().hard_buffer


def publish(running: Running, data: object) -> int:
    return running.parts.publisher.publish(Custom(0.0, "news", data), Audience.user("5"))


def cuts(running: Running) -> float:
    return (
        running.parts.metrics.registry.get_sample_value("roomcast_slow_clients_total", {"reason": "does not poll"})
        or 0.0
    )


async def until_gone(running: Running) -> None:
    await until(lambda: len(running.parts.channel) == 0, what="the end of the session")
    assert not running.parts.channel.membership.all()
    assert cuts(running) == 1


async def test_a_session_that_never_polls_keeps_a_megabyte_at_most(running: Running) -> None:
    await Polling.open(running)
    piece = "x" * (MAX_BUFFER // 4)
    assert [publish(running, piece) for _ in range(4)] == [1, 1, 1, 0]
    await until_gone(running)
    assert publish(running, "more") == 0


async def test_a_session_that_never_polls_keeps_two_thousand_packets_at_most(running: Running) -> None:
    assert MAX_PACKETS_QUEUED == 2000
    await Polling.open(running)
    assert sum(publish(running, n) for n in range(MAX_PACKETS_QUEUED + 1)) == MAX_PACKETS_QUEUED
    await until_gone(running)


async def test_a_session_that_polls_may_be_sent_any_amount(running: Running) -> None:
    session = await Polling.open(running)
    piece = "x" * (MAX_BUFFER // 3)
    for _ in range(4):
        assert [publish(running, piece) for _ in range(2)] == [1, 1]
        heard = [packet for packet in await session.poll() if packet.startswith("42")]
        assert heard == [f'42["news","{piece}"]'] * 2
    assert cuts(running) == 0


# --- namespaces ---


async def test_a_long_namespace_closes_without_coming_back(running: Running) -> None:
    async with websocket(running) as frames:
        await frames.send_str("40/" + "n" * MAX_NAMESPACE + ",")
        assert await until_closed(frames) == ([], 1008)


async def test_a_namespace_of_the_greatest_length_is_answered(running: Running) -> None:
    name = "/" + "n" * (MAX_NAMESPACE - 1)
    async with websocket(running) as frames:
        await frames.send_str(f"40{name},")
        assert await frames.receive_str() == f'44{name},{{"message":"Invalid namespace"}}'


# --- packets of one POST ---


def asking(count: int) -> list[str]:
    return [f'42{id}["heartbeat"]' for id in range(1, count + 1)]


@pytest.mark.parametrize("count", [1, 16, 17, 500, MAX_PACKETS_PER_POST])
async def test_packets_of_one_post_are_handled_in_order(running: Running, count: int) -> None:
    session = await Polling.open(running)
    assert await session.post(SEPARATOR.join(asking(count))) == 200
    assert await session.acks(count) == [(id, {"success": True}) for id in range(1, count + 1)]


async def test_a_chunked_post_is_read_whole(running: Running) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        body = SEPARATOR.join(asking(20)).encode()
        for start in range(0, len(body), 7):
            yield body[start : start + 7]

    session = await Polling.open(running)
    assert await session.post(pieces()) == 200
    assert [id for id, _ in await session.acks(20)] == list(range(1, 21))


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("", id="empty"),
        pytest.param("x", id="no type"),
        pytest.param("9", id="unknown type"),
        pytest.param("0{}", id="a type that only servers send"),
        pytest.param("bnot base64!", id="bad base64"),
        pytest.param(b"4\xff\xfe", id="no UTF-8"),
        pytest.param("3" + "[" * 200_000, id="nested too deep"),
        pytest.param(SEPARATOR.join(["42[1]", "", "42[1]"]), id="nothing between"),
        pytest.param(SEPARATOR.join(["3"] * (MAX_PACKETS_PER_POST + 1)), id="too many"),
        pytest.param("4" + "x" * 1_000_001, id="a packet that is too long"),
        pytest.param(io.BytesIO(b"4" + b"x" * 1_100_000), id="a body that is too long"),
    ],
)
async def test_a_malformed_post_is_refused_and_ends_the_session(running: Running, body: Any) -> None:
    session = await Polling.open(running)
    assert await session.post(body) == 400
    await until(lambda: len(running.parts.channel) == 0, what="the end of the session")
    assert await session.post("3") == 400
    assert running.parts.server.eio.sockets == {}


async def test_of_a_malformed_post_nothing_is_done(running: Running) -> None:
    watcher = await running.connect(6, "technician")
    session = await Polling.open(running)
    assert await session.post(SEPARATOR.join(['42["typing"]', "x"])) == 400
    await until(lambda: len(running.parts.channel) == 1, what="the end of the session")
    await watcher.settle()
    assert "userTyping" not in watcher.names()


async def test_packets_after_the_last_word_of_a_post_open_nothing(running: Running) -> None:
    session = await Polling.open(running)
    await session.post(SEPARATOR.join(["1", "40" + json.dumps({"token": token(5)}), '421["heartbeat"]']))
    await until(lambda: len(running.parts.channel) == 0, what="the end of the session")
    assert not running.parts.channel.membership.all()
    assert running.parts.server.eio.sockets == {}


# --- attachments ---

WAITING = '452-["note",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]'


async def test_text_between_an_event_and_its_attachments_closes(running: Running) -> None:
    async with connected(running) as frames:
        await frames.send_str(WAITING)
        await frames.send_bytes(b"one")
        await frames.send_str('421["heartbeat"]')
        assert await until_closed(frames) == ([], 1008)
    await until(lambda: len(running.parts.channel) == 0, what="the end of the session")


async def test_attachments_that_are_too_large_together_close(running: Running) -> None:
    limit = running.parts.server.eio.max_http_buffer_size
    async with connected(running) as frames:
        await frames.send_str(WAITING)
        await frames.send_bytes(b"x" * (limit // 2 + 1))
        await frames.send_bytes(b"x" * (limit // 2 + 1))
        assert await until_closed(frames) == ([], 1008)


async def test_attachments_within_the_limit_are_taken(running: Running) -> None:
    limit = running.parts.server.eio.max_http_buffer_size
    async with connected(running) as frames:
        await frames.send_str(WAITING.replace("452-", "452-7", 1))
        await frames.send_bytes(b"x" * (limit // 2))
        await frames.send_bytes(b"x" * (limit // 2))
        answer = await frames.receive_str()
        assert answer.startswith("437[")
        assert json.loads(answer[3:])[0]["code"] == "UNKNOWN_EVENT"
