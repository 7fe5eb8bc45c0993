"""PostgreSQL: connections, errors, locks, catalogs, and embedded and scratch servers."""
