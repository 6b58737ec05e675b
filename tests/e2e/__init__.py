"""The real server process, real clients in Node, and a real browser."""
