"""Numbers that are never given out twice."""

import sqlite3
from dataclasses import dataclass, field

from realtime.store.sqlite_rows import head, set_head


@dataclass(slots=True)
class Heads:
    """Numbers taken in one job: each head is read once and written once, by `save`."""

    db: sqlite3.Connection
    _taken: dict[str, int] = field(default_factory=dict)

    def take(self, name: str) -> int:
        last = self._taken.get(name)
        self._taken[name] = value = (head(self.db, name) if last is None else last) + 1
        return value

    def save(self) -> None:
        for name, value in self._taken.items():
            set_head(self.db, name, value)


def take(db: sqlite3.Connection, name: str) -> int:
    """Return the next number, in a job that takes no others of this head."""
    number = head(db, name) + 1
    set_head(db, name, number)
    return number
