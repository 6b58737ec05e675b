"""The quick way for the usual token: HS256, signed with one of our secrets, written exactly as it should be.

PyJWT stays the judge. What is accepted here PyJWT accepts, with the same claims; whatever is in any way unusual is not
looked at further but left to it. It saves a tenth of what a connect cost (docs/decisions.md).
"""

import binascii
import functools
import hashlib
import hmac
import json
from collections.abc import Sequence
from typing import Any

import jwt

ALGORITHM = "HS256"
MIN_KEY_BYTES = 32
"""RFC 7518, 3.2. PyJWT warns when a shorter key is used, and shall go on doing so."""

_UNDERSTOOD = frozenset({"alg", "typ", "kid"})


class SharedSecrets:
    """Reads tokens that are signed with one of `secrets`."""

    def __init__(self, secrets: Sequence[str]) -> None:
        keys = [key for key in map(_prepared, secrets) if len(key) >= MIN_KEY_BYTES]
        self._signers = tuple(hmac.new(key, digestmod=hashlib.sha256) for key in keys)  # the key has been worked in

    def claims(self, token: str) -> dict[str, Any] | None:
        """Return the claims of a token whose signature is right, not otherwise checked; None leaves it to PyJWT."""
        signed, _, signature = token.rpartition(".")
        header, _, payload = signed.partition(".")
        if not token.isascii() or "." in payload or not _is_plain(header):
            return None
        given, message = signature.encode(), signed.encode()
        for signer in self._signers:
            signing = signer.copy()
            signing.update(message)
            expected = _base64url(signing.digest())
            if hmac.compare_digest(expected, given):  # the text, so that one signature has one spelling
                return _object(payload)
        return None


def _prepared(secret: str) -> bytes:
    """Return a key as PyJWT uses it; empty when it would not, such as a public key given by mistake."""
    try:
        return bytes(jwt.get_algorithm_by_name(ALGORITHM).prepare_key(secret))
    except jwt.InvalidKeyError:
        return b""


@functools.lru_cache(maxsize=64)
def _is_plain(header: str) -> bool:
    """Whether tokens with this header are HS256 and nothing more; all tokens of an issuer share one."""
    fields = _object(header)
    return (
        fields is not None
        and fields.get("alg") == ALGORITHM
        and fields.keys() <= _UNDERSTOOD
        and isinstance(fields.get("kid", ""), str)
    )


def _object(segment: str) -> dict[str, Any] | None:
    """Return the JSON object in a segment; None for anything else, and for what has another spelling, too."""
    text = segment.encode()
    try:
        data = binascii.a2b_base64(text.translate(_TO_BASE64) + b"=" * (-len(text) % 4), strict_mode=True)
        value = json.loads(data.decode())
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) and _base64url(data) == text else None


_TO_BASE64 = bytes.maketrans(b"-_+/", b"+/--")  # what base64url does not have stays what it does not have
_TO_BASE64URL = bytes.maketrans(b"+/", b"-_")


def _base64url(data: bytes) -> bytes:
    return binascii.b2a_base64(data, newline=False).translate(_TO_BASE64URL).rstrip(b"=")
