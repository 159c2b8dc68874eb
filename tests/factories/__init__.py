"""Test data, one module a room."""
