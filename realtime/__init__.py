"""Roomcast: a self-hosted real-time server for frontends that use socket.io-client."""

__version__ = "0.1.0"
