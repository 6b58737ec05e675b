"""Which handler an event has, by python-socketio's rules, and how much it wants to be told."""

import inspect
from collections.abc import Callable
from typing import Any

import socketio

Handler = Callable[..., Any]
MANY = 1000


class Lookup:
    """Finds handlers: functions first, then class-based namespaces; exact names before catch-alls.

    Signatures are inspected once, and never found out by calling a handler and catching its TypeError.
    """

    def __init__(self, server: socketio.AsyncServer) -> None:
        self._server = server
        self._takes: dict[Handler, int] = {}

    def find(self, event: str, namespace: str, args: tuple[Any, ...]) -> tuple[Handler | None, tuple[Any, ...]]:
        """Return the handler of an event and what it gets; catch-all handlers get the names too."""
        handler, args = self._server._get_event_handler(event, namespace, args)
        if handler is not None:
            return handler, args
        group, args = self._server._get_namespace_handler(namespace, args)
        if group is None:
            return None, args
        if type(group).trigger_event is not socketio.AsyncNamespace.trigger_event:
            return _Overridden(group, event), args
        return getattr(group, f"on_{event}", None), args

    def wanted(self, handler: Handler, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return as many arguments as a handler takes: older ones want neither `auth` nor a reason."""
        asked: Handler | None = handler
        if isinstance(handler, _Overridden):
            asked = getattr(handler.group, f"on_{handler.event}", None)
        return args if asked is None else args[: self._number(asked)]

    def _number(self, handler: Handler) -> int:
        if handler not in self._takes:
            parameters = inspect.signature(handler).parameters.values()
            positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
            many = any(p.kind is p.VAR_POSITIONAL for p in parameters)
            self._takes[handler] = MANY if many else len(positional)
        return self._takes[handler]


class _Overridden:
    """A `trigger_event` that a class-based namespace has overridden; it usually goes on to `on_<event>`."""

    def __init__(self, group: Any, event: str) -> None:
        self.group = group
        self.event = event

    def __call__(self, *args: Any) -> Any:
        return self.group.trigger_event(self.event, *args)
