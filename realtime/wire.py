"""JSON on the wire: orjson, with its refusals turned into defined outcomes.

Reading refuses NaN, Infinity and nesting that could exhaust the stack; integers over 64 bits are read as floats, as
JavaScript reads those over 53. Writing falls back to the standard
library for what orjson cannot write: integers over 64 bits, and lone surrogates (escaped, as JavaScript does).
"""

import json
from typing import Any

import orjson

MAX_DEPTH = 64
MAX_BRACKETS = 20_000
"""In one text. Reading a megabyte of them stops the loop for a fifth of a second."""

RELAY_BYTES = 2048
RELAY_DEPTH = 4


class BadJson(ValueError):
    """Not JSON, or JSON that no client could read back."""


def dumps(value: object) -> bytes:
    """Encode a value. Raises BadJson for what JSON cannot say (NaN becomes null, as in JavaScript)."""
    try:
        return orjson.dumps(value)
    except TypeError:
        try:
            return json.dumps(value, separators=(",", ":"), allow_nan=False).encode("ascii")
        except (TypeError, ValueError, RecursionError) as error:
            raise BadJson("the value cannot be written as JSON") from error


def loads(text: str | bytes) -> Any:
    """Decode JSON text. Raises BadJson, also for values nested deeper than MAX_DEPTH."""
    brackets = text.count("[") + text.count("{") if isinstance(text, str) else text.count(b"[") + text.count(b"{")
    if brackets > MAX_BRACKETS:
        raise BadJson(f"more than {MAX_BRACKETS} lists and objects")
    try:
        value = orjson.loads(text)
    except (orjson.JSONDecodeError, UnicodeEncodeError) as error:
        raise BadJson("malformed JSON") from error
    if brackets > MAX_DEPTH and depth(value, MAX_DEPTH) > MAX_DEPTH:
        raise BadJson(f"JSON nested deeper than {MAX_DEPTH} levels")
    return value


def depth(value: object, limit: int) -> int:
    """Return how deep a value is nested (a scalar is 0), or `limit` + 1 as soon as it is deeper than that."""
    level: list[object] = [value]
    deep = 0
    while True:
        below: list[object] = []
        for item in level:
            if isinstance(item, dict):
                below.extend(item.values())
                below.append(None)
            elif isinstance(item, list):
                below.extend(item)
                below.append(None)
        if not below:
            return deep
        deep += 1
        if deep > limit:
            return deep
        level = below


def relayable(value: object) -> bool:
    """Whether client data may be passed on to other clients: at most 2 KB and 4 levels, and JSON at all."""
    try:
        return depth(value, RELAY_DEPTH) <= RELAY_DEPTH and len(dumps(value)) <= RELAY_BYTES
    except BadJson:
        return False
