"""Webhooks: what other programs tell a room, and what a room tells other programs."""
