"""Scratch databases: new, empty, and dropped after use."""
