"""What Roomcast is compared with: python-socketio as it comes, on aiohttp, with the same handlers and nothing else.

PORT and JWT_SECRET come from the environment. It imports nothing of the project and listens on 127.0.0.1 only.
"""

from __future__ import annotations

import os
from typing import Any

import jwt
import socketio
from aiohttp import web
from socketio.exceptions import ConnectionRefusedError as Refused

SECRET = os.environ["JWT_SECRET"]
EVENT = "bench_event"

sio = socketio.AsyncServer(async_mode="aiohttp", ping_interval=30, ping_timeout=20, cors_allowed_origins=[])
members: set[str] = set()


def verify(token: str) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(token, SECRET, algorithms=["HS256"])
    return claims


async def connect(sid: str, _environ: dict[str, Any], auth: dict[str, str]) -> None:
    try:
        claims = verify(auth["token"])
    except jwt.PyJWTError as error:
        raise Refused("Authentication error") from error
    await sio.enter_room(sid, f"user_{claims['sub']}")
    await sio.enter_room(sid, f"role_{claims['role']}")
    members.add(sid)


async def disconnect(sid: str, _reason: str) -> None:
    members.discard(sid)


async def join_room(sid: str, room: str) -> dict[str, Any]:
    await sio.enter_room(sid, room)
    return {"success": True, "room": room}


async def heartbeat(_sid: str) -> dict[str, Any]:
    return {"success": True}


async def burst(sid: str, count: int) -> None:
    for number in range(count):
        await sio.emit(EVENT, {"n": number}, to=sid)


async def fan(_sid: str, count: int) -> None:
    for member in list(members):
        for number in range(count):
            await sio.emit(EVENT, {"n": number}, to=member)


async def publish(request: web.Request) -> web.Response:
    try:
        verify(request.headers.get("Authorization", "").removeprefix("Bearer "))
    except jwt.PyJWTError:
        return web.json_response({"success": False}, status=401)
    body = await request.json()
    await sio.emit(body["event"], body["data"], room=body["room"])
    return web.json_response({"success": True}, status=202)


def main() -> None:
    app = web.Application(client_max_size=1 << 20)
    app.router.add_post("/api/publish", publish)
    sio.attach(app)
    for handler in (connect, disconnect, join_room, heartbeat, burst, fan):
        sio.on(handler.__name__, handler)
    web.run_app(app, host="127.0.0.1", port=int(os.environ["PORT"]), print=None, access_log=None, backlog=1024)


if __name__ == "__main__":
    main()
