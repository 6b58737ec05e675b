"""The inbox as the simplest thing that could be right: one row per reader, made when a broadcast is published."""

from dataclasses import dataclass, field, replace

from realtime.models import Content, Notification, Principal, Target


@dataclass
class NaiveInbox:
    """`key` of a row is its place in the list."""

    rows: dict[int, Notification] = field(default_factory=dict)
    members: set[tuple[Principal, str]] = field(default_factory=set)
    received: set[tuple[Principal, int]] = field(default_factory=set)
    read_at: dict[tuple[Principal, int], float | None] = field(default_factory=dict)
    hidden: set[tuple[Principal, int]] = field(default_factory=set)
    taken: set[tuple[Principal, int]] = field(default_factory=set)

    def add(self, id: int, target: Target, content: Content, now: float, *, keeps_id: bool = False) -> int:
        """Store a row under `id`, or without `keeps_id` under that of the unread row of its group; returns which."""
        row = Notification(id, target, content, None, now, now)
        if target.recipient is None:
            self.received |= {(reader, id) for reader, key in self.members if key == target.audience}
        else:
            same = [
                old
                for old in self.visible(target.recipient, now)
                if not old.read
                and old.target == target
                and content.group_key
                and old.content.group_key == content.group_key
            ]
            if same:
                old = self.rows.pop(same[0].id)
                row = replace(row, id=id if keeps_id else old.id, group_count=old.group_count + 1)
                self.taken.discard((target.recipient, old.id))
            self.received.add((target.recipient, row.id))
        self.rows[row.id] = row
        return row.id

    def visible(self, reader: Principal, now: float) -> list[Notification]:
        found = [
            row.marked(self.read_at.get((reader, row.id)))
            for row in self.rows.values()
            if self._sees(reader, row) and (row.content.expires_at is None or row.content.expires_at > now)
        ]
        return sorted(found, key=lambda row: (row.created_at, row.id), reverse=True)

    def set_read(self, reader: Principal, id: int, read: bool, now: float) -> bool:
        row = self.one(reader, id, now)
        if row is not None and row.read != read:
            self.read_at[reader, id] = now if read else None
        return row is not None

    def mark_all_read(self, reader: Principal, up_to: int | None, now: float) -> int:
        due = self.visible(reader, now)
        if up_to is not None:
            ids = [row.id for row in due]
            due = due[ids.index(up_to) :] if up_to in ids else []
        unread = [row for row in due if not row.read]
        for row in unread:
            self.read_at[reader, row.id] = now
        return len(unread)

    def delete(self, reader: Principal, id: int, now: float) -> bool:
        seen = self.one(reader, id, now) is not None
        if seen:
            self.hidden.add((reader, id))
        return seen

    def undelivered(self, reader: Principal, now: float) -> list[Notification]:
        waiting = [row for row in self.visible(reader, now) if not row.read and (reader, row.id) not in self.taken]
        return waiting[::-1]

    def set_delivered(self, reader: Principal, ids: list[int], now: float) -> None:
        self.taken |= {(reader, id) for id in ids if self.one(reader, id, now)}

    def drop(self, reader: Principal, audience: str) -> None:
        self.members.discard((reader, audience))
        self.received -= {(reader, id) for id, row in self.rows.items() if row.target.audience == audience}

    def one(self, reader: Principal, id: int, now: float) -> Notification | None:
        return next((row for row in self.visible(reader, now) if row.id == id), None)

    def _sees(self, reader: Principal, row: Notification) -> bool:
        here = row.target.late_join and (reader, row.target.audience or "") in self.members
        return (
            ((reader, row.id) in self.received or here)
            and reader not in row.target.excluded
            and (reader, row.id) not in self.hidden
        )
