"""Device tokens. `num` rises with each registration, so the order holds when the clock is set back."""

import sqlite3

from realtime.models import Device, Principal
from realtime.store.base import MAX_DEVICES


def register(db: sqlite3.Connection, device: Device) -> None:
    db.execute("DELETE FROM device WHERE token = ?", (device.token,))
    db.execute(
        "INSERT INTO device (token, owner, platform, registered_at) VALUES (?, ?, ?, ?)",
        (device.token, device.owner, device.platform, device.registered_at),
    )
    db.execute(
        "DELETE FROM device WHERE num IN (SELECT num FROM device WHERE owner = ? ORDER BY num DESC LIMIT -1 OFFSET ?)",
        (device.owner, MAX_DEVICES),
    )


def unregister(db: sqlite3.Connection, owner: Principal, token: str | None) -> int:
    return db.execute(
        "DELETE FROM device WHERE owner = :owner AND (:token IS NULL OR token = :token)",
        {"owner": owner, "token": token},
    ).rowcount


def of(db: sqlite3.Connection, owner: Principal) -> list[Device]:
    found = db.execute(
        "SELECT token, owner, platform, registered_at FROM device WHERE owner = ? ORDER BY num DESC", (owner,)
    )
    return [Device(*row) for row in found]
