"""Taking out what a room or a user said: as evidence that verifies without this server, and to read."""
