"""PostgreSQL: connections, errors, locks, catalogues, and embedded and scratch servers."""
