"""Tokens that are verified once for many requests."""

import pytest

from realtime.auth import Identity, RecentTokens, TokenVerifier, mint
from realtime.errors import RealtimeError
from tests.support import SECRET, FakeClock


class _Counting(TokenVerifier):
    """Counts what it is asked."""

    asked = 0

    async def verify(self, token: str) -> Identity:
        self.asked += 1
        return await super().verify(token)


@pytest.fixture
def counted(clock: FakeClock) -> _Counting:
    return _Counting(secrets=[SECRET], algorithms=["HS256"], clock=clock, leeway=0.0)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(1_000_000.0)


def _token(clock: FakeClock, lifetime: float = 3600.0) -> str:
    return mint(SECRET, user_id=7, now=clock.now, lifetime=lifetime)


async def test_a_token_that_was_verified_a_moment_ago_is_not_verified_again(
    counted: _Counting, clock: FakeClock
) -> None:
    recent, token = RecentTokens(counted, clock), _token(clock)
    first = await recent.verify(token)
    clock.advance(29.0)
    assert await recent.verify(token) == first
    assert counted.asked == 1
    clock.advance(1.0)
    assert await recent.verify(token) == first
    assert counted.asked == 2


async def test_a_remembered_token_expires_at_its_moment(counted: _Counting, clock: FakeClock) -> None:
    recent, token = RecentTokens(counted, clock), _token(clock, 10.0)
    await recent.verify(token)
    clock.advance(10.0)
    with pytest.raises(RealtimeError, match="expired"):
        await recent.verify(token)


async def test_a_remembered_token_is_verified_anew_when_the_clock_was_set_back(
    counted: _Counting, clock: FakeClock
) -> None:
    recent, token = RecentTokens(counted, clock), _token(clock)
    await recent.verify(token)
    clock.advance(-3600.0)
    with pytest.raises(RealtimeError):
        await recent.verify(token)


async def test_a_token_that_differs_in_one_letter_is_not_the_remembered_one(
    counted: _Counting, clock: FakeClock
) -> None:
    recent, token = RecentTokens(counted, clock), _token(clock)
    await recent.verify(token)
    with pytest.raises(RealtimeError):
        await recent.verify(token[:-5] + ("A" if token[-5] != "A" else "B") + token[-4:])


async def test_few_tokens_are_remembered(counted: _Counting, clock: FakeClock) -> None:
    recent = RecentTokens(counted, clock)
    tokens = [mint(SECRET, user_id=n, now=clock.now, lifetime=60.0) for n in range(1001)]
    for token in tokens:
        await recent.verify(token)
    await recent.verify(tokens[-1])
    assert counted.asked == 1001
    await recent.verify(tokens[0])
    assert counted.asked == 1002
