"""One log line per event, as JSON, or readable in development. Tokens and message bodies are never logged."""

import logging
import sys
from typing import Any, TextIO

import orjson
import structlog


def configure(*, level: str, readable: bool, stream: TextIO | None = None) -> None:
    """Set up structlog for the process; `level` is a name such as ``info``."""
    out = stream or sys.stderr
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer(colors=out.isatty()) if readable else _json_line
    )
    exceptions = [] if readable else [structlog.processors.format_exc_info]
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *exceptions,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(out),
        cache_logger_on_first_use=True,
    )


def _json_line(logger: Any, method: str, event: structlog.typing.EventDict) -> str:
    try:
        return orjson.dumps(event, default=repr).decode()
    except TypeError:  # a lone surrogate, an integer over 64 bits
        return str(_PATIENT(logger, method, event))


_PATIENT = structlog.processors.JSONRenderer()
