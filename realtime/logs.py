"""One log line per event, as JSON, or readable in development. Tokens and message bodies are never logged."""

import asyncio
import atexit
import logging
import sys
import threading
import time
from collections import deque
from typing import Any, TextIO

import orjson
import structlog

from realtime.clock import timestamp


def configure(*, level: str, readable: bool, stream: TextIO | None = None) -> None:
    """Set up structlog for the process; `level` is a name such as ``info``."""
    lines = _Lines(stream or sys.stderr)
    processors: list[structlog.typing.Processor] = [_json_line]
    if readable:
        colors = lines.stream.isatty()
        stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)
        processors = [structlog.processors.add_log_level, stamp, structlog.dev.ConsoleRenderer(colors=colors)]
    filtering = structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()])
    structlog.configure(
        processors=processors,
        wrapper_class=filtering if readable else type("JsonLogger", (_JsonLogger, filtering), {}),
        logger_factory=lambda *_: lines,
        cache_logger_on_first_use=True,
    )
    atexit.register(lines.write)


class _JsonLogger(structlog.BoundLoggerBase):
    """Does at less cost what structlog does for any processors, for the one that we have: each connection logs two
    lines."""

    def _proxy_to_logger(self, method_name: str, event: str | None = None, **more: Any) -> Any:
        if self._processors != _ONLY_JSON:  # somebody has other plans, a test for example
            return super()._proxy_to_logger(method_name, event, **more)
        if self._context:
            more = {**self._context, **more}
        if event is not None:
            more["event"] = event
        return getattr(self._logger, method_name)(_json_line(self._logger, method_name, more))


class _Lines:
    """Writes lines to a stream: those of one turn of the event loop together, and at once from a warning on.

    When thousands connect or leave, a write for each of them would cost more than the line.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self._waiting: deque[str] = deque()  # other threads log, too
        self._writing = threading.Lock()

    def later(self, line: str) -> None:
        self._waiting.append(line)
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.write()
            return
        if len(self._waiting) == 1:
            loop.call_soon(self.write)

    def now(self, line: str) -> None:
        self._waiting.append(line)
        self.write()

    debug = info = later
    warning = error = critical = now

    def write(self) -> None:
        """Write what waits, in order."""
        with self._writing:
            lines = []
            while self._waiting:
                lines.append(self._waiting.popleft())
            if lines:
                self.stream.write("\n".join([*lines, ""]))
                self.stream.flush()


def _json_line(logger: Any, method: str, event: structlog.typing.EventDict) -> str:
    event["level"] = method
    event["timestamp"] = timestamp(time.time())
    if "exc_info" in event:
        event = structlog.processors.format_exc_info(logger, method, event)
    try:
        return orjson.dumps(event, default=repr).decode()
    except TypeError:  # a lone surrogate, an integer over 64 bits
        return str(_PATIENT(logger, method, event))


_PATIENT = structlog.processors.JSONRenderer()
_ONLY_JSON = [_json_line]
