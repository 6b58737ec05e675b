"""What clients can ask for over any socket, once for all transports."""
