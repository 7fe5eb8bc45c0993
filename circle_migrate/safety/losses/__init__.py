"""Data that a downgrade destroys, found on a scratch copy and counted in the live databases."""
