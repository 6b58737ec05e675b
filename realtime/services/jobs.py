"""Work orders and repair tickets: two kinds of row with a technician and a customer, told alike."""

from collections.abc import Callable

from realtime.clock import Clock
from realtime.events import Audience, Event, TicketChanged, WorkOrderAssignment, WorkOrderChanged
from realtime.models import Change, Content, JsonObject, WireId
from realtime.publisher import Publisher
from realtime.services.directory import Directory
from realtime.services.entities import Actor, Kind, Step
from realtime.services.notifications import NotificationService
from rooms import names

WORK_ORDER = Kind("work_order", "Work order", names.work_order, assignee="technician_id")
TICKET = Kind("ticket", "Ticket", names.ticket, assignee="technician_id")


class JobAnnouncer:
    """Tells a job's room, its technician and its customer what happened to it."""

    def __init__(
        self,
        kind: Kind,
        *,
        publisher: Publisher,
        notifications: NotificationService,
        directory: Directory,
        clock: Clock,
    ) -> None:
        self._kind = kind
        self._publisher = publisher
        self._notifications = notifications
        self._directory = directory
        self._clock = clock
        self._events: Callable[[WireId, Step, JsonObject, list[str]], list[tuple[Event, Audience]]] = (
            self._work_order if kind is WORK_ORDER else self._ticket
        )

    async def __call__(self, actor: Actor, change: Change, steps: list[Step]) -> None:
        row = change.new or change.old or {}
        technicians = _ids(change.new, "technician_id") | _ids(change.old, "technician_id")
        for step in steps:
            for event, audience in self._events(row["id"], step, row, sorted(technicians)):
                self._publisher.publish(event, audience)
        await self._notify(actor, change, steps)

    def _work_order(
        self, id: WireId, step: Step, row: JsonObject, technicians: list[str]
    ) -> list[tuple[Event, Audience]]:
        now = self._clock()
        room = Audience.room(names.work_order(id))
        return [
            (WorkOrderChanged(now, id, step.action, row, step.data), room),
            (WorkOrderAssignment(now, id, step.action, row), Audience.user(*technicians)),
        ]

    def _ticket(self, id: WireId, step: Step, row: JsonObject, technicians: list[str]) -> list[tuple[Event, Audience]]:
        return [(TicketChanged(self._clock(), id, step.action, row, step.data), Audience.room(names.ticket(id)))]

    async def _notify(self, actor: Actor, change: Change, steps: list[Step]) -> None:
        """The technician hears of the assignment; the customer, when it is a user, of the status."""
        row = change.new
        if row is None:
            return
        label = f"{self._kind.label} {row.get('formatted_number') or row.get('ticket_number') or '#' + str(row['id'])}"
        sender = f"user:{actor.member.id}"
        actions = {step.action for step in steps}
        technician = row.get("technician_id")
        if technician and actions & {"assigned", "created"}:
            content = self._content(row, "assigned", f"{label} assigned to you", str(row.get("description") or label))
            await self._notifications.notify(content, str(technician), sender=sender)
        customer = row.get("customer_id")
        if customer and actions & {"status_changed", "completed"} and await self._directory.user(str(customer)):
            status = "completed" if "completed" in actions else "status_changed"
            content = self._content(
                row, status, f"{label}: {row.get('status')}", f"The status is now {row.get('status')}"
            )
            await self._notifications.notify(content, str(customer), sender=sender)

    def _content(self, row: JsonObject, action: str, title: str, message: str) -> Content:
        return Content(
            type=f"{self._kind.name}_{action}",
            title=title[:200],
            message=message[:1000],
            metadata={"relatedEntity": {"type": self._kind.name, "id": row["id"]}},
        )


def _ids(row: JsonObject | None, field: str) -> set[str]:
    return {str(row[field])} if row and row.get(field) not in (None, "") else set()
