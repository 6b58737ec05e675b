"""Who is calling: find the token, verify it, and turn its claims into one `Identity` (docs/contract.md, "Identity").

The principal follows the token on every transport: a guest's token makes a guest, whatever path it uses.
"""

import asyncio
import functools
import hashlib
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, Protocol

import jwt

from realtime.clock import Clock
from realtime.errors import Code, RealtimeError
from realtime.models import Principal, WireId, guest_principal, user_principal
from realtime.shared_secrets import ALGORITHM, SharedSecrets
from rooms import names

MAX_TOKEN_LENGTH = 8192
MAX_ID_LENGTH = 100
CLOCK_SKEW = 5.0
"""Seconds that an issuer's clock may be ahead of ours, even without leeway."""
MAX_LIFETIME = 10 * 365.25 * 86400
ID_CLAIMS = ("userId", "sub", "id", "user_id", "guestId", "_id")
COOKIES = ("token", "accessToken", "access_token")
JWKS_SECONDS = 600.0
JWKS_RETRY_SECONDS = 30.0
_NO_GRANTS: frozenset[str] = frozenset()

Source = Literal["auth", "query", "header", "cookie"]


@dataclass(frozen=True, slots=True)
class Identity:
    """An authenticated principal.

    `wire_id` has the JSON type of the token's claim. `expires_at` already includes the leeway; None means never.
    `grants` is the `rooms` claim.
    """

    id: str
    wire_id: WireId
    guest: bool
    role: str
    name: str | None
    email: str | None
    grants: frozenset[str]
    issued_at: float
    expires_at: float | None

    @property
    def principal(self) -> Principal:
        return guest_principal(self.id) if self.guest else user_principal(self.id)

    @property
    def display_name(self) -> str:
        return self.name or self.email or self.id


@dataclass(frozen=True, slots=True)
class Credential:
    """A token as it was presented, not verified."""

    token: str
    source: Source


def find_credential(
    *,
    auth: object = None,
    query: Mapping[str, str],
    headers: Mapping[str, str],
    cookies: Mapping[str, str],
) -> Credential | None:
    """Return the first credential present, in the order auth, query, header, cookie.

    The first present one counts even when it is invalid. Pass an empty mapping for a place not to be looked at.
    """
    presented = presented_credential(auth)
    if presented is not None:
        return presented
    if query.get("token"):
        return Credential(_bare(query["token"]), "query")
    header = headers.get("Authorization", "").strip()
    if header and (header.lower().startswith("bearer ") or " " not in header):
        return Credential(_bare(header), "header")
    for name in COOKIES:
        if cookies.get(name):
            return Credential(_bare(cookies[name]), "cookie")
    return None


def presented_credential(auth: object) -> Credential | None:
    """Return the credential in a CONNECT's own auth object, where one is looked for first."""
    if isinstance(auth, dict) and auth.get("token") not in (None, ""):
        return Credential(_bare(str(auth["token"])), "auth")
    return None


def _bare(token: str) -> str:
    token = token.strip()
    return token[7:].strip() if token[:7].lower() == "bearer " else token


def require_same_user(identity: Identity, *claimed: object) -> None:
    """Refuse ids given beside the token that the token does not name. Raises USER_MISMATCH."""
    for value in claimed:
        if value is not None and value != "" and str(value) != identity.id:
            raise RealtimeError(Code.USER_MISMATCH, "Authentication error: The token belongs to another user")


RECENT_SECONDS = 30.0
RECENT_TOKENS = 1000


class KeySource(Protocol):
    """Where asymmetric keys come from."""

    async def fetch(self) -> dict[str, Any]:
        """Return a JWK set, ``{"keys": [...]}``. Raises any exception when it cannot be had."""
        ...


