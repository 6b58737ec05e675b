"""What every event looks like in every vocabulary: names and types of all fields, in order."""
