"""The command line: ``python -m realtime`` or ``roomcast``."""

import dataclasses
import ipaddress
import time
from pathlib import Path

import click
import structlog

from realtime import __version__, eventloop, logs
from realtime.app import create_app
from realtime.auth import mint
from realtime.commands.database import backup, recount, restore, sweeps
from realtime.commands.people import delete_user, export_user, import_users
from realtime.commands.running import ConfigProblem, ServeProblem, read_settings
from realtime.errors import StoreError
from realtime.models import wire_id
from realtime.serving import CannotListen, serve
from realtime.settings import DEV_SECRET, BadSetting, Settings, check_secrets, dev_secret, effective

log = structlog.get_logger("roomcast")

DAY = 86400
DEV_PEOPLE = (
    (1, "admin", "Ada Admin"),
    (2, "manager", "Max Manager"),
    (3, "technician", "Tess Technician"),
    (4, "user", "Uma User"),
)
DEV_GUEST = (123, "Gia Guest")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="roomcast")
def main() -> None:
    """Roomcast: a self-hosted real-time server for socket.io-client frontends."""


@main.command("serve")
@click.option("--host", help="Address to listen on (default: HOST or 127.0.0.1).")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on (default: PORT or 3000).")
@click.option("--dev", is_flag=True, help="Development: a generated key, localhost origins, ready tokens.")
@click.option("--dev-insecure", is_flag=True, help="With --dev: listen beyond this machine all the same.")
def serve_command(host: str | None, port: int | None, dev: bool, dev_insecure: bool) -> None:
    """Serve until SIGTERM.

    Exit codes: 0 stopped, 2 a setting is wrong, 3 the port or the database cannot be used.
    """
    settings = read_settings()
    given = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    settings = dataclasses.replace(settings, **given)  # type: ignore[arg-type]
    try:
        if dev:
            settings = _dev(settings, insecure=dev_insecure)
        check_secrets(settings, dev=dev)
    except BadSetting as error:
        raise ConfigProblem(str(error)) from error
    logs.configure(level=settings.log_level, readable=dev)
    app = create_app(settings, dev=dev)
    try:
        eventloop.run(serve(app, settings, lambda urls: _ready(urls, settings, dev=dev)))
    except (CannotListen, StoreError) as error:
        raise ServeProblem(str(error)) from error


def _dev(settings: Settings, *, insecure: bool) -> Settings:
    """Fill in what development needs. Raises BadSetting when strangers could reach it."""
    if not insecure and not _is_loopback(settings.host):
        raise BadSetting("HOST", f"--dev serves only this machine, not {settings.host}; add --dev-insecure to insist")
    return settings if settings.jwt_secret else dataclasses.replace(settings, jwt_secret=dev_secret())


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _ready(urls: list[str], settings: Settings, *, dev: bool) -> None:
    message = f"listening on {', '.join(urls)}"
    log.info(message)
    if not dev or not settings.jwt_secret:
        return
    page = f"{urls[0]}/socket-example.html"
    click.echo(f"\n  Test page   {page}")
    click.echo(f"  Health      {urls[0]}/healthz   {urls[0]}/readyz")
    click.echo("\n  Tokens for a day (the links open the test page with the token filled in):")
    for id, role, name in DEV_PEOPLE:
        token = mint(settings.jwt_secret, user_id=id, now=time.time(), lifetime=DAY, role=role, name=name)
        click.echo(f"\n  {role} (user {id}, {name})\n  {token}\n  {page}#token={token}")
    id, name = DEV_GUEST
    token = mint(settings.jwt_secret, user_id=id, now=time.time(), lifetime=DAY, name=name, guest=True)
    click.echo(f"\n  hotel guest (guest {id}, {name})\n  {token}\n  {page}#tab=guests&token={token}")
    click.echo("\n  Stop with Ctrl+C.\n")


@main.command("token")
@click.argument("user_id")
@click.option("--role", help="Role claim, such as admin or technician.")
@click.option("--name", help="Name claim.")
@click.option("--email", help="Email claim.")
@click.option("--guest", is_flag=True, help="A guest's token (guests are apart from users).")
@click.option("--expires", type=click.IntRange(1, 10 * 365 * DAY), default=DAY, show_default=True, help="Seconds.")
def token_command(
    user_id: str, role: str | None, name: str | None, email: str | None, guest: bool, expires: int
) -> None:
    """Print one token for USER_ID, signed with JWT_SECRET (or the key that --dev made)."""
    settings = read_settings()
    if guest and role:
        raise ConfigProblem("a guest has no role: give --guest or --role")
    if not 1 <= len(user_id) <= 100:
        raise ConfigProblem("USER_ID is 1 to 100 characters")
    secret = settings.jwt_secret or (dev_secret() if Path(DEV_SECRET).is_file() else None)
    try:
        check_secrets(dataclasses.replace(settings, jwt_secret=secret, jwt_algorithms=("HS256",)))
    except BadSetting as error:
        raise ConfigProblem(str(error)) from error
    click.echo(
        mint(
            secret or "",
            user_id=wire_id(user_id),
            now=time.time(),
            lifetime=expires,
            role=role,
            name=name,
            email=email,
            guest=guest,
        )
    )


@main.command("check-config")
def check_config() -> None:
    """Print the effective settings, secrets masked. Fails naming the bad variable."""
    settings = read_settings()
    for variable, value in effective(settings):
        click.echo(f"{variable}={value}")
    try:
        check_secrets(settings)
    except BadSetting as error:
        raise ConfigProblem(str(error)) from error


for command in (import_users, export_user, delete_user, backup, restore, recount, sweeps):
    main.add_command(command)


if __name__ == "__main__":
    main()
