"""Sizes, rows and locks of the live databases that decide how dangerous a statement is."""
