"""Use cases. A service stores first and publishes after the commit; it knows no transport."""
