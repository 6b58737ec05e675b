"""The commands that work on the database, most of them while a server runs beside them."""
