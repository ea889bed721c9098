"""Bridges and bots: their registrations, what they are told, and what they may do."""