class KeySet:
    """The keys of a JWKS URL: cached, fetched once for all who wait, at most once in 30 s for unknown ids."""

    def __init__(self, source: KeySource, clock: Clock) -> None:
        self._source = source
        self._clock = clock
        self._keys: list[dict[str, Any]] = []
        self._fetched_at = -math.inf
        self._tried_at = -math.inf
        self._lock = asyncio.Lock()

    async def candidates(self, algorithm: str, kid: str | None) -> list[jwt.PyJWK]:
        """Return the keys that may verify a token with this header. Raises UNAVAILABLE without any key set."""
        if self._clock() - self._fetched_at > JWKS_SECONDS or not self._match(algorithm, kid):
            await self._refresh()
        if self._fetched_at == -math.inf:
            raise RealtimeError(Code.UNAVAILABLE, "Authentication keys are not available, try again later")
        return self._match(algorithm, kid)

    async def _refresh(self) -> None:
        asked_at = self._clock()
        async with self._lock:
            if self._tried_at >= asked_at or self._clock() - self._tried_at < JWKS_RETRY_SECONDS:
                return
            self._tried_at = self._clock()
            try:
                document = await self._source.fetch()
                keys = document["keys"]
                if not isinstance(keys, list):
                    raise TypeError("keys is not a list")
            except asyncio.CancelledError:
                self._tried_at = -math.inf
                raise
            except Exception:  # noqa: BLE001  any failure of the network or of the document means: keep what we have
                return
            self._keys = [key for key in keys if isinstance(key, dict)]
            self._fetched_at = self._clock()

    def _match(self, algorithm: str, kid: str | None) -> list[jwt.PyJWK]:
        found = []
        for key in self._keys:
            if key.get("use", "sig") != "sig" or key.get("alg", algorithm) != algorithm:
                continue
            if key.get("kty") != _KEY_TYPE.get(algorithm[:2]) or (kid is not None and key.get("kid") != kid):
                continue
            try:
                found.append(jwt.PyJWK(key, algorithm=algorithm))
            except jwt.PyJWTError:
                continue
        return found


_KEY_TYPE = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}


class TokenVerifier:
    """Verifies JWTs. `secrets` are the current and the previous HS256 key; `keys` serves asymmetric algorithms."""

    def __init__(
        self,
        *,
        secrets: Sequence[str],
        algorithms: Sequence[str],
        clock: Clock,
        keys: KeySet | None = None,
        audience: str | None = None,
        issuer: str | None = None,
        leeway: float = 30.0,
        require_exp: bool = True,
    ) -> None:
        self._secrets = tuple(secrets)
        self._algorithms = frozenset(algorithms)
        plain = ALGORITHM in self._algorithms and audience is None and issuer is None
        self._shared = SharedSecrets(self._secrets if plain else ())
        self._clock = clock
        self._keys = keys
        self._audience = audience
        self._issuer = issuer
        self._leeway = leeway
        self._require_exp = require_exp

    async def verify(self, token: str) -> Identity:
        """Return whom a token names.

        Raises AUTH_INVALID, TOKEN_EXPIRED, or UNAVAILABLE when the signing keys cannot be fetched. The text is
        the same for every kind of invalid token: it tells an attacker nothing.
        """
        claims = await self._claims(token)
        self._check_times(claims)
        return self._identity(claims)

    async def _claims(self, token: str) -> dict[str, Any]:
        if not token or len(token) > MAX_TOKEN_LENGTH:
            raise _invalid()
        claims = self._shared.claims(token)
        if claims is not None:
            return claims
        try:
            header = _header(token.partition(".")[0])
        except (jwt.PyJWTError, ValueError) as error:
            raise _invalid() from error
        algorithm = header.get("alg")
        if not isinstance(algorithm, str) or algorithm not in self._algorithms:
            raise _invalid()
        for key in await self._candidates(algorithm, header.get("kid")):
            try:
                return self._decode(token, key, algorithm)
            except (jwt.InvalidSignatureError, jwt.InvalidKeyError):
                continue
            except (jwt.PyJWTError, ValueError) as error:
                raise _invalid() from error
        raise _invalid()

    async def _candidates(self, algorithm: str, kid: object) -> Sequence[jwt.PyJWK | str]:
        """The key family is chosen by the algorithm, so a public key can never serve as a shared secret."""
        if algorithm.startswith("HS"):
            return self._secrets
        if self._keys is None:
            return ()
        return await self._keys.candidates(algorithm, kid if isinstance(kid, str) else None)

    def _decode(self, token: str, key: jwt.PyJWK | str, algorithm: str) -> dict[str, Any]:
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            audience=self._audience,
            issuer=self._issuer,
            options={
                # Times are checked against our own clock; integer `sub` and `jti` are what the applications send.
                "verify_exp": False,
                "verify_nbf": False,
                "verify_iat": False,
                "verify_sub": False,
                "verify_jti": False,
                "verify_aud": self._audience is not None,
                "verify_iss": self._issuer is not None,
            },
        )
        return claims

    def _check_times(self, claims: dict[str, Any]) -> None:
        now = self._clock()
        exp = _seconds(claims.get("exp"))
        if exp is None:
            if self._require_exp or claims.get("exp") is not None:
                raise _invalid()
        elif exp - now > MAX_LIFETIME:
            raise _invalid()
        elif exp + self._leeway <= now:
            raise RealtimeError(Code.TOKEN_EXPIRED, "Authentication error: Token expired")
        for name in ("nbf", "iat"):
            value = _seconds(claims.get(name))
            if claims.get(name) is not None and (value is None or value - max(self._leeway, CLOCK_SKEW) > now):
                raise _invalid()

    def _identity(self, claims: dict[str, Any]) -> Identity:
        wire_id = next((claims[name] for name in ID_CLAIMS if claims.get(name) not in (None, "")), None)
        if isinstance(wire_id, bool) or not isinstance(wire_id, str | int):
            raise _invalid()
        id = str(wire_id)
        role = sys.intern(_text(claims.get("role"), 40) or "user")
        if len(id) > MAX_ID_LENGTH or _mended(id) != id or not _fit_rooms(id, role):
            raise _invalid()
        guest = claims.get("type") == "guest" or claims.get("role") == "guest" or claims.get("guestId") is not None
        exp = _seconds(claims.get("exp"))
        grants = claims.get("rooms")
        return Identity(
            id=id,
            wire_id=wire_id,
            guest=guest,
            role="guest" if guest else role,
            name=_text(claims.get("name"), 200),
            email=_text(claims.get("email"), 320),
            grants=frozenset(g for g in grants if isinstance(g, str)) if isinstance(grants, list) else _NO_GRANTS,
            issued_at=_seconds(claims.get("iat")) or 0.0,
            expires_at=None if exp is None else exp + self._leeway,
        )


