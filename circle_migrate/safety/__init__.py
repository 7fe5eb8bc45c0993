"""Assess what pending revisions do to the live databases, and which data a downgrade loses."""
