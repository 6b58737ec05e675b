"""What a running application has of those who are connected: where something could be forgotten."""

import asyncio

from realtime.services.capacity import Capacity
from tests.support import Running


def kept(running: Running) -> dict[str, int]:
    """Count what is kept of people and their connections, wherever it is kept."""
    parts = running.parts
    connections, services = parts.connections, parts.services
    found = {
        "engine sessions": len(parts.server.eio.sockets),
        "names of engine sessions": len(parts.server.manager.eio_of),
        "plain sessions": len(connections.plain.sockets),
        "errands": len(services.errands._running),
        "replays": len(services.notifications._replays._behind),
        "guests' sockets": len(services.guests._tabs) + len(services.guests._unasked),
        "online": len(services.presence),
        **_places(services.sessions._capacity),
    }
    for n, channel in enumerate(connections.channels):
        where = f"{n} {channel.path}"
        found[f"connections of {where}"] = len(channel)
        found[f"members of {where}"] = len(channel.membership.all())
        found[f"rooms of {where}"] = len(list(channel.membership.room_names()))
        found[f"notes on {where}"] = len(channel.guests) + len(channel.muted)
    return found


def _places(capacity: Capacity) -> dict[str, int]:
    mine = [sessions for people in capacity._open.values() for sessions in people.values()]
    return {
        "places": sum(capacity._total.values()),
        "places by people": sum(map(len, mine)),
        "people with places": len(mine),
    }


def busy(running: Running) -> dict[str, int]:
    """Count what is under way."""
    hub = running.parts.server.eio.hub
    return {
        "requests": running.server.unanswered,
        "tasks": len(asyncio.all_tasks()),
        "closing": len(hub.closing),
        "stalled": len(hub._stalled),
    }
