"""The Socket.IO engine: python-socketio's public API over rooms that cannot leak and frames encoded once."""

from realtime.engine.server import RealtimeServer, create_server

__all__ = ["RealtimeServer", "create_server"]
