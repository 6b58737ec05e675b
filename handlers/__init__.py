"""The edges: decode, authorise, call one service, reply."""
