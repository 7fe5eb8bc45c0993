"""`consistency`: compare keys between databases."""
