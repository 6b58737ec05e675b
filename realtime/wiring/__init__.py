"""Where parts are made and given to each other, lower layers first: connections, services, edges."""
