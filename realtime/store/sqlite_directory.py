"""Users ever seen, and the memberships that follow from being one."""

# ruff: noqa: S608 - SQL is put together from constants of this package, values are bound

import itertools
import sqlite3
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from realtime.models import MembershipChange, Seen, User, user_principal
from realtime.store import sqlite_membership as membership
from realtime.store.sqlite_crowds import padded, rows
from realtime.store.sqlite_rows import dumps, loads
from realtime.store.users import as_given, same, seen_again

USER = "id, wire_id, role, name, email, status, first_seen, last_seen, role_set_at, locale, tz"
PIECE = 1000
"""Users written by one statement of an import: eleven values each, and SQLite binds 32,766 at most."""


def user(db: sqlite3.Connection, id: str) -> User | None:
    row = db.execute(f"SELECT {USER} FROM user WHERE id = ?", (id,)).fetchone()
    return _user(row) if row else None


def users(db: sqlite3.Connection, ids: Collection[str]) -> list[User]:
    """Return those that are known, in no order. At most 16,384 ids, as a statement of SQLite is sure to take."""
    known = db.execute(f"SELECT {USER} FROM user WHERE id IN (VALUES {rows(1, len(ids))})", padded(ids, 1, len(ids)))
    return [_user(row) for row in known]


def touch(db: sqlite3.Connection, tokens: Sequence[tuple[Seen, float]]) -> list[User]:
    """Record tokens, each with the time at which it came, in order. Returns the users as each token left them."""
    before = {old.id: old for old in users(db, [seen.id for seen, _ in tokens])}
    after: dict[str, User] = {}
    touched = []
    for seen, now in tokens:
        after[seen.id] = seen_again(after.get(seen.id, before.get(seen.id)), seen, now=now)
        touched.append(after[seen.id])
    changed = [(before.get(id), new) for id, new in after.items() if not same(before.get(id), new)]
    _save(db, changed)
    return touched


def import_users(
    db: sqlite3.Connection, seen: Sequence[Seen], audiences: Mapping[str, Sequence[str]], *, now: float
) -> tuple[int, int]:
    """Record many users; returns (new ones, changed ones). `audiences` are further memberships of roles."""
    new: set[str] = set()
    changed: set[str] = set()
    for start in range(0, len(seen), PIECE):
        some = seen[start : start + PIECE]
        before = {old.id: old for old in users(db, [one.id for one in some])}
        after: dict[str, User] = {}
        for one in some:
            after[one.id] = seen_again(after.get(one.id, before.get(one.id)), one, now=now)
        different = [(before.get(id), user) for id, user in after.items() if not same(before.get(id), user)]
        _save(db, different)
        _follow_roles(db, [(before.get(id), user) for id, user in after.items()], audiences)
        new |= {user.id for old, user in different if old is None}
        changed |= {user.id for old, user in different if old is not None}
    return len(new), len(changed - new)


def _follow_roles(
    db: sqlite3.Connection, users: Sequence[tuple[User | None, User]], audiences: Mapping[str, Sequence[str]]
) -> None:
    """Who has a role holds its audiences, who had it and has not does not."""
    opened = []
    for old, new in users:
        principal, held = user_principal(new.id), audiences.get(new.role, ())
        opened += [MembershipChange(principal, audience, open=True) for audience in held]
        if old is not None and old.role != new.role:
            for audience in audiences.get(old.role, ()):
                if audience not in held:
                    membership.drop(db, principal, audience)
    if opened:
        membership.change(db, [opened])


def set_user(db: sqlite3.Connection, id: str, *, role: str | None, name: str | None, now: float) -> User:
    """Raises nothing for an unknown user: it is created with the role `user` unless one is given."""
    old = user(db, id)
    new = as_given(old, id, role=role, name=name, now=now)
    _save(db, [(old, new)])
    return new


def set_last_seen(db: sqlite3.Connection, seen: Mapping[str, tuple[str, float]]) -> None:
    db.executemany(
        "UPDATE user SET status = ?, last_seen = ? WHERE id = ?",
        [(status, last_seen, id) for id, (status, last_seen) in seen.items()],
    )


def roles_set(db: sqlite3.Connection) -> dict[str, tuple[str, float]]:
    found = db.execute("SELECT id, role, role_set_at FROM user WHERE role_set_at > 0")
    return {id: (role, role_set_at) for id, role, role_set_at in found}


def _save(db: sqlite3.Connection, changed: Sequence[tuple[User | None, User]]) -> None:
    """Write users, at most PIECE of them; the memberships follow the roles."""
    if not changed:
        return
    columns = [_columns(new) for _, new in changed]
    width = len(columns[0])
    db.execute(
        f"REPLACE INTO user ({USER}) VALUES {rows(width, len(columns))}",
        padded(itertools.chain.from_iterable(columns), width, len(columns), filler=columns[-1]),
    )
    opened = []
    for old, new in changed:
        principal = user_principal(new.id)
        if old is None:
            opened.append(MembershipChange(principal, "all", open=True))
        elif old.role != new.role:
            membership.drop(db, principal, f"role:{old.role}")
        if old is None or old.role != new.role:
            opened.append(MembershipChange(principal, f"role:{new.role}", open=True))
    membership.change(db, [opened])


def _columns(user: User) -> tuple[object, ...]:
    return (
        user.id, dumps(user.wire_id), user.role, user.name, user.email, user.status,
        user.first_seen, user.last_seen, user.role_set_at, user.locale, user.tz,
    )  # fmt: skip


def _user(row: tuple[Any, ...]) -> User:
    id, wire, *rest = row
    return User(id, loads(wire), *rest)
