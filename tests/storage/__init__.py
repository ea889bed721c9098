"""Tests of homeserver.storage."""
