"""Spam rules, over HTTP."""
