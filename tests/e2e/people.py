"""Tokens as the applications sign them."""

import itertools
import time

import jwt

from tests.support import SECRET

HOUR = 3600.0
_numbers = itertools.count(100)


def booking_user(role: str = "user", *, lifetime: float = HOUR) -> tuple[str, str]:
    """Return (id, token) of somebody new in the bookings application, whose ids are MongoDB's."""
    id = f"65f0c0ffee{next(_numbers):014x}"
    return id, sign({"userId": id, "role": role}, lifetime=lifetime)


def shop_user(role: str = "technician", name: str = "Tess", *, lifetime: float = HOUR) -> tuple[int, str]:
    """Return (id, token) of somebody new in the repair shop, whose ids are numbers."""
    id = next(_numbers)
    return id, shop_token(id, role, name, lifetime=lifetime)


def shop_token(id: int, role: str = "technician", name: str = "Tess", *, lifetime: float = HOUR) -> str:
    claims = {"id": id, "email": f"{name.lower()}@shop.example", "role": role, "name": name}
    return sign(claims, lifetime=lifetime)


def sign(claims: dict[str, object], *, lifetime: float = HOUR, secret: str = SECRET) -> str:
    now = time.time()
    return jwt.encode({"iat": int(now), "exp": now + lifetime, **claims}, secret, algorithm="HS256")
