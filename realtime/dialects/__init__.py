"""One table per vocabulary: how each domain event is named and shaped, and which command each client event means."""
