"""Snapshots of the objects of a database, read by one query per file in `sql/`."""
