"""Migrate PostgreSQL databases together."""

__version__ = "0.1.0"
