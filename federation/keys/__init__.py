"""Signing keys: our own, published and vouched for; those of others, fetched, checked and cached."""
