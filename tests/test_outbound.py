"""Asking other servers: key sets and the room authority, over real HTTP."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from realtime import wire
from realtime.auth import KeySet, TokenVerifier
from realtime.outbound import ROOM_AUTH_SECONDS, HttpKeySource, HttpRoomAuthority
from tests.support import FakeClock, until


class Backend:
    """A server that answers every request with one raw HTTP answer, in two pieces."""

    def __init__(self) -> None:
        self.answer = b""
        self.status = b"200 OK"
        self.headers = b""
        self.asked = 0
        self.busy = 0
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.busy += 1
        with contextlib.suppress(ConnectionError):
            await self._answer(reader, writer)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        self.busy -= 1

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        self.asked += 1
        half = len(self.answer) // 2
        head = b"HTTP/1.1 %s\r\nContent-Length: %d\r\nConnection: close\r\n%s\r\n"
        writer.write(head % (self.status, len(self.answer), self.headers) + self.answer[:half])
        await writer.drain()
        await asyncio.sleep(0.01)  # the point: the second piece arrives by itself
        writer.write(self.answer[half:])
        await writer.drain()


@pytest.fixture
async def backend() -> AsyncIterator[Backend]:
    backend = Backend()
    server = await asyncio.start_server(backend.serve, "127.0.0.1", 0)
    backend.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    yield backend
    await until(lambda: not backend.busy)
    server.close()
    await server.wait_closed()


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def test_tokens_are_verified_with_keys_from_a_url(
    backend: Backend, http: aiohttp.ClientSession, clock: FakeClock
) -> None:
    rsa_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    ec_key = ec.generate_private_key(ec.SECP256R1())
    keys: list[dict[str, Any]] = [
        {**jwt.algorithms.RSAAlgorithm.to_jwk(rsa_key.public_key(), as_dict=True), "kid": "r"},
        {**jwt.algorithms.ECAlgorithm.to_jwk(ec_key.public_key(), as_dict=True), "kid": "e"},
    ]
    backend.answer = json.dumps({"keys": keys}).encode()
    verifier = TokenVerifier(
        secrets=[],
        algorithms=["RS256", "ES256"],
        clock=clock,
        keys=KeySet(HttpKeySource(backend.url, lambda: http), clock),
    )
    claims = {"sub": "u1", "exp": int(clock.now) + 60}
    by_rsa = jwt.encode(claims, rsa_key, "RS256", headers={"kid": "r"})
    by_ec = jwt.encode(claims, ec_key, "ES256", headers={"kid": "e"})
    found = await asyncio.gather(*(verifier.verify(token) for token in (by_rsa, by_ec, by_rsa)))
    assert [identity.id for identity in found] == ["u1"] * 3
    assert backend.asked == 1


@pytest.mark.parametrize(
    ("status", "headers", "answer"),
    [
        (b"500 Oops", b"", b"{}"),
        (b"302 Found", b"Location: /elsewhere\r\n", b"{}"),
        (b"200 OK", b"", b"not json"),
        (b"200 OK", b"", b"[]"),
        (b"200 OK", b"", b"[" + b"0," * 200_000 + b"0]"),
    ],
)
async def test_what_is_no_key_set_is_a_failure(
    backend: Backend, http: aiohttp.ClientSession, status: bytes, headers: bytes, answer: bytes
) -> None:
    backend.status, backend.headers, backend.answer = status, headers, answer
    with pytest.raises((aiohttp.ClientError, ValueError)):
        await HttpKeySource(backend.url, lambda: http).fetch()
    assert backend.asked == 1


async def test_answers_of_the_authority_are_kept_and_shared(
    backend: Backend, http: aiohttp.ClientSession, clock: FakeClock
) -> None:
    backend.answer = b'{"allow": true}'
    authority = HttpRoomAuthority(backend.url, "s3cret", lambda: http, clock)
    user = {"id": "4", "role": "user"}
    assert await asyncio.gather(*(authority.allows(user, "ticket_1") for _ in range(5))) == [True] * 5
    assert backend.asked == 1
    clock.advance(ROOM_AUTH_SECONDS - 1)
    assert await authority.allows(user, "ticket_1")
    assert backend.asked == 1
    backend.answer = b'{"allow": false}'
    clock.advance(2)
    assert not await authority.allows(user, "ticket_1")
    assert await authority.allows({"id": "5", "role": "user"}, "ticket_1") is False
    assert backend.asked == 3


@pytest.mark.parametrize("answer", [b"", b"{", b"null", wire.dumps({"allow": 1}), b'{"allow": true}' + b" " * 5000])
async def test_unclear_answers_of_the_authority_are_a_no(
    backend: Backend, http: aiohttp.ClientSession, clock: FakeClock, answer: bytes
) -> None:
    backend.answer = answer
    authority = HttpRoomAuthority(backend.url, "s3cret", lambda: http, clock)
    assert await authority.allows({"id": "4", "role": "user"}, "ticket_1") is False
