"""Who would get a notification, and why: asked before it is sent."""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from realtime.models import Principal, Target, WireId
from realtime.services.directory import Directory
from realtime.store.base import InboxStore

NAMED = 1000
"""Recipients that are named; the count is of all."""

ASKED_TOGETHER = 50
EXCLUDED = "excluded by except"


@dataclass(frozen=True, slots=True)
class Recipients:
    """`ids` are the first ones; `reasons` has words for each of them, and for who is left out."""

    ids: tuple[WireId, ...]
    count: int
    reasons: dict[str, str]


class RecipientService:
    def __init__(self, *, store: InboxStore, directory: Directory) -> None:
        self._store = store
        self._directory = directory

    async def of(self, targets: Sequence[Target], *, field: str, excluded: Collection[Principal]) -> Recipients:
        """Return who would get what is sent to `targets`, which a request gave in `field`. Nothing is stored."""
        audience = targets[0].audience
        if audience is None:
            people = [target.recipient or "" for target in targets]
            count, reason = len(people), f"named in {field}"
        else:
            count, people = await self._store.audience_size(targets[0], limit=NAMED)
            reason = _reason(audience)
        people = people[:NAMED]
        reasons = {_id(principal): EXCLUDED for principal in sorted(excluded)}
        reasons.update((_id(principal), reason) for principal in people)
        return Recipients(tuple(await self._wire_ids(people)), count, reasons)

    async def _wire_ids(self, people: Sequence[Principal]) -> list[WireId]:
        found: list[WireId] = []
        for start in range(0, len(people), ASKED_TOGETHER):
            some = people[start : start + ASKED_TOGETHER]
            found += await asyncio.gather(*(self._directory.wire_id(_id(principal)) for principal in some))
        return found


def _id(principal: Principal) -> str:
    return principal.partition(":")[2]


def _reason(audience: str) -> str:
    kind, _, name = audience.partition(":")
    if kind == "role":
        return f"has the role {name}"
    return f"is subscribed to the room {name}" if kind == "room" else "is among all users"
