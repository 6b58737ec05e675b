"""Values as text, for databases that know less than JSON or other things than JSON."""

import hashlib
import json
from typing import Any

import orjson

from realtime.errors import Code, RealtimeError

KEY_MAX = 400
"""Characters of a key that is stored as it is; longer ones are stored as their hash."""


def dumps(value: object) -> str:
    """Encode JSON. Raises INVALID_PAYLOAD for what no client can be sent (lone surrogates, NaN in a big document).

    orjson refuses integers over 64 bits and would read them back as floats. Those documents are written by `json`
    and begin with a space, which JSON allows and which tells `loads`.
    """
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        pass
    try:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise RealtimeError(Code.INVALID_PAYLOAD, "The payload is not valid JSON text") from error
    return " " + text


def loads(text: str) -> Any:
    return json.loads(text) if text.startswith(" ") else orjson.loads(text)


def key(*parts: object) -> str:
    """Return a string that stands for these JSON values and for no others. Raises INVALID_PAYLOAD."""
    text = dumps(parts)
    return text if len(text) <= KEY_MAX else f"#{hashlib.sha256(text.encode()).hexdigest()}"
