"""Connections to PostgreSQL, their errors and locks, and all that is not about revisions."""
