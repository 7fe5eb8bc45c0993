"""Sizes, rows, locks and catalog facts of the live databases that decide how dangerous a statement is."""
