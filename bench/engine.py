"""Roomcast's engine alone, to measure what its HTTP API cannot ask for: several events to a client in one tick.

PORT comes from the environment; it listens on 127.0.0.1 only, and lets everybody in.
"""

from __future__ import annotations

import os
from typing import Any

from aiohttp import web

from realtime.engine import create_server

EVENT = "bench_event"

sio = create_server(ping_interval=30.0, ping_timeout=20.0)
members: set[str] = set()


async def connect(sid: str, _environ: dict[str, Any], _auth: object) -> None:
    members.add(sid)


async def disconnect(sid: str, _reason: str) -> None:
    members.discard(sid)


async def join_room(sid: str, room: str) -> dict[str, Any]:
    await sio.enter_room(sid, room)
    return {"success": True, "room": room}


async def burst(sid: str, count: int) -> None:
    for number in range(count):
        await sio.emit(EVENT, {"n": number}, to=sid)


async def fan(_sid: str, count: int) -> None:
    for member in list(members):
        for number in range(count):
            await sio.emit(EVENT, {"n": number}, to=member)


def main() -> None:
    app = web.Application()
    sio.attach(app)
    for handler in (connect, disconnect, join_room, burst, fan):
        sio.on(handler.__name__, handler)
    web.run_app(app, host="127.0.0.1", port=int(os.environ["PORT"]), print=None, access_log=None, backlog=1024)


if __name__ == "__main__":
    main()
