"""Find what a downgrade takes away, and count it on the live databases."""
