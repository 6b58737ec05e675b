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

from realtime.app import PARTS
from realtime.ratelimit import RateLimiter
from realtime.settings import Settings

log = structlog.get_logger(__name__)

BACKLOG = 1024
HEADER_SECONDS = 10.0
"""How long a connection may take to send a whole request head, the first one or the next."""

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
    )
    try:
        if not await _set_up(runner, stop):
            return
        urls = await _listen(runner, settings)
        on_ready(urls)
        await stop.wait()
        app[PARTS].stopping = True
        log.info("shutting down", connections=len(app[PARTS].channels))
        for site in list(runner.sites):
            await site.stop()
        # cleanup() stops reading before it calls the hooks, and browsers' answers to our Close would cost 2 s.
        await runner.shutdown()
    finally:
        await runner.cleanup()
    log.info("stopped")


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


async def _listen(runner: web.AppRunner, settings: Settings) -> list[str]:
    context = None
    if settings.tls_cert and settings.tls_key:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(settings.tls_cert, settings.tls_key)
    scheme = "https" if context else "http"
    urls = []
    for port in dict.fromkeys((settings.port, *settings.extra_ports)):
        site = web.TCPSite(runner, settings.host, port, ssl_context=context, backlog=BACKLOG)
        try:
            await site.start()
        except OSError as error:
            reason = "the port is already in use" if error.errno == errno.EADDRINUSE else (error.strerror or str(error))
            raise CannotListen(f"cannot listen on {settings.host}:{port}: {reason}") from error
        server = site._server
        sockets = getattr(server, "sockets", None) or ()
        actual = sockets[0].getsockname()[1] if sockets else port
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        urls.append(f"{scheme}://{host}:{actual}")
    return urls
