"""Revision files read without running them, the graph they form, targets and plans. No database."""
