"""Keys of one database that must exist in the other."""
