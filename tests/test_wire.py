import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realtime import wire
from realtime.wire import MAX_DEPTH, RELAY_BYTES, BadJson, depth, dumps, loads, relayable

UNICODE = st.text(st.characters(exclude_categories=["Cs"]))
ANY_TEXT = st.text(st.characters())
INT64 = st.integers(-(2**63), 2**64 - 1)
FINITE = st.floats(allow_nan=False, allow_infinity=False)


def json_values(text: st.SearchStrategy[str], number: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    scalar = st.none() | st.booleans() | number | text
    return st.recursive(scalar, lambda inner: st.lists(inner) | st.dictionaries(text, inner), max_leaves=20)


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@settings(deadline=None)
@given(json_values(UNICODE, INT64 | FINITE))
def test_what_was_written_reads_back_the_same(value: Any) -> None:
    assert loads(dumps(value)) == value
    assert loads(dumps(value).decode()) == value


@settings(deadline=None)
@given(json_values(ANY_TEXT, st.integers() | FINITE))
def test_whatever_python_holds_is_written_as_json_that_any_parser_reads(value: Any) -> None:
    assert json.loads(dumps(value)) == value


@settings(deadline=None)
@given(st.binary() | ANY_TEXT)
def test_reading_anything_gives_a_value_or_badjson(data: bytes | str) -> None:
    try:
        value = loads(data)
    except BadJson:
        return
    assert loads(dumps(value)) == value


@pytest.mark.parametrize(
    "text",
    ["", " ", "NaN", "Infinity", "-Infinity", "[NaN]", "1e400", "[-1e400]", "{'a':1}", "[1,]", "nul", "1 2", '"\x01"'],
)
def test_what_is_not_json_is_refused(text: str) -> None:
    with pytest.raises(BadJson):
        loads(text)


@pytest.mark.parametrize("data", [b"\xff", b'"\xed\xa0\x80"', '"\ud800"', r'"\ud800"', r'"\udc00\ud800"'])
def test_text_that_is_not_unicode_is_refused(data: bytes | str) -> None:
    with pytest.raises(BadJson):
        loads(data)


def test_a_pair_of_surrogates_is_one_character() -> None:
    assert loads(r'"\ud83d\ude00"') == "\U0001f600"


@pytest.mark.parametrize(("levels", "fine"), [(0, True), (MAX_DEPTH, True), (MAX_DEPTH + 1, False), (600, False)])
def test_nesting_ends_at_64_levels(levels: int, fine: bool) -> None:
    for text in ("[" * levels + "1" + "]" * levels, '{"a":' * levels + "1" + "}" * levels):
        if fine:
            assert depth(loads(text), MAX_DEPTH) == levels
        else:
            with pytest.raises(BadJson):
                loads(text)


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_nesting_that_would_exhaust_the_stack_is_refused(opening: str) -> None:
    with pytest.raises(BadJson):
        loads(opening * 100_000)


def test_integers_of_javascript_are_exact_and_huge_ones_become_floats() -> None:
    assert loads("9007199254740991") == 9007199254740991
    assert loads("18446744073709551615") == 2**64 - 1
    assert math.isclose(loads("1" + "0" * 30), 1e30)


@pytest.mark.parametrize("number", [2**64, -(2**63) - 1, 10**40])
def test_integers_over_64_bits_are_written_in_full(number: int) -> None:
    assert dumps({"id": number}) == b'{"id":%d}' % number


def test_a_lone_surrogate_is_written_escaped_as_javascript_does() -> None:
    assert dumps(["\ud800", "é"]) == rb'["\ud800","\u00e9"]'


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_numbers_that_json_does_not_know_become_null(number: float) -> None:
    assert dumps([number]) == b"[null]"


@pytest.mark.parametrize("value", [b"bytes", object(), {1, 2}, {(1, 2): 3}, 1j, [2**70, math.nan]])
def test_what_json_cannot_say_is_refused(value: object) -> None:
    with pytest.raises(BadJson):
        dumps(value)


def test_a_value_that_holds_itself_is_refused() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(BadJson):
        dumps(value)


def test_badjson_is_a_value_error() -> None:
    assert issubclass(BadJson, ValueError)


@pytest.mark.parametrize(
    ("value", "levels"),
    [(1, 0), ("text", 0), (None, 0), ([], 1), ({}, 1), ([1], 1), ({"a": []}, 2), ([[], {"a": [1]}], 3), (nested(9), 9)],
)
def test_depth_counts_containers(value: object, levels: int) -> None:
    assert depth(value, 64) == levels


def test_depth_stops_counting_beyond_its_limit() -> None:
    assert depth(nested(50), 4) == 5


def test_client_data_is_relayed_up_to_2_kilobytes() -> None:
    frame = len(dumps({"a": ""}))
    assert relayable({"a": "x" * (RELAY_BYTES - frame)})
    assert not relayable({"a": "x" * (RELAY_BYTES - frame + 1)})
    assert RELAY_BYTES == 2048


def test_size_is_counted_in_bytes() -> None:
    assert relayable({"a": "é" * 1000})
    assert not relayable({"a": "é" * 1024})


def test_client_data_is_relayed_up_to_4_levels() -> None:
    assert relayable({"a": nested(3)})
    assert not relayable({"a": nested(4)})
    assert wire.RELAY_DEPTH == 4


def test_what_is_not_json_is_not_relayed() -> None:
    assert not relayable({"a": b"bytes"})
