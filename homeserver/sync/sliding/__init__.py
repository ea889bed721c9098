"""Simplified sliding sync (MSC4186): windows on the list of a user's rooms, sent as differences on a connection."""
