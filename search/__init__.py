"""Search in messages. Its index is derived: it can be thrown away and built again from the events."""
