import math
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realtime.clock import optional_timestamp, timestamp

YEAR_2005_MS, YEAR_2035_MS = 1_104_537_600_000, 2_051_222_400_000


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (0.001, "1970-01-01T00:00:00.001Z"),
        (1_700_000_000, "2023-11-14T22:13:20.000Z"),
        (1_700_000_000.123, "2023-11-14T22:13:20.123Z"),
        (1_700_000_000.9999, "2023-11-14T22:13:20.999Z"),
        (951_782_400.5, "2000-02-29T00:00:00.500Z"),
    ],
)
def test_a_moment_is_written_with_milliseconds_and_z(seconds: float, text: str) -> None:
    assert timestamp(seconds) == text


@settings(deadline=None)
@given(st.integers(YEAR_2005_MS, YEAR_2035_MS))
def test_a_moment_of_whole_milliseconds_comes_back_unchanged(milliseconds: int) -> None:
    moment = datetime.fromisoformat(timestamp(milliseconds / 1000))
    assert moment.tzinfo == UTC
    assert round(moment.timestamp() * 1000) == milliseconds


@settings(deadline=None)
@given(st.floats(YEAR_2005_MS / 1000, YEAR_2035_MS / 1000))
def test_a_moment_is_never_rounded_into_the_future(seconds: float) -> None:
    written = datetime.fromisoformat(timestamp(seconds)).timestamp()
    assert written <= seconds or math.isclose(written, seconds, rel_tol=1e-15)
    assert seconds - written < 0.0011


def test_texts_sort_like_their_moments() -> None:
    moments = [1.0, 1.5, 1.999, 2.0, 1e9, 1.7e9]
    assert sorted(map(timestamp, reversed(moments))) == [timestamp(moment) for moment in moments]


def test_no_moment_has_no_text() -> None:
    assert optional_timestamp(None) is None
    assert optional_timestamp(0) == "1970-01-01T00:00:00.000Z"
