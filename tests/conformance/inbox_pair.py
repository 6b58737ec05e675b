"""A store and the naive inbox, to which the same things happen; what each operation answers must agree at once."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

from realtime.models import Content, Held, MembershipChange, Notification, Principal, Retention, Seen, Stored, Target
from realtime.store.base import DEDUP_SECONDS, IDEMPOTENCY_SECONDS, Store
from tests.conformance.naive_inbox import NaiveInbox
from tests.conformance.people import ANN, BOB, CY, GUEST, HELLO

READERS = (ANN, BOB, CY, GUEST)
KEPT = Retention(max_rows=5, archived=120.5, rows=700.5, broadcasts=500.5, tombstones=200.5)
"""Short, so that a history meets all of them; the halves are never a time of this clock."""

ACTS = (
    "read", "unread", "seen", "archive", "unarchive", "snooze", "unsnooze", "delete", "mark", "mark to", "see",
    "see to", "take",
)  # fmt: skip


@dataclass
class Used:
    """What was stored under a dedup key or by a request."""

    id: int
    at: float


class Pair:
    """`make` builds stores over one database that is new; `now` is the time of both."""

    def __init__(self, make: Callable[[], Store]) -> None:
        self.make = make
        self.store = make()
        self.model = NaiveInbox(READERS, KEPT)
        self.now = 1000.0
        self.went_back = False
        self.drafts: dict[int, tuple[Target, Content]] = {}
        self.keys: dict[tuple[str, str, str], Used] = {}
        self.roles: dict[str, tuple[str, float]] = {}

    async def start(self) -> None:
        """Open the store. Ann and Bob are users, everybody is in a room, the guest hears what guests hear."""
        await self.store.open()
        for reader in (ANN, BOB):
            await self.touch(reader.removeprefix("user:"), "user", issued_at=0.0)
        for reader, key in [*((reader, "room:a") for reader in READERS), (GUEST, "guests")]:
            await self.membership(reader, key, "open")
        for target in (*(Target(recipient=reader) for reader in READERS), Target(audience="room:a")):
            await self.add(target, HELLO)

    async def restart(self) -> None:
        await self.store.close()
        self.store = self.make()
        await self.store.open()

    async def sweep(self) -> None:
        assert all((await self.store.sweep(now=self.now)).values())
        self.model.sweep(self.now)
        lifetime = {"dedup_key": DEDUP_SECONDS, "request": IDEMPOTENCY_SECONDS}
        self.keys = {key: used for key, used in self.keys.items() if used.at + lifetime[key[0]] > self.now}

    def set_clock_back(self, seconds: float) -> None:
        self.now = max(self.now - seconds, self.model.lowest)
        self.went_back = True

    def told(self, rows: Any) -> list[Notification]:
        """Return rows without what nobody promises: since a clock was set back, when a broadcast was first seen.

        Rows of a client come in any order.
        """
        found = rows if isinstance(rows, list) else sorted(rows, key=lambda row: row.id)
        if not self.went_back:
            return found
        return [replace(row, seen_at=0.0) if row.target.audience and row.seen_at is not None else row for row in found]

    def _would_vanish(self, target: Target) -> bool:
        """Whether a new row is the oldest of too many, as the clock was set back."""
        rows = self.model.direct(target.recipient) if target.recipient else []
        return len(rows) >= KEPT.max_rows and min(row.created_at for row in rows) >= self.now

    async def add(self, target: Target, content: Content) -> None:
        if not self._would_vanish(target):
            (stored,) = await self.store.add([target], content, sender=None, now=self.now)
            assert stored == Stored(self.model.add(stored.notification.id, target, content, self.now))

    async def add_taken(self, target: Target, content: Content) -> None:
        if self._would_vanish(target):
            return
        id = await self.store.take_id()
        (stored,) = await self.store.add([target], content, sender=None, now=self.now, id=id)
        assert stored == Stored(self.model.add(id, target, content, self.now, keeps_id=True))
        (again,) = await self.store.add([target], HELLO, sender=None, now=self.now, id=id)
        assert again == replace(stored, duplicate=True)

    def _used(self, kind: str, target: Target, key: str) -> int | None:
        """Return the id that was stored under a key for a target, and is remembered."""
        found = self.keys.get((kind, target.recipient or target.audience or "", key))
        lifetime = DEDUP_SECONDS if kind == "dedup_key" else IDEMPOTENCY_SECONDS
        return found.id if found and found.at + lifetime > self.now else None

    async def add_again(self, target: Target, content: Content, kind: str, key: str) -> None:
        if self._would_vanish(target):
            return
        used = self._used(kind, target, key)
        more: dict[str, Any] = {kind: key}
        (stored,) = await self.store.add([target], content, sender=None, now=self.now, **more)
        if used is not None:
            found = (stored.notification.id, stored.duplicate, stored.repeated)
            assert found == (used, True, kind == "request")
            return
        id = stored.notification.id
        assert stored == Stored(self.model.add(id, target, content, self.now))
        self.keys[kind, target.recipient or target.audience or "", key] = Used(id, self.now)

    async def draft(self, target: Target, content: Content, kind: str, key: str) -> None:
        used = self._used(kind, target, key) if key else None
        more: dict[str, Any] = {kind: key} if key else {}
        (held,) = await self.store.add_drafts([target], content, sender=None, run_at=self.now, now=self.now, **more)
        id = held.draft.id if isinstance(held, Held) else held.notification.id
        if used is not None:
            assert (id, held.duplicate, held.repeated) == (used, True, kind == "request")
            assert isinstance(held, Held) == (id in self.drafts)
            return
        assert isinstance(held, Held)
        assert (held.duplicate, held.repeated, held.draft.target, held.draft.content) == (False, False, target, content)
        self.drafts[id] = (target, content)
        if key:
            self.keys[kind, target.recipient or target.audience or "", key] = Used(id, self.now)

    async def end_draft(self, id: int, publish: bool) -> None:
        target, content = self.drafts[id]
        if publish and self._would_vanish(target):
            return
        del self.drafts[id]
        if publish:
            stored = await self.store.publish_draft(id, now=self.now)
            assert stored == Stored(self.model.add(id, target, content, self.now, keeps_id=True))
        else:
            assert await self.store.cancel_draft(id)
            self.keys = {key: used for key, used in self.keys.items() if used.id != id}

    async def retract(self, n: int) -> None:
        ids = [id for id, row in self.model.log.items() if (row.content.expires_at or self.now + 1) > self.now]
        if not ids:
            return
        id = ids[-1 - n % len(ids)]
        row = await self.store.retract(id, now=self.now)
        assert row == self.model.log[id]
        assert await self.store.retract(id, now=self.now) is None
        self.model.retract(id)

    async def act(self, reader: Principal, act: str, n: int, later: int = 10) -> None:
        """Do one thing to the n-th newest row that the reader can see, or to one that they cannot."""
        mine = [row.id for row in self.model.visible(reader, self.now)]
        id = mine[n] if n < len(mine) else (mine[0] if mine and n < 18 else 999_999)
        store, model, now, until = self.store, self.model, self.now, self.now + later
        row: Notification | None = None
        shown: dict[str, Callable[[], tuple[Awaitable[Notification | None], bool]]] = {
            "read": lambda: (store.set_read(reader, id, True, now=now), model.set_read(reader, id, True, now)),
            "unread": lambda: (store.set_read(reader, id, False, now=now), model.set_read(reader, id, False, now)),
            "seen": lambda: (store.set_seen(reader, id, now=now), model.set_seen(reader, id, now)),
            "archive": lambda: (
                store.set_archived(reader, id, True, now=now),
                model.set_archived(reader, id, True, now),
            ),
            "unarchive": lambda: (
                store.set_archived(reader, id, False, now=now),
                model.set_archived(reader, id, False, now),
            ),
            "snooze": lambda: (store.snooze(reader, id, until, now=now), model.snooze(reader, id, until, now)),
            "unsnooze": lambda: (store.snooze(reader, id, None, now=now), model.snooze(reader, id, None, now)),
        }
        counted: dict[str, Callable[[], tuple[Awaitable[object], object]]] = {
            "delete": lambda: (store.delete_notification(reader, id, now=now), model.delete(reader, id, now)),
            "mark": lambda: (store.mark_all_read(reader, up_to=None, now=now), model.mark_all_read(reader, None, now)),
            "mark to": lambda: (store.mark_all_read(reader, up_to=id, now=now), model.mark_all_read(reader, id, now)),
            "see": lambda: (store.mark_all_seen(reader, up_to=None, now=now), model.mark_all_seen(reader, None, now)),
            "see to": lambda: (store.mark_all_seen(reader, up_to=id, now=now), model.mark_all_seen(reader, id, now)),
        }
        if act == "take":
            model.set_delivered(reader, mine[n:], now)
            await store.set_delivered(reader, mine[n:], now=now)
            return
        if act in counted:
            work, expected = counted[act]()
            assert await work == expected
            return
        changing, there = shown[act]()
        row = await changing
        expected_row = self.model.one(reader, id, now)
        assert there == (expected_row is not None)
        assert self.told([row] if row else []) == self.told([expected_row] if expected_row else [])

    async def membership(self, reader: Principal, key: str, how: str) -> None:
        before = [row.id for row in self.model.visible(reader, self.now)]
        if how == "open":
            late = await self.store.open_membership(reader, key, now=self.now)
            self.model.members.add((reader, key))
            assert late or before == [row.id for row in self.model.visible(reader, self.now)]
        elif how == "close":
            await self.store.close_membership(reader, key, now=self.now)
            self.model.members.discard((reader, key))
        else:
            await self.store.drop_membership(reader, key)
            self.model.drop(reader, key)

    async def memberships_and_add(self, wanted: list[tuple[Principal, str, bool]], target: Target) -> None:
        before = {reader: self.model.visible(reader, self.now) for reader in READERS}
        changes = [MembershipChange(reader, key, open=opens) for reader, key, opens in wanted]
        changing = self.store.change_memberships(changes, now=self.now)
        for reader, key, opens in wanted:
            (self.model.members.add if opens else self.model.members.discard)((reader, key))
        late = {reader for reader in READERS if self.model.visible(reader, self.now) != before[reader]}
        await self.add(target, HELLO)
        assert late <= await changing
        assert await self.store.audience_size(target, limit=2) == (
            len(self.model.audience(target)),
            self.model.audience(target)[:2],
        )

    async def touch(self, id: str, role: str, *, issued_at: float) -> None:
        user = await self.store.touch_user(Seen(id, int(id), role, None, None, issued_at), now=self.now)
        old, set_at = self.roles.get(id, (None, 0.0))
        kept = role if old is None or set_at <= issued_at else old
        assert user.role == kept
        self._holds(id, old, kept)
        self.roles[id] = (kept, set_at)

    async def set_role(self, id: str, role: str) -> None:
        assert (await self.store.set_user(id, role=role, name=None, now=self.now)).role == role
        self._holds(id, self.roles.get(id, (None, 0.0))[0], role)
        self.roles[id] = (role, self.now)

    def _holds(self, id: str, old: str | None, role: str) -> None:
        reader = f"user:{id}"
        if old is not None and old != role:
            self.model.drop(reader, f"role:{old}")
        self.model.members |= {(reader, "all"), (reader, f"role:{role}")}
