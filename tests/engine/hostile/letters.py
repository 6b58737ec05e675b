"""Messages that wait for user 5 while they are away, and that are told when they connect to ``/ws``."""

import json

from tests.engine.hostile.world import World
from tests.support import until

COUNT = 20
LONG = "x" * 4900


async def write(world: World) -> None:
    """Somebody else writes to user 5."""
    wire = await world.plain("/ws", id=6)
    for n in range(COUNT):
        sent = await wire.ask(n, "sendMessage", {"receiverId": "5", "content": f"{n} {LONG}", "tempId": str(n)})
        assert sent["status"] == "sent"
    wire.drop()
    await until(lambda: world.others() == 0, what="the end of who has written")


async def read(world: World) -> list[int]:
    """Return which of them come with the next connection."""
    wire = await world.plain("/ws")
    await until(lambda: world.kept()["errands"] == 0, what="the end of what is told")
    await wire.say('{"event":"heartbeat","id":"all"}')
    found: list[int] = []
    while (message := json.loads(await wire.hears())).get("id") != "all":
        if message["event"] == "message:new":
            found.append(int(message["data"]["content"].split()[0]))
    return found
