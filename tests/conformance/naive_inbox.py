"""The inbox as the simplest thing that could be right: one row per reader, made when a broadcast is published.

It needs to know all readers from the start: somebody who comes late has their row of a `late_join` broadcast, too.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from realtime.models import Content, Counts, Notification, Principal, Retention, Shelf, Target

Key = tuple[Principal, int]


@dataclass
class NaiveInbox:
    """`rows` has what each reader received; `came` numbers the rows in the order in which they came into being."""

    readers: tuple[Principal, ...]
    retention: Retention = field(default_factory=Retention)
    rows: dict[Key, Notification] = field(default_factory=dict)
    came: dict[int, int] = field(default_factory=dict)
    log: dict[int, Notification] = field(default_factory=dict)
    members: set[tuple[Principal, str]] = field(default_factory=set)
    received: set[Key] = field(default_factory=set)
    taken: set[Key] = field(default_factory=set)
    lowest: float = 0.0
    """Before that time the model knows nothing: an expired row that a mark-all passed would be there again."""

    def add(self, id: int, target: Target, content: Content, now: float, *, keeps_id: bool = False) -> Notification:
        """Store a row under `id`, or without `keeps_id` under that of the unread row of its group."""
        row = Notification(id, target, content.counted(1), None, now, now)
        if target.audience is not None:
            self._publish(row, target.audience)
        else:
            row = self._direct(row, content, now, keeps_id=keeps_id)
        self.came[row.id] = self.newest() + 1
        return row

    def _publish(self, row: Notification, audience: str) -> None:
        self.log[row.id] = row
        for reader in self.readers:
            if reader in row.target.excluded:
                continue
            if (reader, audience) in self.members:
                self.received.add((reader, row.id))
            if row.target.late_join or (reader, audience) in self.members:
                self.rows[reader, row.id] = row

    def _direct(self, row: Notification, content: Content, now: float, *, keeps_id: bool) -> Notification:
        reader = row.target.recipient or ""
        unread = [old for old in self.visible(reader, now) if not old.read and old.target.recipient]
        same = [old for old in unread if content.group_key and old.content.group_key == content.group_key]
        if same:
            old, count = same[0], same[0].group_count + 1
            self._forget((reader, old.id))
            row = replace(row, id=row.id if keeps_id else old.id, content=content.counted(count), group_count=count)
        self.rows[reader, row.id] = row
        self._limit(reader)
        return row

    def _limit(self, reader: Principal) -> None:
        mine = sorted(self.direct(reader), key=_place)
        for row in mine[: max(0, len(mine) - self.retention.max_rows)]:
            self._forget((reader, row.id))

    def direct(self, reader: Principal) -> list[Notification]:
        """Return the direct rows that are stored, in any order."""
        return [row for (owner, _), row in self.rows.items() if owner == reader and row.target.recipient]

    def visible(self, reader: Principal, now: float) -> list[Notification]:
        """Return what the reader can see on any shelf, newest first."""
        found = [row for row in self._held(reader) if _alive(row, now)]
        return sorted(found, key=_place, reverse=True)

    def on(self, shelf: Shelf, reader: Principal, now: float) -> list[Notification]:
        return [row for row in self.visible(reader, now) if shelf_of(row, now) == shelf]

    def one(self, reader: Principal, id: int, now: float) -> Notification | None:
        return next((row for row in self.visible(reader, now) if row.id == id), None)

    def counts(self, reader: Principal, now: float, revision: int) -> Counts:
        rows = self.on("inbox", reader, now)
        categories = [row.category for row in rows if not row.read]
        unseen = sum(row.seen_at is None for row in rows)
        return Counts(len(categories), unseen, {one: categories.count(one) for one in set(categories)}, revision)

    def set_read(self, reader: Principal, id: int, read: bool, now: float) -> bool:
        return self._change(reader, id, now, lambda row: row if row.read == read else row.marked(now if read else None))

    def set_seen(self, reader: Principal, id: int, now: float) -> bool:
        return self._change(reader, id, now, lambda row: row if row.seen_at is not None else replace(row, seen_at=now))

    def set_archived(self, reader: Principal, id: int, archived: bool, now: float) -> bool:
        def change(row: Notification) -> Notification:
            if archived == (row.archived_at is not None):
                return row
            until = None if archived else row.snoozed_until
            return replace(row, archived_at=now if archived else None, snoozed_until=until)

        return self._change(reader, id, now, change)

    def snooze(self, reader: Principal, id: int, until: float | None, now: float) -> bool:
        def change(row: Notification) -> Notification:
            if until is None:
                return replace(row, snoozed_until=None)
            return replace(row, snoozed_until=until, read_at=None, archived_at=None)

        return self._change(reader, id, now, change)

    def mark_all_read(self, reader: Principal, up_to: int | None, now: float) -> int:
        unread = [row for row in self._due(reader, up_to, now) if not row.read]
        for row in unread:
            self.rows[reader, row.id] = row.marked(now)
        return len(unread)

    def mark_all_seen(self, reader: Principal, up_to: int | None, now: float) -> int:
        unseen = [row for row in self._due(reader, up_to, now) if row.seen_at is None]
        for row in unseen:
            self.rows[reader, row.id] = replace(row, seen_at=now)
        return len(unseen)

    def delete(self, reader: Principal, id: int, now: float) -> bool:
        seen = self.one(reader, id, now) is not None
        if seen:
            self._forget((reader, id))
        return seen

    def retract(self, id: int) -> None:
        self.log.pop(id, None)
        for reader in self.readers:
            self._forget((reader, id))

    def undelivered(self, reader: Principal, now: float) -> list[Notification]:
        rows = self.on("inbox", reader, now)
        return [row for row in rows if not row.read and (reader, row.id) not in self.taken][::-1]

    def set_delivered(self, reader: Principal, ids: Iterable[int], now: float) -> None:
        self.taken |= {(reader, id) for id in ids if self.one(reader, id, now)}

    def newest(self) -> int:
        """Return the number of the newest row."""
        return max(self.came.values(), default=0)

    def missed(self, reader: Principal, heard: tuple[int, int], now: float) -> list[Notification]:
        """Return the unread rows of the inbox that came after the (direct row, broadcast) of these numbers."""
        unread = [row for row in self.on("inbox", reader, now) if not row.read]
        return [row for row in unread if self.came[row.id] > heard[row.target.recipient is None]][::-1]

    def audience(self, target: Target) -> list[Principal]:
        if target.recipient is not None:
            return [target.recipient]
        return sorted(
            reader for reader, key in self.members if key == target.audience and reader not in target.excluded
        )

    def drop(self, reader: Principal, audience: str) -> None:
        self.members.discard((reader, audience))
        self.received -= {(reader, id) for id, row in self.log.items() if row.target.audience == audience}

    def sweep(self, now: float) -> None:
        keep = self.retention
        for key, row in list(self.rows.items()):
            archived = keep.archived and row.archived_at is not None and row.archived_at + keep.archived <= now
            aged = keep.rows and row.created_at + keep.rows <= now
            if not _alive(row, now) or (row.target.recipient and (archived or aged)):
                self._forget(key)
        for id, row in list(self.log.items()):
            aged = keep.broadcasts and row.content.expires_at is None and row.created_at + keep.broadcasts <= now
            if aged or not _alive(row, now):
                self.retract(id)

    def _held(self, reader: Principal) -> list[Notification]:
        """Return the reader's rows but for those that they would see as a member of an audience."""
        return [
            row
            for (owner, id), row in self.rows.items()
            if owner == reader
            and (
                row.target.recipient
                or (reader, id) in self.received
                or (row.target.late_join and (reader, row.target.audience or "") in self.members)
            )
        ]

    def _change(self, reader: Principal, id: int, now: float, change: Callable[[Notification], Notification]) -> bool:
        row = self.one(reader, id, now)
        if row is not None:
            self.rows[reader, id] = change(row)
        return row is not None

    def _due(self, reader: Principal, up_to: int | None, now: float) -> list[Notification]:
        """Return the rows of the inbox that a mark-all is about."""
        expired = [row.content.expires_at or 0.0 for row in self._held(reader) if not _alive(row, now)]
        self.lowest = max([self.lowest, *expired])
        rows = self.on("inbox", reader, now)
        if up_to is None:
            return rows
        first = self.one(reader, up_to, now)
        return [row for row in rows if first is not None and _place(row) <= _place(first)]

    def _forget(self, key: Key) -> None:
        self.rows.pop(key, None)
        self.received.discard(key)
        self.taken.discard(key)


def shelf_of(row: Notification, now: float) -> Shelf:
    if row.archived_at is not None:
        return "archived"
    return "snoozed" if row.snoozed_until is not None and row.snoozed_until > now else "inbox"


def _alive(row: Notification, now: float) -> bool:
    return row.content.expires_at is None or row.content.expires_at > now


def _place(row: Notification) -> tuple[float, int]:
    return row.created_at, row.id
