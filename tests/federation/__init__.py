"""Tests of what moves between servers."""
