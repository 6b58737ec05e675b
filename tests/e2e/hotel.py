"""The hotel: its guests, and what its staff send them."""

import itertools
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from tests.e2e.calls import call
from tests.e2e.people import HOUR, sign
from tests.e2e.plain import PlainClients, PlainSocket
from tests.e2e.process import Server

PATH = "/ws/notifications"
POOL = {
    "hotel_id": 1,
    "type": "notification",
    "title": "Pool Maintenance",
    "message": "The pool will be closed for maintenance from 2-4 PM",
    "category": "service",
    "recipient_type": "all",
    "priority": "normal",
    "sender_type": "hotel",
}
"""The document's example."""

_numbers = itertools.count(10_000)


@dataclass(frozen=True)
class Guest:
    id: int
    token: str

    @classmethod
    def new(cls, id: int | None = None, *, lifetime: float = HOUR) -> Self:
        id = next(_numbers) if id is None else id
        claims = {"id": id, "email": f"guest-{id}@hotel.example", "type": "guest"}
        return cls(id, sign(claims, lifetime=lifetime))

    @property
    def query(self) -> str:
        return f"token={self.token}&guestId={self.id}"


@dataclass(frozen=True)
class Tab(PlainSocket):
    """A guest's socket. It cannot ask, so it settles with a ping."""

    def settle(self) -> None:
        """Return when all that the server sent before now has been heard."""
        pongs = len(self.heard("pong"))
        self.send({"type": "ping"})
        self.hears("pong", count=pongs + 1)

    def titles(self) -> list[str]:
        """Return the titles of all notifications heard until now, in order."""
        return [heard["title"] for heard in self.heard("notification")]


def open_tab(plain: PlainClients, server: Server, guest: Guest, **options: Any) -> Tab:
    """Connect and return when the server has said so."""
    socket = plain.open(f"{server.url}{PATH}?{guest.query}", **options)
    tab = Tab(socket.script, socket.name)
    tab.hears("connection")
    return tab


def staff(role: str = "staff") -> str:
    return sign({"id": next(_numbers), "email": f"{role}@hotel.example", "role": role, "name": role.title()})


def send(server: Server, **fields: object) -> Any:
    """Create a communication like the document's example, but for `fields`, and return its row."""
    answer = call("POST", f"{server.url}/api/communications", staff(), {**POOL, **fields})
    assert answer.status == 201, answer
    return answer.body["data"]


def send_to(server: Server, guest: Guest, title: str, **fields: object) -> Any:
    return send(server, title=title, recipient_type="guest", recipient_id=guest.id, **fields)


def in_seconds(seconds: float) -> str:
    """Return a time that many seconds from now, as the routes take it."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


def confirm(server: Server, tab: Tab) -> None:
    """Return when the server has stored that a tab has what it has heard.

    The first answer comes behind the server's ping, the second behind the pong to it, and the row of somebody else is
    stored behind what that pong confirms.
    """
    tab.settle()
    tab.settle()
    send_to(server, Guest.new(), "afterwards")
