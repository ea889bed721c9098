"""Rooms: the one path on which they are written, and what is read of them."""
