"""Listening, signals and a shutdown that loses nothing."""

import asyncio
import errno
import logging
import signal
import ssl
import time
from collections.abc import Callable

import structlog
from aiohttp import web

from handlers.sockets.gate import PATH
from realtime.app import PARTS
from realtime.engine.door import Doors
from realtime.ratelimit import RateLimiter
from realtime.settings import Settings

log = structlog.get_logger(__name__)

BACKLOG = 1024
HEADER_SECONDS = 10.0
"""How long a connection may take to send a whole request head, from its first byte or from the end of the last one."""

LINES_PER_MINUTE = 60
LINGER_SECONDS = 2.0
"""How long the rest of a body is read and dropped after an early answer."""

REQUEST_SECONDS = 3.0
"""How long a request that runs at shutdown may take to finish."""


class CannotListen(OSError):
    """A port is busy or an address is not ours; the message says which."""


async def serve(app: web.Application, settings: Settings, on_ready: Callable[[list[str]], None]) -> None:
    """Serve until SIGTERM or SIGINT, then tell clients, flush the store and return.

    `on_ready` gets the URLs. Raises CannotListen, and what opening the store raises. A signal that comes while the
    store is waited for ends the waiting.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    runner = web.AppRunner(
        app,
        logger=_one_line_logger(),
        access_log=None,
        handle_signals=False,
        shutdown_timeout=REQUEST_SECONDS,
        keepalive_timeout=HEADER_SECONDS,
        lingering_time=LINGER_SECONDS,
        tcp_keepalive=False,  # idle connections end by themselves, and sockets have heartbeats
    )
    doors: Doors | None = None
    listening: list[asyncio.Server] = []
    try:
        if not await _set_up(runner, stop):
            return
        doors = doors_before(runner.server, app)
        on_ready([await _listen(port, doors, settings, listening) for port in ports_of(settings)])
        await stop.wait()
        app[PARTS].stopping = True
        log.info("shutting down", connections=len(app[PARTS].channels))
        _stop_listening(listening, doors)
        # cleanup() stops reading before it calls the hooks, and browsers' answers to our Close would cost 2 s.
        await runner.shutdown()
    finally:
        _stop_listening(listening, doors)
        await runner.cleanup()
    log.info("stopped")


def doors_before(server: web.Server | None, app: web.Application) -> Doors:
    """Return the doors before the HTTP server of an application that has been set up."""
    if server is None:
        raise RuntimeError("the application has not been set up")
    return Doors(asyncio.get_running_loop(), server, app[PARTS].gate.admit, path=PATH)


def _stop_listening(listening: list[asyncio.Server], doors: Doors | None) -> None:
    while listening:
        listening.pop().close()
    if doors is not None:
        doors.close()


async def _set_up(runner: web.AppRunner, stop: asyncio.Event) -> bool:
    """Start the parts of the application; False when `stop` came first."""
    starting = asyncio.create_task(runner.setup())
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            return True
        log.info("stopped before it served")
        return False
    finally:
        for task in (starting, stopping):
            task.cancel()
        await asyncio.gather(starting, stopping, return_exceptions=True)


class _OneLine(logging.Handler):
    """What aiohttp has to say of requests it could not even read: one line, without a traceback, 60 a minute."""

    def __init__(self) -> None:
        super().__init__()
        self._lines = RateLimiter(per_minute=LINES_PER_MINUTE, burst=LINES_PER_MINUTE)

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and isinstance(record.exc_info[1], web.RequestPayloadError):
            return  # only its body, and the handler has answered that
        if self._lines.hit("", time.monotonic()) is not None:
            return
        log.warning("http request unreadable", reason=record.getMessage()[:200])


def _one_line_logger() -> logging.Logger:
    logger = logging.getLogger("roomcast.http")
    logger.propagate = False
    logger.handlers = [_OneLine()]
    return logger


def ports_of(settings: Settings) -> list[int]:
    return list(dict.fromkeys((settings.port, *settings.extra_ports)))


async def _listen(port: int, doors: Doors, settings: Settings, listening: list[asyncio.Server]) -> str:
    """Open a listening socket, add it to `listening` and return its URL. Raises CannotListen."""
    context = None
    if settings.tls_cert and settings.tls_key:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(settings.tls_cert, settings.tls_key)
    loop = asyncio.get_running_loop()
    try:
        server = await loop.create_server(doors, settings.host, port, ssl=context, backlog=BACKLOG)
    except OSError as error:
        reason = "the port is already in use" if error.errno == errno.EADDRINUSE else (error.strerror or str(error))
        raise CannotListen(f"cannot listen on {settings.host}:{port}: {reason}") from error
    listening.append(server)
    actual = server.sockets[0].getsockname()[1]
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"{'https' if context else 'http'}://{host}:{actual}"
