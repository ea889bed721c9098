"""Other implementations as oracles, each in a process and an environment of its own."""
