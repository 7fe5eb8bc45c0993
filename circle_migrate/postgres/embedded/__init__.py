"""The private PostgreSQL server of `--embedded`."""
