"""The quick way for usual tokens, against PyJWT: it accepts nothing that PyJWT would not, with the same claims."""

import base64
import hashlib
import hmac
import json
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.shared_secrets import SharedSecrets

SECRET, FORMER, STRANGER = "s" * 32, "f" * 40, "x" * 32
CLAIMS = {"id": 7, "role": "technician", "name": "Zoë", "exp": 1_900_000_000}

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def segment(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def hand_made(header: bytes, payload: bytes, key: str = SECRET) -> str:
    signed = f"{segment(header)}.{segment(payload)}"
    return f"{signed}.{segment(hmac.digest(key.encode(), signed.encode(), hashlib.sha256))}"


def judge(token: str, key: str = SECRET) -> Any:
    """Return the claims as PyJWT reads them, None when it refuses the token."""
    unchecked: Any = dict.fromkeys(
        ("verify_exp", "verify_nbf", "verify_iat", "verify_sub", "verify_jti", "verify_aud"), False
    )
    try:
        return jwt.decode(token, key, algorithms=["HS256"], options=unchecked)
    except (jwt.PyJWTError, ValueError):
        return None


@pytest.mark.parametrize("headers", [None, {"kid": "main"}, {"typ": None}], ids=["usual", "kid", "no-typ"])
def test_the_usual_token_is_read(headers: dict[str, Any] | None) -> None:
    token = jwt.encode(CLAIMS, SECRET, algorithm="HS256", headers=headers)
    assert SharedSecrets([SECRET]).claims(token) == CLAIMS


def test_a_token_of_the_former_secret_is_read_and_one_of_another_is_not() -> None:
    rotating = SharedSecrets([SECRET, FORMER])
    assert rotating.claims(jwt.encode(CLAIMS, FORMER, algorithm="HS256")) == CLAIMS
    assert rotating.claims(jwt.encode(CLAIMS, STRANGER, algorithm="HS256")) is None
    assert SharedSecrets([]).claims(jwt.encode(CLAIMS, SECRET, algorithm="HS256")) is None


@pytest.mark.parametrize("length", [1, 31])
@pytest.mark.filterwarnings("ignore::jwt.InsecureKeyLengthWarning")
def test_a_short_key_is_left_to_pyjwt_which_warns(length: int) -> None:
    token = jwt.encode(CLAIMS, "k" * length, algorithm="HS256")
    assert SharedSecrets(["k" * length]).claims(token) is None


def test_a_public_key_never_serves_as_a_shared_secret() -> None:
    key = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE\n-----END PUBLIC KEY-----\n"
    assert SharedSecrets([key]).claims(hand_made(b'{"alg":"HS256"}', b'{"id":7}', key)) is None


USUAL = hand_made(b'{"alg":"HS256","typ":"JWT"}', b'{"id":7}')
HEAD, PAYLOAD, SIGNATURE = USUAL.split(".")


@pytest.mark.parametrize(
    "token",
    [
        "",
        ".",
        "..",
        HEAD,
        f"{HEAD}.{PAYLOAD}",
        f"{HEAD}.{PAYLOAD}.",
        f"{HEAD}.{PAYLOAD}.{SIGNATURE}=",
        f"{HEAD}.{PAYLOAD}.{SIGNATURE}.",
        f"{HEAD}.{PAYLOAD}.{SIGNATURE}.{SIGNATURE}",
        f"{HEAD}.{PAYLOAD}.{SIGNATURE[:-1]}",
        f"{HEAD}.{PAYLOAD}.{SIGNATURE}\n",
        f" {USUAL}",
        f"{HEAD}.{PAYLOAD}.é",
        f"{HEAD}.{PAYLOAD}.\ud800",
        hand_made(b'{"alg":"HS512"}', b'{"id":7}'),
        hand_made(b'{"alg":"none"}', b'{"id":7}'),
        hand_made(b'{"alg":["HS256"]}', b'{"id":7}'),
        hand_made(b'{"alg":"HS256","kid":5}', b'{"id":7}'),
        hand_made(b'{"alg":"HS256","crit":["exp"]}', b'{"id":7}'),
        hand_made(b'{"alg":"HS256","b64":false}', b'{"id":7}'),
        hand_made(b"[]", b'{"id":7}'),
        hand_made(b"not json", b'{"id":7}'),
        hand_made(b'{"alg":"HS256"}', b"[]"),
        hand_made(b'{"alg":"HS256"}', b"not json"),
        hand_made(b'{"alg":"HS256"}', b"[" * 100_000),
        hand_made(b'{"alg":"HS256"}', b'{"id":' + b"9" * 5000 + b"}"),
        hand_made(b'{"alg":"HS256"}', b'{"id":"\xff"}'),
    ],
    ids=range(27),
)
def test_anything_unusual_is_left_to_pyjwt(token: str) -> None:
    assert SharedSecrets([SECRET]).claims(token) is None


@given(st.dictionaries(st.text(max_size=8), json_values, max_size=5))
def test_claims_are_those_that_pyjwt_reads(claims: dict[str, Any]) -> None:
    token = hand_made(b'{"alg":"HS256","typ":"JWT"}', json.dumps(claims).encode())
    read = SharedSecrets([SECRET]).claims(token)
    assert read is not None
    assert repr(read) == repr(judge(token))


@given(st.integers(0, len(USUAL) - 1), st.characters(codec="utf-8"))
def test_a_changed_token_is_read_only_when_pyjwt_reads_it(at: int, character: str) -> None:
    token = USUAL[:at] + character + USUAL[at + 1 :]
    read = SharedSecrets([SECRET]).claims(token)
    assert read is None or read == judge(token)


@given(st.binary(max_size=40), st.binary(max_size=40), st.sampled_from(["", "=", "==", "A", "!"]))
def test_a_signed_token_of_any_bytes_is_read_only_when_pyjwt_reads_it(header: bytes, payload: bytes, end: str) -> None:
    for head in (header, b'{"alg":"HS256"}'):
        signed = f"{segment(head)}.{segment(payload)}{end}"
        token = f"{signed}.{segment(hmac.digest(SECRET.encode(), signed.encode(), hashlib.sha256))}"
        read = SharedSecrets([SECRET]).claims(token)
        assert read is None or read == judge(token)