class RecentTokens:
    """Whom tokens name that were verified within RECENT_SECONDS: a backend sends the same one with every request.

    Only digests are kept, RECENT_TOKENS of them. A token is verified anew when it has expired, when the clock was
    set back, and after RECENT_SECONDS, so that a key that is taken out of a key set ends its tokens.
    """

    def __init__(self, verifier: TokenVerifier, clock: Clock) -> None:
        self._verifier = verifier
        self._clock = clock
        self._known: dict[bytes, tuple[float, Identity]] = {}

    async def verify(self, token: str) -> Identity:
        """As `TokenVerifier.verify`."""
        if len(token) > MAX_TOKEN_LENGTH:
            return await self._verifier.verify(token)
        digest = hashlib.blake2b(token.encode("utf-8", "surrogatepass")).digest()
        now = self._clock()
        verified_at, identity = self._known.get(digest, (math.inf, None))
        if identity is not None and verified_at <= now < min(
            verified_at + RECENT_SECONDS, identity.expires_at or math.inf
        ):
            return identity
        identity = await self._verifier.verify(token)
        self._known.pop(digest, None)
        self._known[digest] = now, identity
        self._forget(now)
        return identity

    def _forget(self, now: float) -> None:
        """Drop the oldest that are of no use any more, or too many."""
        while True:
            digest, (verified_at, _) = next(iter(self._known.items()))
            if len(self._known) <= RECENT_TOKENS and verified_at <= now < verified_at + RECENT_SECONDS:
                return
            del self._known[digest]


@functools.lru_cache(maxsize=64)
def _header(segment: str) -> Mapping[str, Any]:
    """Return the header of tokens that begin with `segment`, unverified: all tokens of an issuer share one.

    It only chooses the key; PyJWT reads and checks it again, with the signature. Raises PyJWTError, ValueError.
    """
    return MappingProxyType(jwt.get_unverified_header(f"{segment}.."))


def _invalid() -> RealtimeError:
    return RealtimeError(Code.AUTH_INVALID, "Authentication error: Invalid token")


def _seconds(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        seconds = float(value)
    except OverflowError:
        return math.inf
    return seconds if not math.isnan(seconds) else None


def _text(value: object, limit: int) -> str | None:
    return _mended(value.strip()[:limit]) or None if isinstance(value, str) else None


def _fit_rooms(id: str, role: str) -> bool:
    """Whether an id and a role can be parts of room names."""
    try:
        names.check(names.user(id))
        names.check(names.role(role))
    except names.InvalidRoomName:
        return False
    return True


def _mended(text: str) -> str:
    """Replace halves of characters, which JavaScript leaves when it cuts a text and no database can store."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def mint(
    secret: str,
    *,
    user_id: WireId,
    now: float,
    lifetime: float,
    role: str | None = None,
    name: str | None = None,
    email: str | None = None,
    guest: bool = False,
) -> str:
    """Sign one HS256 token, valid for `lifetime` seconds. The id keeps its JSON type in the claim `id`."""
    claims: dict[str, Any] = {"id": user_id, "iat": int(now), "exp": int(now + lifetime)}
    if guest:
        claims |= {"type": "guest", "role": "guest"}
    elif role:
        claims["role"] = role
    claims |= {key: value for key, value in (("name", name), ("email", email)) if value}
    return jwt.encode(claims, secret, algorithm="HS256")
