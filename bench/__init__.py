"""The inner loops, measured: one result line each. `python -m bench [names]`."""
