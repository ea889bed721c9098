"""Builders, fakes and real parts for tests."""
