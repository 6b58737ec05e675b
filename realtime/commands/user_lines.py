"""Files of users: one JSON object a line, with the same limits as the claims of a token."""

import functools
import re
import zoneinfo
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from realtime import wire
from realtime.auth import MAX_ID_LENGTH
from realtime.models import Seen, WireId
from rooms import names

FIELDS = {"name": 200, "role": 40, "locale": 35, "tz": 64, "email": 320}
"""Beside `id`, with the number of characters that each may have."""

LINE_BYTES = 64 * 1024
GUEST = "guest"
NEW_ROLE = "user"
_LOCALE = re.compile(r"[A-Za-z]{2,8}([-_][A-Za-z0-9]{1,8})*", re.ASCII)
_TZ = re.compile(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*", re.ASCII)


class BadLine(ValueError):
    """What is wrong with a line."""


@dataclass(slots=True)
class UserLines:
    """Reads a file: `users` are what the good lines say, `bad` are (line number, what is wrong) of the others."""

    issued_at: float
    users: list[Seen] = field(default_factory=list)
    bad: list[tuple[int, str]] = field(default_factory=list)
    _lines: dict[str, int] = field(default_factory=dict)

    def read(self, file: BinaryIO) -> None:
        for number, line in enumerate(_lines(file), 1):
            text = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
            if not text.strip():
                continue
            try:
                self.users.append(self._user(text, number))
            except BadLine as error:
                self.bad.append((number, str(error)))

    def _user(self, line: bytes, number: int) -> Seen:
        user = parse(line, issued_at=self.issued_at)
        before = self._lines.setdefault(user.id, number)
        if before != number:
            raise BadLine(f"id {user.id!r} is on line {before}, too")
        return user


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """Yield lines, of one that is too long the beginning."""
    while line := file.readline(LINE_BYTES + 1):
        yield line
        while len(line) > LINE_BYTES and not line.endswith(b"\n"):
            line = file.readline(LINE_BYTES + 1)


def parse(line: bytes, *, issued_at: float) -> Seen:
    """Return the user of one line. Raises BadLine."""
    if len(line) > LINE_BYTES:
        raise BadLine(f"is longer than {LINE_BYTES} bytes")
    try:
        given = wire.loads(line)
    except ValueError:
        raise BadLine("is not JSON") from None
    if not isinstance(given, dict):
        raise BadLine("is not a JSON object")
    unknown = sorted(given.keys() - FIELDS.keys() - {"id"})
    if unknown:
        raise BadLine(f"unknown field {unknown[0][:40]!r}; known are id, {', '.join(FIELDS)}")
    id = _id(given.get("id"))
    texts = {name: _text(name, given.get(name)) for name in FIELDS}
    role = texts["role"] or NEW_ROLE
    _check(str(id), role, locale=texts["locale"], tz=texts["tz"])
    return Seen(
        id=str(id),
        wire_id=id,
        role=role,
        name=texts["name"],
        email=texts["email"],
        issued_at=issued_at,
        locale=texts["locale"],
        tz=texts["tz"],
    )


def _id(value: object) -> WireId:
    """The JSON type stays: 7 and "7" are one user, who hears of their id as it is here."""
    if value is None:
        raise BadLine("id is missing")
    if isinstance(value, bool) or not isinstance(value, str | int) or not 1 <= len(str(value)) <= MAX_ID_LENGTH:
        raise BadLine(f"id must be a whole number or a text of 1 to {MAX_ID_LENGTH} characters")
    if isinstance(value, str) and not (value.isprintable() and value == value.strip()):
        raise BadLine("id must be printable, without spaces around it: nobody could address it")
    return value


def _text(name: str, value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise BadLine(f"{name} must be a text")
    text = value.strip()
    if len(text) > FIELDS[name]:
        raise BadLine(f"{name} has more than {FIELDS[name]} characters")
    return text or None


def _check(id: str, role: str, *, locale: str | None, tz: str | None) -> None:
    for part, build in ((id, names.user), (role, names.role)):
        try:
            names.check(build(part))
        except names.InvalidRoomName:
            raise BadLine(f"{part[:40]!r} cannot be part of the name of a room") from None
    if role == GUEST:
        raise BadLine("a guest is not a user")
    if locale is not None and not _LOCALE.fullmatch(locale):
        raise BadLine(f"locale must be like en or pt-BR, not {locale!r}")
    if tz is not None and not _is_zone(tz):
        raise BadLine(f"tz must be like Europe/Madrid, not {tz!r}")


def _is_zone(tz: str) -> bool:
    """Where the system knows no time zones, the form must do."""
    known = _zones()
    return tz in known if known else bool(_TZ.fullmatch(tz))


@functools.cache
def _zones() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones())
