"""Sizes, rows, locks and catalogue facts of the live databases that decide how dangerous a statement is."""
