"""Comparison of two catalog snapshots."""
