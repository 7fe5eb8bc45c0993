"""Diagrams of revisions and tables."""
