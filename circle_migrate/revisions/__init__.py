"""Revisions of the platform's two databases, one folder per database."""
