"""One command line for two PostgreSQL databases migrated together."""

__version__ = "0.1.0"
