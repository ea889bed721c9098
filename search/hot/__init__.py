"""Tiers that hold what was said lately."""
