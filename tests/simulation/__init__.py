"""Servers that lose each other, and find together again."""
