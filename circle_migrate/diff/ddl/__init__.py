"""DDL that turns one catalog into another, from two snapshots alone."""
