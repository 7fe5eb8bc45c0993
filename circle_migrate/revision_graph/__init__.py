"""Revision files, read without running them; their graphs, targets and plans. No database is read."""
