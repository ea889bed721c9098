"""Saved searches: whoever keeps one is told when something new matches it."""
