"""Checks that `status` and `check` share."""
