"""Our half of the server-server API."""
