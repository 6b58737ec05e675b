"""The chat: what three generations of clients call its events, and how people come to it."""

from typing import Any

from tests.e2e.members import Member
from tests.e2e.node import Clients, Heard, Socket
from tests.e2e.plain import PlainClients, PlainSocket
from tests.e2e.process import Server

NEW = ("message:new", "MESSAGE_BROADCAST", "NEW_MESSAGE")
SENT = ("message:sent", "MESSAGE_SENT")
DELIVERED = ("message:delivered", "MESSAGE_DELIVERED")
READ = ("message:read", "MESSAGE_READ_UPDATE", "MESSAGE_READ_RECEIPT")


def connect(server: Server, clients: Clients, member: Member, **options: Any) -> Socket:
    """Connect as the document shows."""
    options = {"query": member.query, "transports": ["websocket"], **options}
    return clients.open(f"{server.url}/ws", **options).connected()


def connect_plain(server: Server, plain: PlainClients, member: Member) -> PlainSocket:
    socket = plain.open(f"{server.url}/ws?{member.address}")
    socket.hears("connected")
    return socket


def once(socket: Heard, *events: str) -> list[Any]:
    """Return the payloads of events of which each has been heard once."""
    found = {event: socket.heard(event) for event in events}
    assert [len(payloads) for payloads in found.values()] == [1] * len(events), found
    return [payloads[0] for payloads in found.values()]
