"""All that a simulation replaces: clock, randomness, tasks, and how log lines and metrics are written."""
