"""Plain connections: WebSockets that speak JSON, and event streams."""
