"""`import-users`, `export-user` and `delete-user`."""

import asyncio
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import click

from realtime.clock import timestamp
from realtime.commands.running import beside_server
from realtime.commands.user_lines import UserLines
from realtime.errors import StoreError
from realtime.models import JsonObject, Seen
from realtime.services.directory import ADMIN_AUDIENCE
from realtime.store.base import Store
from rooms.policy import ADMIN_ROOM_ROLES

PORTION = 2000
"""Users stored in one transaction; a server that writes beside waits for it, about 0.1 s."""

PAUSES = (0.025, 0.1)
"""Least and most seconds between two transactions. SQLite's writers look whether they may every 25 ms at first and
every 100 ms later, so without a pause a server might never find it free."""

SHOWN_LINES = 20
AUDIENCES = {role: [ADMIN_AUDIENCE] for role in sorted(ADMIN_ROOM_ROLES)}
_TIMES = ("_at", "_until", "_seen")


@click.command("import-users")
@click.argument("file", type=click.File("rb"))
@click.option("--skip-bad", is_flag=True, help="Leave bad lines out instead of importing nothing.")
def import_users(file: BinaryIO, skip_bad: bool) -> None:
    """Make users known who have not come yet, so that they receive what is sent to everybody or to their role.

    FILE has one JSON object a line: {"id": 7, "role": "technician", "name": ..., "email": ..., "locale": "es",
    "tz": "Europe/Madrid"}; only the id is needed, the role is "user" without one. "-" reads standard input. Users
    who are known are brought up to date, as by a token that is issued now.
    """
    now = time.time()
    lines = UserLines(issued_at=now)
    lines.read(file)
    _complain(lines.bad)
    if lines.bad and not skip_bad:
        raise click.ClickException(f"{_count(lines.bad, 'line')} cannot be used; nothing was imported")
    new, changed = beside_server(lambda store: _import(store, lines.users, now), create=True)
    skipped = f", {_count(lines.bad, 'line')} skipped" if lines.bad else ""
    click.echo(f"{_count(lines.users, 'user')} read: {new} new, {changed} changed{skipped}")


def _complain(bad: Sequence[tuple[int, str]]) -> None:
    for number, problem in bad[:SHOWN_LINES]:
        click.echo(f"line {number}: {problem}", err=True)
    if len(bad) > SHOWN_LINES:
        click.echo(f"and {len(bad) - SHOWN_LINES} more", err=True)


def _count(things: Sequence[object], word: str) -> str:
    return f"{len(things)} {word}" if len(things) == 1 else f"{len(things)} {word}s"


async def _import(store: Store, users: Sequence[Seen], now: float) -> tuple[int, int]:
    new = changed = done = 0
    with click.progressbar(length=len(users), label="Importing", file=sys.stderr) as bar:
        for start in range(0, len(users), PORTION):
            some = users[start : start + PORTION]
            began = time.monotonic()
            try:
                fresh, other = await store.import_users(some, audiences=AUDIENCES, now=now)
            except StoreError as error:
                raise click.ClickException(
                    f"{error} ({done} of {len(users)} users are imported; start again, nothing is imported twice)"
                ) from error
            new, changed, done = new + fresh, changed + other, done + len(some)
            bar.update(len(some))
            await asyncio.sleep(min(max(PAUSES[0], (time.monotonic() - began) / 3), PAUSES[1]))
    return new, changed


@click.command("export-user")
@click.argument("user_id")
@click.option("--output", type=click.Path(path_type=Path), help="A new file, instead of standard output.")
def export_user(user_id: str, output: Path | None) -> None:
    """Print everything that is stored about USER_ID, as JSON."""
    found = beside_server(lambda store: store.export_user(user_id))
    if not any(found.values()):
        raise click.ClickException(f"Nothing is stored about user {user_id}")
    text = json.dumps(_readable(found), ensure_ascii=False, indent=2)
    if output is None:
        click.echo(text)
        return
    try:
        descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise click.ClickException(f"{output} cannot be written: {error.strerror}") from error
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text + "\n")
    click.echo(f"{output} has {_kinds({kind: len(rows) for kind, rows in found.items()})}")


def _readable(found: Mapping[str, Sequence[JsonObject]]) -> dict[str, list[JsonObject]]:
    """Return rows whose times are texts."""
    return {
        kind: [{name: _time(name, value) for name, value in row.items()} for row in rows]
        for kind, rows in found.items()
    }


def _time(name: str, value: object) -> object:
    timely = name == "at" or name.endswith(_TIMES)
    return timestamp(value) if timely and isinstance(value, float) else value


@click.command("delete-user")
@click.argument("user_id")
@click.option("--yes", is_flag=True, help="Do not ask.")
def delete_user(user_id: str, yes: bool) -> None:
    """Remove everything that is stored about USER_ID, their messages with others included.

    Take away their token first: whoever comes with a valid one is known again.
    """
    if not yes:
        click.confirm(f"Remove everything about user {user_id} for ever?", abort=True)
    gone = beside_server(lambda store: store.delete_user(user_id))
    click.echo(f"Removed {_kinds(gone)}" if any(gone.values()) else f"Nothing was stored about user {user_id}")


def _kinds(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in counts.items() if count)
