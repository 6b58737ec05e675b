"""A process that serves a database until it is killed: `python -m tests.store.serve PATH [CALLERS]`.

Prints `open`, then the id of each stored notification, after it was answered.
"""

import asyncio
import os
import sys

from realtime.models import Content, Target
from realtime.store.sqlite import SqliteStore


async def main(path: str, callers: int) -> None:
    store = SqliteStore(path)
    await store.open()
    os.write(1, b"open\n")
    await asyncio.gather(*[add_for_ever(store) for _ in range(callers)])
    await asyncio.Event().wait()


async def add_for_ever(store: SqliteStore) -> None:
    while True:
        (stored,) = await store.add([Target(recipient="user:1")], Content("t", "t", "m"), sender=None, now=1.0)
        os.write(1, b"%d\n" % stored.notification.id)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
