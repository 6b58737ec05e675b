"""Unread counts from nothing but the facts that a store gives for an audit."""

from collections.abc import Sequence

from realtime.models import LogFacts, MarkFacts, Notification, ReaderFacts
from tests.conformance.naive_inbox import shelf_of


def recount(facts: ReaderFacts, log: Sequence[LogFacts], now: float) -> int:
    unread = [row for row in facts.rows if not row.read and _alive(row, now) and shelf_of(row, now) == "inbox"]
    return len(unread) + sum(_unread(facts, fact, now) for fact in log)


def _unread(facts: ReaderFacts, fact: LogFacts, now: float) -> bool:
    row, audience = fact.notification, fact.notification.target.audience
    heard = any(
        key == audience and start < fact.seq and (end is None or fact.seq <= end) for key, start, end in facts.intervals
    )
    here = row.target.late_join and any(key == audience and end is None for key, _, end in facts.intervals)
    if fact.retracted or not _alive(row, now) or facts.reader in row.target.excluded or not (heard or here):
        return False
    mark = facts.marks.get(fact.seq)
    if mark is None:
        return row.target.late_join or fact.seq > facts.read_upto
    return not mark.hidden and mark.read_at is None and _in_inbox(mark, now)


def _in_inbox(mark: MarkFacts, now: float) -> bool:
    return mark.archived_at is None and (mark.snoozed_until is None or mark.snoozed_until <= now)


def _alive(row: Notification, now: float) -> bool:
    return row.content.expires_at is None or row.content.expires_at > now
