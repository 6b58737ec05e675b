"""HTTP routes, one module per resource, and what surrounds them."""
