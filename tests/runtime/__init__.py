"""Tests of homeserver.runtime."""
