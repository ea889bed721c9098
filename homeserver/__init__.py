"""Hansa, a Matrix homeserver with a memory: the core and the client API."""
