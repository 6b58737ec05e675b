"""Users ever seen, and the memberships that follow from being one."""

# ruff: noqa: S608 - SQL is put together from constants of this package, values are bound

import sqlite3
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from realtime.models import Seen, User, user_principal, wire_id
from realtime.store import sqlite_membership as membership
from realtime.store.sqlite_rows import dumps, loads

USER = "id, wire_id, role, name, email, status, first_seen, last_seen, role_set_at"
NEW_STATUS = "offline"
NEW_ROLE = "user"


def user(db: sqlite3.Connection, id: str) -> User | None:
    row = db.execute(f"SELECT {USER} FROM user WHERE id = ?", (id,)).fetchone()
    return _user(row) if row else None


def seen_again(old: User | None, seen: Seen, *, now: float) -> User:
    """Return the user as the token leaves it; equal to `old` when there is nothing to write.

    A token without name or email does not erase what is known.
    """
    if old is None:
        return User(seen.id, seen.wire_id, seen.role, seen.name, seen.email, NEW_STATUS, now, None)
    return replace(
        old,
        wire_id=seen.wire_id,
        role=old.role if old.role_set_at > seen.issued_at else seen.role,
        name=old.name if seen.name is None else seen.name,
        email=old.email if seen.email is None else seen.email,
    )


def same(old: User | None, new: User) -> bool:
    """Whether nothing has to be written. 7, 7.0 and "7" are different ids on the wire."""
    return old == new and old is not None and type(old.wire_id) is type(new.wire_id)


def touch(db: sqlite3.Connection, seen: Seen, *, now: float) -> User:
    old = user(db, seen.id)
    new = seen_again(old, seen, now=now)
    if not same(old, new):
        _save(db, old, new)
    return new


def set_user(db: sqlite3.Connection, id: str, *, role: str | None, name: str | None, now: float) -> User:
    """Raises nothing for an unknown user: it is created with the role `user` unless one is given."""
    old = user(db, id)
    new = old or User(id, wire_id(id), NEW_ROLE, None, None, NEW_STATUS, now, None)
    if role is not None:
        new = replace(new, role=role, role_set_at=now)
    if name is not None:
        new = replace(new, name=name)
    _save(db, old, new)
    return new


def set_last_seen(db: sqlite3.Connection, seen: Mapping[str, tuple[str, float]]) -> None:
    db.executemany(
        "UPDATE user SET status = ?, last_seen = ? WHERE id = ?",
        [(status, last_seen, id) for id, (status, last_seen) in seen.items()],
    )


def roles_set(db: sqlite3.Connection) -> dict[str, tuple[str, float]]:
    found = db.execute("SELECT id, role, role_set_at FROM user WHERE role_set_at > 0")
    return {id: (role, role_set_at) for id, role, role_set_at in found}


def _save(db: sqlite3.Connection, old: User | None, new: User) -> None:
    """Write a user; the memberships follow the role."""
    db.execute(
        f"REPLACE INTO user ({USER}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            new.id, dumps(new.wire_id), new.role, new.name, new.email, new.status,
            new.first_seen, new.last_seen, new.role_set_at,
        ),
    )  # fmt: skip
    principal = user_principal(new.id)
    if old is None:
        membership.open_(db, principal, "all")
    elif old.role != new.role:
        membership.drop(db, principal, f"role:{old.role}")
    if old is None or old.role != new.role:
        membership.open_(db, principal, f"role:{new.role}")


def _user(row: tuple[Any, ...]) -> User:
    id, wire, *rest = row
    return User(id, loads(wire), *rest)
