"""Endpoints for clients, one module per section of the spec: parse, call, answer."""
