"""Which event loop runs the server, and how the garbage collector is kept from stopping it."""

import asyncio
import gc
import importlib
from collections.abc import Callable, Coroutine
from typing import Any

THRESHOLDS = (20_000, 20, 100)
"""Allocations before a young collection, young ones before a middle one, middle ones before a full one.

CPython's own (700, 10, 10) look at every connection again and again while a crowd connects; connections are freed
by reference counting and need no collector (docs/engine.md has the measurement).
"""


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop's when the extra `uvloop` is installed, None for asyncio's own."""
    try:
        uvloop = importlib.import_module("uvloop")
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run the server's coroutine to its end."""
    gc.collect()
    gc.freeze()  # modules and classes live as long as the process: no collection looks at them again
    gc.set_threshold(*THRESHOLDS)
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(main)
