"""Locks and work of each statement, observed while the plan runs on a scratch database."""
