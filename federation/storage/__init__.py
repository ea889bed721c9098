"""The tables of federation, one module each."""
