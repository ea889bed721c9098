"""PostgreSQL's meaning of our statements, in memory: what they read and write, lock, refuse and wait for."""
