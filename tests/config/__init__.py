"""Tests of homeserver.config."""
