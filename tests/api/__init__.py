"""Endpoints, over HTTP."""
