"""Typing, receipts and presence: what users do rather than say."""
