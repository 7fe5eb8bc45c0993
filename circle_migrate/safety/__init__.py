"""Judgement of pending revisions and of data that a downgrade destroys."""
