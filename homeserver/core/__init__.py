"""The Matrix protocol as pure functions and tables: no IO, no clock, no randomness, no logging."""
