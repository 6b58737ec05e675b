"""`backup`, `restore`, `recount` and `sweeps`."""

import time
from pathlib import Path

import click

from realtime.clock import timestamp
from realtime.commands.running import beside_server, explained, read_settings
from realtime.models import user_principal
from realtime.services.recount import recount as counted_again
from realtime.store.base import Store
from realtime.wiring.stores import open_store


@click.command("backup")
@click.argument("file", type=click.Path(path_type=Path))
def backup(file: Path) -> None:
    """Write a copy of the database to a new FILE, as it is at one moment. A server may run meanwhile."""
    beside_server(lambda store: store.backup(file))
    click.echo(f"{file} has {file.stat().st_size} bytes")


@click.command("restore")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--replace", is_flag=True, help="Delete what is in the database now.")
def restore(file: Path, replace: bool) -> None:
    """Put what `backup` wrote to FILE into the database. No server may run meanwhile.

    Clients that were connected before begin with their whole inbox again.
    """
    settings = read_settings()
    explained(lambda: open_store(settings).restore(file, replace=replace))
    click.echo(f"Restored {file}")


@click.command("recount")
@click.option("--user", "user_id", help="Only this user.")
def recount(user_id: str | None) -> None:
    """Count everybody's unread notifications again, by the rules alone, and compare. Fails on a difference.

    A server may run meanwhile: what differs is looked at again before it counts.
    """
    differences = beside_server(lambda store: _recount(store, user_id))
    if differences:
        raise click.exceptions.Exit(1)


async def _recount(store: Store, user_id: str | None) -> int:
    readers = different = 0
    chosen = None if user_id is None else [user_principal(user_id)]
    async for reader, count, naive in counted_again(store, time.time, chosen):
        readers += 1
        if count != naive:
            different += 1
            click.echo(f"{reader}: the count is {count}, counted again it is {naive}")
    click.echo(f"{readers} readers checked, {different} differences")
    return different


@click.command("sweeps")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="Newest sweeps to print.")
def sweeps(limit: int) -> None:
    """Print what sweeps have removed, the newest first."""
    for sweep in beside_server(lambda store: store.sweeps(limit)):
        removed = ", ".join(f"{kind} {count}" for kind, count in sorted(sweep.removed.items()))
        click.echo(f"{timestamp(sweep.at)}  {removed}")
