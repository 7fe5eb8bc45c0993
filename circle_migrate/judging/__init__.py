"""The safety check of a plan: its evidence, and the findings that people accept."""
