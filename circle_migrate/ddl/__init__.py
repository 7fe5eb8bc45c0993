"""The DDL that makes one catalogue out of another, from two snapshots alone."""
