"""Names under which something was stored, so that it is not stored again: dedup keys, and requests."""

import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from realtime.models import Principal, Target
from realtime.store.base import DEDUP_SECONDS, IDEMPOTENCY_SECONDS


@dataclass(frozen=True, slots=True)
class Keys:
    """What one row for one target is remembered by: (target, key) pairs of the table `dedup`."""

    dedup: tuple[str, str] | None = None
    request: tuple[str, str] | None = None


NONE = Keys()


@dataclass(frozen=True, slots=True)
class Used:
    """What was stored under a key, when, and whether the key was that of the very same request."""

    id: int
    at: float
    repeated: bool


def named(
    targets: Sequence[Target], dedup_key: str | None, request: str | None, *, sender: Principal | None
) -> Iterator[tuple[Target, Keys]]:
    """Yield each target with its keys. A request may name a target twice and means two rows.

    A dedup key is that of its sender. The zero byte keeps requests apart from dedup keys.
    """
    if dedup_key is None and request is None:
        yield from ((target, NONE) for target in targets)
        return
    turns: Counter[str] = Counter()
    for target in targets:
        name = f"to {target.recipient}" if target.audience is None else f"at {target.audience}"
        dedup = None if dedup_key is None else (name, by(sender) + dedup_key)
        asked = None if request is None else (name, f"\0{turns[name]} {request}")
        turns[name] += 1
        yield target, Keys(dedup, asked)


def by(sender: Principal | None) -> str:
    """Return what the dedup keys of a sender begin with, and of nobody else: its length says where it ends."""
    return f"by {len(sender or '')} {sender or ''} "


def used(db: sqlite3.Connection, keys: Keys, *, now: float) -> Used | None:
    """A request comes before a dedup key."""
    for key in (keys.request, keys.dedup):
        if key is None:
            continue
        found = db.execute(
            "SELECT id, created_at FROM dedup WHERE target = ? AND key = ? AND expires_at > ?", (*key, now)
        ).fetchone()
        if found is not None:
            id, at = found
            return Used(id, at, repeated=key == keys.request)
    return None


def remember(db: sqlite3.Connection, keys: Keys, id: int, *, now: float) -> None:
    for key, lifetime in ((keys.dedup, DEDUP_SECONDS), (keys.request, IDEMPOTENCY_SECONDS)):
        if key is not None:
            db.execute("REPLACE INTO dedup VALUES (?, ?, ?, ?, ?)", (*key, id, now, now + lifetime))


def forget(db: sqlite3.Connection, id: int) -> None:
    """Free the keys under which something was stored that will never be anything."""
    db.execute("DELETE FROM dedup WHERE id = ?", (id,))
