"""Whom a business row names."""

from collections.abc import Mapping, Sequence

from realtime.models import JsonObject

ENTITY_KINDS = {"work_order_": "work_order", "ticket_": "ticket", "booking_": "booking"}
NAME_FIELDS: Mapping[str, Sequence[str]] = {
    "work_order": ("technician_id", "customer_id", "created_by"),
    "ticket": ("technician_id", "customer_id", "created_by"),
    "booking": ("userId", "ownerId", "created_by"),
    "review": ("userId",),
}
"""The fields whose values name people: they may be in the row's room and read the row."""


def people_of(kind: str, row: JsonObject | None) -> set[str]:
    """Return the ids of everybody a row names."""
    return {str(row[field]) for field in NAME_FIELDS[kind] if row.get(field) not in (None, "")} if row else set()


def names_person(kind: str, row: JsonObject | None, user: str) -> bool:
    return user in people_of(kind, row)
