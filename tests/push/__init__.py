"""Unread counts as values."""
