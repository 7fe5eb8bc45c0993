"""Errors, results and pure functions; standard library only."""
